package crypto

import (
	"fmt"
	"io"

	"github.com/cloudflare/circl/dh/x448"
)

// x448Exchange serves Curve448 (RFC 8031), which crypto/ecdh does not have.
type x448Exchange struct {
	scalar Secret
	public []byte
}

func generateX448(random io.Reader) (KeyExchange, error) {
	scalar := NewSecret(make([]byte, x448.Size))
	if _, err := io.ReadFull(random, scalar.Bytes()); err != nil {
		return nil, err
	}
	var public x448.Key
	x448.KeyGen(&public, (*x448.Key)(scalar.Bytes()))
	return &x448Exchange{scalar, public[:]}, nil
}

// Public returns u (RFC 8031 section 3.1).
func (e *x448Exchange) Public() []byte { return e.public }

// Shared returns u of the shared point. A point of low order would make it zero (RFC 7748
// section 6.2).
func (e *x448Exchange) Shared(responder []byte) (Secret, error) {
	if len(responder) != x448.Size {
		return Secret{}, fmt.Errorf("%w: %d octets, expected %d for %s", ErrPeerValue, len(responder), x448.Size, DHCurve448)
	}
	if e.scalar.Len() == 0 {
		return Secret{}, errWiped
	}
	var shared x448.Key
	defer Wipe(shared[:])
	if !x448.Shared(&shared, (*x448.Key)(e.scalar.Bytes()), (*x448.Key)(responder)) {
		return Secret{}, fmt.Errorf("%w: a point of low order", ErrPeerValue)
	}
	return NewSecret(append([]byte(nil), shared[:]...)), nil
}

// Wipe clears the scalar.
func (e *x448Exchange) Wipe() { e.scalar.Wipe() }
