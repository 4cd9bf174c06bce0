package crypto

import (
	"crypto/ecdh"
	"fmt"
	"io"
)

// uncompressed starts a point in the form of SEC 1 section 2.3.3, which crypto/ecdh
// uses and the KE payload leaves out (RFC 5903 section 7).
const uncompressed = 4

// maxScalarDraws bounds the search for a scalar below the group order. A draw
// fails with a chance of 2^-32 at most, so reaching the bound means a broken reader.
const maxScalarDraws = 8

// ecdhExchange serves the NIST curves (RFC 5903) and Curve25519 (RFC 8031). It keeps the
// scalar rather than an ecdh.PrivateKey, which cannot be wiped.
type ecdhExchange struct {
	curve  ecdh.Curve
	scalar Secret
	public []byte
}

// generateECDH draws the scalar itself, because ecdh.Curve.GenerateKey ignores
// the reader it is given.
func generateECDH(curve ecdh.Curve, scalarLen int) func(io.Reader) (KeyExchange, error) {
	return func(random io.Reader) (KeyExchange, error) {
		scalar := NewSecret(make([]byte, scalarLen))
		for range maxScalarDraws {
			if _, err := io.ReadFull(random, scalar.Bytes()); err != nil {
				return nil, err
			}
			// Refuses zero and anything not below the order.
			if private, err := curve.NewPrivateKey(scalar.Bytes()); err == nil {
				return &ecdhExchange{curve, scalar, encodePoint(private.PublicKey())}, nil
			}
		}
		return nil, fmt.Errorf("no scalar below the group order in %d draws, the random source is broken", maxScalarDraws)
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
	if e.scalar.Len() == 0 {
		return Secret{}, errWiped
	}
	private, err := e.curve.NewPrivateKey(e.scalar.Bytes())
	if err != nil {
		return Secret{}, err
	}
	// Fails on the null secret that a point of low order gives.
	shared, err := private.ECDH(public)
	if err != nil {
		return Secret{}, fmt.Errorf("%w: %w", ErrPeerValue, err)
	}
	return NewSecret(shared), nil
}

// Wipe clears the scalar.
func (e *ecdhExchange) Wipe() { e.scalar.Wipe() }
