package pipeline

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"slices"
	"strings"
	"testing"

	"sallyport/crypto"
	"sallyport/crypto/cryptodev"
	"sallyport/crypto/vectors"
)

// The data plane against published cases, without the reference between them: the stage that opens and seals gets what a case says as ESP or AH,
// by every way that this machine has. What it makes of its own, IVs, no case has: there it opens only.

// vectorCase is one case for the stage: what is sealed, and what has to come out of it.
type vectorCase struct {
	name   string
	suite  crypto.Suite
	keymat []byte
	esn    bool
	packet cryptPacket // ESP to the ICV; of AH what is authenticated, IV and ICV apart
	plain  []byte      // of ESP
	made   bool        // sealing gives it too
	forged bool        // it must not open
}

// espAlignment is what the length of ESP's ciphertext is a multiple of (RFC 4303 section 2.4).
const espAlignment = 4

func unhex(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(text), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// holdAll gives the stage each case by each way that has its suite, and the case with its ICV changed; it wants at least so many cases.
func holdAll(t *testing.T, least int, cases []vectorCase) {
	t.Helper()
	r := newRig(t, rigOptions{mtu: 9200})
	if len(cases) < least {
		t.Errorf("%d cases, expected %d at least", len(cases), least)
	}
	for _, way := range cryptWays(t) {
		for _, c := range cases {
			if slices.Contains(way.suites, c.suite) {
				r.hold(t, way, c)
			}
		}
	}
}

func (r *rig) hold(t *testing.T, way cryptWay, c vectorCase) {
	t.Helper()
	whole, changed := cloneCrypt(&c.packet), cloneCrypt(&c.packet)
	last := changed.icv
	if !c.suite.AH() {
		last = changed.octets
	}
	last[len(last)-1] ^= 1
	r.crypt(t, way, c, false, whole, changed)
	if whole.failed != c.forged {
		t.Fatalf("%s by %s: refused %t", c.name, way.name, whole.failed)
	}
	if !changed.failed && !c.forged {
		t.Errorf("%s by %s: passed with another ICV", c.name, way.name)
	}
	if !c.suite.AH() && !c.forged {
		if text := whole.octets[espHeaderLen+c.suite.IVLen():]; !bytes.HasPrefix(text, c.plain) {
			t.Errorf("%s by %s: opened\n%x\nexpected\n%x", c.name, way.name, text, c.plain)
		}
	}
	if !c.made {
		return
	}
	sealed := cloneCrypt(&c.packet)
	clear(sealed.icv)
	if r.crypt(t, way, c, true, sealed); sealed.failed || !bytes.Equal(sealed.icv, c.packet.icv) {
		t.Errorf("%s by %s: ICV %x (failed %t), expected %x", c.name, way.name, sealed.icv, sealed.failed, c.packet.icv)
	}
}

// crypt opens or seals packets by a session of their own.
func (r *rig) crypt(t *testing.T, way cryptWay, c vectorCase, encrypt bool, packets ...*cryptPacket) {
	t.Helper()
	salt := c.keymat[c.suite.KeyLen()+c.suite.IntegKeyLen():]
	if !c.suite.AH() {
		salt = c.keymat[c.suite.KeyLen():][:c.suite.SaltLen()]
	}
	session, err := way.pool.NewSession(c.suite, crypto.NewSecret(c.keymat), encrypt, append(way.options, cryptodev.WithESN(c.esn))...)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.d.runCrypt(session, salt, 0, packets), way.pool.Free(session)); err != nil {
		t.Fatal(err)
	}
}

// S-100: whole ESP packets from the documents of AES-GCM, AES-GMAC (RFC 4106, RFC 4543) and ChaCha20-Poly1305 (RFC 7634).
func TestPublishedPackets(t *testing.T) {
	var cases []vectorCase
	for _, v := range vectors.Packets {
		packet := unhex(t, v.Packet)
		cases = append(cases, vectorCase{name: v.Source, suite: parsedSuite(t, v.Suite), keymat: unhex(t, v.Keymat), esn: v.ESN, plain: unhex(t, v.Payload),
			packet: cryptPacket{octets: packet, sequence: uint64(v.SequenceHigh)<<32 | uint64(binary.BigEndian.Uint32(packet[4:]))}})
	}
	holdAll(t, 4, cases)
}

