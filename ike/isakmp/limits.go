package isakmp

// Sizes of the fixed parts, in octets.
const (
	HeaderLength         = 28 // ISAKMP header, RFC 2408 3.1
	payloadHeaderLength  = 4  // generic payload header, RFC 2408 3.2
	fragmentHeaderLength = 4  // fragment id, number and flags
)

// Limits on what one message may hold. Memory and time of a parse are linear in the length of the datagram; these keep the factor small too.
// Transforms of a proposal are counted in one octet on the wire, which is limit enough.
const (
	// MaxMessage bounds a datagram and the decrypted chain of payloads, in octets: a chain of several certificates of 4096-bit keys.
	MaxMessage = 16384
	// MaxPayloads bounds the payloads of one chain. The fullest messages seen in practice have about twenty, most of them vendor IDs.
	MaxPayloads = 64
	// MaxProposals bounds the proposals of one SA payload, those of one number counted apart.
	MaxProposals = 128
	// MaxAttributes bounds the attributes of one list: of a transform, which has some ten at most, or in RESPONDER-LIFETIME.
	MaxAttributes = 32
	// MaxPadding bounds the octets after the last payload of a decrypted message. RFC 2409 appendix B fills up one block; some peers add random octets.
	MaxPadding = 255
	// MaxFragments bounds the fragments of one message. Their number is one octet on the wire.
	MaxFragments = 64
)
