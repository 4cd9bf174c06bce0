package crypto

import (
	"fmt"
	"io"

	"github.com/cloudflare/circl/kem"
	circl1024 "github.com/cloudflare/circl/kem/mlkem/mlkem1024"
	circl512 "github.com/cloudflare/circl/kem/mlkem/mlkem512"
	circl768 "github.com/cloudflare/circl/kem/mlkem/mlkem768"
)

// ML-KEM (FIPS 203) in its three sizes, as draft-ietf-ipsecme-ikev2-mlkem puts it into KE
// payloads: the initiator sends its encapsulation key, the responder the ciphertext.
// crypto/mlkem has neither the smallest size nor a way to say where the randomness of an
// encapsulation comes from.
var (
	mlkem512  = kemMethod{circl512.Scheme()}
	mlkem768  = kemMethod{circl768.Scheme()}
	mlkem1024 = kemMethod{circl1024.Scheme()}
)

type kemMethod struct{ scheme kem.Scheme }

// mlkemExchange keeps the seed d | z (FIPS 203 section 7.1), from which the decapsulation
// key is made again: that key cannot be wiped.
type mlkemExchange struct {
	kemMethod
	seed   Secret
	public []byte
}

func (m kemMethod) generate(random io.Reader) (KeyExchange, error) {
	seed := NewSecret(make([]byte, m.scheme.SeedSize()))
	if _, err := io.ReadFull(random, seed.Bytes()); err != nil {
		return nil, err
	}
	key, _ := m.scheme.DeriveKeyPair(seed.Bytes())
	public, err := key.MarshalBinary()
	if err != nil {
		return nil, err
	}
	return &mlkemExchange{m, seed, public}, nil
}

// respond encapsulates. It refuses an encapsulation key with coefficients that are not
// below the modulus (FIPS 203 section 7.2).
func (m kemMethod) respond(initiator []byte, random io.Reader) ([]byte, Secret, error) {
	key, err := m.scheme.UnmarshalBinaryPublicKey(initiator)
	if err != nil {
		return nil, Secret{}, fmt.Errorf("%w: not an encapsulation key of %s: %w", ErrPeerValue, m.scheme.Name(), err)
	}
	seed := make([]byte, m.scheme.EncapsulationSeedSize())
	defer Wipe(seed)
	if _, err := io.ReadFull(random, seed); err != nil {
		return nil, Secret{}, err
	}
	ciphertext, shared, err := m.scheme.EncapsulateDeterministically(key, seed)
	return ciphertext, NewSecret(shared), err
}

// Public returns the encapsulation key.
func (e *mlkemExchange) Public() []byte { return e.public }

// Shared decapsulates. A ciphertext of the right length that nobody made for our key gives
// a secret that nobody else has (FIPS 203 section 6.3): the peer cannot prove it knows the
// keys then, and there is no error here.
func (e *mlkemExchange) Shared(responder []byte) (Secret, error) {
	if len(responder) != e.scheme.CiphertextSize() {
		return Secret{}, fmt.Errorf("%w: %d octets, expected a ciphertext of %d for %s",
			ErrPeerValue, len(responder), e.scheme.CiphertextSize(), e.scheme.Name())
	}
	if e.seed.Len() == 0 {
		return Secret{}, errWiped
	}
	_, key := e.scheme.DeriveKeyPair(e.seed.Bytes())
	shared, err := e.scheme.Decapsulate(key, responder)
	return NewSecret(shared), err
}

// Wipe clears the seed.
func (e *mlkemExchange) Wipe() { e.seed.Wipe() }
