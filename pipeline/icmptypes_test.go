package pipeline

import (
	"net/netip"
	"testing"

	"sallyport/policy"
)

// S-065: of ICMP the types and codes that were negotiated are what an SA takes and sends, in every form: a range of the side that sends them counts
// (RFC 4301 section 4.4.1.1), one that has 0 in it included, and a side that is to send none sends none.
func TestICMPTypesInEveryForm(t *testing.T) {
	one := func(typ uint16) policy.PortRange { return policy.PortRange{First: typ << 8, Last: typ<<8 | 0xff} }
	for _, f := range everyForm() {
		t.Run(f.String(), func(t *testing.T) {
			r := newRig6(t, rigOptions{rules: []rule{siteRule, siteRule6, allRule}})
			limited := func(inbound bool) ChildSA {
				c := r.formed(f, inbound)
				for i := range c.Selectors {
					s := &c.Selectors[i]
					s.Protocol, s.LocalPort, s.RemotePort = protocolICMP, one(8), policy.PortRange{First: 0, Last: 3<<8 | 1}
					if s.Local.First.Is6() {
						s.Protocol, s.LocalPort, s.RemotePort = protocolICMPv6, one(128), policy.PortRange{First: 1 << 8, Last: 129 << 8}
					}
				}
				return c
			}
			near := r.inbound(limited(true))
			r.outbound(limited(false))
			for _, c := range []struct {
				typ, code uint8
				in, out   bool
			}{{0, 0, true, false}, {0, 9, true, false}, {3, 0, true, false}, {3, 1, true, false}, {3, 2, false, false}, {8, 0, false, true}, {8, 3, false, true}, {11, 0, false, false}} {
				for _, version := range f.versions() {
					from, to, typ := farHost, lanHost, c.typ
					if version == 6 {
						from, to = farHost6, lanHost6
						typ = map[uint8]uint8{0: 129, 3: 1, 8: 128, 11: 0}[typ]
					}
					near.sequence++
					takes, sends := c.in, c.out
					if version == 6 {
						code := uint16(typ)<<8 | uint16(c.code)
						takes, sends = code >= 1<<8 && code <= 129<<8, typ == 128
					}
					if o, _ := r.check(wan, fromWAN(near.encapsulate(message(from, to, typ, c.code), near.sequence))); (o.Reason == "") != takes || !takes && o.Reason != "selector_mismatch" {
						t.Errorf("type %d code %d of IPv%d came in: %+v", typ, c.code, version, o)
					}
					if o, _ := r.check(lan, fromLAN(message(to, from, typ, c.code))); (o.Reason == "") != sends || !sends && o.Reason != "selector_mismatch" {
						t.Errorf("type %d code %d of IPv%d went out: %+v", typ, c.code, version, o)
					}
				}
			}
		})
	}
}

// message is an ICMP message of either version.
func message(source, destination netip.Addr, typ, code uint8) []byte {
	if source.Is6() {
		p := echo6(source, destination, 8)
		p[ipv6HeaderLen], p[ipv6HeaderLen+1] = typ, code
		return p
	}
	p := icmpPacket(source, destination, typ, 8)
	p[p.headerLen()+1] = code
	return p
}
