package policy

import (
	"net/netip"
	"testing"
	"time"
)

// inside is whether all packets of a are packets of b.
func inside(a, b box) bool {
	return b.Source.ContainsRange(a.Source) && b.Destination.ContainsRange(a.Destination) && (b.Protocol == 0 || a.Protocol == b.Protocol) &&
		b.SourcePort.ContainsRange(a.SourcePort) && b.DestinationPort.ContainsRange(a.DestinationPort)
}

// A strict subset always weighs more, ranges that are no prefix included.
// S-015
func TestStrictSubsetWeighsMore(t *testing.T) {
	r := seeded(1)
	drafts := make([]*draft, 3000)
	for i := range drafts {
		drafts[i] = &draft{}
		drafts[i].setTraffic(randomBox(r))
	}
	if err := weigh(drafts); err != nil {
		t.Fatal(err)
	}
	pairs := 0
	for _, a := range drafts {
		for _, b := range drafts {
			if a.traffic() == b.traffic() || !inside(a.traffic(), b.traffic()) {
				continue
			}
			pairs++
			if a.Weight <= b.Weight {
				t.Fatalf("%s is inside %s but weighs %d against %d", a.traffic(), b.traffic(), a.Weight, b.Weight)
			}
		}
	}
	if pairs < 10000 {
		t.Errorf("only %d nested pairs among the random filters: the test proves little", pairs)
	}
}

// A filter and its mirror image weigh the same, and prefixes and single ports need no step.
// S-015
func TestWeightIsSymmetricAndAbsoluteForPrefixes(t *testing.T) {
	r := seeded(2)
	var drafts []*draft
	for range 500 {
		b := randomBox(r)
		b.Source, b.Destination = RangeOf(netip.PrefixFrom(b.Source.First, r.IntN(33))), RangeOf(netip.PrefixFrom(b.Destination.First, r.IntN(33)))
		b.SourcePort, b.DestinationPort = AnyPort, AnyPort
		forward, reverse := &draft{forward: b}, &draft{forward: b}
		forward.setTraffic(b)
		reverse.setTraffic(b.reversed())
		drafts = append(drafts, forward, reverse)
	}
	pairs := append([]*draft(nil), drafts...)
	if err := weigh(drafts); err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i].Weight != pairs[i+1].Weight {
			t.Errorf("%s weighs %d, its mirror image %d", pairs[i].traffic(), pairs[i].Weight, pairs[i+1].Weight)
		}
		if pairs[i].Weight&maxWeightStep != 0 {
			t.Errorf("%s: weight %s has a step", pairs[i].traffic(), DescribeWeight(pairs[i].Weight))
		}
	}
}

func TestDescribeWeight(t *testing.T) {
	b := box{Source: RangeOf(netip.MustParsePrefix("10.0.0.0/8")), Destination: HostRange(netip.MustParseAddr("10.0.0.1")),
		Protocol: 6, SourcePort: AnyPort, DestinationPort: PortRange{25, 25}}
	const want = "40 address bits, protocol, 16 port bits, step 3"
	if got := DescribeWeight(b.specificity().fixed + 3); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// The example of the source: any to any, any to a subnet, any to a host, any to a host's TCP port 25. Each packet has
// exactly one filter, whatever the order in which they are written.
// S-016
func TestFourFiltersOfTheExample(t *testing.T) {
	subnet, host := Range(RangeOf(netip.MustParsePrefix("10.2.0.0/24"))), Range(HostRange(netip.MustParseAddr("10.2.0.5")))
	set := &Set{
		Active: "example",
		FilterLists: []FilterList{{Name: "four", Updated: time.Unix(1, 0), Filters: []Filter{
			{Name: "any-any", Source: Any(), Destination: Any()},
			{Name: "any-subnet", Source: Any(), Destination: subnet},
			{Name: "any-host", Source: Any(), Destination: host},
			{Name: "any-host-25", Source: Any(), Destination: host, Protocol: 6, DestinationPort: PortRange{25, 25}},
		}}},
		FilterActions: []FilterAction{{Name: "permit", Kind: ActionPermit}},
		Policies:      []Policy{{Name: "example", Rules: []Rule{{Name: "r", FilterList: "four", FilterAction: "permit"}}}},
	}
	source := netip.MustParseAddr("192.0.2.9")
	for _, test := range []struct {
		destination string
		protocol    uint8
		port        uint16
		want        string
	}{
		{"10.2.0.5", 6, 25, "any-host-25"},
		{"10.2.0.5", 6, 80, "any-host"},
		{"10.2.0.5", 17, 25, "any-host"},
		{"10.2.0.6", 6, 25, "any-subnet"},
		{"10.3.0.6", 6, 25, "any-any"},
	} {
		spd, warnings, err := Compile(shuffled(seeded(uint64(test.port)), set), Environment{})
		if err != nil || len(warnings) != 0 {
			t.Fatal(err, warnings)
		}
		p := Packet{Source: source, Destination: netip.MustParseAddr(test.destination), Protocol: test.protocol, SourcePort: 1024, DestinationPort: test.port, HasPorts: true}
		if e, ok := spd.Match(p, PortsLAN); !ok || e.FilterName != test.want {
			t.Errorf("%+v: matched %+v, want filter %s", p, e, test.want)
		}
	}
}

// Where the step has no room left the policy is refused: a wrong order would be a silent hole.
// S-015
func TestStepOverflowIsRefused(t *testing.T) {
	first := netip.MustParseAddr("10.0.0.0")
	last := netip.MustParseAddr("10.2.0.0") // 2^17 addresses further, so that all ranges need 18 bits
	var drafts []*draft
	for range maxWeightStep + 2 {
		d := &draft{}
		d.setTraffic(box{Source: AddrRange{First: first, Last: last}, Destination: HostRange(first), SourcePort: AnyPort, DestinationPort: AnyPort})
		drafts = append(drafts, d)
		last = last.Next()
	}
	if err := weigh(drafts[1:]); err != nil {
		t.Errorf("%d sizes: %v", maxWeightStep+1, err)
	}
	if err := weigh(drafts); err == nil {
		t.Errorf("%d sizes: no error", maxWeightStep+2)
	}
}
