package pipeline

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"sallyport/policy"
)

// matchSite is where random policies and packets have their addresses: few networks, so that filters nest and overlap.
var matchSite = []string{"10.1.0.0/16", "10.1.7.0/24", "198.51.100.0/25", "203.0.113.16/28", "0.0.0.0/1",
	"2001:db8::/32", "2001:db8:7::/48", "2001:db8:7::/64", "fd00::7:0/112", "8000::/2"}

var (
	matchProtocols = []uint8{0, 0, protocolICMP, 6, 6, 6, protocolUDP, 47, 58}
	matchPorts     = []uint16{0, 1, 22, 443, 1023, 1024, 8080, 65534, 65535}
)

// filterSource makes random filters and random packets for them.
type filterSource struct{ *rand.Rand }

func (r filterSource) network(size int) netip.Prefix {
	for {
		if p := netip.MustParsePrefix(matchSite[r.IntN(len(matchSite))]); p.Addr().BitLen() == size*8 {
			return p
		}
	}
}

// within is an address of the prefix, often close to one of its ends.
func (r filterSource) within(p netip.Prefix) netip.Addr {
	whole := policy.RangeOf(p)
	at := whole.First
	switch r.IntN(3) {
	case 0:
		at = whole.Last
	case 1:
		b := whole.First.AsSlice()
		for bit := p.Bits(); bit < len(b)*8; bit++ {
			b[bit/8] |= byte(r.IntN(2)) << (7 - bit%8)
		}
		at, _ = netip.AddrFromSlice(b)
	}
	return r.beside(at)
}

// beside is the address, or one of the few next to it.
func (r filterSource) beside(a netip.Addr) netip.Addr {
	for n := r.IntN(6) - 3; n != 0; {
		next := a.Next()
		if n < 0 {
			next = a.Prev()
			n++
		} else {
			n--
		}
		if !next.IsValid() {
			break
		}
		a = next
	}
	return a
}

func (r filterSource) addresses(size int) policy.AddrRange {
	network := r.network(size)
	switch r.IntN(5) {
	case 0:
		return policy.RangeOf(netip.PrefixFrom(network.Addr(), 0))
	case 1:
		return policy.RangeOf(netip.PrefixFrom(r.within(network), network.Bits()+r.IntN(size*8-network.Bits()+1)))
	case 2:
		a, b := r.within(network), r.within(r.network(size))
		if b.Less(a) {
			a, b = b, a
		}
		return policy.AddrRange{First: a, Last: b}
	case 3:
		return policy.RangeOf(network)
	}
	return policy.HostRange(r.within(network))
}

func (r filterSource) ports() policy.PortRange {
	a, b := matchPorts[r.IntN(len(matchPorts))], matchPorts[r.IntN(len(matchPorts))]
	switch r.IntN(3) {
	case 0:
		return policy.AnyPort
	case 1:
		return policy.PortRange{First: max(a, 1), Last: max(a, 1)}
	}
	return policy.PortRange{First: max(min(a, b), 1), Last: max(a, b, 1)}
}

func (r filterSource) filter() policy.Filter { return r.filterOf([]int{4, 16}[r.IntN(2)]) }

// filterOf is one with addresses of so many bytes.
func (r filterSource) filterOf(size int) policy.Filter {
	f := policy.Filter{Source: policy.Range(r.addresses(size)), Destination: policy.Range(r.addresses(size)), Mirrored: r.IntN(2) == 0,
		Protocol: matchProtocols[r.IntN(len(matchProtocols))]}
	if hasPorts(f.Protocol) {
		f.SourcePort, f.DestinationPort = r.ports(), r.ports()
	}
	return f
}

// siteFilter is one of those that a large policy has by the thousand.
func (r filterSource) siteFilter() policy.Filter {
	size := []int{4, 16}[r.IntN(2)]
	network := netip.MustParsePrefix([]string{"10.1.0.0/16", "2001:db8::/32"}[size/16])
	f := policy.Filter{Source: policy.Range(policy.HostRange(r.within(network))), Destination: policy.Range(policy.HostRange(r.within(network))), Mirrored: true}
	switch r.IntN(4) {
	case 0:
		f.Source, f.Protocol, f.DestinationPort = policy.Range(policy.RangeOf(netip.PrefixFrom(network.Addr(), 0))), 6, r.ports()
	case 1:
		f.Source = policy.Range(policy.RangeOf(netip.PrefixFrom(r.within(network), network.Bits()+8+r.IntN(8))))
	case 2:
		f.Destination, f.Protocol = policy.Range(policy.RangeOf(netip.PrefixFrom(network.Addr(), 0))), protocolUDP
	}
	return f
}

// compileFilters makes a policy of them, each in a rule for some of the ports.
func compileFilters(t *testing.T, random filterSource, filters []policy.Filter) *policy.SPD {
	t.Helper()
	set := &policy.Set{Active: "match", FilterActions: []policy.FilterAction{{Name: "permit", Kind: policy.ActionPermit}, {Name: "block", Kind: policy.ActionBlock}}}
	p := policy.Policy{Name: "match"}
	for i, f := range filters {
		name := fmt.Sprintf("rule-%d", i)
		set.FilterLists = append(set.FilterLists, policy.FilterList{Name: name, Updated: epoch, Filters: []policy.Filter{f}})
		p.Rules = append(p.Rules, policy.Rule{Name: name, FilterList: name, FilterAction: []string{"permit", "block"}[random.IntN(2)],
			Ports: policy.PortGroup(1 + random.IntN(3))})
	}
	set.Policies = []policy.Policy{p}
	spd, _, err := policy.Compile(set, policy.Environment{})
	if err != nil {
		t.Fatal(err)
	}
	return spd
}

