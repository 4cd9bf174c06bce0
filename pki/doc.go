// Package pki decides whether a peer's certificate is to be trusted, and reads the gateway's own.
//
//	reason.go                   why a certificate is refused: a closed list
//	credential.go key.go        our certificates and private key, from files
//	authorities.go              the root CAs that a policy lists for a peer (S-070)
//	trust.go machine.go         path validation by crypto/x509, and what a machine's certificate must be (S-071)
//	identity.go                 the certificate names whom IKE says the peer is (RFC 4945)
//	checker.go revocation.go    all of that and revocation, by crl_mode (S-073, S-074)
//	crl.go ocsp.go              what servers answer, held against the issuer
//	fetch.go                    one bounded question to a server
//	cache.go                    CRLs on disk until they expire (S-075)
//
// Nothing here is called by the goroutine of package ike's engine: a check may wait for a server. It ends within
// [CheckLimit], before the engine forgets the IKE SA that waits for it.
package pki
