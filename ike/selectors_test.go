package ike

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"sallyport/ike/wire"
	"sallyport/policy"
)

var (
	net4, net6 = selector("10.1.0.0/16", "10.2.0.0/16"), selector("2001:db8:1::/48", "2001:db8:2::/48")
	mixed      = []policy.Selector{net4, net6}
)

// selectorsOf brings up one tunnel whose two ends allow different traffic, both IP versions included, and returns what they agreed on.
func selectorsOf(t *testing.T, a, b []policy.Selector) (*link, []policy.Selector) {
	t.Helper()
	l := up(t, func(cfg *Config) { cfg.Peers[0].Children[0].Selectors = a }, func(cfg *Config) { cfg.Peers[0].Children[0].Selectors = mirrored(b) })
	for _, direction := range []map[uint32]ChildSA{l.a.inbound, l.a.outbound} {
		for spi, sa := range direction {
			if !sa.Local.Addr().Is4() || !sameSelectors(sa.Selectors, l.a.engine.Snapshot()[0].Children[0].Selectors) {
				t.Errorf("data plane has SPI %#x between %v and %v for %v", spi, sa.Local, sa.Remote, sa.Selectors)
			}
		}
	}
	return l, l.a.engine.Snapshot()[0].Children[0].Selectors
}

// Traffic selectors are a list for each side, and every pair of the two is meant (RFC 7296 2.9, 3.13); a rule's filters are pairs. What an end protects and
// accepts is what is both of these: never a packet outside its own filters, however the peer narrows, and never one outside TSi and TSr. What the filters
// of both ends have, they agree on.
// S-065
func TestSelectorsAreNeverWidened(t *testing.T) {
	random := rand.New(seeded(7))
	addresses := func(prefix string) policy.AddrRange {
		first := random.IntN(6)
		return policy.AddrRange{First: netip.MustParseAddr(fmt.Sprintf("%s%d", prefix, first)), Last: netip.MustParseAddr(fmt.Sprintf("%s%d", prefix, first+random.IntN(6-first)))}
	}
	ports := func() policy.PortRange {
		first := uint16(random.IntN(3))
		return []policy.PortRange{policy.AnyPort, {First: first, Last: first + uint16(random.IntN(2))}}[random.IntN(2)]
	}
	filters := func() (list []policy.Selector) {
		for range 1 + random.IntN(4) {
			s := policy.Selector{Local: addresses("10.1.0."), Remote: addresses("10.2.0."), LocalPort: policy.AnyPort, RemotePort: policy.AnyPort}
			if s.Protocol = []uint8{0, 6, 17}[random.IntN(3)]; s.Protocol != 0 {
				s.LocalPort, s.RemotePort = ports(), ports()
			}
			list = append(list, s)
		}
		return list
	}
	within := func(ts *wire.TS, address netip.Addr, protocol uint8, port uint16) bool {
		return slices.ContainsFunc(endpoints(ts), func(e endpoint) bool {
			return e.addresses.Contains(address) && (e.protocol == 0 || e.protocol == protocol) && port >= e.ports.First && port <= e.ports.Last
		})
	}
	for round := range 1000 {
		ofA, ofB := filters(), filters()
		tsi, tsr := trafficSelectors(true, ofA)
		atB := narrow(mirrored(ofB), endpoints(tsr), endpoints(tsi))
		tsi, tsr = trafficSelectors(false, atB)
		atA := narrow(ofA, endpoints(tsi), endpoints(tsr))
		for range 200 {
			p := policy.Packet{Source: netip.AddrFrom4([4]byte{10, 1, 0, byte(random.IntN(6))}), Destination: netip.AddrFrom4([4]byte{10, 2, 0, byte(random.IntN(6))}),
				Protocol: []uint8{6, 17}[random.IntN(2)], SourcePort: uint16(random.IntN(4)), DestinationPort: uint16(random.IntN(4)), HasPorts: true}
			has := func(list []policy.Selector) bool {
				return slices.ContainsFunc(list, func(s policy.Selector) bool { return s.Matches(p, true) })
			}
			agreed := within(tsi, p.Source, p.Protocol, p.SourcePort) && within(tsr, p.Destination, p.Protocol, p.DestinationPort)
			a, b := has(atA), has(mirrored(atB))
			switch {
			case a != (has(ofA) && agreed), b && !(has(ofB) && agreed):
				t.Fatalf("round %d: %+v: a has it %t, b %t; filters of a %v, of b %v; TSi %v TSr %v", round, p, a, b, ofA, ofB, tsi, tsr)
			case has(ofA) && has(ofB) && !(a && b):
				t.Fatalf("round %d: %+v is in both ends' filters, and a has it %t, b %t; filters of a %v, of b %v", round, p, a, b, ofA, ofB)
			}
		}
	}
}

