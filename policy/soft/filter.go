package soft

import (
	"net/netip"

	"sallyport/policy"
)

// Filter is a filter of the policy in force that has leave to fall back.
type Filter struct {
	Entry, Mirror uint32 // IDs of its outbound (Protect) and of its inbound (Require) entry
	Tunnel        string
	Rule, Name    string
	Traffic       policy.Selector
}

// Filters are those of a policy that may fall back: they negotiate, and have the flag in both directions. Nothing else
// of a policy has any part in this (S-042).
func Filters(spd *policy.SPD) []Filter {
	type key struct {
		tunnel  string
		traffic policy.Selector
	}
	mirrors := map[key]uint32{}
	for i := range spd.Entries {
		if e := &spd.Entries[i]; e.Fallback && e.Verdict == policy.VerdictRequire {
			mirrors[key{e.Tunnel, e.Selector()}] = e.ID
		}
	}
	var filters []Filter
	for i := range spd.Entries {
		e := &spd.Entries[i]
		if !e.Fallback || e.Verdict != policy.VerdictProtect {
			continue
		}
		if mirror, both := mirrors[key{e.Tunnel, e.Selector()}]; both {
			filters = append(filters, Filter{Entry: e.ID, Mirror: mirror, Tunnel: e.Tunnel, Rule: e.Rule, Name: e.FilterName, Traffic: e.Selector()})
		}
	}
	return filters
}

// Key is what a soft SA is for: the traffic of one filter between two addresses.
type Key struct {
	Entry, Mirror uint32
	Local, Remote netip.Addr
}

// narrowed is the filter's traffic between two hosts.
func narrowed(traffic policy.Selector, local, remote netip.Addr) policy.Selector {
	traffic.Local = policy.AddrRange{First: local, Last: local}
	traffic.Remote = policy.AddrRange{First: remote, Last: remote}
	return traffic
}
