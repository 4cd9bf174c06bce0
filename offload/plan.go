package offload

import (
	"cmp"
	"slices"

	"sallyport/crypto/cryptodev"
	"sallyport/pipeline"
)

// Plan is how the work of one direction of an SA is done.
type Plan string

// The plans.
const (
	InlineProtocol    Plan = "inline_protocol"    // the port does headers, numbers, window and crypto
	InlineCrypto      Plan = "inline_crypto"      // the port does the crypto
	LookasideProtocol Plan = "lookaside_protocol" // a crypto device does ESP
	LookasideCrypto   Plan = "lookaside_crypto"   // a crypto device does the crypto
	CPUCrypto         Plan = "cpu"                // the worker does it
)

// Plans lists all plans.
func Plans() []Plan {
	return []Plan{InlineProtocol, InlineCrypto, LookasideProtocol, LookasideCrypto, CPUCrypto}
}

// Candidate is one way for an SA.
type Candidate struct {
	Plan    Plan
	Device  string // a port's name, or a crypto device's
	Refusal string // why not, as far as capabilities tell; empty: it can
}

// plan is that of a session of a crypto device.
func (c step) plan(whole bool) Plan {
	switch {
	case c.crypto == cryptodev.ClassCPU:
		return CPUCrypto
	case whole:
		return LookasideProtocol
	}
	return LookasideCrypto
}

// inlinePlans is what is asked of a port, the best first. An inbound window inside a NIC cannot be read back, so that no CPU can go on with such an SA: for inbound, crypto alone is better.
func inlinePlans(outbound bool) []Plan {
	if outbound {
		return []Plan{InlineProtocol, InlineCrypto}
	}
	return []Plan{InlineCrypto, InlineProtocol}
}

// candidates lists the ways of an SA, the best first, on some of the ports.
func (p *Planner) candidates(n *need, ports []*port) []Candidate {
	var list []Candidate
	ways := p.crypto.Ways(&n.ESP)
	for _, s := range p.steps {
		if s.inline {
			for _, port := range ports {
				for _, plan := range inlinePlans(n.Outbound) {
					list = append(list, Candidate{Plan: plan, Device: port.name, Refusal: port.refuses(plan, n)})
				}
			}
			continue
		}
		for _, w := range ways {
			if w.Class == s.crypto {
				list = append(list, Candidate{Plan: s.plan(w.Whole), Device: w.Device, Refusal: w.Refusal})
			}
		}
	}
	return list
}

// Chosen is what came of an SA: its plan, and why not each way that would have been better.
type Chosen struct {
	Plan    Plan
	Device  string
	Refused []Candidate
}

// Explain says by which plan an SA goes and why by none before. Where capabilities were no obstacle it is what port or device said when it was asked.
func (p *Planner) Explain(sa *pipeline.SACounters) Chosen {
	p.mu.Lock()
	defer p.mu.Unlock()
	ports := slices.DeleteFunc(slices.Clone(p.ports), func(port *port) bool { return !port.wan })
	if asked := p.at(sa.Inline.Port, sa.Inline.VLAN); asked != nil && sa.Inline.Session {
		ports = []*port{asked}
	}
	chosen, asked := p.placeOf(sa), map[Candidate]string{}
	for _, port := range ports {
		for _, plan := range inlinePlans(sa.Outbound) {
			asked[Candidate{Plan: plan, Device: port.name}] = p.said(sa, plan, port)
		}
	}
	for _, passed := range sa.PassedOver {
		asked[Candidate{Plan: step{crypto: passed.Class}.plan(passed.Whole), Device: passed.Device}] = passed.Reason
	}
	n := needOfInstalled(sa)
	for _, c := range p.candidates(&n, ports) {
		if c.Plan == chosen.Plan && c.Device == chosen.Device {
			break
		}
		said := asked[Candidate{Plan: c.Plan, Device: c.Device}]
		c.Refusal = cmp.Or(c.Refusal, said, "was not asked: no packet of the SA goes there")
		chosen.Refused = append(chosen.Refused, c)
	}
	return chosen
}

// said is why an SA has no session of a plan although the port was asked for it, nothing if nobody has said so.
func (p *Planner) said(sa *pipeline.SACounters, plan Plan, port *port) string {
	key := keyOf(sa.Outbound, sa.SPI, sa.Remote)
	refused := p.refused[key]
	switch made := p.of[key]; {
	case sa.Inline.Session && made != nil:
		return made.before[plan]
	case sa.Inline.Session:
		return ""
	case refused.port == nil || sa.Inline.Refused != joined(refused.why): // the data plane says it, and has asked no port
		return sa.Inline.Refused
	case refused.port != port:
		return ""
	}
	return refused.why[plan]
}

// PlaceOf is the plan of an installed SA, and who does the work.
func (p *Planner) PlaceOf(sa *pipeline.SACounters) Chosen {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.placeOf(sa)
}

func (p *Planner) placeOf(sa *pipeline.SACounters) Chosen {
	if !sa.Inline.Session || sa.Inline.Stopped {
		return Chosen{Plan: step{crypto: sa.Class}.plan(sa.Whole), Device: sa.Device}
	}
	chosen := Chosen{Plan: InlineCrypto}
	if sa.Inline.Protocol {
		chosen.Plan = InlineProtocol
	}
	if port := p.at(sa.Inline.Port, sa.Inline.VLAN); port != nil {
		chosen.Device = port.name
	}
	return chosen
}