// One TS payload lists both IP versions (RFC 7296 3.13.1), inside a tunnel over IPv4: the offer, what the responder narrows it to, and the
// initiator's check of that. A pair of an IPv4 and an IPv6 entry is no traffic.
func TestSelectorsOfBothVersions(t *testing.T) {
	web := func(local, remote string) policy.Selector {
		s := selector(local, remote)
		s.Protocol, s.RemotePort = 6, policy.PortRange{First: 443, Last: 443}
		return s
	}
	between := policy.Selector{Local: policy.AddrRange{First: netip.MustParseAddr("2001:db8:1::5"), Last: netip.MustParseAddr("2001:db8:1::9")},
		Remote: net6.Remote, LocalPort: policy.AnyPort, RemotePort: policy.AnyPort}
	for name, c := range map[string]struct{ a, b, expected []policy.Selector }{
		"both, both":           {mixed, mixed, mixed},
		"both, in other order": {mixed, []policy.Selector{net6, net4}, mixed},
		"both, IPv6 only":      {mixed, []policy.Selector{net6}, []policy.Selector{net6}},
		"both, IPv4 only":      {mixed, []policy.Selector{net4}, []policy.Selector{net4}},
		"IPv6 only, both":      {[]policy.Selector{net6}, mixed, []policy.Selector{net6}},
		"both, narrower": {mixed, []policy.Selector{selector("10.1.0.0/16", "10.2.3.0/24"), selector("2001:db8:1::/48", "2001:db8:2:3::/64")},
			[]policy.Selector{selector("10.1.0.0/16", "10.2.3.0/24"), selector("2001:db8:1::/48", "2001:db8:2:3::/64")}},
		"both, one port": {mixed, []policy.Selector{web("10.1.0.0/16", "10.2.0.0/16"), web("2001:db8:1::/48", "2001:db8:2::/48")},
			[]policy.Selector{web("10.1.0.0/16", "10.2.0.0/16"), web("2001:db8:1::/48", "2001:db8:2::/48")}},
		"a range that is no prefix": {mixed, []policy.Selector{between}, []policy.Selector{between}},
		"everything":                {[]policy.Selector{selector("0.0.0.0/0", "0.0.0.0/0"), selector("::/0", "::/0")}, mixed, mixed},
	} {
		t.Run(name, func(t *testing.T) {
			if _, got := selectorsOf(t, c.a, c.b); !sameSelectors(got, c.expected) || len(got) != len(c.expected) {
				t.Errorf("selectors %v, expected %v", got, c.expected)
			}
		})
	}
}

// Ends that have no IP version in common have no traffic in common.
func TestSelectorsOfOtherVersion(t *testing.T) {
	l := join(t, func(cfg *Config) { cfg.Peers[0].Children[0].Selectors = []policy.Selector{net6} },
		func(cfg *Config) { cfg.Peers[0].Children[0].Selectors = mirrored([]policy.Selector{net4}) })
	l.begin()
	l.run()
	l.established()
	l.a.expect(Failed, FailSelectors, 1)
	l.b.expect(Failed, FailSelectors, 1)
}

