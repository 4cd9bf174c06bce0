package crypto

import (
	"bytes"
	"crypto/ecdh"
	"errors"
	"strings"
	"testing"
)

func anyGroup(wycheproofGroup) bool { return true }

// fit gives a scalar the length that the curve's have.
func fit(scalar []byte, size int) []byte {
	scalar = bytes.TrimLeft(scalar, "\x00")
	return append(make([]byte, size-len(scalar)), scalar...)
}

func ecdhOf(t *testing.T, curve ecdh.Curve, scalar []byte) KeyExchange {
	t.Helper()
	private, err := curve.NewPrivateKey(scalar)
	if err != nil {
		t.Fatal(err)
	}
	return &ecdhExchange{curve, private.ECDH, encodePoint(private.PublicKey())}
}

// TestWycheproofECDH has the valid public values lead to the secret and the invalid ones
// refused, for every curve of x and y that has vectors. A vector counts when its value has
// the length of ours behind the prefix of an uncompressed point of that curve. Of the valid
// ones the slow curves take some.
func TestWycheproofECDH(t *testing.T) {
	nist := func(curve ecdh.Curve) func(scalar []byte) KeyExchange {
		return func(scalar []byte) KeyExchange { return ecdhOf(t, curve, scalar) }
	}
	other := func(curve func() *weierstrass) func(scalar []byte) KeyExchange {
		return func(scalar []byte) KeyExchange { return &weierstrassExchange{curve(), NewSecret(scalar), nil} }
	}
	for _, c := range []struct {
		file    string
		size    int // of a coordinate
		of      func(scalar []byte) KeyExchange
		every   int // of the valid vectors, how many apart those are that count
		valid   int
		invalid int
	}{
		{"ecdh_secp256r1_ecpoint_test.json", 32, nist(ecdh.P256()), 1, 200, 16},
		{"ecdh_secp384r1_ecpoint_test.json", 48, nist(ecdh.P384()), 1, 200, 16},
		{"ecdh_secp521r1_ecpoint_test.json", 66, nist(ecdh.P521()), 1, 200, 16},
		{"ecdh_secp224r1_ecpoint_test.json", 28, other(ecp224), 8, 25, 16},
		{"ecdh_brainpoolP224r1_test.json", 28, other(brainpool224), 8, 25, 16},
		{"ecdh_brainpoolP256r1_test.json", 32, other(brainpool256), 8, 25, 16},
		{"ecdh_brainpoolP384r1_test.json", 48, other(brainpool384), 16, 12, 16},
		{"ecdh_brainpoolP512r1_test.json", 64, other(brainpool512), 16, 12, 16},
	} {
		t.Run(c.file, func(t *testing.T) {
			t.Parallel()
			prefix, valid, invalid := "", 0, 0
			eachWycheproof(t, c.file, 0, anyGroup, func(t *testing.T, _ wycheproofGroup, v wycheproofVector) {
				at := len(v.Public) - 4*c.size
				if prefix == "" {
					prefix = v.Public[:at]
				}
				tooMany := v.Result == "valid" && v.ID%c.every != 0
				if at < 0 || v.Public[:at] != prefix || v.Result == "acceptable" || tooMany {
					return
				}
				shared, err := c.of(fit(unhex(t, v.Private), c.size)).Shared(unhex(t, v.Public[at:]))
				if v.Result == "valid" {
					valid++
					same(t, v.Comment, shared.Bytes(), unhex(t, v.Shared))
				} else if invalid++; !errors.Is(err, ErrPeerValue) {
					t.Errorf("vector %d (%s) was taken, error %v", v.ID, v.Comment, err)
				}
			})
			if valid < c.valid || invalid < c.invalid {
				t.Errorf("%d valid and %d invalid vectors, expected %d and %d at least", valid, invalid, c.valid, c.invalid)
			}
		})
	}
}

// TestWycheproofXDH has Curve25519 and Curve448. Values that are not below the prime count
// modulo it (RFC 7748 section 5); those that lead to a secret of zeros are refused.
func TestWycheproofXDH(t *testing.T) {
	for file, of := range map[string]func(scalar []byte) KeyExchange{
		"x25519_test.json": func(scalar []byte) KeyExchange { return ecdhOf(t, ecdh.X25519(), scalar) },
		"x448_test.json":   func(scalar []byte) KeyExchange { return &x448Exchange{NewSecret(scalar), nil} },
	} {
		eachWycheproof(t, file, 500, anyGroup, func(t *testing.T, _ wycheproofGroup, v wycheproofVector) {
			shared, err := of(unhex(t, v.Private)).Shared(unhex(t, v.Public))
			if v.Result == "invalid" || strings.Trim(v.Shared, "0") == "" {
				if !errors.Is(err, ErrPeerValue) {
					t.Errorf("%s vector %d (%s) was taken, error %v", file, v.ID, v.Comment, err)
				}
				return
			}
			same(t, v.Comment, shared.Bytes(), unhex(t, v.Shared))
		})
	}
}

// TestWycheproofMLKEM has the vectors of FIPS 203 and those made against its checks: key
// generation, encapsulation with given randomness, decapsulation.
func TestWycheproofMLKEM(t *testing.T) {
	for size, id := range map[string]DHID{"512": DHMLKEM512, "768": DHMLKEM768, "1024": DHMLKEM1024} {
		from := func(seed string) KeyExchange { return generate(t, id, bytes.NewReader(unhex(t, seed))) }
		eachWycheproof(t, "mlkem_"+size+"_keygen_seed_test.json", 80, anyGroup, func(t *testing.T, _ wycheproofGroup, v wycheproofVector) {
			same(t, size+" encapsulation key", from(v.Seed).Public(), unhex(t, v.EK))
		})
		eachWycheproof(t, "mlkem_"+size+"_encaps_test.json", 200, anyGroup, func(t *testing.T, _ wycheproofGroup, v wycheproofVector) {
			value, shared, err := Respond(id, unhex(t, v.EK), bytes.NewReader(unhex(t, v.M)))
			if v.Result != "valid" {
				if !errors.Is(err, ErrPeerValue) {
					t.Errorf("ML-KEM-%s vector %d: the encapsulation key was taken, error %v", size, v.ID, err)
				}
				return
			}
			same(t, size+" ciphertext", value, unhex(t, v.C))
			same(t, size+" responder's secret", shared.Bytes(), unhex(t, v.K))
		})
		eachWycheproof(t, "mlkem_"+size+"_test.json", 150, anyGroup, func(t *testing.T, _ wycheproofGroup, v wycheproofVector) {
			if len(unhex(t, v.Seed)) != 64 {
				return // not a seed of ours
			}
			shared, err := from(v.Seed).Shared(unhex(t, v.C))
			if v.Result != "valid" {
				if !errors.Is(err, ErrPeerValue) {
					t.Errorf("ML-KEM-%s vector %d: the ciphertext was taken, error %v", size, v.ID, err)
				}
				return
			}
			same(t, size+" initiator's secret", shared.Bytes(), unhex(t, v.K))
		})
	}
}
