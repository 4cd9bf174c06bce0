// Package crypto holds what Sallyport knows of algorithms: the registry of
// transforms with their IANA numbers and sizes, the suites and proposals made
// from them, secrets that never print, the primitives IKEv2 is built on (PRF,
// Diffie-Hellman, the protection of the Encrypted payload), and a plain Go ESP.
//
// The ESP here is a reference, not a data path. It follows RFC 4303 line by
// line, allocates freely, and is what the C fast path and every crypto device
// are compared with, byte for byte. Devices are in package cryptodev.
//
// All lengths are octets unless a name ends in Bits.
package crypto
