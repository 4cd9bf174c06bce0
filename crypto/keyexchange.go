package crypto

import (
	"crypto/ecdh"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
)

// ErrPeerValue is in the chain of every error about the value that a peer sent in its KE
// payload: wrong length, out of range, not on the curve, or leading to a null secret.
var ErrPeerValue = errors.New("invalid key exchange value")

// KeyExchange is the initiator's side of one key exchange, of Diffie-Hellman or of a key
// encapsulation (KEM): its value goes out first, and that of the responder completes
// it. The responder's side is one call, Respond. It is for one exchange only: reuse of
// private values (RFC 7296 section 2.12) is not supported.
type KeyExchange interface {
	// Public returns the value for the KE payload: g^i, or the encapsulation key of a
	// KEM. It must not be changed.
	Public() []byte
	// Shared checks the responder's value, g^r by RFC 6989 section 2 or the ciphertext of
	// a KEM, and returns the shared secret as the key derivation wants it. An error about
	// the value wraps ErrPeerValue.
	Shared(responder []byte) (Secret, error)
	// Wipe clears the private value. Shared fails afterwards.
	Wipe()
}

var errWiped = errors.New("the private value was wiped")

// exchangeRow describes a key exchange method. The lengths are those of the values in the
// KE payload, which differ by role in a KEM only.
type exchangeRow struct {
	id        DHID
	name      string // IANA
	generate  func(random io.Reader) (KeyExchange, error)
	respond   func(initiator []byte, random io.Reader) ([]byte, Secret, error) // nil: Diffie-Hellman, both sides do the same
	initiator int
	responder int
	use       use // useLegacy or 0
}

var exchangeTable = []exchangeRow{
	{DHMODP2048, "2048-bit MODP", modp2048.generate, nil, 256, 256, 0},
	{DHMODP3072, "3072-bit MODP", modp3072.generate, nil, 384, 384, 0},
	{DHMODP4096, "4096-bit MODP", modp4096.generate, nil, 512, 512, 0},
	{DHMODP6144, "6144-bit MODP", modp6144.generate, nil, 768, 768, 0},
	{DHMODP8192, "8192-bit MODP", modp8192.generate, nil, 1024, 1024, 0},
	{DHECP256, "256-bit random ECP", generateECDH(ecdh.P256(), 256), nil, 64, 64, 0},
	{DHECP384, "384-bit random ECP", generateECDH(ecdh.P384(), 384), nil, 96, 96, 0},
	{DHECP521, "521-bit random ECP", generateECDH(ecdh.P521(), 521), nil, 132, 132, 0},
	{DHECP224, "224-bit random ECP", generateWeierstrass(ecp224), nil, 56, 56, 0},
	{DHBrainpool224, "brainpoolP224r1", generateWeierstrass(brainpool224), nil, 56, 56, 0},
	{DHBrainpool256, "brainpoolP256r1", generateWeierstrass(brainpool256), nil, 64, 64, 0},
	{DHBrainpool384, "brainpoolP384r1", generateWeierstrass(brainpool384), nil, 96, 96, 0},
	{DHBrainpool512, "brainpoolP512r1", generateWeierstrass(brainpool512), nil, 128, 128, 0},
	{DHCurve25519, "Curve25519", generateECDH(ecdh.X25519(), 256), nil, 32, 32, 0},
	{DHCurve448, "Curve448", generateX448, nil, 56, 56, 0},
	{DHMLKEM512, "ml-kem-512", mlkem512.generate, mlkem512.respond, 800, 768, 0},
	{DHMLKEM768, "ml-kem-768", mlkem768.generate, mlkem768.respond, 1184, 1088, 0},
	{DHMLKEM1024, "ml-kem-1024", mlkem1024.generate, mlkem1024.respond, 1568, 1568, 0},
	// RFC 8247 section 2.4: groups 1, 2 and 5 are within the reach of some attackers or soon
	// will be. A curve of 192 bits is as strong as a prime of about 1536.
	{DHMODP768, "768-bit MODP", modp768.generate, nil, 96, 96, useLegacy},
	{DHMODP1024, "1024-bit MODP", modp1024.generate, nil, 128, 128, useLegacy},
	{DHMODP1536, "1536-bit MODP", modp1536.generate, nil, 192, 192, useLegacy},
	{DHECP192, "192-bit random ECP", generateWeierstrass(ecp192), nil, 48, 48, useLegacy},
}

