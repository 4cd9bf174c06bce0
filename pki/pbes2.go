package pki

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/sha1" //nolint:gosec // the default of PKCS #5, as HMAC
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"hash"

	"sallyport/crypto"
)

// maxIterations bounds what a key file can ask of the processor at start: about a minute.
const maxIterations = 100_000_000

// The algorithms of PKCS #5 (RFC 8018) that openssl and others lock a private key with.
var (
	oidPBES2  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}
	oidPBKDF2 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}

	pseudorandom = map[string]func() hash.Hash{
		"":                    sha1.New, // RFC 8018 A.2
		"1.2.840.113549.2.7":  sha1.New,
		"1.2.840.113549.2.9":  sha256.New,
		"1.2.840.113549.2.10": sha512.New384,
		"1.2.840.113549.2.11": sha512.New,
	}
	aesKeySizes = map[string]int{"2.16.840.1.101.3.4.1.2": 16, "2.16.840.1.101.3.4.1.22": 24, "2.16.840.1.101.3.4.1.42": 32}
)

// lockedKey is EncryptedPrivateKeyInfo (RFC 5958 section 3).
type lockedKey struct {
	Algorithm pkix.AlgorithmIdentifier
	Data      []byte
}

type pbes2 struct{ Derivation, Encryption pkix.AlgorithmIdentifier }

type pbkdf2Parameters struct {
	Salt       []byte
	Iterations int
	KeyLength  int                      `asn1:"optional"`
	PRF        pkix.AlgorithmIdentifier `asn1:"optional"`
}

// errUnlock tells a wrong passphrase from a form that is not known.
var errUnlock = errors.New("the passphrase does not open the private key")

// unlock decrypts a private key. Whoever gets the text wipes it.
func (k *lockedKey) unlock(passphrase []byte) ([]byte, error) {
	var scheme pbes2
	var derivation pbkdf2Parameters
	var iv []byte
	const advice = "; \"openssl pkcs8 -topk8\" converts it"
	if !k.Algorithm.Algorithm.Equal(oidPBES2) || !decode(k.Algorithm.Parameters.FullBytes, &scheme) {
		return nil, errors.New("expected a private key that is locked by PBES2 (RFC 8018), found another form" + advice)
	}
	keySize := aesKeySizes[scheme.Encryption.Algorithm.String()]
	if keySize == 0 || !decode(scheme.Encryption.Parameters.FullBytes, &iv) || len(iv) != aes.BlockSize {
		return nil, fmt.Errorf("expected a private key that is locked by AES-CBC, found algorithm %v"+advice, scheme.Encryption.Algorithm)
	}
	if !scheme.Derivation.Algorithm.Equal(oidPBKDF2) || !decode(scheme.Derivation.Parameters.FullBytes, &derivation) {
		return nil, fmt.Errorf("expected a private key that is locked with PBKDF2, found algorithm %v"+advice, scheme.Derivation.Algorithm)
	}
	mac := pseudorandom[derivation.PRF.Algorithm.String()]
	if mac == nil || derivation.Iterations < 1 || derivation.Iterations > maxIterations {
		return nil, fmt.Errorf("expected PBKDF2 with HMAC of SHA-1 or SHA-2 and 1 to %d iterations, found %v and %d"+advice, maxIterations, derivation.PRF.Algorithm, derivation.Iterations)
	}
	if len(k.Data) == 0 || len(k.Data)%aes.BlockSize != 0 {
		return nil, errors.New("expected a whole private key, found one that is cut off")
	}
	key, err := pbkdf2.Key(mac, string(passphrase), derivation.Salt, derivation.Iterations, keySize)
	if err != nil {
		return nil, err
	}
	defer crypto.Wipe(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	text := make([]byte, len(k.Data))
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(text, k.Data)
	return unpad(text)
}

// unpad takes the padding off a decrypted key (RFC 8018 section 6.1.1). Whether it is whole is no secret: the passphrase is the operator's.
func unpad(text []byte) ([]byte, error) {
	padding := int(text[len(text)-1])
	if padding == 0 || padding > aes.BlockSize {
		crypto.Wipe(text)
		return nil, errUnlock
	}
	return text[:len(text)-padding], nil
}

// decode reads DER to its end.
func decode(der []byte, into any) bool {
	rest, err := asn1.Unmarshal(der, into)
	return err == nil && len(rest) == 0
}
