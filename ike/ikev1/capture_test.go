package ikev1

import (
	stdcrypto "crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"sallyport/crypto"
	"sallyport/ike/isakmp"
)

// hexOctets are octets that JSON has in hexadecimal.
type hexOctets []byte

func (h *hexOctets) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

// capture is what two peers said to each other, and what one of them, strongSwan 5.9.8, logged of its keys.
type capture struct {
	PSK           string
	Shared        hexOctets `json:"dh_shared_secret"`
	PFS           hexOctets `json:"pfs_shared_secret"`
	SKEYID        hexOctets
	SKEYIDd       hexOctets   `json:"skeyid_d"`
	SKEYIDa       hexOctets   `json:"skeyid_a"`
	IV            hexOctets   `json:"phase1_iv"`
	IVs           []hexOctets `json:"ivs_logged"`
	HashI         hexOctets   `json:"hash_i"`
	HashR         hexOctets   `json:"hash_r"`
	Hash1         hexOctets   `json:"hash_1"`
	Hash2         hexOctets   `json:"hash_2"`
	Hash3         hexOctets   `json:"hash_3"`
	Informational []hexOctets `json:"informational_hashes"`
	SPIResponder  hexOctets   `json:"esp_spi_of_responder"`
	SPIInitiator  hexOctets   `json:"esp_spi_of_initiator"`
	AHResponder   hexOctets   `json:"ah_spi_of_responder"`
	AHInitiator   hexOctets   `json:"ah_spi_of_initiator"`
	FromInitiator hexOctets   `json:"keymat_from_initiator"`
	FromResponder hexOctets   `json:"keymat_from_responder"`

	datagrams [][]byte
	messages  []*isakmp.Message // with fragments put together
}

func readCapture(t *testing.T, name string) *capture {
	t.Helper()
	base := filepath.Join("../isakmp/testdata", name)
	text, err := os.ReadFile(base + ".json")
	if err != nil {
		t.Fatal(err)
	}
	c := &capture{}
	if err := json.Unmarshal(text, c); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(base + ".pcap")
	if err != nil {
		t.Fatal(err)
	}
	var pieces []byte
	c.datagrams = udpPayloads(file)
	for _, payload := range c.datagrams {
		m, err := isakmp.Parse(payload)
		if err != nil {
			t.Fatal(err)
		}
		if f := isakmp.Find[*isakmp.Fragment](m.Payloads); f != nil {
			if pieces = append(pieces, f.Data...); !f.Last {
				continue
			}
			if m, err = isakmp.Parse(pieces); err != nil {
				t.Fatal(err)
			}
			pieces = nil
		}
		c.messages = append(c.messages, m)
	}
	return c
}

// udpPayloads reads a little-endian pcap of Ethernet frames with IPv4 headers of 20 octets.
func udpPayloads(file []byte) (payloads [][]byte) {
	const fileHeader, recordHeader, ethernet, ip, udp = 24, 16, 14, 20, 8
	for rest := file[fileHeader:]; len(rest) > 0; {
		end := recordHeader + binary.LittleEndian.Uint32(rest[8:])
		frame := rest[recordHeader:end]
		rest = rest[end:]
		if frame[12] == 8 && frame[13] == 0 && frame[ethernet+9] == 17 {
			segment := frame[ethernet+ip:]
			payloads = append(payloads, segment[udp:binary.BigEndian.Uint16(segment[4:])])
		}
	}
	return payloads
}

// open decrypts a message and gives its chain and the next IV.
func (c *capture) open(t *testing.T, k *phase1Keys, iv []byte, m *isakmp.Message) (*isakmp.Chain, []byte) {
	t.Helper()
	plaintext, next, err := k.cipher.Decrypt(iv, m.Ciphertext)
	if err != nil {
		t.Fatal(err)
	}
	chain, err := isakmp.ParsePayloads(m.NextPayload, plaintext)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := isakmp.Check(m.Header, chain.Payloads); err != nil {
		t.Error(err)
	}
	// And back, with the padding as it came: strongSwan fills up whole blocks with one more.
	ciphertext, last := k.cipher.Encrypt(iv, plaintext)
	same(t, "message encrypted again", ciphertext, m.Ciphertext)
	same(t, "its last block", last, next)
	return chain, next
}

