package ikev1

import (
	"fmt"
	"net/netip"

	"sallyport/ike"
	"sallyport/ike/isakmp"
)

// observe tells the log of a message in clear. One of ours has no HASH of its own yet.
func (sa *isakmpSA) observe(m *isakmp.Message, ours bool, local, remote netip.AddrPort) {
	if tell := sa.engine.cfg.Observe; tell != nil {
		tell(ike.Observation{Time: sa.engine.now, Sent: ours, Local: local, Remote: remote, Peer: sa.peerName(), Lines: func() []string { return linesOf(m) }})
	}
}

// linesOf tells what a message is, and then of each payload what stands in it, a line each: [ike.Observation.Lines] of IKEv1.
func linesOf(m *isakmp.Message) []string {
	first := fmt.Sprintf("IKEv1 %v", m.Exchange)
	if m.MessageID != 0 {
		first += fmt.Sprintf(" %08x", m.MessageID)
	}
	if m.Flags.Has(isakmp.FlagCommit) {
		first += ", commit bit,"
	}
	lines := []string{fmt.Sprintf("%s of ISAKMP SA %016x %016x", first, m.Initiator, m.Responder)}
	for _, p := range m.Payloads {
		line := p.String()
		if content := contentOf(p, m.MessageID != 0); content != "" {
			line += ": " + content
		}
		lines = append(lines, line)
	}
	return lines
}

// contentOf is what of a payload is for people: lengths in the place of what is secret, or nobody can read. Identities are those of ends in phase 1 and
// traffic in phase 2.
func contentOf(p isakmp.Payload, phase2 bool) string {
	switch p := p.(type) {
	case *isakmp.SA:
		return describeSA(p)
	case *isakmp.KE:
		return ike.Octets(p.Data)
	case *isakmp.Nonce:
		return ike.Octets(p.Data)
	case *isakmp.ID:
		return describeID(p, phase2)
	case *isakmp.Hash:
		return ike.Octets(p.Data)
	case *isakmp.Sig:
		return ike.Octets(p.Data)
	case *isakmp.Cert:
		return fmt.Sprintf("%v, %s", p.Encoding, ike.Octets(p.Data))
	case *isakmp.CertReq:
		return fmt.Sprintf("%v, %s of a name", p.Encoding, ike.Octets(p.Authority))
	case *isakmp.Notify:
		text := ike.Octets(p.Data)
		if len(p.SPI) > 0 {
			text = fmt.Sprintf("about %v SPI %x, %s", p.Protocol, p.SPI, text)
		}
		return text
	case *isakmp.Delete:
		if p.Protocol == isakmp.ProtocolISAKMP {
			return fmt.Sprintf("%d ISAKMP SAs", len(p.Cookies))
		}
		return ike.DescribeSPIs(p.SPIs)
	case *isakmp.VendorID:
		if p.Name() == "" {
			return ike.DescribeVendor(p.Data)
		}
	case *isakmp.NATD:
		return ike.Octets(p.Hash)
	case *isakmp.NATOA:
		return p.Address.String()
	}
	return ""
}

// describeSA lists the proposals of either phase.
func describeSA(p *isakmp.SA) string {
	if p.Proposals[0].Protocol != isakmp.ProtocolISAKMP {
		return fmt.Sprintf("%s, SPI %x", describeOffers(readOffers(p.Alternatives())), p.Proposals[0].SPI)
	}
	var list []isakmp.Phase1
	for i := range p.Proposals {
		for j := range p.Proposals[i].Transforms {
			if t, err := p.Proposals[i].Transforms[j].Phase1(); err == nil && len(list) < maxDescribed {
				list = append(list, t)
			}
		}
	}
	return describePhase1(list)
}

func describeID(p *isakmp.ID, phase2 bool) string {
	if !phase2 {
		return identityOf(p).String()
	}
	first, last, err := p.Range()
	if err != nil {
		return identityOf(p).String()
	}
	text := first.String()
	if first != last {
		text += "-" + last.String()
	}
	if p.Protocol != 0 {
		text += fmt.Sprintf(", protocol %d, port %d", p.Protocol, p.Port)
	}
	return text
}
