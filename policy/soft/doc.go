// Package soft is the book of soft SAs: leave to speak in clear with a peer that knows no IPsec (S-042 to S-055).
//
// A soft SA is an entry of the SAD whose operation is none. It is for the traffic of one filter that has fallback_clear,
// between the two addresses of the packet that asked for it, in both directions, and lasts 300 seconds from its creation,
// whatever passes by it.
//
//	a packet needs an SA ──Ask──> waiting ──Silent, 3 s or more after it asked──> soft SA ──300 s──> expired
//	                                 │                                               │
//	                                 └── Heard, Established, another policy: gone ───┘
//
// Silent is what IKE says when its four first messages have all been waited for in vain and nothing came that could be a
// message of IKE. Whatever comes from the peer's address to an IKE port, garbage too, is Heard: the peer's soft SAs end at
// once and it gets none for five minutes. A peer that has ever proved who it is gets none at all: who can drop packets
// between two hosts that speak IPsec must not get clear text. ICMP is no event here: it is neither a reply nor silence.
//
// The book decides; what it decides the appliance carries out. It has no clock, no goroutine and no lock of its own, and
// all that it remembers is bounded.
package soft
