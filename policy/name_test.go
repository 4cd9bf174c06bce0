package policy

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// A DNS name is one filter for each address it was resolved to, shown with its name, until it is resolved again, when
// the difference is what changed; unresolved it is a mistake, at its place.
// S-020
func TestDNSNames(t *testing.T) {
	name, err := ParseAddressSpec("DNS:Host.Example.")
	if text, ok := name.DNSName(); err != nil || !ok || text != "host.example" || name.String() != "dns:host.example" {
		t.Fatalf("%q, %v", name, err)
	}
	set := setOf(ruleText{name: "r", kind: ActionPermit, filter: Filter{Source: spec("10.1.0.0/24"), Destination: name, Mirrored: true}})
	_, _, err = Compile(set, Environment{})
	if err == nil || !strings.Contains(err.Error(), `"host.example" has no address`) || !strings.Contains(err.Error(), `filter list "list-r"`) {
		t.Errorf("unresolved: %v", err)
	}
	three := []netip.Addr{addr("192.0.2.3"), addr("192.0.2.1"), addr("::ffff:192.0.2.2"), addr("192.0.2.1")}
	set.FilterLists[0].Filters[0].Destination = name.Resolved(three)
	before, _ := mustCompile(t, set, Environment{})
	if len(before.Entries) != 2*3 {
		t.Errorf("%d entries for three addresses both ways", len(before.Entries))
	}
	for _, row := range before.Rows()[:6] {
		source, destination := "", "host.example"
		if row.Mirror {
			source, destination = destination, source
		}
		if row.SourceName != source || row.DestinationName != destination || !strings.Contains(row.Filter, "dns:host.example") {
			t.Errorf("row %+v does not show the name on its side", row)
		}
	}
	set.FilterLists[0].Filters[0].Destination = name.Resolved(append(three, addr("192.0.2.4")))
	after, _ := mustCompile(t, set, Environment{})
	d := Diff(before, after)
	if len(d.Added) != 2 || len(d.Removed)+len(d.Changed) != 0 || d.Added[0].Destination != "192.0.2.4" && d.Added[0].Source != "192.0.2.4" {
		t.Errorf("a fourth address: %+v", d)
	}
	slices.Reverse(three)
	if !reflect.DeepEqual(name.Resolved(three), name.Resolved([]netip.Addr{addr("192.0.2.1"), addr("192.0.2.2"), addr("192.0.2.3")})) {
		t.Error("the order of a resolver's answer has an effect")
	}
	if again := MyAddresses().Resolved(three); !reflect.DeepEqual(again, MyAddresses()) {
		t.Errorf("my addresses, resolved: %v", again)
	}
}

// A name of both IP versions is a filter for each address, and each meets the other side's addresses of its version.
func TestDNSNameOfBothVersions(t *testing.T) {
	name, err := ParseAddressSpec("dns:host.example")
	if err != nil {
		t.Fatal(err)
	}
	name = name.Resolved([]netip.Addr{addr("198.51.100.7"), addr("2001:db8:9::7")})
	spd, _ := mustCompile(t, setOf(ruleText{name: "r", kind: ActionNegotiate, tunnel: "t", filter: Filter{Source: Any(), Destination: name}}), Environment{})
	wantVerdict(t, spd, tcp("10.1.0.5:1", "198.51.100.7:1"), PortsLAN, "protect")
	wantVerdict(t, spd, tcp("[2001:db8::5]:1", "[2001:db8:9::7]:1"), PortsLAN, "protect")
	group := name.Resolved([]netip.Addr{addr("224.0.0.1")})
	if _, _, err := Compile(setOf(ruleText{name: "r", kind: ActionNegotiate, tunnel: "t", filter: Filter{Source: Any(), Destination: group}}), Environment{}); err == nil {
		t.Error("a name that stands for a multicast address is negotiated")
	}
}

