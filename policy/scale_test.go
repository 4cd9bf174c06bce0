package policy

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"
)

// largeSet is n filters as a large site has them, a quarter each: pairs of hosts, any to a host's port, prefixes, and
// ranges that are no prefixes; half of them negotiate and half permit.
func largeSet(n int) *Set {
	set := &Set{Active: "large", Policies: []Policy{{Name: "large"}}, FilterActions: []FilterAction{
		{Name: "permit", Kind: ActionPermit}, {Name: "protect", Kind: ActionNegotiate, Methods: []string{"aes128gcm16"}},
	}}
	const perList = 100
	for i := range n {
		if i%perList == 0 {
			name := fmt.Sprintf("list-%04d", i/perList)
			set.FilterLists = append(set.FilterLists, FilterList{Name: name, Updated: time.Unix(1, 0)})
			rule := Rule{Name: "rule-" + name, FilterList: name, FilterAction: "permit"}
			if i/perList%2 == 0 {
				rule.FilterAction, rule.Tunnel, rule.AuthMethods = "protect", name, []string{"psk"}
			}
			set.Policies[0].Rules = append(set.Policies[0].Rules, rule)
		}
		list := &set.FilterLists[len(set.FilterLists)-1]
		list.Filters = append(list.Filters, largeFilter(i))
	}
	return set
}

func largeFilter(i int) Filter {
	high, low := byte(i>>8), byte(i)
	local, remote := netip.AddrFrom4([4]byte{10, 1, high, low}), netip.AddrFrom4([4]byte{10, 2, high, low})
	f := Filter{Name: fmt.Sprintf("filter-%d", i), Source: Range(HostRange(local)), Destination: Range(HostRange(remote)), Mirrored: true}
	switch i % 4 {
	case 1:
		f.Source, f.Protocol, f.DestinationPort = Range(AnyIPv4()), protocolTCP, PortRange{First: 443, Last: 443}
	case 2:
		f.Source, f.Destination = Range(RangeOf(netip.PrefixFrom(local, 28+i%3))), Range(RangeOf(netip.PrefixFrom(remote, 30)))
	case 3:
		f.Destination = Range(AddrRange{First: remote, Last: netip.AddrFrom4([4]byte{10, 3, high, byte(i%7) * 3})})
	}
	return f
}

// BenchmarkCompile is what a change of a large policy costs before the data plane builds its tables.
func BenchmarkCompile(b *testing.B) {
	for _, n := range []int{100, 1000, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			set := largeSet(n)
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := Compile(set, gatewayEnvironment); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkDynamicPeers is what each peer that the default response rule lets in, or loses, costs before the data plane builds its tables: the whole policy is compiled
// again with the filters of all such peers, of which there are at most 256.
func BenchmarkDynamicPeers(b *testing.B) {
	set := largeSet(1000)
	set.Policies[0].DefaultResponse = DefaultResponse{Enabled: true, Methods: []string{"aes128gcm16"}, AuthMethods: []string{"psk"}}
	for _, peers := range []int{0, 1, 256} {
		b.Run(fmt.Sprint(peers), func(b *testing.B) {
			env := gatewayEnvironment
			for i := range peers {
				address := netip.AddrFrom4([4]byte{198, 51, 100, byte(i)})
				env.Dynamic = append(env.Dynamic, dynamic("dynamic:"+address.String(), "192.0.2.1/32", address.String()+"/32"))
			}
			b.ReportAllocs()
			for b.Loop() {
				spd, _, err := Compile(set, env)
				if err != nil || len(spd.Entries) != 2*(1000+peers) {
					b.Fatalf("%v, expected an entry for each direction of %d filters", err, 1000+peers)
				}
			}
		})
	}
}

// A policy of 10,000 filters compiles in a small part of what a gateway may use for a change.
func TestLargePolicyFitsInMemory(t *testing.T) {
	set := largeSet(10000)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	spd, warnings := mustCompile(t, set, gatewayEnvironment)
	runtime.ReadMemStats(&after)
	if len(spd.Entries) != 20000 || len(warnings) != 0 {
		t.Errorf("%d entries, want one for each direction of 10,000 filters; warnings %v", len(spd.Entries), warnings)
	}
	const limit = 64 << 20 // bytes allocated in all, the garbage of the way included
	if allocated := after.TotalAlloc - before.TotalAlloc; allocated > limit {
		t.Errorf("%d MiB allocated, at most %d", allocated>>20, limit>>20)
	}
}

// BenchmarkDiff is what a dry run of a large policy's change adds.
func BenchmarkDiff(b *testing.B) {
	before, _, err := Compile(largeSet(10000), gatewayEnvironment)
	if err != nil {
		b.Fatal(err)
	}
	after, _, err := Compile(largeSet(9900), gatewayEnvironment)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if d := Diff(before, after); len(d.Removed) != 200 || len(d.Added)+len(d.Changed) != 0 {
			b.Fatal("expected the filters that are gone and nothing else")
		}
	}
}
