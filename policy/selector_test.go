package policy

import "testing"

func randomSelector(b box) Selector {
	return Selector{Local: b.Source, Remote: b.Destination, Protocol: b.Protocol, LocalPort: b.SourcePort, RemotePort: b.DestinationPort}
}

// A packet is in the intersection exactly if it is in both selectors, containment means that no packet of the inner one
// is outside the outer one, and the two directions of a flow belong to the same selector.
func TestSelectorAlgebra(t *testing.T) {
	r := seeded(6)
	intersections, contained := 0, 0
	for range 20000 {
		a, b := randomSelector(randomBox(r)), randomSelector(randomBox(r))
		p := randomPacket(r)
		reply := Packet{Source: p.Destination, Destination: p.Source, Protocol: p.Protocol, SourcePort: p.DestinationPort, DestinationPort: p.SourcePort, HasPorts: p.HasPorts}
		both, ok := a.Intersect(b)
		inBoth := a.Matches(p, true) && b.Matches(p, true)
		if got := ok && both.Matches(p, true); got != inBoth {
			t.Fatalf("%s and %s meet in %s (%v): %+v is in it %v, in both %v", a, b, both, ok, p, got, inBoth)
		}
		if a.Matches(p, true) != a.Matches(reply, false) {
			t.Fatalf("%s: outbound %+v and its reply differ", a, p)
		}
		if ok {
			intersections++
			if !a.Contains(both) || !b.Contains(both) {
				t.Fatalf("%s is not inside %s and %s", both, a, b)
			}
		}
		if a.Contains(b) {
			contained++
			if b.Matches(p, true) && !a.Matches(p, true) {
				t.Fatalf("%s contains %s but not its packet %+v", a, b, p)
			}
		}
	}
	if intersections < 1000 || contained < 100 {
		t.Errorf("%d intersections and %d containments: the test proves little", intersections, contained)
	}
}

// Each field alone separates a matching from a non-matching packet.
// S-013
func TestEachFieldSeparates(t *testing.T) {
	s := Selector{Local: network("10.1.0.0/24"), Remote: network("10.2.0.0/24"), Protocol: 6, LocalPort: PortRange{1000, 1999}, RemotePort: PortRange{80, 80}}
	for _, v := range []struct{ local, remote, here, outside, there, beyond string }{
		{"10.1.0.0/24", "10.2.0.0/24", "10.1.0.5", "10.1.1.5", "10.2.0.5", "10.2.1.5"},
		{"2001:db8:1::/48", "2001:db8:2::/48", "2001:db8:1::5", "2001:db8:11::5", "2001:db8:2::5", "2001:db8:22::5"},
	} {
		filter := Filter{Source: spec(v.local), Destination: spec(v.remote), Protocol: 6, SourcePort: s.LocalPort, DestinationPort: s.RemotePort}
		spd, _ := mustCompile(t, setOf(ruleText{name: "r", kind: ActionPermit, filter: filter}), Environment{})
		p := Packet{Source: addr(v.here), Destination: addr(v.there), Protocol: 6, SourcePort: 1500, DestinationPort: 80, HasPorts: true}
		s.Local, s.Remote = network(v.local), network(v.remote)
		matches := func(p Packet) [2]bool {
			_, ok := spd.Match(p, PortsLAN)
			return [2]bool{s.Matches(p, true), ok}
		}
		if matches(p) != [2]bool{true, true} {
			t.Fatalf("%s does not match %+v", s, p)
		}
		for field, change := range map[string]func(p *Packet){
			"source": func(p *Packet) { p.Source = addr(v.outside) }, "destination": func(p *Packet) { p.Destination = addr(v.beyond) },
			"protocol": func(p *Packet) { p.Protocol = 17 }, "source port": func(p *Packet) { p.SourcePort = 2000 },
			"destination port": func(p *Packet) { p.DestinationPort = 81 }, "ports": func(p *Packet) { p.HasPorts = false },
		} {
			other := p
			change(&other)
			if matches(other) != [2]bool{} {
				t.Errorf("%s: another %s matches: %+v", s, field, other)
			}
		}
	}
	s.Local, s.Remote = network("10.1.0.0/24"), network("10.2.0.0/24")
	if want := "10.1.0.0/24[1000-1999] === 10.2.0.0/24[80] tcp"; s.String() != want {
		t.Errorf("%q, want %q", s, want)
	}
}

func TestAddrRange(t *testing.T) {
	all := AnyIPv6()
	if all.spanBits() != 128 || AnyIPv4().spanBits() != 32 || HostRange(addr("::1")).spanBits() != 0 {
		t.Error("span of the whole or of a single address is wrong")
	}
	if AnyIPv4().Contains(addr("::1")) || all.Contains(addr("10.0.0.1")) || (AddrRange{}).Contains(addr("10.0.0.1")) {
		t.Error("a range contains an address of another IP version")
	}
	if _, ok := (AddrRange{First: addr("10.0.0.1"), Last: addr("10.0.0.2")}).Prefix(); ok {
		t.Error("10.0.0.1-10.0.0.2 is no prefix")
	}
}
