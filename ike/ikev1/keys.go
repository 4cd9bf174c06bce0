package ikev1

import (
	"encoding/binary"
	"fmt"
	"slices"

	"sallyport/crypto"
	"sallyport/ike"
	"sallyport/ike/isakmp"
)

// phase1Keys are the keys of one ISAKMP SA (RFC 2409 section 5). SKEYID_e lives on in the cipher.
type phase1Keys struct {
	prf    crypto.PRFID
	skeyid crypto.Secret // for HASH_I and HASH_R
	d      crypto.Secret // SKEYID_d, for the keys of IPsec SAs
	a      crypto.Secret // SKEYID_a, for the hashes of phase 2
	cipher *crypto.ISAKMPCipher
}

// phase1Cipher is what main mode chose to encrypt with.
type phase1Cipher struct {
	encr      crypto.EncrID
	keyLength int // octets
}

// skeyidPreShared is SKEYID with a pre-shared key: prf(pre-shared-key, Ni_b | Nr_b).
func skeyidPreShared(prf crypto.PRFID, psk crypto.Secret, ni, nr []byte) crypto.Secret {
	return crypto.NewSecret(crypto.PRF(prf, psk.Bytes(), ni, nr))
}

// skeyidSignature is SKEYID with signatures: prf(Ni_b | Nr_b, g^xy).
func skeyidSignature(prf crypto.PRFID, ni, nr []byte, shared crypto.Secret) crypto.Secret {
	return crypto.NewSecret(crypto.PRF(prf, slices.Concat(ni, nr), shared.Bytes()))
}

// deriveKeys makes the keys of an ISAKMP SA of its SKEYID, which it takes over, and of g^xy. An error means that a key of DES came out weak: the
// negotiation has to begin anew. The log is ike.Config.KeyLog.
func deriveKeys(prf crypto.PRFID, c phase1Cipher, skeyid, shared crypto.Secret, cookies isakmp.Cookies, log func(ike.KeyLog)) (*phase1Keys, error) {
	d, a, e := spreadSKEYID(prf, skeyid, shared, cookies)
	k := &phase1Keys{prf: prf, skeyid: skeyid, d: d, a: a}
	defer e.Wipe()
	key := crypto.ISAKMPKey(prf, e, c.keyLength)
	defer key.Wipe()
	var err error
	if k.cipher, err = crypto.NewISAKMPCipher(c.encr, key); err != nil {
		k.wipe()
		return nil, fmt.Errorf("keys of the ISAKMP SA: %w", err)
	}
	if log != nil {
		log(ike.KeyLog{Version: ike.V1, SPIi: cookies.Initiator, SPIr: cookies.Responder, EI: key, ER: key, AI: a, AR: a})
	}
	return k, nil
}

// spreadSKEYID makes SKEYID_d = prf(SKEYID, g^xy | CKY-I | CKY-R | 0), SKEYID_a = prf(SKEYID, SKEYID_d | g^xy | CKY-I | CKY-R | 1) and
// SKEYID_e = prf(SKEYID, SKEYID_a | g^xy | CKY-I | CKY-R | 2).
func spreadSKEYID(prf crypto.PRFID, skeyid, shared crypto.Secret, cookies isakmp.Cookies) (d, a, e crypto.Secret) {
	next := func(previous crypto.Secret, number byte) crypto.Secret {
		return crypto.NewSecret(crypto.PRF(prf, skeyid.Bytes(), previous.Bytes(), shared.Bytes(), cookies.CookieOctets(), []byte{number}))
	}
	d = next(crypto.Secret{}, 0)
	a = next(d, 1)
	return d, a, next(a, 2)
}

func (k *phase1Keys) wipe() {
	k.skeyid.Wipe()
	k.d.Wipe()
	k.a.Wipe()
	if k.cipher != nil {
		k.cipher.Wipe()
	}
}

// transcript is what both sides of main mode have seen when they prove who they are.
type transcript struct {
	cookies  isakmp.Cookies
	gxi, gxr []byte // the public values, as they stood in KE
	sai      []byte // SAi_b, the initiator's whole SA payload body, as it came
}

