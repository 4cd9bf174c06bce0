// Package isakmp is the codec of IKEv1 messages: ISAKMP (RFC 2408) with the payloads of the IPsec DOI (RFC 2407) and of IKE (RFC 2409), dead peer
// detection (RFC 3706), NAT traversal (RFC 3947 and its drafts) and fragments as Cisco, strongSwan and libreswan send them. Octets to Go values
// and back, and nothing else: it holds no keys, no state and no clock; what a message means is the business of package ikev1.
//
// A datagram is read in two steps when it is encrypted. [Parse] reads the header and the payloads in clear; with the encryption bit all behind
// the header is [Message.Ciphertext]. Once that is decrypted, [ParsePayloads] reads the chain in it and drops the padding. [Check] tells which
// message of its exchange it is and holds it against the rules of that message (rules.go). Building goes the other way: [MarshalPayloads] for
// what is to be encrypted, [Header.Prefix] for the header before it, [Message.Marshal] for a message in clear.
//
// IKEv1 hashes octets, not values: the body of the initiator's SA payload, of IDs and nonces, and all that follows the HASH payload of a message.
// What was received is hashed as it came, reserved fields and all: [Body] gives a payload's body, [Chain.Rest] what follows the first payload.
//
// Everything parsed lives in a private copy of the input: the caller may reuse its buffer at once. A slice in a parsed value never has spare
// capacity, so that appending to it cannot overwrite its neighbour. A parsed payload is not to be changed.
//
// Input is hostile until proven otherwise. Every length is checked against what it must be, exactly; the limits of limits.go bound what one
// datagram can cost; every refusal is one of the types of errors.go. A payload's rules are stated once, in its check method, and hold for
// what is parsed and for what is emitted alike.
package isakmp