func body(t *testing.T, p isakmp.Payload) []byte {
	t.Helper()
	b, err := isakmp.Body(p)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestCaptures follows captured negotiations from the shared secret on: every key, IV and hash is the one that strongSwan logged.
func TestCaptures(t *testing.T) {
	for _, v := range []struct {
		name   string
		prf    crypto.PRFID
		cipher phase1Cipher
	}{
		{"ikev1-psk-pfs-tunnel", crypto.PRFHMACSHA256, phase1Cipher{crypto.EncrAESCBC, 32}},
		{"ikev1-rsa-3des-md5-fragments", crypto.PRFHMACMD5, phase1Cipher{crypto.Encr3DES, 24}}, // its key is longer than SKEYID_e
	} {
		t.Run(v.name, func(t *testing.T) {
			c := readCapture(t, v.name)
			k, seen := c.mainModeKeys(t, v.prf, v.cipher, c.messages)
			last := c.checkProofs(t, k, seen, c.messages[4:])
			c.checkQuickMode(t, k, last)
			for i, m := range c.messages[9:] {
				iv := k.phase2IV(last, m.MessageID)
				same(t, "IV of an informational exchange", iv, c.IVs[6+i])
				chain, _ := c.open(t, k, iv, m)
				same(t, "its HASH", k.hash1(m.MessageID, chain.Rest()), c.Informational[i])
				same(t, "its HASH as sent", isakmp.Find[*isakmp.Hash](chain.Payloads).Data, c.Informational[i])
			}
			k.wipe()
			if k.d.Len()+k.a.Len()+k.skeyid.Len() != 0 {
				t.Error("keys are left after wipe")
			}
		})
	}
}

// mainModeKeys derives the keys of messages 1 to 4.
func (c *capture) mainModeKeys(t *testing.T, prf crypto.PRFID, cipher phase1Cipher, messages []*isakmp.Message) (*phase1Keys, transcript) {
	t.Helper()
	request, answer := messages[2], messages[3]
	ni, nr := isakmp.Find[*isakmp.Nonce](request.Payloads).Data, isakmp.Find[*isakmp.Nonce](answer.Payloads).Data
	shared := crypto.NewSecret(c.Shared)
	skeyid := skeyidSignature(prf, ni, nr, shared)
	if c.PSK != "" {
		skeyid = skeyidPreShared(prf, crypto.NewSecret([]byte(c.PSK)), ni, nr)
	}
	same(t, "SKEYID", skeyid.Bytes(), c.SKEYID)
	k, err := deriveKeys(prf, cipher, skeyid, shared, answer.Cookies, nil)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "SKEYID_d", k.d.Bytes(), c.SKEYIDd)
	same(t, "SKEYID_a", k.a.Bytes(), c.SKEYIDa)
	return k, transcript{
		cookies: answer.Cookies,
		gxi:     isakmp.Find[*isakmp.KE](request.Payloads).Data,
		gxr:     isakmp.Find[*isakmp.KE](answer.Payloads).Data,
		sai:     body(t, isakmp.Find[*isakmp.SA](messages[0].Payloads)),
	}
}

// checkProofs reads messages 5 and 6 and gives the last block of the latter.
func (c *capture) checkProofs(t *testing.T, k *phase1Keys, seen transcript, messages []*isakmp.Message) (last []byte) {
	t.Helper()
	iv := k.phase1IV(seen)
	same(t, "first IV", iv, c.IV)
	for i, side := range []struct {
		hash func(transcript, []byte) []byte
		want []byte
	}{{k.hashI, c.HashI}, {k.hashR, c.HashR}} {
		chain, next := c.open(t, k, iv, messages[i])
		if c.IVs != nil {
			same(t, "next IV", next, c.IVs[i])
		}
		hash := side.hash(seen, body(t, isakmp.Find[*isakmp.ID](chain.Payloads)))
		same(t, "HASH_I or HASH_R", hash, side.want)
		if sent := isakmp.Find[*isakmp.Hash](chain.Payloads); sent != nil {
			same(t, "the same as sent", sent.Data, hash)
		} else {
			checkSignature(t, chain.Payloads, hash)
		}
		iv = next
	}
	return iv
}

// checkSignature: RFC 2409 5.1 has an RSA signature over the hash itself, without naming a hash algorithm in it.
func checkSignature(t *testing.T, payloads []isakmp.Payload, hash []byte) {
	t.Helper()
	cert, err := x509.ParseCertificate(isakmp.Find[*isakmp.Cert](payloads).Data)
	if err != nil {
		t.Fatal(err)
	}
	if err := rsa.VerifyPKCS1v15(cert.PublicKey.(*rsa.PublicKey), stdcrypto.Hash(0), hash, isakmp.Find[*isakmp.Sig](payloads).Data); err != nil {
		t.Errorf("the captured signature does not verify: %v", err)
	}
}

func (c *capture) checkQuickMode(t *testing.T, k *phase1Keys, last []byte) {
	t.Helper()
	id := c.messages[6].MessageID
	iv := k.phase2IV(last, id)
	same(t, "first IV of quick mode", iv, c.IVs[2])
	var chains []*isakmp.Chain
	for i, m := range c.messages[6:9] {
		chain, next := c.open(t, k, iv, m)
		same(t, "next IV of quick mode", next, c.IVs[3+i])
		chains, iv = append(chains, chain), next
	}
	c.checkQuickHashes(t, k, id, chains)
}