// A rekey keeps both versions, and so does a change of the configuration that adds the second.
func TestSelectorsOfBothVersionsLater(t *testing.T) {
	l, _ := selectorsOf(t, mixed, mixed)
	l.a.rekey(rekeyChild)
	l.advance(10 * time.Second)
	l.established("net")
	if got := l.b.engine.Snapshot()[0].Children; !sameSelectors(got[len(got)-1].Selectors, mirrored(mixed)) {
		t.Errorf("after the rekey %v", got[len(got)-1].Selectors)
	}

	l, _ = selectorsOf(t, []policy.Selector{net4}, []policy.Selector{net4})
	for _, n := range []*end{l.a, l.b} {
		n.configure(func(p *Peer) { p.Children[0].Selectors = n.seenFrom(mixed...) })
	}
	l.advance(10 * time.Second)
	l.established("net")
	if got := l.a.engine.Snapshot()[0].Children[0].Selectors; !sameSelectors(got, mixed) {
		t.Errorf("after the change %v, expected %v", got, mixed)
	}
}

// The packet that waits is named first in both payloads, whatever its version (RFC 7296 2.9), and finds the child that is meant.
func TestAcquireOfIPv6(t *testing.T) {
	l := join(t, func(c *Config) {
		c.Peers[0].Children[0].Selectors, c.Peers[0].Children[0].Start = mixed, StartOnDemand
	}, func(c *Config) {
		child := c.Peers[0].Children[0]
		child.Name, child.Selectors = "six", mirrored([]policy.Selector{net6})
		c.Peers[0].Children[0].Selectors = mirrored([]policy.Selector{net4})
		c.Peers[0].Children = append(c.Peers[0].Children, child)
	})
	l.begin()
	p := &policy.Packet{Source: netip.MustParseAddr("2001:db8:1::7"), Destination: netip.MustParseAddr("2001:db8:2::9"), Protocol: 58}
	l.a.step(Acquire{Peer: "b", Child: "net", Packet: p})
	l.run()
	l.consistent()
	got := l.b.engine.Snapshot()[0].Children
	if len(got) != 1 || got[0].Name != "six" || !slices.Equal(got[0].Selectors, mirrored([]policy.Selector{net6})) {
		t.Errorf("b has %+v, expected the IPv6 child", got)
	}
}

// What an offer can cost is bounded, however many of its entries have something in common with ours and not with one another; what fits is found all the same.
func TestNarrowingIsBounded(t *testing.T) {
	var configured []policy.Selector
	for i := range maxSelectors {
		s := selector("10.1.0.0/16", "10.2.0.0/16")
		s.LocalPort = policy.PortRange{First: uint16(i), Last: 60000}
		configured = append(configured, s)
	}
	entries := func(protocol uint8, network string) (list []endpoint) {
		prefix := netip.MustParsePrefix(network)
		for i := range 255 {
			last := prefix.Addr().As4()
			last[3] = byte(i)
			list = append(list, endpoint{policy.AddrRange{First: prefix.Addr(), Last: netip.AddrFrom4(last)}, protocol, policy.AnyPort})
		}
		return list
	}
	for name, c := range map[string]struct {
		remote []endpoint
		looked int // at pairs
	}{
		"other addresses": {entries(6, "10.3.0.0/16"), 0},
		"other protocols": {entries(17, "10.2.0.0/16"), maxPairs + 1},
	} {
		left := maxPairs
		if got := narrowWithin(configured, entries(6, "10.1.0.0/16"), c.remote, &left); len(got) != 0 || maxPairs-left != c.looked {
			t.Errorf("%s: %d selectors of %d pairs, expected none of %d", name, len(got), maxPairs-left, c.looked)
		}
	}
	many := func(local, remote string) (list []policy.Selector) {
		for i := range maxSelectors {
			l, r := netip.MustParseAddr(local).As4(), netip.MustParseAddr(remote).As4()
			l[2], r[2] = byte(i), byte(i)
			list = append(list, selector(netip.PrefixFrom(netip.AddrFrom4(l), 24).String(), netip.PrefixFrom(netip.AddrFrom4(r), 24).String()))
		}
		return list
	}
	if _, got := selectorsOf(t, many("10.1.0.0", "10.2.0.0"), many("10.1.0.0", "10.2.0.0")); len(got) != maxSelectors {
		t.Errorf("%d selectors of an offer that is ours, expected %d", len(got), maxSelectors)
	}
}
