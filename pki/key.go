package pki

import (
	"bytes"
	std "crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"sallyport/crypto"
)

// Key is a private key: it signs, and it never prints. It is a crypto.Signer.
type Key struct {
	_ [0]func() // refuses ==, which would compare handles
	// A function, because fmt shows no more of one than its address: an Ed25519 key is nothing but a slice of octets.
	signer func() std.Signer
}

// NewKey hides a private key.
func NewKey(signer std.Signer) Key { return Key{signer: func() std.Signer { return signer }} }

// Public is the public key.
func (k Key) Public() std.PublicKey { return k.signer().Public() }

// Sign implements crypto.Signer.
func (k Key) Sign(random io.Reader, digest []byte, options std.SignerOpts) ([]byte, error) {
	return k.signer().Sign(random, digest, options)
}

const redacted = "[private key]"

// Format implements fmt.Formatter: no verb shows the key.
func (Key) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, redacted) }

// LogValue implements slog.LogValuer.
func (Key) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText implements encoding.TextMarshaler, which JSON uses as well.
func (Key) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// parseKey reads a private key of PKCS #8, PKCS #1 or SEC 1, in PEM or DER, and unlocks it if it has to. Its error is a *Refusal, which
// shows nothing of what was found: it may be the key.
func parseKey(file, passphrase []byte) (Key, error) {
	der := file
	if bytes.Contains(file, []byte("-----BEGIN ")) {
		block := keyBlock(file)
		if block == nil {
			return Key{}, refuse(KeyMissing, "expected a private key (-----BEGIN PRIVATE KEY-----), found none in the file")
		}
		if block.Headers["DEK-Info"] != "" { // RFC 1421: its key comes of one round of MD5
			if len(passphrase) == 0 {
				return Key{}, refuse(KeyLocked, "%s", lockedText)
			}
			return Key{}, refuse(KeyMalformed, "expected a private key of PKCS #8, found one that is locked in the old way of openssl, which guessing soon opens: \"openssl pkcs8 -topk8\" converts it")
		}
		der = block.Bytes
		defer crypto.Wipe(der)
	}
	if locked := (&lockedKey{}); decode(der, locked) {
		return unlocked(locked, passphrase)
	}
	if len(passphrase) > 0 {
		return Key{}, refuse(KeyPassphrase, "expected a locked private key, because a passphrase is given, found one that is not locked: leave passphrase_file out")
	}
	return signerOf(der)
}

const lockedText = "expected a private key that can be used when nobody is there, found one that is locked by a passphrase: name passphrase_file, or unlock it with \"openssl pkcs8 -topk8 -nocrypt\""

func unlocked(locked *lockedKey, passphrase []byte) (Key, error) {
	if len(passphrase) == 0 {
		return Key{}, refuse(KeyLocked, "%s", lockedText)
	}
	der, err := locked.unlock(passphrase)
	if errors.Is(err, errUnlock) {
		return Key{}, refuse(KeyPassphrase, "expected the passphrase of the private key, found another one")
	}
	if err != nil {
		return Key{}, refuse(KeyMalformed, "%v", err)
	}
	defer crypto.Wipe(der)
	key, err := signerOf(der)
	if err != nil { // one wrong passphrase in 256 leaves what looks like padding
		return Key{}, refuse(KeyPassphrase, "expected the passphrase of the private key, found another one, or a key of a kind that is not known")
	}
	return key, nil
}

// keyBlock is the first block of a PEM file that holds a private key.
func keyBlock(file []byte) *pem.Block {
	for block, rest := pem.Decode(file); block != nil; block, rest = pem.Decode(rest) {
		if strings.HasSuffix(block.Type, "PRIVATE KEY") {
			return block
		}
	}
	return nil
}

// signerOf reads a private key that is not locked.
func signerOf(der []byte) (Key, error) {
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		if parsed, err = x509.ParsePKCS1PrivateKey(der); err != nil {
			parsed, err = x509.ParseECPrivateKey(der)
		}
	}
	if err != nil {
		return Key{}, refuse(KeyMalformed, "expected a private key of PKCS #8, PKCS #1 or SEC 1, in PEM or DER, found something else")
	}
	switch key := parsed.(type) {
	case *rsa.PrivateKey:
		return NewKey(key), nil
	case *ecdsa.PrivateKey:
		return NewKey(key), nil
	case ed25519.PrivateKey:
		return NewKey(key), nil
	}
	return Key{}, refuse(KeyMalformed, "expected a private key that signs (RSA, ECDSA or Ed25519), found one that does not")
}
