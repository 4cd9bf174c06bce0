package ike

import (
	"crypto"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"

	"sallyport/ike/internal/signing"
)

// AuthMethod is how one end of an IKE SA proves who it is. The two ends need not use the same (RFC 7296 2.15).
type AuthMethod uint8

const (
	// AuthPSK is a key that both ends hold (RFC 7296 2.15).
	AuthPSK AuthMethod = iota
	// AuthSignature is a signature by the key of a certificate (RFC 7427).
	AuthSignature
)

// String is the word of the configuration.
func (m AuthMethod) String() string {
	if m == AuthSignature {
		return "certificate"
	}
	return "preshared_key"
}

// Credential is what one end signs with: a private key, and the certificates that lead from it to what the peer trusts. It prints as
// the kind of its key only.
type Credential struct {
	Certificates [][]byte      // DER, the one of the key first, intermediates after it
	Key          crypto.Signer // RSA, ECDSA on P-256, P-384 or P-521, or Ed25519
}

// String names the key's kind.
func (c Credential) String() string {
	if c.Key == nil {
		return "credential without a key"
	}
	return fmt.Sprintf("credential with %s and %d certificates", signing.DescribeKey(c.Key.Public()), len(c.Certificates))
}

// Format implements [fmt.Formatter]: no verb shows the key.
func (c Credential) Format(f fmt.State, _ rune) { io.WriteString(f, c.String()) }

// LogValue implements [slog.LogValuer].
func (c Credential) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalText implements [encoding.TextMarshaler], which JSON uses too.
func (c Credential) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// signs reports whether either end signs.
func (p *Peer) signs() bool { return p.LocalAuth == AuthSignature || p.RemoteAuth == AuthSignature }

// Bounds on certificates, ours and a peer's.
const (
	// maxCertificates bounds a chain. Two intermediates are common, and a peer may send a cross-signed one beside them.
	maxCertificates = 8
	// maxAuthorities bounds the list in a CERTREQ: 640 octets, for that of IKE_SA_INIT cannot be fragmented.
	maxAuthorities = 32
	authorityLen   = 20 // SHA-1 (RFC 7296 3.7)
)

// validateAuth reports what keeps a peer, or us toward it, from being authenticated.
func validateAuth(p Peer) []error {
	var errs []error
	add := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("peer %q: "+format, append([]any{p.Name}, args...)...))
	}
	for _, method := range []AuthMethod{p.LocalAuth, p.RemoteAuth} {
		if method > AuthSignature {
			add("authentication method %d, expected AuthPSK or AuthSignature", method)
		}
	}
	if (p.LocalAuth == AuthPSK || p.RemoteAuth == AuthPSK) && p.PSK.Len() == 0 {
		add("the pre-shared key is empty, expected at least one octet")
	}
	if p.LocalAuth == AuthSignature {
		if err := p.Credential.validate(p.Legacy); err != nil {
			add("our credential: %w", err)
		}
	}
	if p.RemoteAuth == AuthSignature && (len(p.Authorities) == 0 || len(p.Authorities) > maxAuthorities) {
		add("%d trusted authorities, expected 1 to %d", len(p.Authorities), maxAuthorities)
	}
	for _, hash := range p.Authorities {
		if len(hash) != authorityLen {
			add("a trusted authority is given by %d octets, expected the %d of a SHA-1", len(hash), authorityLen)
		}
	}
	return errs
}

func (c *Credential) validate(legacy bool) error {
	switch {
	case c == nil || c.Key == nil:
		return errors.New("there is no private key, expected one to sign with")
	case len(c.Certificates) == 0 || len(c.Certificates) > maxCertificates:
		return fmt.Errorf("%d certificates, expected 1 to %d", len(c.Certificates), maxCertificates)
	case slices.ContainsFunc(c.Certificates, func(der []byte) bool { return len(der) == 0 }):
		return errors.New("a certificate is empty")
	}
	return signing.CheckKey(c.Key.Public(), legacy)
}
