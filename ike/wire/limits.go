package wire

// Sizes of the fixed parts, in octets.
const (
	HeaderLength         = 28 // IKE header, RFC 7296 3.1
	payloadHeaderLength  = 4  // generic payload header, RFC 7296 3.2
	fragmentHeaderLength = 4  // fragment number and total of an SKF payload, RFC 7383 2.5
)

// Limits on what one message may hold. Memory and time of a parse are linear in the length of the datagram; these keep the factor small too.
// Transforms of a proposal and selectors of a TS payload are counted in one octet on the wire, which is limit enough.
const (
	// MaxMessage bounds a datagram and the decrypted chain of payloads, in octets. RFC 7296 section 2 asks for 3000; this holds
	// a chain of several certificates of 4096-bit keys.
	MaxMessage = 16384
	// MaxPayloads bounds the payloads of one chain. The fullest messages seen in practice have about twenty.
	MaxPayloads = 64
	// MaxProposals bounds the proposals of one SA payload.
	MaxProposals = 64
	// MaxAttributes bounds the attributes of one transform; only one is defined (Key Length).
	MaxAttributes = 8
	// MaxConfigAttributes bounds the attributes of one Configuration payload.
	MaxConfigAttributes = 64
)

// Fragmentation, RFC 7383.
const (
	// MaxFragments bounds the fragments of one message: MaxMessage octets in the smallest fragments a sender has reason to make.
	MaxFragments = 64
	// FragmentIPv4 and FragmentIPv6 are the lengths, in octets, of IP datagrams that a path carries without knowing its MTU:
	// RFC 7383 2.5.1 (RFC 791 and RFC 8200 section 5).
	FragmentIPv4 = 576
	FragmentIPv6 = 1280
)
