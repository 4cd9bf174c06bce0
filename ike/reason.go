package ike

import "slices"

// Reasons for Failed: why a peer was not authenticated. All that the peer itself is told is AUTHENTICATION_FAILED.
const (
	AuthIdentity    Reason = "auth_identity"  // it is somebody else than any that we expect at its address
	AuthOtherMethod Reason = "auth_method"    // it proves itself by another method than we expect: EAP, NULL, a key in place of a certificate
	AuthKey         Reason = "auth_key"       // it does not hold our pre-shared key
	AuthPPK         Reason = "auth_ppk"       // it does not use our postquantum preshared key, which is required, or requires one of its own
	AuthSigned      Reason = "auth_signature" // the signature is not by the key of its certificate, or not over this exchange
	AuthAlgorithm   Reason = "auth_algorithm" // a signature algorithm that is unknown or too weak, or none in common
)

// The same, about a certificate.
const (
	CertMissing     Reason = "cert_missing"            // the peer sent none
	CertForm        Reason = "cert_form"               // it sent something else: a URL, a raw key
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
	CertBusy        Reason = "cert_check_busy"   // too many checks at once
	CertUnanswered  Reason = "cert_check_failed" // no answer to the check in time, or one that says nothing
)

// The same, where it cannot be told whether a certificate is revoked and must be.
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

var authReasons = []Reason{FailAuthentication, AuthIdentity, AuthOtherMethod, AuthKey, AuthPPK, AuthSigned, AuthAlgorithm,
	CertMissing, CertForm, CertTooMany, CertMalformed, CertKeyInsecure, CertKeyShort, CertKeyType, CertSignature, CertUsage, CertPurpose, CertIsCA,
	CertExpired, CertNotYet, CertCritical, CertUntrusted, CertConstraints, CertIdentity, CertRevoked, CertBusy, CertUnanswered,
	CRLMissing, CRLUnreachable, CRLRefused, CRLTooLarge, CRLMalformed, CRLSignature, CRLExpired, CRLNotYet, CRLUnsupported, CRLScope, OCSPAnswer}

// Authentication reports whether a negotiation failed because a peer could not prove who it is.
func (r Reason) Authentication() bool { return slices.Contains(authReasons, r) }
