package pipeline

import (
	"net/netip"
	"testing"

	"sallyport/policy"
)

func port(n uint16) policy.PortRange { return policy.PortRange{First: n, Last: n} }

// Four filters, each inside the one before: a packet is the most specific one's alone, and its hit counter says so.
// S-016, C-20.
func TestFourFilters(t *testing.T) {
	filters := []rule{
		{name: "any-any", source: "any", destination: "any", block: true, oneWay: true},
		{name: "any-subnet", source: "any", destination: "198.51.100.0/24", oneWay: true},
		{name: "any-host", source: "any", destination: "198.51.100.9", block: true, oneWay: true},
		{name: "any-host-smtp", source: "any", destination: "198.51.100.9", protocol: protocolTCP, port: port(25), oneWay: true},
	}
	r := newRig(t, rigOptions{rules: filters})
	host, sameNet, outside := netip.MustParseAddr("198.51.100.9"), netip.MustParseAddr("198.51.100.10"), netip.MustParseAddr("203.0.113.9")
	smtp, web := tcp(lanHost, host), tcp(lanHost, host)
	setPorts(smtp, 1025, 25)
	setPorts(web, 1025, 80)
	for _, c := range []struct {
		packet ipv4
		filter string
	}{{smtp, "any-host-smtp"}, {web, "any-host"}, {tcp(lanHost, sameNet), "any-subnet"}, {tcp(lanHost, outside), "any-any"}} {
		before := map[string]uint64{}
		for _, x := range filters {
			before[x.name] = r.ruleHits(x.name)
		}
		r.check(lan, fromHost(c.packet))
		for _, x := range filters {
			want := before[x.name]
			if x.name == c.filter {
				want++
			}
			if got := r.ruleHits(x.name); got != want {
				t.Errorf("packet of %s: %s counts %d, want %d", c.filter, x.name, got, want)
			}
		}
	}
}

// Each field of a filter alone tells a packet that matches from one that does not; /32 and /0 are the masks of one address
// and of any (S-013).
func TestEachFieldSeparates(t *testing.T) {
	source, destination := netip.MustParseAddr("10.1.0.7"), netip.MustParseAddr("198.51.100.9")
	packet := func(protocol uint8, from, to uint16) ipv4 {
		p := packetOfLength(source, destination, protocol, 60)
		setPorts(p, from, to)
		return p
	}
	moved := func(p ipv4, at int) ipv4 {
		p = append(ipv4(nil), p...)
		p[at]++
		setHeaderChecksum(p)
		return p
	}
	udp, tcp := packet(protocolUDP, 1000, 2000), packet(protocolTCP, 1000, 2000)
	for name, c := range map[string]struct {
		filter         rule
		match, another ipv4
	}{
		"source address":      {rule{source: "10.1.0.7/32", destination: "0.0.0.0/0"}, udp, moved(udp, 15)},
		"source range":        {rule{source: "10.1.0.5-10.1.0.7", destination: "any"}, udp, moved(udp, 15)},
		"source mask":         {rule{source: "10.1.0.0/29", destination: "any"}, udp, moved(udp, 15)},
		"destination address": {rule{source: "0.0.0.0/0", destination: "198.51.100.9/32"}, udp, moved(udp, 19)},
		"destination range":   {rule{source: "any", destination: "198.51.100.3-198.51.100.9"}, udp, moved(udp, 19)},
		"destination mask":    {rule{source: "any", destination: "198.51.100.8/31"}, udp, moved(udp, 19)},
		"protocol":            {rule{source: "any", destination: "any", protocol: protocolUDP}, udp, tcp},
		"source TCP port":     {rule{source: "any", destination: "any", protocol: protocolTCP, from: port(1000)}, tcp, packet(protocolTCP, 1001, 2000)},
		"destination TCP":     {rule{source: "any", destination: "any", protocol: protocolTCP, port: port(2000)}, tcp, packet(protocolTCP, 1000, 2001)},
		"source UDP port":     {rule{source: "any", destination: "any", protocol: protocolUDP, from: port(1000)}, udp, packet(protocolUDP, 1001, 2000)},
		"destination UDP":     {rule{source: "any", destination: "any", protocol: protocolUDP, port: port(2000)}, udp, packet(protocolUDP, 1000, 2001)},
		"UDP port is no TCP":  {rule{source: "any", destination: "any", protocol: protocolUDP, port: port(2000)}, udp, tcp},
	} {
		t.Run(name, func(t *testing.T) {
			c.filter.name, c.filter.oneWay = "filter", true
			r := newRig(t, rigOptions{rules: []rule{c.filter}})
			r.wantForward(lan, fromHost(c.match), wan)
			r.wantDrop(lan, fromHost(c.another), "no_filter")
			if n := r.ruleHits("filter"); n != 1 {
				t.Errorf("counted %d, want 1", n)
			}
		})
	}
}

// One way, a filter matches the direction it states; mirrored, both (S-018).
func TestMirrored(t *testing.T) {
	for _, mirrored := range []bool{false, true} {
		inbound := rule{name: "inbound", source: "any", destination: "10.10.1.2/32", block: true, oneWay: !mirrored}
		r := newRig(t, rigOptions{lan: "10.10.1.1/24", wan: "192.0.2.1/24", host: netip.MustParseAddr("10.10.1.2"), peer: peer,
			rules: []rule{inbound, {name: "all", source: "any", destination: "any"}}})
		host, outside := netip.MustParseAddr("10.10.1.2"), netip.MustParseAddr("198.51.100.9")
		r.wantDrop(wan, fromPeer(tcp(outside, host)), "filter_block")
		if mirrored {
			r.wantDrop(lan, fromHost(tcp(host, outside)), "filter_block")
		} else {
			r.wantForward(lan, fromHost(tcp(host, outside)), wan)
		}
	}
}

