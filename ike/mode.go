package ike

import (
	"slices"

	"sallyport/crypto"
	"sallyport/policy"
)

// modeName is the word of the configuration.
func modeName(transport bool) string {
	if transport {
		return "transport"
	}
	return "tunnel"
}

// NoAHAcrossNAT is why AH is not negotiated where a NAT was found (S-091, RFC 3715 2.1): in the Detail of a failure with FailProposal.
const NoAHAcrossNAT = "AH cannot cross the NAT that is on the way: its integrity check covers the addresses that a NAT changes"

func (sa *ikeSA) acrossNAT() bool { return sa.natLocal || sa.natRemote }

// passable are the proposals whose packets can travel between the two ends.
func (sa *ikeSA) passable(proposals []crypto.Proposal) []crypto.Proposal {
	if !sa.acrossNAT() {
		return proposals
	}
	return slices.DeleteFunc(slices.Clone(proposals), func(p crypto.Proposal) bool { return p.Protocol == crypto.ProtocolAH })
}

// seen puts the addresses that we see into the selectors of transport mode where a NAT has the ends see different ones: ours for our side, and the
// NAT's for the peer's (RFC 7296 2.23.1). What was narrowed from them goes back to the peer, who does the same.
func (sa *ikeSA) seen(local, remote []endpoint) {
	if sa.natLocal {
		for i := range local {
			local[i].addresses = policy.HostRange(sa.local.Addr())
		}
	}
	if sa.natRemote {
		for i := range remote {
			remote[i].addresses = policy.HostRange(sa.remote.Addr())
		}
	}
}
