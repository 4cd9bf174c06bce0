package policy

import (
	"net/netip"
	"reflect"
	"testing"
)

// Whatever parses prints in a form that parses to the same.
func FuzzParseAddressSpec(f *testing.F) {
	for _, seed := range []string{"any", "my", "10.0.0.1", "10.0.0.0/8", "10.0.0.3-10.0.0.9", "2001:db8::/32", "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		spec, err := ParseAddressSpec(text)
		if err != nil {
			return
		}
		again, err := ParseAddressSpec(spec.String())
		if err != nil || !reflect.DeepEqual(again, spec) {
			t.Errorf("%q reads as %q, which reads as %q, %v", text, spec, again, err)
		}
	})
}

// Sets and packets of every shape compile or fail, and match, without a panic; an active policy with an error has no SPD.
func FuzzCompile(f *testing.F) {
	f.Add("10.0.0.0/8", "my", uint8(6), uint16(1), uint16(80), uint8(0), uint8(3), "t")
	f.Add("::/0", "any", uint8(0), uint16(0), uint16(0), uint8(1), uint8(0), "")
	f.Add("10.0.0.0/8", "::/0", uint8(46), uint16(9), uint16(2), uint8(7), uint8(9), "t")
	f.Fuzz(func(t *testing.T, source, destination string, protocol uint8, first, last uint16, kind, ports uint8, tunnel string) {
		from, _ := ParseAddressSpec(source)
		to, _ := ParseAddressSpec(destination)
		set := setOf(ruleText{name: "r", kind: ActionKind(kind), ports: PortGroup(ports), tunnel: tunnel,
			filter: Filter{Source: from, Destination: to, Protocol: protocol, DestinationPort: PortRange{first, last}}})
		spd, _, err := Compile(set, gatewayEnvironment)
		if (err == nil) != (spd != nil) {
			t.Fatalf("SPD %v with error %v", spd, err)
		}
		if spd != nil {
			spd.Match(Packet{}, PortsLAN)
			spd.Match(Packet{Source: netip.IPv6Unspecified(), Destination: netip.IPv4Unspecified()}, PortsWAN)
			spd.Rows()
		}
	})
}

// Whatever reads as ports prints in a form that reads the same, and is a range in order.
func FuzzParsePortRange(f *testing.F) {
	for _, seed := range []string{"", "any", "80", "1024-65535", "0-1", "9-2", "65536", " 1 - 2 "} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ports, err := ParsePortRange(text)
		if err != nil {
			return
		}
		again, err := ParsePortRange(ports.String())
		if err != nil || again != ports || ports.Last < ports.First {
			t.Errorf("%q reads as %s, which reads as %s, %v", text, ports, again, err)
		}
	})
}

// script is a source of choices for a fuzz target: its bytes, then zeros.
type script []byte

func (s *script) below(n int) int {
	if len(*s) == 0 {
		return 0
	}
	choice := int((*s)[0]) % n
	*s = (*s)[1:]
	return choice
}

func (s *script) address() netip.Addr {
	if s.below(2) == 0 {
		return netip.AddrFrom4([4]byte{[]byte{0, 10, 224, 255}[s.below(4)], 0, []byte{0, 255}[s.below(2)], byte(s.below(256))})
	}
	var a [16]byte
	a[0], a[15] = []byte{0, 0xfd, 0xff}[s.below(3)], byte(s.below(256))
	return netip.AddrFrom16(a)
}

func (s *script) side() AddressSpec {
	a := s.address()
	switch s.below(5) {
	case 0:
		return Any()
	case 1:
		return MyAddresses()
	case 2:
		return Range(RangeOf(netip.PrefixFrom(a, s.below(a.BitLen()+1))))
	case 3:
		return Range(AddrRange{First: a, Last: s.address()})
	}
	return Range(HostRange(a))
}

// ports is a range, in order or not, but not the one of port 0 alone, which a filter takes for any.
func (s *script) ports() PortRange { return PortRange{First: s.port(), Last: max(1, s.port())} }

func (s *script) port() uint16 { return []uint16{0, 1, 53, 88, 500, 4500, 65535}[s.below(7)] }

var fuzzProtocols = []uint8{0, 1, protocolTCP, protocolUDP, protocolIPv6, protocolRSVP}

func (s *script) filter() Filter {
	f := Filter{Source: s.side(), Destination: s.side(), Protocol: fuzzProtocols[s.below(6)], SourcePort: AnyPort, DestinationPort: AnyPort, Mirrored: s.below(2) == 0}
	if s.below(2) == 0 {
		f.SourcePort, f.DestinationPort = s.ports(), s.ports()
	}
	return f
}