// A tunnel whose own end has vanished protects nothing, so what it protected is dropped both ways (S-011).
func TestStaleEndpoint(t *testing.T) {
	r := newRig(t, rigOptions{endpoints: map[string]netip.Addr{"site": wanOwn}, rules: []rule{siteRule, {name: "all", source: "any", destination: "any"}}})
	far := r.outbound(r.child("site", "aes128gcm16", false))
	r.opened(far, r.wantForward(lan, fromHost(tcp(lanHost, farHost)), wan), 60)
	r.ref.own = addresses{r.ref.own[lan], {netip.MustParsePrefix("192.0.2.9/24")}}
	r.applyRules(siteRule, rule{name: "all", source: "any", destination: "any"})
	for range 2 {
		r.wantDrop(lan, fromHost(tcp(lanHost, farHost)), "stale_endpoint")
		r.wantDrop(wan, fromPeer(tcp(farHost, lanHost)), "stale_endpoint")
	}
	if n := r.d.Counters().Ports[lan].Drops["stale_endpoint"]; n != 2 {
		t.Errorf("counted %d, want 2", n)
	}
}

// IKE has given up on a tunnel: its traffic is dropped for that reason, what waited included, and nothing is asked for. The
// data plane's half of S-024.
func TestNegotiationFailed(t *testing.T) {
	r := newRig(t, rigOptions{rules: []rule{siteRule, {name: "all", source: "any", destination: "any"}}})
	r.setCell("site", CellHold)
	frame := fromHost(tcp(lanHost, farHost))
	r.check(lan, frame)
	asked := len(r.seen.acquired)
	r.setCell("site", CellFailed)
	for range 3 {
		r.wantDrop(lan, frame, "blocked_negotiation_failed")
	}
	p := r.d.Counters().Ports[lan]
	if p.Drops["blocked_negotiation_failed"] != 4 || p.Waiting != 0 || len(r.seen.acquired) != asked {
		t.Errorf("%+v, asked %d times, want %d", p, len(r.seen.acquired), asked)
	}
	r.setCell("site", CellHold)
	if o, _ := r.check(lan, frame); o.Disposition != packetAcquire {
		t.Errorf("after the failure: %+v", o)
	}
}

// A tunnel on the protected side, for a rule of lan ports only: two hosts on two lan ports, one of which speaks IPsec.
//
//	client 10.1.0.7 ── (tunnel "client") ── lan [gateway] lan ── server 192.0.2.2
//
// With inbound pass-through (S-026) a clear packet of the client is accepted until the tunnel is up, the server's answer is
// held and asks for the tunnel, and from then on only what comes through it is accepted. After a negotiation that failed
// (S-024), or where none may begin, nothing is accepted in clear.
func TestPassthrough(t *testing.T) {
	for _, passthrough := range []bool{true, false} {
		client := rule{name: "client", source: "192.0.2.0/24", destination: "10.1.0.0/24", tunnel: "client", ports: policy.PortsLAN, passthrough: passthrough}
		r := newRig(t, rigOptions{wanRole: policy.PortsLAN, rules: []rule{client, {name: "all", source: "any", destination: "any"}}})
		r.setCell("client", CellHold)
		syn, answer := tcp(lanHost, peer), tcp(peer, lanHost)
		for range 3 {
			if passthrough {
				r.wantForward(lan, fromHost(syn), wan)
			} else {
				r.wantDrop(lan, fromHost(syn), "clear_on_protected")
			}
		}
		if o, _ := r.check(wan, fromPeer(answer)); o.Disposition != packetAcquire || len(r.seen.acquired) != 1 {
			t.Fatalf("the answer: %+v, asked %d times", o, len(r.seen.acquired))
		}
		child := func(inbound bool) ChildSA {
			c := r.child("client", "aes128gcm16", inbound)
			c.Local, c.Remote = netip.AddrPortFrom(lanOwn, 4500), netip.AddrPortFrom(lanHost, 4500)
			c.Selectors = []policy.Selector{{Local: policy.RangeOf(netip.MustParsePrefix("192.0.2.0/24")), Remote: policy.RangeOf(netip.MustParsePrefix("10.1.0.0/24")),
				LocalPort: policy.AnyPort, RemotePort: policy.AnyPort}}
			return c
		}
		near := r.inbound(child(true))
		out := child(false)
		far := r.outbound(out)
		r.settle()
		if held := r.sent(lan); len(held) != 1 || r.reveal(far, held[0]).destination() != lanHost {
			t.Fatalf("%d frames for the held answer", len(held))
		}
		r.ref.cells[out.Cell].out.sequence = 1
		r.opened(far, r.wantForward(wan, fromPeer(answer), lan), 60)
		r.wantForward(lan, fromHost(near.encapsulate(syn, 1)), wan) // ESP on a protected port satisfies the filter
		for range 3 {
			r.wantDrop(lan, fromHost(syn), "clear_on_protected")
		}
		if _, err := r.d.RemoveOutbound(out.Cell, out.SPI); err != nil {
			t.Fatal(err)
		}
		r.ref.cells[out.Cell].out = nil
		if o, _ := r.check(lan, fromHost(syn)); (o.Disposition == packetForwarded) != passthrough {
			t.Errorf("after the tunnel: %+v", o)
		}
		for state, reason := range map[CellState]string{CellFailed: "blocked_negotiation_failed", CellClosed: "clear_on_protected"} {
			if !passthrough {
				reason = "clear_on_protected"
			}
			r.setCell("client", state)
			r.wantDrop(lan, fromHost(syn), reason)
		}
	}
}