var (
	modp768  = newMODP(DHMODP768, 768, 149686, 40)
	modp1024 = newMODP(DHMODP1024, 1024, 129093, 40)
	modp1536 = newMODP(DHMODP1536, 1536, 741804, 40)
	modp2048 = newMODP(DHMODP2048, 2048, 124476, 64)
	modp3072 = newMODP(DHMODP3072, 3072, 1690314, 64)
	modp4096 = newMODP(DHMODP4096, 4096, 240904, 64)
	modp6144 = newMODP(DHMODP6144, 6144, 929484, 80)
	modp8192 = newMODP(DHMODP8192, 8192, 4743158, 80)
)

// refusedExchanges are methods that nobody gets, by their words.
var refusedExchanges = map[string]DHID{"modp1024s160": 22, "modp2048s224": 23, "modp2048s256": 24}

const whyRefused = "groups 22, 23 and 24 are refused: their small subgroups give a secret away if one check is missing at the peer, and nobody can say how their primes were made (RFC 8247 section 2.4)"

func exchangeByID(id DHID) (exchangeRow, bool) {
	for _, row := range exchangeTable {
		if row.id == id {
			return row, true
		}
	}
	return exchangeRow{}, false
}

func supportedExchange(id DHID) (exchangeRow, error) {
	row, ok := exchangeByID(id)
	if slices.Contains(slices.Collect(maps.Values(refusedExchanges)), id) {
		return row, errors.New(whyRefused)
	}
	if !ok {
		return row, fmt.Errorf("%s is not supported, expected one of %s", id, wordList(ProtocolIKE, TransformDH))
	}
	return row, nil
}

// ValueLens are the lengths of the initiator's and the responder's value in the KE payload,
// 0 for a method that is not supported.
func (id DHID) ValueLens() (initiator, responder int) {
	row, _ := exchangeByID(id)
	return row.initiator, row.responder
}

// KEM reports whether the method is a key encapsulation: the two sides' values differ in
// kind, and whoever speaks first must be the initiator of the exchange.
func (id DHID) KEM() bool {
	row, _ := exchangeByID(id)
	return row.respond != nil
}

// GenerateKey begins an exchange. It draws a private value from random and nothing else, so
// that equal readers give equal keys.
func GenerateKey(id DHID, random io.Reader) (KeyExchange, error) {
	row, err := supportedExchange(id)
	if err != nil {
		return nil, err
	}
	exchange, err := row.generate(random)
	if err != nil {
		return nil, fmt.Errorf("private value for %s: %w", row.name, err)
	}
	return exchange, nil
}

// Respond answers an exchange: it takes the initiator's value and gives ours for the KE
// payload, g^r or the ciphertext of a KEM, and the shared secret. It draws from random
// as GenerateKey does; an error about the initiator's value wraps ErrPeerValue.
func Respond(id DHID, initiator []byte, random io.Reader) (responder []byte, shared Secret, err error) {
	row, err := supportedExchange(id)
	if err != nil {
		return nil, Secret{}, err
	}
	if len(initiator) != row.initiator {
		return nil, Secret{}, fmt.Errorf("%w: %d octets, expected %d for %s", ErrPeerValue, len(initiator), row.initiator, row.name)
	}
	if row.respond != nil {
		return row.respond(initiator, random)
	}
	own, err := GenerateKey(id, random)
	if err != nil {
		return nil, Secret{}, err
	}
	defer own.Wipe()
	if shared, err = own.Shared(initiator); err != nil {
		return nil, Secret{}, err
	}
	return own.Public(), shared, nil
}
