package pki

import (
	"fmt"

	"sallyport/ike"
)

// Reason is why a certificate, a key or a CRL is refused: the part of the closed list of package ike's reasons that is about them.
type Reason = ike.Reason

// Reasons about a certificate.
const (
	CertMissing     Reason = "cert_missing"            // the peer sent none
	CertTooMany     Reason = "cert_too_many"           // more or larger ones than are looked at
	CertMalformed   Reason = "cert_malformed"          // not DER of X.509
	CertKeyInsecure Reason = "cert_key_insecure"       // RSA of 512 bits or less (S-071)
	CertKeyShort    Reason = "cert_key_short"          // RSA below 2048 bits
	CertKeyType     Reason = "cert_key_type"           // neither RSA, ECDSA P-256, P-384, P-521 nor Ed25519, or larger than is worked with
	CertSignature   Reason = "cert_signature"          // signed by SHA-1, MD5 or another algorithm that no longer protects
	CertUsage       Reason = "cert_key_usage"          // without digitalSignature
	CertPurpose     Reason = "cert_extended_key_usage" // for other purposes than IKE (RFC 4945 5.1.3.12)
	CertIsCA        Reason = "cert_is_ca"              // a CA's own
	CertExpired     Reason = "cert_expired"
	CertNotYet      Reason = "cert_not_yet_valid"
	CertCritical    Reason = "cert_critical_extension" // a critical extension that is not known
	CertUntrusted   Reason = "cert_untrusted"          // no path to a listed root CA
	CertConstraints Reason = "cert_constraints"        // a CA on the path may not issue it: name constraints, path length, no CA
	CertIdentity    Reason = "cert_identity"           // names somebody else
	CertRevoked     Reason = "cert_revoked"
	CertBusy        Reason = "cert_check_busy" // too many checks at once
)

// Reasons about the gateway's own key.
const (
	KeyMissing    Reason = "key_missing"    // no private key at hand
	KeyMalformed  Reason = "key_malformed"  // not a private key in a form that is known
	KeyLocked     Reason = "key_locked"     // a passphrase is needed and none is given (S-072)
	KeyPassphrase Reason = "key_passphrase" // it is another one
	KeyMismatch   Reason = "key_mismatch"   // another certificate's
)

// Reasons why it cannot be told whether a certificate is revoked: errors with crl_mode 2, a count with 1.
const (
	CRLMissing     Reason = "crl_missing"        // nothing says where to ask
	CRLUnreachable Reason = "crl_unreachable"    // no server answered
	CRLRefused     Reason = "crl_server_refused" // a server at an address, or by a scheme, that is not asked
	CRLTooLarge    Reason = "crl_too_large"
	CRLMalformed   Reason = "crl_malformed"
	CRLSignature   Reason = "crl_signature" // not signed by the issuer of the certificate
	CRLExpired     Reason = "crl_expired"
	CRLNotYet      Reason = "crl_not_yet_valid"
	CRLUnsupported Reason = "crl_unsupported" // indirect, delta, or with an unknown critical extension
	CRLScope       Reason = "crl_scope"       // about other certificates of the issuer
	OCSPAnswer     Reason = "ocsp_answer"     // an OCSP answer that does not say good or revoked, or that nobody may give
)

// Refusal is an error with its reason. Detail is for people; no part of it that a peer wrote can control a terminal.
type Refusal struct {
	Reason Reason
	Detail string
}

// Error is "reason: detail".
func (r *Refusal) Error() string { return string(r.Reason) + ": " + r.Detail }

func refuse(reason Reason, format string, args ...any) *Refusal {
	return &Refusal{reason, printable(fmt.Sprintf(format, args...))}
}
