// Package wire is the codec of IKEv2 messages, RFC 7296 section 3: octets to Go values and back, and nothing else.
// It holds no keys, no state and no clock; what a message means is the business of package ike.
//
// A datagram is read in two steps, because most of a message is encrypted. [Parse] reads the header and the payloads in clear; an SK payload
// comes out as [*Encrypted]. Once it is decrypted, [ParsePayloads] reads the chain inside it. [Message.CheckOuter] and [Check] hold what was
// found against the payload rules of the exchange (rules.go). Building goes the other way: [MarshalPayloads] for the inside of SK,
// [EncryptedPrefix] for the octets before its body, [Message.Marshal] for a message in clear.
//
// Everything parsed lives in a private copy of the input: the caller may reuse its buffer at once. A slice in a parsed value never has spare
// capacity, so that appending to it cannot overwrite its neighbour.
//
// Input is hostile until proven otherwise. Every length is checked against what it must be, exactly; the limits of limits.go bound what one
// datagram can cost; every refusal is one of the types of errors.go. A payload's rules are stated once, in its check method, and hold for
// what is parsed and for what is emitted alike.
package wire
