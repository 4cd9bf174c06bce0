package policy

import (
	"math/big"
	"net/netip"
	"slices"
	"testing"
)

// restate decides a packet straight from the rules as an operator wrote them, with no expansion and no code of the
// compiler: every filter and direction that fits the packet is a candidate; fewest addresses (whole bits), then a
// protocol, then fewest ports (whole bits), then fewest addresses and ports exactly; then the most restrictive action.
func restate(set *Set, env Environment, p Packet, port PortGroup) (Verdict, bool) {
	best := decidedBy(set, env, p, port)
	if best == nil {
		return 0, false
	}
	return best.verdict, true
}

// decidedBy is the filter of the restatement that decides, or nil.
func decidedBy(set *Set, env Environment, p Packet, port PortGroup) *candidate {
	var best *candidate
	candidates := candidatesFor(set, env, p, port)
	for _, c := range candidates {
		if c.annulled(candidates) || c.otherDirection(candidates, port) {
			continue
		}
		if best == nil || c.beats(best) {
			best = c
		}
	}
	return best
}

type candidate struct {
	source, destination AddrRange
	filter              Filter
	kind                ActionKind
	verdict             Verdict
	vanished            bool // it is of an own address no longer
}

func candidatesFor(set *Set, env Environment, p Packet, port PortGroup) (all []*candidate) {
	lists, kinds := map[string]FilterList{}, map[string]ActionKind{}
	for _, list := range set.FilterLists {
		lists[list.Name] = list
	}
	for _, action := range set.FilterActions {
		kinds[action.Name] = action.Kind
	}
	for _, rule := range set.Policies[0].Rules {
		if rule.Ports != 0 && rule.Ports&port == 0 {
			continue
		}
		for _, f := range lists[rule.FilterList].Filters {
			kind := kinds[rule.FilterAction]
			if c := fits(f, env, p); c != nil {
				all = append(all, c.of(kind, VerdictProtect))
			}
			if !f.Mirrored && kind != ActionNegotiate {
				continue
			}
			f.Source, f.Destination, f.SourcePort, f.DestinationPort = f.Destination, f.Source, f.DestinationPort, f.SourcePort
			if c := fits(f, env, p); c != nil {
				all = append(all, c.of(kind, VerdictRequire))
			}
		}
	}
	return all
}

// of is the candidate with what its action does to it: a vanished address' is to be dropped (S-011).
func (c *candidate) of(kind ActionKind, negotiated Verdict) *candidate {
	c.kind = kind
	c.verdict = map[ActionKind]Verdict{ActionBlock: VerdictBlock, ActionPermit: VerdictPermit, ActionNegotiate: negotiated}[kind]
	if c.vanished && kind != ActionBlock {
		c.verdict = VerdictStale
	}
	return c
}

// fits is the candidate for a packet in the filter's stated direction, or nil.
func fits(f Filter, env Environment, p Packet) *candidate {
	c := &candidate{filter: f}
	for _, s := range []struct {
		spec AddressSpec
		addr Packet
		out  *AddrRange
	}{{f.Source, Packet{Source: p.Source}, &c.source}, {f.Destination, Packet{Source: p.Destination}, &c.destination}} {
		a := s.addr.Source
		switch s.spec.String() {
		case "any":
			*s.out = AnyIPv6()
			if a.Is4() {
				*s.out = AnyIPv4()
			}
		case "my":
			isVanished := slices.Contains(env.Vanished, a)
			c.vanished = c.vanished || isVanished
			if isVanished || slices.Contains(env.LocalAddresses, a) {
				*s.out = AddrRange{a, a}
			}
		default:
			if s.spec.span.First.Is4() == a.Is4() && s.spec.span.First.Compare(a) <= 0 && a.Compare(s.spec.span.Last) <= 0 {
				*s.out = s.spec.span
			}
		}
		if !s.out.First.IsValid() {
			return nil
		}
	}
	portFits := func(r PortRange, port uint16) bool {
		if r.First == 0 && r.Last == 65535 {
			return true
		}
		return p.HasPorts && port >= r.First && port <= r.Last
	}
	if f.Protocol != 0 && f.Protocol != p.Protocol || !portFits(f.SourcePort, p.SourcePort) || !portFits(f.DestinationPort, p.DestinationPort) {
		return nil
	}
	return c
}