func TestParseNames(t *testing.T) {
	for _, text := range []string{"dns:", "dns:.", "dns:a..b", "dns:-a.example", "dns:a-.example", "dns:a b", "dns:" + strings.Repeat("a", 64), "dns:" + strings.Repeat("a.", 130) + "b",
		"dns:192.0.2.1", "dns:2001:db8::1", "dns:10.1", "dns:host.example/24", "dns:höst.example"} {
		if spec, err := ParseAddressSpec(text); err == nil || !strings.Contains(err.Error(), "expected") {
			t.Errorf("%q reads as %v, %v", text, spec, err)
		}
	}
	for _, text := range []string{"dns:a", "dns:_ldap._tcp.example", "dns:xn--hst-sna.example", "dns:4.host"} {
		if spec, err := ParseAddressSpec(text); err != nil || spec.String() != text {
			t.Errorf("%q reads as %q, %v", text, spec, err)
		}
	}
}

// The templates permit exactly what they are named for, between anybody and the listed servers, both ways.
// S-038
func TestTemplates(t *testing.T) {
	dns, _ := ParseAddressSpec("dns:ns.example")
	servers := []AddressSpec{spec("10.5.0.53/32"), spec("2001:db8:5::53/128"), dns.Resolved([]netip.Addr{addr("10.6.0.53")})}
	for template, passing := range map[string][]Packet{
		"exempt-dns":     {packet(6, "10.1.0.7:1024", "10.5.0.53:53"), packet(17, "10.1.0.7:1024", "10.5.0.53:53"), packet(17, "[2001:db8::7]:1024", "[2001:db8:5::53]:53"), packet(17, "10.1.0.7:1024", "10.6.0.53:53")},
		"exempt-netbios": {packet(17, "10.1.0.7:137", "10.5.0.53:137"), packet(17, "10.1.0.7:1024", "10.5.0.53:137")},
		"exempt-dc":      {packet(6, "10.1.0.7:1024", "10.5.0.53:88"), packet(17, "10.1.0.7:1024", "10.5.0.53:389"), packet(17, "10.1.0.7:138", "10.5.0.53:138"), {Source: addr("10.1.0.7"), Destination: addr("10.5.0.53"), Protocol: 1}},
	} {
		filters, err := TemplateFilters(template, servers)
		if err != nil {
			t.Fatal(err)
		}
		set := setOf(ruleText{name: "r", kind: ActionPermit})
		set.FilterLists[0].Filters = filters
		spd, warnings := mustCompile(t, set, Environment{})
		if want := map[string]int{"exempt-dns": 12, "exempt-netbios": 6, "exempt-dc": 6}[template]; len(spd.Entries) != want || len(warnings) != 0 {
			t.Errorf("%s: %d entries, want %d, warnings %v", template, len(spd.Entries), want, warnings)
		}
		for _, p := range passing {
			reply := Packet{Source: p.Destination, Destination: p.Source, Protocol: p.Protocol, SourcePort: p.DestinationPort, DestinationPort: p.SourcePort, HasPorts: p.HasPorts}
			wantVerdict(t, spd, p, PortsLAN, "permit")
			wantVerdict(t, spd, reply, PortsWAN, "permit")
			elsewhere := p
			elsewhere.Destination = addr("10.5.0.54")
			wantVerdict(t, spd, elsewhere, PortsLAN, "none")
		}
		if template != "exempt-dc" {
			for _, p := range []Packet{packet(17, "10.1.0.7:138", "10.5.0.53:138"), packet(6, "10.1.0.7:1024", "10.5.0.53:137"), packet(17, "10.1.0.7:1024", "10.5.0.53:54"), packet(17, "10.1.0.7:53", "10.5.0.53:1024")} {
				wantVerdict(t, spd, p, PortsLAN, "none")
			}
		}
	}
	for _, test := range []struct {
		template string
		servers  []AddressSpec
		want     string
	}{
		{"exempt-all", servers, `expected one of exempt-dc, exempt-dns, exempt-netbios, found "exempt-all"`},
		{"exempt-dns", nil, "expected at least one server"},
		{"exempt-dc", []AddressSpec{Any()}, "expected the address of a server, found any"},
		{"exempt-dc", []AddressSpec{MyAddresses()}, "expected the address of a server, found my"},
		{"exempt-dc", []AddressSpec{spec("0.0.0.0/0")}, "expected the address of a server"},
		{"exempt-dns", []AddressSpec{servers[0], servers[0]}, "found 10.5.0.53 for the second time"},
	} {
		if filters, err := TemplateFilters(test.template, test.servers); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s of %v: %v, %v, want an error with %q", test.template, test.servers, filters, err, test.want)
		}
	}
}
