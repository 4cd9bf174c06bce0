package pki

import (
	"errors"
	"fmt"

	"sallyport/ike"
)

// Reason is why a certificate, a key or a CRL is refused: the part of the closed list of package ike's reasons that is about them.
type Reason = ike.Reason

// Reasons about a certificate. Package ike explains them.
const (
	CertMissing     = ike.CertMissing
	CertTooMany     = ike.CertTooMany
	CertMalformed   = ike.CertMalformed
	CertKeyInsecure = ike.CertKeyInsecure
	CertKeyShort    = ike.CertKeyShort
	CertKeyType     = ike.CertKeyType
	CertSignature   = ike.CertSignature
	CertUsage       = ike.CertUsage
	CertPurpose     = ike.CertPurpose
	CertIsCA        = ike.CertIsCA
	CertExpired     = ike.CertExpired
	CertNotYet      = ike.CertNotYet
	CertCritical    = ike.CertCritical
	CertUntrusted   = ike.CertUntrusted
	CertConstraints = ike.CertConstraints
	CertIdentity    = ike.CertIdentity
	CertRevoked     = ike.CertRevoked
	CertBusy        = ike.CertBusy
)

// Reasons about the gateway's own key.
const (
	KeyMissing    Reason = "key_missing"    // no private key at hand
	KeyMalformed  Reason = "key_malformed"  // not a private key in a form that is known
	KeyLocked     Reason = "key_locked"     // a passphrase is needed and none is given (S-072)
	KeyPassphrase Reason = "key_passphrase" // it is another one
	KeyMismatch   Reason = "key_mismatch"   // another certificate's
)

// Reasons why it cannot be told whether a certificate is revoked: errors with crl_mode 2, a count with 1. Package ike explains them too.
const (
	CRLMissing     = ike.CRLMissing
	CRLUnreachable = ike.CRLUnreachable
	CRLRefused     = ike.CRLRefused
	CRLTooLarge    = ike.CRLTooLarge
	CRLMalformed   = ike.CRLMalformed
	CRLSignature   = ike.CRLSignature
	CRLExpired     = ike.CRLExpired
	CRLNotYet      = ike.CRLNotYet
	CRLUnsupported = ike.CRLUnsupported
	CRLScope       = ike.CRLScope
	OCSPAnswer     = ike.OCSPAnswer
)

// Refusal is an error with its reason. Detail is for people; no part of it that a peer wrote can control a terminal.
type Refusal struct {
	Reason Reason
	Detail string
}

// Error is "reason: detail".
func (r *Refusal) Error() string { return string(r.Reason) + ": " + r.Detail }

// Detail is what an error says to people, without its reason.
func Detail(err error) string {
	if refusal := (*Refusal)(nil); errors.As(err, &refusal) {
		return refusal.Detail
	}
	return err.Error()
}

func refuse(reason Reason, format string, args ...any) *Refusal {
	return &Refusal{reason, printable(fmt.Sprintf(format, args...))}
}
