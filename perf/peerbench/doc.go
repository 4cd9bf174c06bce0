// Package peerbench puts this gateway beside those of others on one machine, in turns, and makes one table of it: IKE beside strongSwan, the fast path beside DPDK's
// ipsec-secgw. What is not to be had here is said, with what is known of it.
//
// options.go says what is measured and peerbench.go goes through it, in rounds in each of which everybody has a turn; negotiation.go is IKE, forwarding.go ESP, with
// secgw.go for the peer's program and frames.go for its packets.
package peerbench
