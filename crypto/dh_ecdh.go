package crypto

import (
	"crypto/ecdh"
	"fmt"
	"io"
)

// uncompressed starts a point in the form of SEC 1 section 2.3.3, which crypto/ecdh
// uses and the KE payload leaves out (RFC 5903 section 7).
const uncompressed = 4

// maxScalarDraws bounds the search for a scalar below the group order. A draw fails with a
// chance of a half at most, so reaching the bound means a broken reader.
const maxScalarDraws = 128

var errScalarDraws = fmt.Errorf("no scalar below the group order in %d draws, the random source is broken", maxScalarDraws)

// ecdhExchange serves the NIST curves (RFC 5903) and Curve25519 (RFC 8031). It keeps the
// ecdh.PrivateKey until Wipe, which can only drop it: to make it again from a scalar of our own
// would leave a second copy behind, and cost the third of an exchange that finds its public value.
type ecdhExchange struct {
	curve  ecdh.Curve
	shared func(*ecdh.PublicKey) ([]byte, error) // of the private key, which it hides from printing; nil once wiped
	public []byte
}

// generateECDH draws the scalar itself, because ecdh.Curve.GenerateKey ignores
// the reader it is given.
func generateECDH(curve ecdh.Curve, scalarBits int) func(io.Reader) (KeyExchange, error) {
	return func(random io.Reader) (KeyExchange, error) {
		scalar := NewSecret(make([]byte, (scalarBits+7)/8))
		defer scalar.Wipe()
		for range maxScalarDraws {
			if _, err := io.ReadFull(random, scalar.Bytes()); err != nil {
				return nil, err
			}
			scalar.Bytes()[0] &= 0xff >> (8*scalar.Len() - scalarBits)
			// Refuses zero and anything not below the order.
			if private, err := curve.NewPrivateKey(scalar.Bytes()); err == nil {
				return &ecdhExchange{curve, private.ECDH, encodePoint(private.PublicKey())}, nil
			}
		}
		return nil, errScalarDraws
	}
}

// encodePoint gives x | y for the NIST curves and u for Curve25519.
func encodePoint(public *ecdh.PublicKey) []byte {
	if public.Curve() == ecdh.X25519() {
		return public.Bytes()
	}
	return public.Bytes()[1:]
}

// decodePoint undoes encodePoint. It checks coordinates and curve equation (RFC 6989
// section 2.3).
func (e *ecdhExchange) decodePoint(value []byte) (*ecdh.PublicKey, error) {
	if len(value) != len(e.public) {
		return nil, fmt.Errorf("%d octets, expected %d for %v", len(value), len(e.public), e.curve)
	}
	if e.curve == ecdh.X25519() {
		return e.curve.NewPublicKey(value)
	}
	return e.curve.NewPublicKey(append([]byte{uncompressed}, value...))
}

// Public returns the value for the KE payload.
func (e *ecdhExchange) Public() []byte { return e.public }

// Shared returns the x coordinate (RFC 5903 section 7) or u (RFC 8031 section 3.1).
func (e *ecdhExchange) Shared(peerPublic []byte) (Secret, error) {
	public, err := e.decodePoint(peerPublic)
	if err != nil {
		return Secret{}, fmt.Errorf("%w: %w", ErrPeerValue, err)
	}
	if e.shared == nil {
		return Secret{}, errWiped
	}
	// Fails on the null secret that a point of low order gives.
	shared, err := e.shared(public)
	if err != nil {
		return Secret{}, fmt.Errorf("%w: %w", ErrPeerValue, err)
	}
	return NewSecret(shared), nil
}

// Wipe drops the private key.
func (e *ecdhExchange) Wipe() { e.shared = nil }
