package crypto

import (
	"crypto/ecdh"
	"errors"
	"fmt"
	"io"
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
}

var exchangeTable = []exchangeRow{
	{DHMODP2048, "2048-bit MODP", generateMODP2048, nil, modp2048Len, modp2048Len},
	{DHECP256, "256-bit random ECP", generateECDH(ecdh.P256(), 32), nil, 64, 64},
	{DHECP384, "384-bit random ECP", generateECDH(ecdh.P384(), 48), nil, 96, 96},
	{DHCurve25519, "Curve25519", generateECDH(ecdh.X25519(), 32), nil, 32, 32},
	{DHMLKEM512, "ml-kem-512", mlkem512.generate, mlkem512.respond, 800, 768},
	{DHMLKEM768, "ml-kem-768", mlkem768.generate, mlkem768.respond, 1184, 1088},
	{DHMLKEM1024, "ml-kem-1024", mlkem1024.generate, mlkem1024.respond, 1568, 1568},
}

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