// hashI is HASH_I = prf(SKEYID, g^xi | g^xr | CKY-I | CKY-R | SAi_b | IDii_b): in HASH, or signed in SIG.
func (k *phase1Keys) hashI(t transcript, idii []byte) []byte {
	return crypto.PRF(k.prf, k.skeyid.Bytes(), t.gxi, t.gxr, t.cookies.CookieOctets(), t.sai, idii)
}

// hashR is HASH_R = prf(SKEYID, g^xr | g^xi | CKY-R | CKY-I | SAi_b | IDir_b).
func (k *phase1Keys) hashR(t transcript, idir []byte) []byte {
	swapped := isakmp.Cookies{Initiator: t.cookies.Responder, Responder: t.cookies.Initiator}
	return crypto.PRF(k.prf, k.skeyid.Bytes(), t.gxr, t.gxi, swapped.CookieOctets(), t.sai, idir)
}

// hash1 is HASH(1) = prf(SKEYID_a, M-ID | what follows HASH), of quick mode and of the informational exchange (RFC 2409 5.5 and 5.7).
func (k *phase1Keys) hash1(messageID uint32, rest []byte) []byte {
	return crypto.PRF(k.prf, k.a.Bytes(), messageIDOctets(messageID), rest)
}

// hash2 is HASH(2) = prf(SKEYID_a, M-ID | Ni_b | what follows HASH).
func (k *phase1Keys) hash2(messageID uint32, ni, rest []byte) []byte {
	return crypto.PRF(k.prf, k.a.Bytes(), messageIDOctets(messageID), ni, rest)
}

// hash3 is HASH(3) = prf(SKEYID_a, 0 | M-ID | Ni_b | Nr_b).
func (k *phase1Keys) hash3(messageID uint32, ni, nr []byte) []byte {
	return crypto.PRF(k.prf, k.a.Bytes(), []byte{0}, messageIDOctets(messageID), ni, nr)
}

func messageIDOctets(id uint32) []byte { return binary.BigEndian.AppendUint32(nil, id) }

// phase1IV is the IV of the first encrypted message of main mode: the first octets of hash(g^xi | g^xr) (RFC 2409 appendix B).
func (k *phase1Keys) phase1IV(t transcript) []byte {
	return crypto.Hash(k.prf, t.gxi, t.gxr)[:k.cipher.BlockSize()]
}

// phase2IV is the IV of the first message under a message ID: the first octets of hash(last | M-ID), last being the last block of
// ciphertext of phase 1 (RFC 2409 appendix B).
func (k *phase1Keys) phase2IV(last []byte, messageID uint32) []byte {
	return crypto.Hash(k.prf, last, messageIDOctets(messageID))[:k.cipher.BlockSize()]
}

// quickTranscript is what keys of IPsec SAs are made of beside SKEYID_d: all SAs of one quick mode share it (RFC 2409 5.5).
type quickTranscript struct {
	shared crypto.Secret // g(qm)^xy of perfect forward secrecy; empty without
	ni, nr []byte
}

// keymat is KEYMAT of n octets for one IPsec SA, by the SPI that its receiver chose: K1 | K2 | ..., K1 = prf(SKEYID_d, [g(qm)^xy |] protocol |
// SPI | Ni_b | Nr_b), K2 = prf(SKEYID_d, K1 | [g(qm)^xy |] protocol | SPI | Ni_b | Nr_b).
func (k *phase1Keys) keymat(q quickTranscript, protocol isakmp.ProtocolID, spi uint32, n int) crypto.Secret {
	name := binary.BigEndian.AppendUint32([]byte{byte(protocol)}, spi)
	stream := make([]byte, 0, n+crypto.PRFKeyLen(k.prf))
	var block []byte
	for len(stream) < n {
		next := crypto.PRF(k.prf, k.d.Bytes(), block, q.shared.Bytes(), name, q.ni, q.nr)
		crypto.Wipe(block)
		block = next
		stream = append(stream, block...)
	}
	crypto.Wipe(block)
	crypto.Wipe(stream[n:])
	return crypto.NewSecret(stream[:n:n])
}
