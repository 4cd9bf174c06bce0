package bench

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"

	"sallyport/policy"
)

const (
	minFilters  = 10
	maxFilters  = 10000
	siteFlows   = 16384 // of a flood: each packet in the file is a flow of its own
	knownFlows  = 1024  // whose packets hit the flow cache
	siteSize    = 64
	protocolTCP = 6
	siteTunnel  = "site"

	filtersPerRule = 100
)

// site is a network with a policy of many filters. A policy of n filters has the first n-1 of the same list and one for all
// that is left, so that the same packets meet policies of every size.
type site struct {
	tunnel  bool // the filters protect, otherwise they permit
	filters []siteFilter
	flows   []siteFlow
}

type siteFilter struct {
	source, destination netip.Prefix
	protocol            uint8
	port                policy.PortRange // destination
}

type siteFlow struct {
	source, destination         [4]byte
	sourcePort, destinationPort uint16
	protocol                    uint8
}

// newSite draws filters and flows, the same ones each time. Every second flow is one that one of the first `aimed` filters was
// written for, of any kind; the others meet the last filter.
func newSite(tunnel bool, flows, aimed int) *site {
	random := rand.New(rand.NewPCG(118, 3))
	s := &site{tunnel: tunnel}
	for i := range maxFilters {
		s.filters = append(s.filters, newSiteFilter(random, i))
	}
	known := map[siteFlow]bool{}
	for len(s.flows) < flows {
		flow := siteFlow{hostIn(random, lanHosts), hostIn(random, remoteHosts), uint16(firstPort + random.IntN(50000)), uint16(random.IntN(1 << 16)), protocolUDP}
		if len(s.flows)%2 == 0 {
			flow = s.filters[random.IntN(aimed)].flow(random, flow)
		}
		if !known[flow] {
			known[flow] = true
			s.flows = append(s.flows, flow)
		}
	}
	return s
}

// newSiteFilter is one of five kinds. Of 20 filters five each are for pairs of hosts and from anywhere to a TCP port of a
// host, four each for pairs of prefixes and for ranges of ports between prefixes, two from a host to anywhere.
func newSiteFilter(random *rand.Rand, i int) siteFilter {
	of := func(p netip.Prefix, bits int) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom4(hostIn(random, p)), bits).Masked()
	}
	f := siteFilter{source: of(lanHosts, 32), destination: of(remoteHosts, 32)}
	switch i % 20 {
	case 0, 4, 8, 12, 16: // a pair of hosts
	case 1, 5, 9, 13, 17:
		port := uint16(1 + random.IntN(9000))
		f.source, f.protocol, f.port = anywhere, protocolTCP, policy.PortRange{First: port, Last: port}
	case 2, 6, 10, 14:
		f.source, f.destination = of(lanHosts, 20+random.IntN(9)), of(remoteHosts, 16+random.IntN(13))
	case 3, 7, 11, 15:
		first := uint16(1 + random.IntN(60000))
		f.source, f.destination, f.protocol = of(lanHosts, 24), of(remoteHosts, 24), protocolTCP
		f.port = policy.PortRange{First: first, Last: first + uint16(random.IntN(5000))}
	default:
		f.destination = anywhere
	}
	return f
}

var anywhere = netip.MustParsePrefix("0.0.0.0/0")

// flow is a flow that the filter matches, with all that it leaves open taken from another.
func (f *siteFilter) flow(random *rand.Rand, other siteFlow) siteFlow {
	if f.source != anywhere {
		other.source = hostIn(random, f.source)
	}
	if f.destination != anywhere {
		other.destination = hostIn(random, f.destination)
	}
	if f.protocol != 0 {
		other.protocol = f.protocol
	}
	if f.port != (policy.PortRange{}) {
		other.destinationPort = f.port.First + uint16(random.IntN(int(f.port.Last-f.port.First)+1))
	}
	return other
}

// hostIn is a random address of a prefix.
func hostIn(random *rand.Rand, p netip.Prefix) [4]byte {
	first := p.Addr().As4()
	return [4]byte(binary.BigEndian.AppendUint32(nil, binary.BigEndian.Uint32(first[:])|random.Uint32()>>p.Bits()))
}

// packet is packet i of the file: one of each flow in turn.
func (s *site) packet(i int) []byte {
	f := &s.flows[i%len(s.flows)]
	b := appendIP(make([]byte, 0, siteSize), siteSize, f.protocol, netip.AddrFrom4(f.source), netip.AddrFrom4(f.destination))
	b = binary.BigEndian.AppendUint16(b, f.sourcePort)
	b = binary.BigEndian.AppendUint16(b, f.destinationPort)
	if f.protocol == protocolUDP {
		b = binary.BigEndian.AppendUint16(b, siteSize-ipv4Len)
	}
	return append(b, make([]byte, siteSize-len(b))...)
}

// set is the policy of n filters.
func (s *site) set(n int, suite string) *policy.Set {
	action := policy.FilterAction{Name: "permit", Kind: policy.ActionPermit}
	if s.tunnel {
		action = policy.FilterAction{Name: "protect", Kind: policy.ActionNegotiate, Methods: []string{suite}}
	}
	set := &policy.Set{Active: "site", FilterActions: []policy.FilterAction{action}, Policies: []policy.Policy{{Name: "site"}}}
	add := func(name string, filters []policy.Filter) {
		set.FilterLists = append(set.FilterLists, policy.FilterList{Name: name, Filters: filters})
		rule := policy.Rule{Name: name, FilterList: name, FilterAction: action.Name}
		if s.tunnel {
			rule.Tunnel, rule.AuthMethods = siteTunnel, []string{"psk"}
		}
		set.Policies[0].Rules = append(set.Policies[0].Rules, rule)
	}
	for from := 0; from < n-1; from += filtersPerRule {
		var filters []policy.Filter
		for i := from; i < min(from+filtersPerRule, n-1); i++ {
			filters = append(filters, s.filters[i].filter(fmt.Sprintf("filter-%d", i)))
		}
		add(fmt.Sprintf("list-%d", from/filtersPerRule), filters)
	}
	rest := siteFilter{source: lanHosts, destination: remoteHosts}
	add("rest", []policy.Filter{rest.filter("rest")})
	return set
}

func (f *siteFilter) filter(name string) policy.Filter {
	return policy.Filter{Name: name, Source: policy.Range(policy.RangeOf(f.source)), Destination: policy.Range(policy.RangeOf(f.destination)),
		Protocol: f.protocol, DestinationPort: f.port, Mirrored: true}
}
