package cryptodev

/*
#include <rte_security.h>
*/
import "C"

import (
	"fmt"
	"slices"
	"unsafe"
)

// Action is how much of ESP a session of rte_security is for, and where that is done.
type Action uint32

// The actions.
const (
	InlineCrypto      Action = C.RTE_SECURITY_ACTION_TYPE_INLINE_CRYPTO
	InlineProtocol    Action = C.RTE_SECURITY_ACTION_TYPE_INLINE_PROTOCOL
	LookasideProtocol Action = C.RTE_SECURITY_ACTION_TYPE_LOOKASIDE_PROTOCOL
)

// whole reports whether headers, numbers and window are left to the driver.
func (a Action) whole() bool { return a != InlineCrypto }

// Capability is one entry of what a driver says of ESP (rte_security_capability).
type Capability struct {
	Action   Action
	Metadata bool // rte_security_set_pkt_metadata for each packet sent

	outbound, transport             bool
	esn, udp, copyDSCP, copyDF, ecn bool           // rte_security_ipsec_sa_options
	window                          int            // packets, most
	suites                          unsafe.Pointer // struct rte_cryptodev_capabilities, the driver's
}

// Offers reports whether there is any entry of an action, of any at all if none is named.
func (s *Security) Offers(actions ...Action) bool {
	return slices.ContainsFunc(s.capabilities, func(c Capability) bool { return len(actions) == 0 || slices.Contains(actions, c.Action) })
}

// Find is the entry by which an SA can have a session of an action. If there is none it says why, as far as the driver's words tell.
func (s *Security) Find(action Action, sa *ESP) (c *Capability, refusal string) {
	best, tried := "has none of the kind", 0
	for i := range s.capabilities {
		c := &s.capabilities[i]
		if c.Action != action {
			continue
		}
		reason, passed := c.refuses(sa)
		if reason == "" {
			return c, ""
		}
		if passed >= tried { // the entry that came nearest says it best
			best, tried = reason, passed
		}
	}
	return nil, best
}

// refuses says what an entry lacks for an SA, and how many checks it had passed.
func (c *Capability) refuses(sa *ESP) (reason string, passed int) {
	checks := []string{c.lacksDirection(sa), c.lacksMode(sa), RefusedBy(c.suites, sa.Suite, sa.ESN), c.lacksOption(sa)}
	if c.Action.whole() {
		checks = append(checks, c.lacksWhole(sa))
	}
	for i, reason := range checks {
		if reason != "" {
			return reason, i
		}
	}
	return "", len(checks)
}

func (c *Capability) lacksDirection(sa *ESP) string {
	switch {
	case c.outbound == sa.Outbound:
		return ""
	case sa.Outbound:
		return "not for outbound SAs"
	}
	return "not for inbound SAs"
}

func (c *Capability) lacksMode(sa *ESP) string {
	switch {
	case c.transport == sa.Transport:
		return ""
	case sa.Transport:
		return "no transport mode"
	}
	return "no tunnel mode"
}

func (c *Capability) lacksOption(sa *ESP) string {
	switch {
	case sa.ESN && !c.esn:
		return "no extended sequence numbers"
	case sa.UDPEncap && !c.udp:
		return "no ESP in UDP"
	}
	return ""
}

// lacksWhole checks what is left to the driver where it makes whole packets.
func (c *Capability) lacksWhole(sa *ESP) string {
	switch outer := &sa.Outer; {
	case !sa.Transport && outer.ECN && !c.ecn:
		return "does not carry the ECN field over (RFC 6040)"
	case !sa.Outbound && sa.Window > c.window:
		return fmt.Sprintf("a replay window of %d packets at most, this SA has %d", c.window, sa.Window)
	case sa.NotWhole != "":
		return sa.NotWhole
	case !sa.Outbound || sa.Transport:
		return ""
	case outer.CopyDSCP && !c.copyDSCP:
		return "does not copy the DSCP"
	case outer.CopyDF && !c.copyDF:
		return "does not copy the DF bit"
	}
	return ""
}
