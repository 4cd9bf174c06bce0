package offload

import (
	"fmt"
	"unsafe"

	"sallyport/crypto"
	"sallyport/crypto/cryptodev"
	"sallyport/pipeline"
)

// capability is one entry of what a port says of ESP (rte_security_capability).
type capability struct {
	plan                Plan
	outbound, transport bool

	esn, udp, copyDSCP, copyDF, ecn bool // rte_security_ipsec_sa_options

	window   int            // packets, most
	metadata bool           // rte_security_set_pkt_metadata for each packet sent
	suites   unsafe.Pointer // struct rte_cryptodev_capabilities, of the driver's
}

// refuses says why a port does not do a plan for an SA, as far as what it says of itself tells; nothing if it does.
func (p *nic) refuses(plan Plan, n need) string {
	switch {
	case p.missing != "":
		return p.missing
	case n.suite.AH() || n.bundle:
		return "AH: ports do ESP alone"
	case n.suite.Encr == crypto.EncrNull || n.suite.Encr == crypto.EncrNullAESGMAC:
		return "ESP without encryption stays with the CPU"
	}
	best, tried := "", 0
	for i := range p.capabilities {
		c := &p.capabilities[i]
		if c.plan != plan {
			continue
		}
		reason, got := c.refuses(n)
		if reason == "" {
			return ""
		}
		if got >= tried { // the entry that came nearest says it best
			best, tried = reason, got
		}
	}
	if best == "" {
		return "the port has none"
	}
	return best
}

// chosen is the entry by which a port does a plan, nil for none.
func (p *nic) chosen(plan Plan, n need) *capability {
	for i := range p.capabilities {
		if c := &p.capabilities[i]; c.plan == plan {
			if reason, _ := c.refuses(n); reason == "" {
				return c
			}
		}
	}
	return nil
}

// refuses says what an entry lacks for an SA, and how many checks it had passed.
func (c *capability) refuses(n need) (reason string, passed int) {
	checks := []string{c.lacksDirection(n), c.lacksMode(n), cryptodev.RefusedBy(c.suites, n.suite, n.esn), c.lacksOption(n)}
	if c.plan == InlineProtocol {
		checks = append(checks, c.lacksProtocol(n))
	}
	for i, reason := range checks {
		if reason != "" {
			return reason, i
		}
	}
	return "", len(checks)
}

func (c *capability) lacksDirection(n need) string {
	switch {
	case c.outbound == n.outbound:
		return ""
	case n.outbound:
		return "not for outbound SAs"
	}
	return "not for inbound SAs"
}

func (c *capability) lacksMode(n need) string {
	switch {
	case c.transport == n.transport:
		return ""
	case n.transport:
		return "no transport mode"
	}
	return "no tunnel mode"
}

func (c *capability) lacksOption(n need) string {
	switch {
	case n.esn && !c.esn:
		return "no extended sequence numbers"
	case n.udp && !c.udp:
		return "no ESP in UDP"
	}
	return ""
}

// lacksProtocol checks what a port does by itself that makes the packets of the whole protocol.
func (c *capability) lacksProtocol(n need) string {
	switch w := &n.wrap; {
	case !n.transport && !w.ECNOff && !c.ecn:
		return "does not carry the ECN field over (RFC 6040)"
	case !n.outbound && n.window > c.window:
		return fmt.Sprintf("a replay window of %d packets at most, this SA has %d", c.window, n.window)
	case !n.outbound:
		return ""
	case w.TFCPad > 0 || w.DummyEvery > 0:
		return "no padding and no dummy packets against traffic analysis"
	case w.FragmentAfter:
		return "no fragments of what is encapsulated: the numbers of CPU and port would meet"
	case n.transport:
		return ""
	case w.DSCP == nil && !c.copyDSCP:
		return "does not copy the DSCP"
	case w.DF == pipeline.DFCopy && !c.copyDF:
		return "does not copy the DF bit"
	}
	return ""
}
