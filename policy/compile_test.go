package policy

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func addr(s string) netip.Addr   { return netip.MustParseAddr(s) }
func network(s string) AddrRange { return RangeOf(netip.MustParsePrefix(s)) }
func spec(s string) AddressSpec  { return Range(network(s)) }
func tcp(from, to string) Packet { return packet(6, from, to) }
func packet(protocol uint8, from, to string) Packet {
	source, destination := netip.MustParseAddrPort(from), netip.MustParseAddrPort(to)
	return Packet{Source: source.Addr(), Destination: destination.Addr(), Protocol: protocol,
		SourcePort: source.Port(), DestinationPort: destination.Port(), HasPorts: true}
}

// ruleText is one rule of oneFilterEach with a filter list and an action of its own.
type ruleText struct {
	name   string
	kind   ActionKind
	filter Filter
	ports  PortGroup
	tunnel string
}

// setOf is a policy of rules with one filter each.
func setOf(rules ...ruleText) *Set {
	set := &Set{Active: "test", Policies: []Policy{{Name: "test"}}}
	for _, r := range rules {
		set.FilterLists = append(set.FilterLists, FilterList{Name: "list-" + r.name, Updated: time.Unix(1, 0), Filters: []Filter{r.filter}})
		action := FilterAction{Name: "action-" + r.name, Kind: r.kind}
		if r.kind == ActionNegotiate {
			action.Methods = []string{"aes128gcm16"}
		}
		set.FilterActions = append(set.FilterActions, action)
		rule := Rule{Name: r.name, FilterList: "list-" + r.name, FilterAction: action.Name, Ports: r.ports, Tunnel: r.tunnel}
		if r.kind == ActionNegotiate {
			rule.AuthMethods = []string{"psk"}
		}
		set.Policies[0].Rules = append(set.Policies[0].Rules, rule)
	}
	return set
}

func mustCompile(t *testing.T, set *Set, env Environment) (*SPD, []Warning) {
	t.Helper()
	spd, warnings, err := Compile(set, env)
	if err != nil {
		t.Fatal(err)
	}
	return spd, warnings
}

func wantVerdict(t *testing.T, spd *SPD, p Packet, port PortGroup, want string) {
	t.Helper()
	got := "none"
	if e, ok := spd.Match(p, port); ok {
		got = e.Verdict.String()
	}
	if got != want {
		t.Errorf("%+v on %s: %s, want %s", p, port, got, want)
	}
}

// The order of rules, lists, filters, addresses and peers' proposals has no effect: 100 shuffles of a set compile to the
// same table, byte by byte.
// S-007
func TestOrderHasNoEffect(t *testing.T) {
	r := seeded(4)
	for range 20 {
		set, env := randomSet(r), universeEnvironment
		set.Policies[0].DefaultResponse = DefaultResponse{Enabled: true, Methods: []string{"aes128gcm16"}, AuthMethods: []string{"psk"}}
		env.Vanished = []netip.Addr{addr("10.0.0.4"), addr("fd00::8")}
		env.Subnets = []netip.Prefix{netip.MustParsePrefix("10.7.0.0/28"), netip.MustParsePrefix("10.8.0.0/16")}
		env.Dynamic = []DynamicFilter{dynamic("x", "10.0.0.3/32", "10.0.0.7/32"), dynamic("y", "10.0.0.3/32", "10.0.0.7/32"), dynamic("x", "fd00::7/128", "fd00::/120")}
		want, wantWarnings := mustCompile(t, set, env)
		for range 100 {
			got, gotWarnings := mustCompile(t, shuffled(r, set), shuffledEnvironment(r, env))
			if !reflect.DeepEqual(got, want) || !reflect.DeepEqual(gotWarnings, wantWarnings) || !bytes.Equal(table(t, got), table(t, want)) {
				t.Fatalf("shuffled set compiles to\n%+v %v\nwant\n%+v %v", got, gotWarnings, want, wantWarnings)
			}
		}
	}
}

func shuffledEnvironment(r *rand.Rand, env Environment) Environment {
	env.LocalAddresses, env.Vanished, env.Subnets, env.Dynamic = mixed(r, env.LocalAddresses), mixed(r, env.Vanished), mixed(r, env.Subnets), mixed(r, env.Dynamic)
	return env
}

// mixed is the same things in another order.
func mixed[T any](r *rand.Rand, things []T) []T {
	things = slices.Clone(things)
	r.Shuffle(len(things), func(a, b int) { things[a], things[b] = things[b], things[a] })
	return things
}