// annulled is whether a more restrictive action was written for exactly the same traffic (S-017).
func (c *candidate) annulled(all []*candidate) bool {
	restrictive := map[Verdict]int{VerdictPermit: 0, VerdictProtect: 1, VerdictRequire: 1, VerdictStale: 2, VerdictBlock: 3}
	return slices.ContainsFunc(all, func(other *candidate) bool {
		return c.sameTraffic(other) && restrictive[other.verdict] > restrictive[c.verdict]
	})
}

// otherDirection is whether the port settles that the packet goes the other way, where addresses and ports do not.
func (c *candidate) otherDirection(all []*candidate, port PortGroup) bool {
	opposite := map[Verdict]Verdict{VerdictProtect: VerdictRequire, VerdictRequire: VerdictProtect}[c.verdict]
	bothWays := opposite != 0 && slices.ContainsFunc(all, func(other *candidate) bool { return c.sameTraffic(other) && other.verdict == opposite })
	return bothWays && (c.verdict == VerdictProtect) != (port == PortsLAN)
}

func (c *candidate) sameTraffic(other *candidate) bool {
	f, g := c.filter, other.filter
	return c.source == other.source && c.destination == other.destination && f.Protocol == g.Protocol &&
		f.SourcePort == g.SourcePort && f.DestinationPort == g.DestinationPort
}

func (c *candidate) beats(other *candidate) bool {
	for _, measure := range []func(*candidate) *big.Int{
		func(c *candidate) *big.Int {
			return big.NewInt(int64(ceilLog(count(c.source)) + ceilLog(count(c.destination))))
		},
		func(c *candidate) *big.Int {
			if c.filter.Protocol == 0 {
				return big.NewInt(1)
			}
			return big.NewInt(0)
		},
		func(c *candidate) *big.Int {
			return big.NewInt(int64(ceilLog(portCount(c.filter.SourcePort)) + ceilLog(portCount(c.filter.DestinationPort))))
		},
		func(c *candidate) *big.Int { return new(big.Int).Mul(count(c.source), count(c.destination)) },
		func(c *candidate) *big.Int {
			return new(big.Int).Mul(portCount(c.filter.SourcePort), portCount(c.filter.DestinationPort))
		},
		func(c *candidate) *big.Int {
			return big.NewInt(map[Verdict]int64{VerdictBlock: 0, VerdictStale: 1, VerdictRequire: 2, VerdictProtect: 3, VerdictPermit: 4}[c.verdict])
		},
	} {
		if order := measure(c).Cmp(measure(other)); order != 0 {
			return order < 0
		}
	}
	return false
}

func count(r AddrRange) *big.Int {
	first, last := new(big.Int).SetBytes(r.First.AsSlice()), new(big.Int).SetBytes(r.Last.AsSlice())
	return last.Sub(last, first).Add(last, big.NewInt(1))
}

func portCount(r PortRange) *big.Int { return big.NewInt(int64(r.Last) - int64(r.First) + 1) }

// ceilLog is the smallest n with 2^n >= x.
func ceilLog(x *big.Int) int {
	n := 0
	for new(big.Int).Lsh(big.NewInt(1), uint(n)).Cmp(x) < 0 {
		n++
	}
	return n
}

// Only the action of the most specific match is carried out.
// S-015, S-017, S-018, S-019
func TestMatchEqualsRestatement(t *testing.T) {
	r, env := seeded(3), universeEnvironment
	env.Vanished = []netip.Addr{addr("10.0.0.12"), addr("fd00::c")}
	matched := map[Verdict]int{}
	const sets, packets = 400, 100
	for range sets {
		set := randomSet(r)
		spd, _, err := Compile(set, env)
		if err != nil {
			t.Fatal(err)
		}
		for range packets {
			p, port := randomPacket(r), PortGroup(1+r.IntN(2))
			e, ok := spd.Match(p, port)
			want, wantOK := restate(set, env, p, port)
			switch {
			case ok != wantOK:
				t.Fatalf("%+v on %s: matched %v, restated %v (%v)\n%+v", p, port, ok, wantOK, want, set)
			case ok && e.Verdict != want:
				t.Fatalf("%+v on %s: %s by %+v, restated %s\n%+v", p, port, e.Verdict, e, want, set)
			case ok:
				matched[e.Verdict]++
			}
		}
	}
	for v, enough := range map[Verdict]int{VerdictBlock: 1000, VerdictStale: 200, VerdictProtect: 1000, VerdictRequire: 1000, VerdictPermit: 1000} {
		if matched[v] < enough {
			t.Errorf("only %d of %d packets were decided by %s: the test proves little", matched[v], sets*packets, v)
		}
	}
}
