package crypto

import (
	"bytes"
	"crypto/mlkem"
	"crypto/mlkem/mlkemtest"
	"crypto/rand"
	"errors"
	"testing"
)

// TestMLKEMEqualsStandardLibrary holds sizes 768 and 1024 against crypto/mlkem, an
// independent implementation: equal keys, ciphertexts and secrets from equal randomness.
func TestMLKEMEqualsStandardLibrary(t *testing.T) {
	seed, random := make([]byte, 64), make([]byte, 32)
	for range 20 {
		_, _ = rand.Read(seed)
		_, _ = rand.Read(random)
		private768, err768 := mlkem.NewDecapsulationKey768(seed)
		private1024, err1024 := mlkem.NewDecapsulationKey1024(seed)
		if err768 != nil || err1024 != nil {
			t.Fatal(err768, err1024)
		}
		shared, ciphertext, err := mlkemtest.Encapsulate768(private768.EncapsulationKey(), random)
		checkMLKEM(t, DHMLKEM768, seed, random, private768.EncapsulationKey().Bytes(), ciphertext, shared, err)
		shared, ciphertext, err = mlkemtest.Encapsulate1024(private1024.EncapsulationKey(), random)
		checkMLKEM(t, DHMLKEM1024, seed, random, private1024.EncapsulationKey().Bytes(), ciphertext, shared, err)
	}
}

// checkMLKEM carries out an exchange with the randomness given and wants these values.
func checkMLKEM(t *testing.T, id DHID, seed, random, key, ciphertext, shared []byte, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	initiator := generate(t, id, bytes.NewReader(seed))
	same(t, id.String()+" encapsulation key", initiator.Public(), key)
	value, theirs, err := Respond(id, initiator.Public(), bytes.NewReader(random))
	if err != nil {
		t.Fatal(err)
	}
	same(t, id.String()+" ciphertext", value, ciphertext)
	same(t, id.String()+" responder's secret", theirs.Bytes(), shared)
	ours, err := initiator.Shared(value)
	if err != nil {
		t.Fatal(err)
	}
	same(t, id.String()+" initiator's secret", ours.Bytes(), shared)
}

// TestMLKEMRefusesPeerValues has the checks of FIPS 203: the modulus check of section 7.2 and
// the lengths. A forged ciphertext gives another secret and no error (section 6.3).
func TestMLKEMRefusesPeerValues(t *testing.T) {
	for _, id := range []DHID{DHMLKEM512, DHMLKEM768, DHMLKEM1024} {
		own := generate(t, id, rand.Reader)
		value, shared := respond(t, id, own.Public())
		// Coefficient 0 is the first 12 bits, little-endian: q = 3329 is the least that is refused.
		atModulus := bytes.Clone(own.Public())
		atModulus[0], atModulus[1] = 0x01, atModulus[1]&0xf0|0x0d
		for name, key := range map[string][]byte{
			"empty": nil, "short": own.Public()[1:], "long": append([]byte{0}, own.Public()...), "a coefficient of q": atModulus,
			"ones": bytes.Repeat([]byte{0xff}, len(own.Public())),
		} {
			if answer, secret, err := Respond(id, key, rand.Reader); !errors.Is(err, ErrPeerValue) || answer != nil || secret.Len() != 0 {
				t.Errorf("%s: encapsulation key %s: error %v", id, name, err)
			}
		}
		below := bytes.Clone(atModulus)
		below[0] = 0x00 // q - 1
		if _, _, err := Respond(id, below, rand.Reader); err != nil {
			t.Errorf("%s: a coefficient of q-1: %v", id, err)
		}
		for name, ciphertext := range map[string][]byte{"empty": nil, "short": value[1:], "long": append([]byte{0}, value...)} {
			if secret, err := own.Shared(ciphertext); !errors.Is(err, ErrPeerValue) || secret.Len() != 0 {
				t.Errorf("%s: ciphertext %s: error %v", id, name, err)
			}
		}
		forged := bytes.Clone(value)
		forged[len(forged)/2] ^= 1
		if secret, err := own.Shared(forged); err != nil || secret.Equal(shared) || secret.Len() != shared.Len() {
			t.Errorf("%s: a forged ciphertext: error %v, or the secret of the true one", id, err)
		}
	}
}
