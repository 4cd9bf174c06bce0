package crypto

import (
	"crypto/ecdh"
	"errors"
	"fmt"
	"io"
)

// ErrPeerValue is in the chain of every error about the public value of a peer:
// wrong length, out of range, not on the curve, or leading to a null secret.
var ErrPeerValue = errors.New("invalid Diffie-Hellman public value")

// KeyExchange is one side of one Diffie-Hellman exchange. It is for one exchange
// only: RFC 7296 section 2.12 reuse of private values is not supported.
type KeyExchange interface {
	// Public returns the value for the KE payload. It must not be changed.
	Public() []byte
	// Shared checks the peer's value by RFC 6989 section 2 and returns g^ir as
	// the key derivation wants it. An error about the value wraps ErrPeerValue.
	Shared(peerPublic []byte) (Secret, error)
	// Wipe clears the private value. Shared fails afterwards.
	Wipe()
}

var errWiped = errors.New("the private value was wiped")

type dhRow struct {
	id       DHID
	name     string
	generate func(random io.Reader) (KeyExchange, error)
	public   int // length of the public value in the KE payload
}

var dhTable = []dhRow{
	{DHMODP2048, "2048-bit MODP", generateMODP2048, modp2048Len},
	{DHECP256, "256-bit random ECP", generateECDH(ecdh.P256(), 32), 64},
	{DHECP384, "384-bit random ECP", generateECDH(ecdh.P384(), 48), 96},
	{DHCurve25519, "Curve25519", generateECDH(ecdh.X25519(), 32), 32},
}

func dhByID(id DHID) (dhRow, bool) {
	for _, row := range dhTable {
		if row.id == id {
			return row, true
		}
	}
	return dhRow{}, false
}

// PublicLen is the length of a public value of the group in the KE payload, 0
// for a group that is not supported.
func (id DHID) PublicLen() int {
	row, _ := dhByID(id)
	return row.public
}

// GenerateKey draws a private value from random and nothing else, so that equal
// readers give equal keys.
func GenerateKey(id DHID, random io.Reader) (KeyExchange, error) {
	row, ok := dhByID(id)
	if !ok {
		return nil, fmt.Errorf("%s is not supported, expected one of %s", id, wordList(ProtocolIKE, TransformDH))
	}
	exchange, err := row.generate(random)
	if err != nil {
		return nil, fmt.Errorf("private value for %s: %w", row.name, err)
	}
	return exchange, nil
}