func (s *script) set() *Set {
	var rules []ruleText
	for i := range 1 + s.below(4) {
		r := ruleText{name: string(rune('a' + i)), kind: ActionKind(s.below(3)), ports: PortGroup(s.below(4)), filter: s.filter()}
		if r.kind == ActionNegotiate {
			r.tunnel = "t"
		}
		rules = append(rules, r)
	}
	set := setOf(rules...)
	set.Exemptions, set.IKEDisabled = ExemptionLevel(s.below(4)), s.below(2) == 1
	set.Policies[0].DefaultAction = []ActionKind{ActionBlock, ActionPermit}[s.below(2)]
	return set
}

// A set of any shape compiles to what its rules say in words, or is refused; never a panic, never a packet that is
// treated otherwise: exemptions, the most specific filter, the default action.
func FuzzDecide(f *testing.F) {
	r := seeded(18)
	for range 50 {
		seed := make([]byte, 120)
		for i := range seed {
			seed[i] = byte(r.IntN(256))
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s := script(data)
		set, env := s.set(), gatewayEnvironment
		if s.below(2) == 1 {
			env.Vanished = []netip.Addr{s.address()}
		}
		spd, _, err := Compile(set, env)
		if (err == nil) != (spd != nil) {
			t.Fatalf("SPD %v with error %v", spd, err)
		}
		if err != nil {
			return
		}
		for range 8 {
			p := Packet{Source: s.address(), Destination: s.address(), Protocol: fuzzProtocols[1+s.below(5)]}
			if s.below(2) == 0 {
				p.Destination = gatewayEnvironment.LocalAddresses[s.below(3)]
			}
			if p.Source.Is4() != p.Destination.Is4() {
				continue
			}
			if protocolHasPorts(p.Protocol) {
				p.SourcePort, p.DestinationPort, p.HasPorts = s.port(), s.port(), true
			}
			port := PortGroup(1 + s.below(2))
			d := spd.Decide(p, port)
			if want := decideInWords(set, env, spd, p, port); d.Verdict != want {
				t.Fatalf("%+v on %s: %s (%s), want %s\n%+v", p, port, d.Verdict, d.Why, want, set)
			}
			if x := spd.Explain(p, port); x.Decision != d {
				t.Fatalf("%+v: explained %+v, decided %+v", p, x.Decision, d)
			}
		}
	})
}

// decideInWords is the verdict from the rules as written; of the compiled policy it asks for what is exempt alone.
func decideInWords(set *Set, env Environment, spd *SPD, p Packet, port PortGroup) Verdict {
	if _, ok := spd.Exempt(p); ok {
		return VerdictPermit
	}
	filter := decidedBy(set, env, p, port)
	isGroup := p.Destination.IsMulticast() || p.Destination == addr("255.255.255.255") || p.Destination == addr("192.0.2.255") || p.Destination == addr("10.1.255.255")
	switch {
	case filter == nil && (set.Policies[0].DefaultAction == ActionBlock || p.Source.Is6() || p.Protocol == protocolIPv6):
		return VerdictBlock
	case filter == nil:
		return VerdictPermit
	case p.Protocol == protocolIPv6 && filter.filter.Protocol != protocolIPv6, isGroup && (filter.verdict == VerdictProtect || filter.verdict == VerdictRequire):
		return VerdictBlock
	}
	return filter.verdict
}

// What peers propose, of whatever shape, neither fails a policy nor takes a packet from its rules.
func FuzzDynamic(f *testing.F) {
	for seed := range 20 {
		f.Add([]byte{0, 2, 3, 0, byte(seed), 1, 1, 0, byte(seed * 7), 4, 0}, "10.0.0.0", "10.0.0.255", "fd00::", "fd00::ff", uint8(seed), uint16(seed), uint16(9))
	}
	f.Fuzz(func(t *testing.T, data []byte, localFirst, localLast, remoteFirst, remoteLast string, protocol uint8, first, last uint16) {
		s := script(data)
		set := s.set()
		set.Policies[0].DefaultResponse = DefaultResponse{Enabled: true, Methods: []string{"aes128gcm16"}, AuthMethods: []string{"psk"}}
		without, _, err := Compile(set, gatewayEnvironment)
		if err != nil {
			return
		}
		parse := func(text string) netip.Addr {
			a, _ := netip.ParseAddr(text)
			return a
		}
		env := gatewayEnvironment
		env.Dynamic = []DynamicFilter{{Tunnel: "x", Selector: Selector{
			Local: AddrRange{parse(localFirst), parse(localLast)}, Remote: AddrRange{parse(remoteFirst), parse(remoteLast)},
			Protocol: protocol, LocalPort: PortRange{first, last}, RemotePort: AnyPort}}}
		with, _, err := Compile(set, env)
		if err != nil {
			t.Fatalf("the proposal %+v fails the policy: %v", env.Dynamic, err)
		}
		p := Packet{Source: s.address(), Destination: s.address(), Protocol: protocol}
		if before, had := without.Match(p, PortsLAN); had {
			if after, has := with.Match(p, PortsLAN); !has || after.ID != before.ID {
				t.Fatalf("%+v was for %+v, now for %+v", p, before, after)
			}
		}
	})
}
