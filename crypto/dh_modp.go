package crypto

import (
	"encoding/hex"
	"fmt"
	"io"

	"filippo.io/bigmod"
)

const (
	modp2048Len = 256
	// modpExponentLen is the length of a private exponent, 512 bits. RFC 3526
	// section 8 asks for twice the strength of the group, 320 bits at most here;
	// the group has no small subgroup that a short exponent could leak into.
	modpExponentLen = 64
)

// modp2048Prime is 2^2048 - 2^1984 - 1 + 2^64 * { [2^1918 pi] + 124476 } (RFC 3526
// section 3), a safe prime.
const modp2048Prime = "" +
	"FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74" +
	"020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F1437" +
	"4FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED" +
	"EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF05" +
	"98DA48361C55D39A69163FA8FD24CF5F83655D23DCA3AD961C62F356208552BB" +
	"9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B" +
	"E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF695581718" +
	"3995497CEA956AE515D2261898FA051015728E5A8AACAA68FFFFFFFFFFFFFFFF"

var modp2048Modulus = func() *bigmod.Modulus {
	prime, err := hex.DecodeString(modp2048Prime)
	if err != nil {
		panic("crypto: " + err.Error())
	}
	modulus, err := bigmod.NewModulus(prime)
	if err != nil {
		panic("crypto: " + err.Error())
	}
	return modulus
}()

// modpExchange is Diffie-Hellman in group 14 with constant-time exponentiation,
// which math/big does not have.
type modpExchange struct {
	exponent Secret
	public   []byte
}

func generateMODP2048(random io.Reader) (KeyExchange, error) {
	exponent := make([]byte, modpExponentLen)
	if _, err := io.ReadFull(random, exponent); err != nil {
		return nil, err
	}
	// The top bit keeps a broken source from giving the exponents 0 and 1.
	exponent[0] |= 0x80
	generator := bigmod.NewNat().SetUint(2).ExpandFor(modp2048Modulus)
	public := bigmod.NewNat().Exp(generator, exponent, modp2048Modulus)
	return &modpExchange{NewSecret(exponent), public.Bytes(modp2048Modulus)}, nil
}

// Public returns the value padded to the length of the prime (RFC 7296 section 3.4).
func (m *modpExchange) Public() []byte { return m.public }

// Shared returns g^ir padded to the length of the prime (RFC 7296 section 2.14).
func (m *modpExchange) Shared(peerPublic []byte) (Secret, error) {
	if len(peerPublic) != modp2048Len {
		return Secret{}, fmt.Errorf("%w: %d octets, expected %d for %s", ErrPeerValue, len(peerPublic), modp2048Len, DHMODP2048)
	}
	// RFC 6989 section 2.1: with a safe prime 1 < r < p-1 is the whole test. The
	// value is public, so the comparisons may take their time.
	peer, err := bigmod.NewNat().SetBytes(peerPublic, modp2048Modulus)
	if err != nil {
		return Secret{}, fmt.Errorf("%w: not below the prime of %s", ErrPeerValue, DHMODP2048)
	}
	if peer.IsZero()|peer.IsOne()|peer.IsMinusOne(modp2048Modulus) == 1 {
		return Secret{}, fmt.Errorf("%w: 0, 1 and p-1 are no values of %s", ErrPeerValue, DHMODP2048)
	}
	if m.exponent.Len() == 0 {
		return Secret{}, errWiped
	}
	shared := bigmod.NewNat().Exp(peer, m.exponent.Bytes(), modp2048Modulus)
	return NewSecret(shared.Bytes(modp2048Modulus)), nil
}

// Wipe clears the exponent.
func (m *modpExchange) Wipe() { m.exponent.Wipe() }
