// Package crypto holds what Sallyport knows of algorithms: the registry of
// transforms with their IANA numbers and sizes, the suites and proposals made
// from them, secrets that never print, the primitives IKEv2 is built on (PRF,
// Diffie-Hellman, the protection of the Encrypted payload) and those of IKEv1 beside
// them (hashes, CBC with an IV that goes from message to message), and a plain Go ESP
// and AH.
//
// ESP and AH here are a reference, not a data path. They follow RFC 4303 and RFC
// 4302 line by line, allocate freely, and are what the C fast path and every crypto
// device are compared with, byte for byte. Devices are in package cryptodev.
//
// The registry knows where each algorithm may serve: Suites lists what ESP can use,
// AHSuites what AH can, IKESuites what an IKE SA is offered. Some are there for old
// peers and for tests only: a configuration that names one must allow it, which
// Suite.Legacy and Proposal.Legacy are for.
//
// All lengths are octets unless a name ends in Bits.
package crypto