// table is what operators see of a compiled policy, as bytes.
func table(t *testing.T, spd *SPD) []byte {
	t.Helper()
	text, err := json.Marshal(struct {
		Rows     []Row
		MainMode []MainModeRow
	}{spd.Rows(), spd.MainModeRows()})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// Entries come by descending weight, ranks are 1 to n without gaps, and no ID is 0 or used twice.
// S-015, S-108
func TestEntriesAreRankedAndNumbered(t *testing.T) {
	r := seeded(5)
	for range 200 {
		spd, _ := mustCompile(t, randomSet(r), universeEnvironment)
		seen := map[uint32]bool{0: true}
		for i, e := range spd.Entries {
			if i > 0 && e.Weight > spd.Entries[i-1].Weight {
				t.Fatalf("entry %d weighs %d, the one before it %d", i, e.Weight, spd.Entries[i-1].Weight)
			}
			if want := uint32(len(spd.Entries) - i); e.Rank != want {
				t.Fatalf("entry %d has rank %d, want %d", i, e.Rank, want)
			}
			if seen[e.ID] {
				t.Fatalf("entry %d: ID %d is 0 or used before", i, e.ID)
			}
			seen[e.ID] = true
		}
		for _, x := range spd.Exemptions {
			if seen[x.ID] {
				t.Fatalf("exemption %s: ID %d is 0 or used before", x.Name, x.ID)
			}
			seen[x.ID] = true
		}
	}
}

// A change elsewhere in the policy leaves the IDs of an entry, and so its counters, as they were.
func TestIDsSurviveOtherChanges(t *testing.T) {
	first := ruleText{name: "a", kind: ActionPermit, filter: Filter{Source: MyAddresses(), Destination: spec("10.2.0.0/24"), Mirrored: true}}
	second := ruleText{name: "b", kind: ActionBlock, filter: Filter{Source: spec("10.1.0.0/24"), Destination: spec("10.2.0.7/32")}}
	env := Environment{LocalAddresses: []netip.Addr{addr("10.1.0.1")}}
	before, _ := mustCompile(t, setOf(first), env)
	after, _ := mustCompile(t, setOf(second, first), Environment{LocalAddresses: []netip.Addr{addr("10.0.0.1"), addr("10.1.0.1")}})
	for _, old := range before.Entries {
		i := slices.IndexFunc(after.Entries, func(e Entry) bool { return e.Source == old.Source && e.Destination == old.Destination })
		if i < 0 || after.Entries[i].ID != old.ID {
			t.Errorf("entry %s > %s had ID %d, now %+v", old.Source, old.Destination, old.ID, after.Entries)
		}
	}
}

// A filter that is not mirrored matches the stated direction only.
// S-018
func TestMirrored(t *testing.T) {
	t.Run("IPv4", func(t *testing.T) { mirrored(t, "10.10.1.2/32", "192.0.2.1:1000", "10.10.1.2:80") })
	t.Run("IPv6", func(t *testing.T) { mirrored(t, "2001:db8:10::2/128", "[2001:db8:9::1]:1000", "[2001:db8:10::2]:80") })
}

func mirrored(t *testing.T, host, from, to string) {
	filter := Filter{Source: Any(), Destination: spec(host)}
	in, out := tcp(from, to), tcp(to, from)
	oneWay, _ := mustCompile(t, setOf(ruleText{name: "r", kind: ActionBlock, filter: filter}), Environment{})
	wantVerdict(t, oneWay, in, PortsWAN, "block")
	wantVerdict(t, oneWay, out, PortsLAN, "none")
	filter.Mirrored = true
	both, _ := mustCompile(t, setOf(ruleText{name: "r", kind: ActionBlock, filter: filter}), Environment{})
	wantVerdict(t, both, in, PortsWAN, "block")
	wantVerdict(t, both, out, PortsLAN, "block")
}

// A mirrored filter reverses its ports with its addresses.
// S-018
func TestMirroredPorts(t *testing.T) {
	filter := Filter{Source: spec("10.1.0.0/24"), Destination: spec("10.2.0.0/24"), Protocol: 6, DestinationPort: PortRange{80, 80}, Mirrored: true}
	spd, _ := mustCompile(t, setOf(ruleText{name: "r", kind: ActionPermit, filter: filter}), Environment{})
	wantVerdict(t, spd, tcp("10.1.0.5:1000", "10.2.0.5:80"), PortsLAN, "permit")
	wantVerdict(t, spd, tcp("10.2.0.5:80", "10.1.0.5:1000"), PortsWAN, "permit")
	wantVerdict(t, spd, tcp("10.2.0.5:1000", "10.1.0.5:80"), PortsWAN, "none")
}

// "My addresses" yields one filter per local address of the right IP version, computed anew with each environment.
// S-019
func TestMyAddressesExpand(t *testing.T) {
	set := setOf(ruleText{name: "r", kind: ActionPermit, filter: Filter{Source: Any(), Destination: MyAddresses(), Protocol: 1}})
	env := Environment{}
	for n, local := range []string{"10.1.0.1", "192.0.2.1", "2001:db8::1"} {
		spd, warnings := mustCompile(t, set, env)
		if len(spd.Entries) != n {
			t.Errorf("with %d local addresses: %d entries", n, len(spd.Entries))
		}
		if (n == 0) != (len(warnings) == 1 && strings.Contains(warnings[0].Message, "matches nothing")) {
			t.Errorf("with %d local addresses: warnings %v", n, warnings)
		}
		env.LocalAddresses = append(env.LocalAddresses, addr(local))
	}
	spd, _ := mustCompile(t, set, Environment{LocalAddresses: []netip.Addr{addr("10.1.0.1"), addr("10.1.0.1")}})
	if len(spd.Entries) != 1 {
		t.Errorf("the same address twice: %d entries, want 1", len(spd.Entries))
	}
}

// Traffic that no filter matches is blocked unless the policy says otherwise in words, with a warning.
// S-008
func TestDefaultAction(t *testing.T) {
	set := &Set{Active: "empty", Policies: []Policy{{Name: "empty"}}}
	spd, warnings := mustCompile(t, set, Environment{})
	if spd.DefaultAction != ActionBlock || len(spd.Entries) != 0 || len(warnings) != 0 {
		t.Errorf("empty policy: %+v, %v", spd, warnings)
	}
	set.Policies[0].DefaultAction = ActionPermit
	spd, warnings = mustCompile(t, set, Environment{})
	if spd.DefaultAction != ActionPermit || len(warnings) != 1 {
		t.Errorf("default permit: %+v, warnings %v", spd, warnings)
	}
}

// A sample policy says at every start that it is one; to refuse it outside the lab is the configuration's part.
func TestSampleWarns(t *testing.T) {
	set := setOf()
	set.Policies[0].Sample = true
	if _, warnings := mustCompile(t, set, Environment{}); len(warnings) != 1 || !strings.Contains(warnings[0].Message, `policy "test" is a sample`) {
		t.Errorf("warnings %v", warnings)
	}
}

// RSVP is dropped unless a filter permits it, and is never negotiated; in both IP versions.
// S-037
func TestRSVP(t *testing.T) {
	for _, hosts := range [][2]string{{"10.1.0.5", "10.2.0.5"}, {"2001:db8:1::5", "2001:db8:2::5"}} {
		p := rsvp(hosts[0], hosts[1])
		closed, _ := mustCompile(t, setOf(), gatewayEnvironment)
		named := Filter{Source: Range(HostRange(p.Source)), Destination: Range(HostRange(p.Destination)), Protocol: protocolRSVP, Mirrored: true}
		open, _ := mustCompile(t, setOf(ruleText{name: "r", kind: ActionPermit, filter: named}), gatewayEnvironment)
		if closed.Decide(p, PortsLAN).Verdict != VerdictBlock || open.Decide(p, PortsLAN).Verdict != VerdictPermit {
			t.Errorf("RSVP without a filter: %s; with one: %s", closed.Decide(p, PortsLAN).Why, open.Decide(p, PortsLAN).Why)
		}
		wantProblem(t, setOf(ruleText{name: "r", kind: ActionNegotiate, tunnel: "t", filter: named}), "protocol 46 (rsvp) can only be permitted or blocked")
	}
}

// Only the active policy is in the compiled table.
// S-001
func TestOneActivePolicy(t *testing.T) {
	set := setOf(ruleText{name: "a", kind: ActionPermit, filter: Filter{Source: spec("10.1.0.0/24"), Destination: Any()}})
	set.Policies = append(set.Policies, Policy{Name: "other"})
	set.Active = "other"
	if spd, _ := mustCompile(t, set, Environment{}); spd.Policy != "other" || len(spd.Entries) != 0 {
		t.Errorf("the other policy compiles to %+v", spd)
	}
}

// Without an IPv6 filter no IPv6 packet matches anything; with one it is handled by the same model.
// S-022
func TestIPv6NeedsItsOwnFilter(t *testing.T) {
	v4 := ruleText{name: "v4", kind: ActionPermit, filter: Filter{Source: spec("0.0.0.0/0"), Destination: spec("0.0.0.0/0")}}
	v6 := ruleText{name: "v6", kind: ActionNegotiate, tunnel: "t", filter: Filter{Source: spec("2001:db8:1::/48"), Destination: spec("2001:db8:2::/48")}}
	p := tcp("[2001:db8:1::5]:1000", "[2001:db8:2::5]:80")
	only4, _ := mustCompile(t, setOf(v4), Environment{})
	wantVerdict(t, only4, p, PortsLAN, "none")
	both, _ := mustCompile(t, setOf(v4, v6), Environment{})
	wantVerdict(t, both, p, PortsLAN, "protect")
}

// A rule for one port group does not see the other's packets.
// S-006
func TestPortGroups(t *testing.T) {
	p := tcp("10.1.0.5:1000", "10.2.0.5:80")
	for _, group := range []PortGroup{PortsLAN, PortsWAN, PortsAll} {
		spd, _ := mustCompile(t, setOf(ruleText{name: "r", kind: ActionPermit, ports: group, filter: Filter{Source: Any(), Destination: Any()}}), Environment{})
		for _, port := range []PortGroup{PortsLAN, PortsWAN} {
			want := "none"
			if group&port != 0 {
				want = "permit"
			}
			wantVerdict(t, spd, p, port, want)
		}
	}
}

// A filter that negotiates protects its direction and requires protection of the reverse one, on every port: a forged
// source meets the same entry, and not a weaker one that may permit it.
func TestNegotiateHasTwoDirections(t *testing.T) {
	filter := Filter{Source: spec("10.1.0.0/24"), Destination: spec("10.2.0.0/24"), Protocol: 6, DestinationPort: PortRange{80, 80}}
	spd, _ := mustCompile(t, setOf(ruleText{name: "r", kind: ActionNegotiate, tunnel: "site-b", filter: filter}), Environment{})
	out, back := tcp("10.1.0.5:1000", "10.2.0.5:80"), tcp("10.2.0.5:80", "10.1.0.5:1000")
	wantVerdict(t, spd, out, PortsLAN, "protect")
	wantVerdict(t, spd, out, PortsWAN, "protect")
	wantVerdict(t, spd, back, PortsWAN, "require")
	wantVerdict(t, spd, back, PortsLAN, "require")
	want := Selector{Local: network("10.1.0.0/24"), Remote: network("10.2.0.0/24"), Protocol: 6, LocalPort: AnyPort, RemotePort: PortRange{80, 80}}
	if got := spd.Selectors()["site-b"]; len(got) != 1 || got[0] != want {
		t.Errorf("selectors of the tunnel: %v, want %v", got, want)
	}
	for _, e := range spd.Entries {
		if e.Tunnel != "site-b" || e.Selector() != want {
			t.Errorf("entry %+v: tunnel %q, selector %s", e, e.Tunnel, e.Selector())
		}
	}
}

// A filter that is its own mirror image protects on one side and requires on the other.
func TestNegotiateAnyToAny(t *testing.T) {
	spd, warnings := mustCompile(t, setOf(ruleText{name: "r", kind: ActionNegotiate, tunnel: "t", filter: Filter{Source: Any(), Destination: Any()}}), Environment{})
	p := tcp("10.1.0.5:1000", "10.2.0.5:80")
	wantVerdict(t, spd, p, PortsLAN, "protect")
	wantVerdict(t, spd, p, PortsWAN, "require")
	if len(warnings) != 0 {
		t.Errorf("warnings %v", warnings)
	}
}

// A list without the date of its review gives one warning, however many rules use it.
// S-020
func TestMissingUpdatedWarns(t *testing.T) {
	set := setOf(ruleText{name: "a", kind: ActionPermit, filter: Filter{Source: spec("10.1.0.0/24"), Destination: Any()}})
	set.FilterLists[0].Updated = time.Time{}
	_, warnings := mustCompile(t, set, Environment{})
	if len(warnings) != 1 || !strings.Contains(warnings[0].Message, `"list-a"`) {
		t.Errorf("warnings %v", warnings)
	}
}

// RSVP is permitted by named addresses as a rule: a filter with any on a side is taken, and warned of.
// S-037
func TestRSVPToAnybodyWarns(t *testing.T) {
	one, other := spec("10.1.0.7/32"), spec("10.2.0.7/32")
	for _, test := range []struct {
		kind   ActionKind
		filter Filter
		warned bool
	}{
		{ActionPermit, Filter{Source: one, Destination: other, Protocol: protocolRSVP}, false},
		{ActionPermit, Filter{Source: Any(), Destination: other, Protocol: protocolRSVP}, true},
		{ActionPermit, Filter{Source: one, Destination: Any(), Protocol: protocolRSVP}, true},
		{ActionPermit, Filter{Source: one, Destination: Any(), Protocol: protocolTCP}, false},
		{ActionBlock, Filter{Source: Any(), Destination: Any(), Protocol: protocolRSVP}, false},
	} {
		_, warnings := mustCompile(t, setOf(ruleText{name: "r", kind: test.kind, filter: test.filter}), Environment{})
		warned := slices.ContainsFunc(warnings, func(w Warning) bool {
			return strings.Contains(w.Message, `rule "r" permits RSVP (protocol 46) with "any" on a side`) && slices.Equal(w.Rules, []string{"r"})
		})
		if warned != test.warned {
			t.Errorf("%s %s: warnings %v", test.kind, test.filter.label(), warnings)
		}
	}
}
