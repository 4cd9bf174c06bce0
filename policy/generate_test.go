package policy

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"
)

// The generators draw from a universe so small that filters nest, overlap and coincide all the time: 16 addresses of
// each IP version inside larger ranges, 4 protocols, 8 ports.

func seeded(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 15)) }

func randomAddress(r *rand.Rand, ip4 bool) netip.Addr {
	low := byte(r.IntN(16))
	if ip4 {
		return netip.AddrFrom4([4]byte{10, 0, 0, low})
	}
	var a [16]byte
	a[0], a[15] = 0xfd, low
	return netip.AddrFrom16(a)
}

func randomRange(r *rand.Rand, ip4 bool) AddrRange {
	a, b := randomAddress(r, ip4), randomAddress(r, ip4)
	switch r.IntN(4) {
	case 0:
		return HostRange(a)
	case 1:
		return RangeOf(netip.PrefixFrom(a, a.BitLen()-r.IntN(a.BitLen()+1)))
	default:
		if b.Less(a) {
			a, b = b, a
		}
		return AddrRange{First: a, Last: b}
	}
}

func randomPorts(r *rand.Rand) PortRange {
	a, b := uint16(1+r.IntN(8)), uint16(1+r.IntN(8))
	switch r.IntN(3) {
	case 0:
		return AnyPort
	case 1:
		return PortRange{First: a, Last: a}
	default:
		return PortRange{First: min(a, b), Last: max(a, b)}
	}
}

var universeProtocols = []uint8{0, 1, 6, 17}

func randomBox(r *rand.Rand) box {
	ip4 := r.IntN(2) == 0
	b := box{Source: randomRange(r, ip4), Destination: randomRange(r, ip4), Protocol: universeProtocols[r.IntN(4)], SourcePort: AnyPort, DestinationPort: AnyPort}
	if protocolHasPorts(b.Protocol) {
		b.SourcePort, b.DestinationPort = randomPorts(r), randomPorts(r)
	}
	return b
}

func randomFilter(r *rand.Rand) Filter {
	b := randomBox(r)
	f := Filter{Source: Range(b.Source), Destination: Range(b.Destination), Protocol: b.Protocol,
		SourcePort: b.SourcePort, DestinationPort: b.DestinationPort, Mirrored: r.IntN(2) == 0}
	for _, spec := range []*AddressSpec{&f.Source, &f.Destination} {
		switch r.IntN(8) {
		case 0:
			*spec = Any()
		case 1:
			*spec = MyAddresses()
		}
	}
	return f
}

func randomPacket(r *rand.Rand) Packet {
	ip4 := r.IntN(2) == 0
	p := Packet{Source: randomAddress(r, ip4), Destination: randomAddress(r, ip4), Protocol: universeProtocols[1+r.IntN(3)]}
	if protocolHasPorts(p.Protocol) && r.IntN(8) != 0 { // now and then a fragment
		p.SourcePort, p.DestinationPort, p.HasPorts = uint16(r.IntN(9)), uint16(r.IntN(9)), true
	}
	return p
}

var universeEnvironment = Environment{LocalAddresses: []netip.Addr{
	netip.MustParseAddr("10.0.0.3"), netip.MustParseAddr("10.0.0.9"), netip.MustParseAddr("fd00::7"),
}}

// randomSet is a valid set of rules over every action and port group. All its tunnels are the same one, because two
// tunnels for the same traffic are an error and so would be most random sets.
func randomSet(r *rand.Rand) *Set {
	set := &Set{Active: "random", FilterActions: []FilterAction{
		{Name: "permit", Kind: ActionPermit}, {Name: "block", Kind: ActionBlock}, {Name: "protect", Kind: ActionNegotiate, Methods: []string{"aes128gcm16"}},
	}}
	p := Policy{Name: "random"}
	for i := range 1 + r.IntN(8) {
		list := FilterList{Name: fmt.Sprintf("list-%d", i), Updated: time.Unix(1, 0)}
		for j := range 1 + r.IntN(4) {
			f := randomFilter(r)
			f.Name = fmt.Sprintf("filter-%d", j)
			list.Filters = append(list.Filters, f)
		}
		set.FilterLists = append(set.FilterLists, list)
		action := set.FilterActions[r.IntN(3)]
		rule := Rule{Name: fmt.Sprintf("rule-%d", i), FilterList: list.Name, FilterAction: action.Name, Ports: PortGroup(r.IntN(4))}
		if action.Kind == ActionNegotiate {
			rule.Tunnel, rule.Ports, rule.AuthMethods = "tunnel", PortsAll, []string{"psk"}
			if r.IntN(2) == 0 && !slices.ContainsFunc(list.Filters, func(f Filter) bool { return f.isOwnMirrorImage() }) {
				rule.Ports = PortsLAN
			}
		}
		p.Rules = append(p.Rules, rule)
	}
	set.Policies = []Policy{p}
	return set
}

// shuffled is the same set with every list in another order.
func shuffled(r *rand.Rand, set *Set) *Set {
	s := &Set{Active: set.Active}
	s.FilterLists = append(s.FilterLists, set.FilterLists...)
	s.FilterActions = append(s.FilterActions, set.FilterActions...)
	s.Policies = append(s.Policies, set.Policies...)
	for i := range s.FilterLists {
		filters := append([]Filter(nil), s.FilterLists[i].Filters...)
		r.Shuffle(len(filters), func(a, b int) { filters[a], filters[b] = filters[b], filters[a] })
		s.FilterLists[i].Filters = filters
	}
	for i := range s.Policies {
		rules := append([]Rule(nil), s.Policies[i].Rules...)
		r.Shuffle(len(rules), func(a, b int) { rules[a], rules[b] = rules[b], rules[a] })
		s.Policies[i].Rules = rules
	}
	r.Shuffle(len(s.FilterLists), func(a, b int) { s.FilterLists[a], s.FilterLists[b] = s.FilterLists[b], s.FilterLists[a] })
	r.Shuffle(len(s.FilterActions), func(a, b int) { s.FilterActions[a], s.FilterActions[b] = s.FilterActions[b], s.FilterActions[a] })
	r.Shuffle(len(s.Policies), func(a, b int) { s.Policies[a], s.Policies[b] = s.Policies[b], s.Policies[a] })
	return s
}