// packet mostly touches the border of one of the entries, from inside or outside.
func (r filterSource) packet(spd *policy.SPD) policy.Packet {
	size := []int{4, 16}[r.IntN(2)]
	p := policy.Packet{Source: r.within(r.network(size)), Destination: r.within(r.network(size)), Protocol: matchProtocols[r.IntN(len(matchProtocols))],
		SourcePort: matchPorts[r.IntN(len(matchPorts))], DestinationPort: uint16(r.Uint32())}
	if r.IntN(4) > 0 && len(spd.Entries) > 0 {
		e := &spd.Entries[r.IntN(len(spd.Entries))]
		p.Source, p.Destination = r.border(e.Source), r.border(e.Destination)
		p.SourcePort, p.DestinationPort = r.borderPort(e.SourcePort), r.borderPort(e.DestinationPort)
		if r.IntN(8) > 0 && e.Protocol != 0 {
			p.Protocol = e.Protocol
		}
	}
	if p.HasPorts = hasPorts(p.Protocol); !p.HasPorts {
		p.SourcePort, p.DestinationPort = 0, 0
	}
	return p
}

func (r filterSource) border(a policy.AddrRange) netip.Addr {
	edge := a.First
	if r.IntN(2) == 0 {
		edge = a.Last
	}
	switch r.IntN(8) {
	case 0:
		if edge = a.First.Prev(); edge.IsValid() {
			return edge
		}
		return a.First
	case 1:
		if edge = a.Last.Next(); edge.IsValid() {
			return edge
		}
		return a.Last
	case 2:
		return r.beside(edge)
	}
	return edge
}

func (r filterSource) borderPort(p policy.PortRange) uint16 {
	return []uint16{p.First, p.Last, p.First - 1, p.Last + 1, p.First, p.Last, uint16(r.Uint32())}[r.IntN(7)]
}

// agree asks the classifier and the oracle about packets that arrive with each role.
func agree(t *testing.T, d *Dataplane, spd *policy.SPD, random filterSource, packets int) (matched int) {
	t.Helper()
	if err := d.Apply(Snapshot{SPD: spd}); err != nil {
		t.Fatal(err)
	}
	for _, role := range []uint8{roleProtected, roleUnprotected, roleLocal} {
		asked := make([]policy.Packet, packets/3+1)
		for i := range asked {
			asked[i] = random.packet(spd)
		}
		for i, found := range d.matchFilters(asked, role) {
			want, ok := spd.Match(asked[i], portGroup(role))
			switch {
			case found < 0 && !ok:
			case found < 0 || !ok:
				t.Fatalf("%+v with role %d of %d entries: entry %d, want %+v", asked[i], role, len(spd.Entries), found, want)
			case want != &spd.Entries[found]:
				t.Fatalf("%+v with role %d of %d entries: %+v, want %+v", asked[i], role, len(spd.Entries), spd.Entries[found], want)
			default:
				matched++
			}
		}
	}
	return matched
}

// A million random packets of both IP versions, most of them at the borders of a filter, meet the same filter in the compiled
// tables as in the naive matcher: random policies of every size, in one table and in several.
// S-015
func TestClassifierEqualsNaiveMatcher(t *testing.T) {
	r := newRig(t, rigOptions{})
	random := filterSource{rand.New(rand.NewPCG(15, 3))}
	const policies, million = 100, 1_000_000
	packets, matched := 0, 0
	judge := func(filters, n int, filter func() policy.Filter) {
		list := make([]policy.Filter, filters)
		for i := range list {
			list[i] = filter()
		}
		matched += agree(t, r.d, compileFilters(t, random, list), random, n)
		packets += n
	}
	for i := range policies {
		judge(i%50, 9600, random.filter)
	}
	judge(300, 20_000, random.filter)
	judge(5000, 20_000, random.siteFilter) // more rules of each version than one table takes
	if ip4, ip6 := r.d.filterTables(); ip4 < 3 || ip6 < 3 {
		t.Errorf("the large policy is in %d tables of IPv4 and %d of IPv6, want one for each shape", ip4, ip6)
	}
	if packets < million {
		t.Errorf("%d packets, want a million", packets)
	}
	if matched < packets/3 || matched == packets {
		t.Errorf("%d of %d packets met a filter: the test proves little", matched, packets)
	}
}

// Rules that do not go into the eight tries of one rte_acl context are split, however few they are.
func TestClassifierSplitsWhatDoesNotFit(t *testing.T) {
	r := newRig(t, rigOptions{})
	random := filterSource{rand.New(rand.NewPCG(16, 3))}
	filters := make([]policy.Filter, 1300)
	for i := range filters {
		filters[i] = random.filterOf(4)
	}
	spd := compileFilters(t, random, filters)
	agree(t, r.d, spd, random, 3000)
	if ip4, _ := r.d.filterTables(); ip4 < 2 {
		t.Errorf("%d entries in %d tables: the test proves nothing", len(spd.Entries), ip4)
	}
}
