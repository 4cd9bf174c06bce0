package ike

import "sallyport/crypto"

// KeyLog is the keys of an IKE SA, or with Child those of one direction of a Child SA, for who reads captures in a lab. What it refers to is good for
// the length of the call.
type KeyLog struct {
	Version        Version // V1 or V2
	Suite          crypto.Suite
	SPIi, SPIr     uint64        // of the IKE SA; its keys are logged again whenever they change
	EI, ER, AI, AR crypto.Secret // SK_ei and SK_er with their salts, SK_ai and SK_ar (RFC 7296 2.14); of V1 the same for both directions, the key of the cipher and SKEYID_a (RFC 2409 5 and appendix B)
	Child          *ChildSA
	Inbound        bool // the direction of Child
}
