package crypto

import (
	"crypto/ecdh"
	"errors"
	"fmt"
	"io"
)

// uncompressed starts a point in the form of SEC 1 section 2.3.3, which crypto/ecdh
// uses and the KE payload leaves out (RFC 5903 section 7).
const uncompressed = 4

// maxScalarDraws bounds the search for a scalar below the group order. A draw
// fails with a chance of 2^-32 at most, so reaching the bound means a broken reader.
const maxScalarDraws = 8

// ecdhExchange serves the NIST curves (RFC 5903) and Curve25519 (RFC 8031).
type ecdhExchange struct {
	private *ecdh.PrivateKey
}

// generateECDH draws the scalar itself, because ecdh.Curve.GenerateKey ignores
// the reader it is given.
func generateECDH(curve ecdh.Curve, scalarLen int) func(io.Reader) (KeyExchange, error) {
	return func(random io.Reader) (KeyExchange, error) {
		scalar := make([]byte, scalarLen)
		defer Wipe(scalar)
		for range maxScalarDraws {
			if _, err := io.ReadFull(random, scalar); err != nil {
				return nil, err
			}
			// Refuses zero and anything not below the order, and copies the scalar.
			if private, err := curve.NewPrivateKey(scalar); err == nil {
				return &ecdhExchange{private}, nil
			}
		}
		return nil, fmt.Errorf("no scalar below the group order in %d draws, the random source is broken", maxScalarDraws)
	}
}

func (e *ecdhExchange) weierstrass() bool { return e.private.Curve() != ecdh.X25519() }

// Public returns x | y for the NIST curves and u for Curve25519.
func (e *ecdhExchange) Public() []byte {
	point := e.private.PublicKey().Bytes()
	if e.weierstrass() {
		return point[1:]
	}
	return point
}

// Shared returns the x coordinate (RFC 5903 section 7) or u (RFC 8031 section 3.1).
func (e *ecdhExchange) Shared(peerPublic []byte) (Secret, error) {
	if want := len(e.Public()); len(peerPublic) != want {
		return Secret{}, fmt.Errorf("%w: %d octets, expected %d for %v", ErrPeerValue, len(peerPublic), want, e.private.Curve())
	}
	point := peerPublic
	if e.weierstrass() {
		point = append([]byte{uncompressed}, peerPublic...)
	}
	// Coordinates below p and the curve equation: RFC 6989 section 2.3.
	public, err := e.private.Curve().NewPublicKey(point)
	if err != nil {
		return Secret{}, errors.Join(ErrPeerValue, err)
	}
	// Fails on the null secret that a point of low order gives.
	shared, err := e.private.ECDH(public)
	if err != nil {
		return Secret{}, errors.Join(ErrPeerValue, err)
	}
	return NewSecret(shared), nil
}