func parsedSuite(t *testing.T, word string) crypto.Suite {
	t.Helper()
	s, err := crypto.ParseSuite(word)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// S-100: the published cases of AES-CBC (RFC 3602), AES-CTR (RFC 3686), DES and 3DES, in ESP with an ICV of the standard library's.
func TestPublishedCiphers(t *testing.T) {
	var cases []vectorCase
	for _, v := range vectors.Ciphers {
		s, err := crypto.ParseSuite(v.Algorithm + "-sha1")
		if err != nil || len(unhex(t, v.Ciphertext))%espAlignment != 0 {
			continue // a combined mode, whose cases have no header of ESP: TestWycheproofCiphers; or no ciphertext of ESP's
		}
		integrity := bytes.Repeat([]byte{7}, s.IntegKeyLen())
		packet := slices.Concat(unhex(t, "10203040 00000001"), unhex(t, v.IV), unhex(t, v.Ciphertext))
		mac := hmac.New(sha1.New, integrity)
		mac.Write(packet)
		cases = append(cases, vectorCase{name: v.Source, suite: s, keymat: append(unhex(t, v.Key), integrity...), plain: unhex(t, v.Plain),
			packet: cryptPacket{octets: append(packet, mac.Sum(nil)[:s.ICVLen()]...), sequence: 1}})
	}
	holdAll(t, 17, cases)
}

// S-100: those cases of Wycheproof whose associated data is of ESP's length, with 32-bit numbers or extended ones: AES-GCM (RFC 4106), AES-CCM with the
// nonce of RFC 4309, ChaCha20-Poly1305 (RFC 7634).
func TestWycheproofCiphers(t *testing.T) {
	var cases []vectorCase
	for _, file := range []struct {
		name, word string
		nonce      int
	}{{"aes_gcm_test.json", "aes%dgcm16", 96}, {"aes_ccm_test.json", "aes%dccm16", 88}, {"chacha20_poly1305_test.json", "chacha20poly1305", 96}} {
		for _, v := range wycheproofCases(t, file.name, func(g vectors.WycheproofGroup) bool { return g.IVSize == file.nonce && g.TagSize == 128 }) {
			aad, key, nonce := unhex(t, v.AAD), unhex(t, v.Key), unhex(t, v.IV)
			if len(aad) != 8 && len(aad) != 12 || v.Msg == "" || len(unhex(t, v.Msg))%espAlignment != 0 {
				continue
			}
			word := file.word
			if strings.Contains(word, "%") {
				word = fmt.Sprintf(word, 8*len(key))
			}
			s := parsedSuite(t, word)
			low := binary.BigEndian.Uint32(aad[len(aad)-4:])
			sequence := uint64(low)
			if len(aad) == 12 {
				sequence |= uint64(binary.BigEndian.Uint32(aad[4:])) << 32
			}
			packet := slices.Concat(aad[:4], aad[len(aad)-4:], nonce[s.SaltLen():], unhex(t, v.CT), unhex(t, v.Tag))
			cases = append(cases, vectorCase{name: fmt.Sprintf("%s %d (%s)", file.name, v.ID, v.Comment), suite: s, keymat: append(key, nonce[:s.SaltLen()]...), esn: len(aad) == 12,
				plain: unhex(t, v.Msg), packet: cryptPacket{octets: packet, sequence: sequence}, forged: v.Result != "valid"})
		}
	}
	holdAll(t, 20, cases)
}

func wycheproofCases(t *testing.T, file string, fits func(vectors.WycheproofGroup) bool) (all []vectors.WycheproofVector) {
	t.Helper()
	groups, err := vectors.Wycheproof(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range groups {
		if fits(g) {
			all = append(all, g.Tests...)
		}
	}
	return all
}

// macHashes are the hashes of the HMACs: an SA's key has their output's length.
var macHashes = map[string]func() hash.Hash{"md5": md5.New, "sha1": sha1.New, "sha256": sha256.New, "sha384": sha512.New384, "sha512": sha512.New}

// macKey is a key of the length that an SA has which does the same as a case's (RFC 2104 section 2): a shorter one is filled up with zeros, one longer than
// a block of the hash is hashed first. Between them there is none.
func macKey(word string, key []byte, length int) []byte {
	if h := macHashes[word]; h != nil && len(key) > h().BlockSize() {
		of := h()
		of.Write(key)
		key = of.Sum(nil)
	}
	if len(key) > length || len(key) < length && macHashes[word] == nil {
		return nil
	}
	return append(slices.Clone(key), make([]byte, length-len(key))...)
}

func macCase(t *testing.T, name, word string, key, data, tag []byte) (vectorCase, bool) {
	t.Helper()
	s, err := crypto.ParseAHSuite(word)
	if err != nil {
		t.Fatal(err)
	}
	if key = macKey(word, key, s.KeymatLen()); key == nil || len(data) == 0 || len(tag) < s.ICVLen() {
		return vectorCase{}, false
	}
	return vectorCase{name: name, suite: s, keymat: key, made: true, packet: cryptPacket{octets: data, icv: tag[:s.ICVLen()], sequence: 1}}, true
}

// S-100: the published cases of HMAC-MD5 and HMAC-SHA-1 (RFC 2202), HMAC-SHA-2 (RFC 4231), AES-XCBC (RFC 3566) and AES-CMAC (RFC 4494), cut off as AH has
// them. Those with a key that no SA can have are left out, those of no data, and those that are cut off shorter.
func TestPublishedMACs(t *testing.T) {
	var cases []vectorCase
	for _, v := range vectors.MACs {
		if c, fits := macCase(t, v.Source, v.Algorithm, unhex(t, v.Key), unhex(t, v.Data), unhex(t, v.Want)); fits {
			cases = append(cases, c)
		}
	}
	holdAll(t, 35, cases)
}

// S-100: Wycheproof's cases of the same and of AES-GMAC in AH (RFC 4543): valid ones pass, and of the invalid ones, which are those of a whole ICV's length, none.
func TestWycheproofMACs(t *testing.T) {
	var cases []vectorCase
	for _, file := range []struct {
		name, word string
		tag        int // bits of the tags of invalid cases
	}{{"hmac_sha1_test.json", "sha1", 0}, {"hmac_sha256_test.json", "sha256", 128}, {"hmac_sha384_test.json", "sha384", 192}, {"hmac_sha512_test.json", "sha512", 256},
		{"aes_cmac_test.json", "aescmac", 0}} {
		for _, forged := range []bool{false, true} {
			for _, v := range wycheproofCases(t, file.name, func(g vectors.WycheproofGroup) bool { return g.TagSize >= 96 && (!forged || g.TagSize == file.tag) }) {
				c, fits := macCase(t, fmt.Sprintf("%s %d (%s)", file.name, v.ID, v.Comment), file.word, unhex(t, v.Key), unhex(t, v.Msg), unhex(t, v.Tag))
				if fits && (v.Result != "valid") == forged {
					c.forged, c.made = forged, !forged
					cases = append(cases, c)
				}
			}
		}
	}
	for _, v := range wycheproofCases(t, "aes_gmac_test.json", func(g vectors.WycheproofGroup) bool { return g.IVSize == 96 }) {
		key, nonce, data := unhex(t, v.Key), unhex(t, v.IV), unhex(t, v.Msg)
		if s, err := crypto.ParseAHSuite(fmt.Sprintf("aes%dgmac", 8*len(key))); err != nil {
			t.Fatal(err)
		} else if len(data) > 0 {
			cases = append(cases, vectorCase{name: fmt.Sprintf("aes_gmac_test.json %d (%s)", v.ID, v.Comment), suite: s, keymat: append(key, nonce[:4]...), forged: v.Result != "valid",
				packet: cryptPacket{octets: data, icv: slices.Concat(nonce[4:], unhex(t, v.Tag)), sequence: 1}})
		}
	}
	holdAll(t, 500, cases)
}
