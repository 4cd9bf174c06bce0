// Package signing has what both versions of IKE ask of keys that sign, and the form of RFC 4754 for signatures by ECDSA.
package signing

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"fmt"
	"math/big"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// Sizes of RSA moduli, in bits. RFC 8247 4.1 asks for 2048; what is longer than the last costs more than it can be worth.
const (
	minRSA       = 2048
	minRSALegacy = 1024 // where legacy algorithms are let in
	maxRSA       = 8192
)

// CheckKey refuses a public key that no signature is made with or taken from.
func CheckKey(key crypto.PublicKey, legacy bool) error {
	least := minRSA
	if legacy {
		least = minRSALegacy
	}
	switch key := key.(type) {
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits < least || bits > maxRSA {
			return fmt.Errorf("an RSA key of %d bits, expected %d to %d", bits, least, maxRSA)
		}
		return nil
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P256() && key.Curve != elliptic.P384() && key.Curve != elliptic.P521() {
			return fmt.Errorf("an ECDSA key on %s, expected P-256, P-384 or P-521", key.Curve.Params().Name)
		}
		return nil
	case ed25519.PublicKey:
		return nil
	}
	return fmt.Errorf("a key of type %T, expected RSA, ECDSA or Ed25519", key)
}

// DescribeKey names a key's kind and size: "RSA-2048".
func DescribeKey(key crypto.PublicKey) string {
	switch key := key.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA-%d", key.N.BitLen())
	case *ecdsa.PublicKey:
		return "ECDSA " + key.Curve.Params().Name
	case ed25519.PublicKey:
		return "Ed25519"
	}
	return fmt.Sprintf("%T", key)
}

// Flatten turns an ECDSA signature from ASN.1 into r | s, each as long as the order of the curve: the form of RFC 4754 section 7.
func Flatten(signature []byte, curve elliptic.Curve) ([]byte, error) {
	var inner cryptobyte.String
	r, s := new(big.Int), new(big.Int)
	in := cryptobyte.String(signature)
	if !in.ReadASN1(&inner, asn1.SEQUENCE) || !inner.ReadASN1Integer(r) || !inner.ReadASN1Integer(s) {
		return nil, errors.New("our key's ECDSA signature is no SEQUENCE of two INTEGERs")
	}
	n := orderLen(curve)
	flat := make([]byte, 2*n)
	r.FillBytes(flat[:n])
	s.FillBytes(flat[n:])
	return flat, nil
}

// Unflatten goes back; nil, which no key verifies, when the length is wrong.
func Unflatten(flat []byte, curve elliptic.Curve) []byte {
	n := orderLen(curve)
	if len(flat) != 2*n {
		return nil
	}
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1BigInt(new(big.Int).SetBytes(flat[:n]))
		b.AddASN1BigInt(new(big.Int).SetBytes(flat[n:]))
	})
	return b.BytesOrPanic()
}

func orderLen(curve elliptic.Curve) int { return (curve.Params().N.BitLen() + 7) / 8 }
