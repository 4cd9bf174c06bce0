package ike

import (
	"fmt"
	"slices"

	"sallyport/crypto"
)

// ikeKeys are the keys of one IKE SA (RFC 7296 2.14). SK_a and SK_e live inside the ciphers.
type ikeKeys struct {
	prf    crypto.PRFID
	d      crypto.Secret // SK_d, for the keys of children and of the next IKE SA
	pi, pr crypto.Secret // SK_pi and SK_pr, for AUTH
	in     *crypto.IKECipher
	out    *crypto.IKECipher
}

// seedInit is SKEYSEED of a first IKE SA: prf(Ni | Nr, g^ir), with a PRF of AES less of the nonces.
func seedInit(prf crypto.PRFID, ni, nr []byte, shared crypto.Secret) crypto.Secret {
	return crypto.NewSecret(crypto.PRF(prf, crypto.PRFNonceKey(prf, ni, nr), shared.Bytes()))
}

// seedRekey is SKEYSEED of an IKE SA that takes over from another: prf(SK_d (old), g^ir (new) | Ni | Nr), with the old PRF (RFC 7296 2.18).
// The secrets of additional key exchanges come behind (RFC 9370 2.2.4).
func seedRekey(old *ikeKeys, ni, nr []byte, s secrets) crypto.Secret {
	return crypto.NewSecret(crypto.PRF(old.prf, old.d.Bytes(), s.first.Bytes(), ni, nr, s.further.Bytes()))
}

// deriveKeys spreads SKEYSEED over {SK_d | SK_ai | SK_ar | SK_ei | SK_er | SK_pi | SK_pr} = prf+ (SKEYSEED, Ni | Nr | SPIi | SPIr).
// It wipes the seed. The log is Config.KeyLog.
func deriveKeys(c chosen, seed crypto.Secret, ni, nr []byte, spiI, spiR uint64, role Role, log func(KeyLog)) (*ikeKeys, error) {
	defer seed.Wipe()
	prfLen := crypto.PRFKeyLen(c.prf)
	lengths := [...]int{prfLen, c.suite.IntegKeyLen(), c.suite.IntegKeyLen(),
		c.suite.KeyLen() + c.suite.SaltLen(), c.suite.KeyLen() + c.suite.SaltLen(), prfLen, prfLen}
	total := 0
	for _, n := range lengths {
		total += n
	}
	stream := crypto.PRFPlus(c.prf, seed.Bytes(), slices.Concat(ni, nr, spi8(spiI), spi8(spiR)), total)
	defer crypto.Wipe(stream)
	var part [len(lengths)]crypto.Secret
	for i, rest := 0, stream; i < len(lengths); i++ {
		part[i] = crypto.NewSecret(slices.Clone(rest[:lengths[i]]))
		rest = rest[lengths[i]:]
	}
	d, ai, ar, ei, er, pi, pr := part[0], part[1], part[2], part[3], part[4], part[5], part[6]
	k := &ikeKeys{prf: c.prf, d: d, pi: pi, pr: pr}
	initiator, err := crypto.NewIKECipher(c.suite, ei, ai)
	if err != nil {
		return nil, fmt.Errorf("initiator's direction: %w", err)
	}
	responder, err := crypto.NewIKECipher(c.suite, er, ar)
	if err != nil {
		return nil, fmt.Errorf("responder's direction: %w", err)
	}
	if log != nil {
		log(KeyLog{Suite: c.suite, SPIi: spiI, SPIr: spiR, EI: ei, ER: er, AI: ai, AR: ar})
	}
	for _, s := range []crypto.Secret{ai, ar, ei, er} {
		s.Wipe() // the ciphers have copies
	}
	k.out, k.in = initiator, responder
	if role == RoleResponder {
		k.out, k.in = responder, initiator
	}
	return k, nil
}

func (k *ikeKeys) wipe() {
	k.wipeAuth()
	k.d.Wipe()
	k.in.Wipe()
	k.out.Wipe()
}

// wipeAuth ends SK_p, which nothing needs after IKE_AUTH.
func (k *ikeKeys) wipeAuth() {
	k.pi.Wipe()
	k.pr.Wipe()
}

// keyPad is mixed with a pre-shared key so that the key itself need not be kept (RFC 7296 2.15).
const keyPad = "Key Pad for IKEv2"

// signedOctets is what an AUTH payload covers: the sender's first message, the other side's nonce, and prf(SK_p, the sender's ID).
func signedOctets(prf crypto.PRFID, skP crypto.Secret, firstMessage, nonce, id []byte) []byte {
	return slices.Concat(firstMessage, nonce, crypto.PRF(prf, skP.Bytes(), id))
}

// sharedKeyMIC is the content of AUTH with a pre-shared key: prf(prf(Shared Secret, "Key Pad for IKEv2"), signed octets).
func sharedKeyMIC(prf crypto.PRFID, psk crypto.Secret, octets []byte) []byte {
	key := crypto.PRF(prf, psk.Bytes(), []byte(keyPad))
	defer crypto.Wipe(key)
	return crypto.PRF(prf, key, octets)
}

// childKeymat is KEYMAT = prf+(SK_d, [g^ir |] Ni | Nr), cut into the keys of the two directions; that from the initiator of the exchange comes
// first (RFC 7296 2.17). The secrets of additional key exchanges come behind the nonces (RFC 9370 2.2.4).
func childKeymat(k *ikeKeys, suite crypto.Suite, s secrets, ni, nr []byte) (fromInitiator, fromResponder crypto.Secret) {
	seed := slices.Concat(s.first.Bytes(), ni, nr, s.further.Bytes())
	defer crypto.Wipe(seed)
	n := suite.KeymatLen()
	stream := crypto.PRFPlus(k.prf, k.d.Bytes(), seed, 2*n)
	defer crypto.Wipe(stream)
	return crypto.NewSecret(slices.Clone(stream[:n])), crypto.NewSecret(slices.Clone(stream[n:]))
}