// checkQuickHashes has the three messages of quick mode with their hashes, and the keys that they make.
func (c *capture) checkQuickHashes(t *testing.T, k *phase1Keys, id uint32, chains []*isakmp.Chain) {
	t.Helper()
	q := quickTranscript{
		shared: crypto.NewSecret(c.PFS),
		ni:     isakmp.Find[*isakmp.Nonce](chains[0].Payloads).Data,
		nr:     isakmp.Find[*isakmp.Nonce](chains[1].Payloads).Data,
	}
	hashes := [][]byte{k.hash1(id, chains[0].Rest()), k.hash2(id, q.ni, chains[1].Rest()), k.hash3(id, q.ni, q.nr)}
	for i, want := range []hexOctets{c.Hash1, c.Hash2, c.Hash3} {
		same(t, "hash of quick mode", hashes[i], want)
		same(t, "the same as sent", isakmp.Find[*isakmp.Hash](chains[i].Payloads).Data, want)
	}
	protocol, spiResponder, spiInitiator := isakmp.ProtocolESP, c.SPIResponder, c.SPIInitiator
	if c.AHResponder != nil {
		protocol, spiResponder, spiInitiator = isakmp.ProtocolAH, c.AHResponder, c.AHInitiator
	}
	toResponder := k.keymat(q, protocol, binary.BigEndian.Uint32(spiResponder), len(c.FromInitiator))
	toInitiator := k.keymat(q, protocol, binary.BigEndian.Uint32(spiInitiator), len(c.FromResponder))
	same(t, "KEYMAT from the initiator", toResponder.Bytes(), c.FromInitiator)
	same(t, "KEYMAT from the responder", toInitiator.Bytes(), c.FromResponder)
}

// TestCapturedLibreswan follows a negotiation that libreswan began. strongSwan asks whether it lives before message 3 of quick mode is there; each
// question and each answer has a message ID, and with it an IV, of its own.
func TestCapturedLibreswan(t *testing.T) {
	c := readCapture(t, "ikev1-libreswan-ah-dpd")
	const times = 3 // that messages 1 and 2 were sent
	main := []*isakmp.Message{c.messages[0], c.messages[times], c.messages[2*times], c.messages[2*times+1]}
	k, seen := c.mainModeKeys(t, crypto.PRFHMACSHA1, phase1Cipher{crypto.Encr3DES, 24}, main)
	encrypted := c.messages[2*times+2:]
	last := c.checkProofs(t, k, seen, encrypted)
	ivs := map[uint32][]byte{}
	quickID := encrypted[2].MessageID
	var quick []*isakmp.Chain
	var texts []string
	for _, m := range encrypted[2:] {
		iv := ivs[m.MessageID]
		if iv == nil {
			iv = k.phase2IV(last, m.MessageID)
		}
		var chain *isakmp.Chain
		chain, ivs[m.MessageID] = c.open(t, k, iv, m)
		if m.Exchange == isakmp.ExchangeQuick {
			quick = append(quick, chain)
		} else {
			same(t, "HASH of an informational exchange", isakmp.Find[*isakmp.Hash](chain.Payloads).Data, k.hash1(m.MessageID, chain.Rest()))
		}
		m.Payloads = chain.Payloads
		m.MessageID = 0 // random, and not to be printed
		texts = append(texts, m.String())
	}
	question, answer := "informational exchange [ HASH N(R-U-THERE) ]", "informational exchange [ HASH N(R-U-THERE-ACK) ]"
	want := []string{"quick mode [ HASH SA NONCE ]", "quick mode [ HASH SA NONCE ID ID ]", question, "quick mode [ HASH ]", answer, question, answer, question, answer,
		"informational exchange [ HASH D(AH) ]", "informational exchange [ HASH D(ISAKMP) ]"}
	if !slices.Equal(texts, want) {
		t.Errorf("messages are\n%q, expected\n%q", texts, want)
	}
	c.checkQuickHashes(t, k, quickID, quick)
}

// Nothing is left of the keys when no cipher can be made of them, as with a weak key of DES.
func TestKeysAreWipedOnError(t *testing.T) {
	skeyid := crypto.NewSecret([]byte("whatever SKEYID is"))
	if _, err := deriveKeys(crypto.PRFHMACSHA1, phase1Cipher{crypto.EncrDES, 7}, skeyid, crypto.Secret{}, isakmp.Cookies{}, nil); err == nil {
		t.Error("DES with a key of 7 octets is used")
	}
	if skeyid.Len() != 0 {
		t.Error("SKEYID is left after an error")
	}
}
