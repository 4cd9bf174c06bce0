package ike

import (
	"net/netip"
	"slices"
	"testing"
	"time"

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
