package policy

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

var gatewayEnvironment = Environment{
	LocalAddresses: []netip.Addr{addr("192.0.2.1"), addr("10.1.0.1"), addr("2001:db8::1")},
	Subnets:        []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("2001:db8::/64")},
}

// exempt is a policy that blocks everything and has one unrelated rule of the kind.
func exempt(t *testing.T, kind ActionKind, level ExemptionLevel) *SPD {
	t.Helper()
	r := ruleText{name: "r", kind: kind, filter: Filter{Source: spec("10.8.0.0/24"), Destination: spec("10.9.0.0/24")}}
	if kind == ActionNegotiate {
		r.tunnel = "t"
	}
	set := setOf(r, ruleText{name: "deny", kind: ActionBlock, filter: Filter{Source: Any(), Destination: Any(), Mirrored: true}})
	set.Exemptions = level
	spd, _ := mustCompile(t, set, gatewayEnvironment)
	return spd
}

func exemptionOf(spd *SPD, p Packet) string {
	if x, ok := spd.Exempt(p); ok {
		return x.Name
	}
	return ""
}

func rsvp(from, to string) Packet {
	return Packet{Source: addr(from), Destination: addr(to), Protocol: protocolRSVP}
}

// One packet of each of the five kinds, under a policy that blocks everything and negotiates something unrelated, in
// both IP versions: level 0 passes all five, level 1 multicast, broadcast and IKE, level 2 RSVP, Kerberos and IKE, and
// level 3, the shipped one, IKE only.
// S-028, S-029, S-030, S-031
func TestLevels(t *testing.T) {
	kinds := map[string][]Packet{
		"IKE":       {packet(17, "198.51.100.7:500", "192.0.2.1:500"), packet(17, "[2001:db8:9::7]:500", "[2001:db8::1]:500")},
		"Kerberos":  {packet(17, "198.51.100.7:88", "192.0.2.1:1024"), packet(6, "[2001:db8:9::7]:88", "[2001:db8::1]:1024")},
		"RSVP":      {rsvp("198.51.100.7", "192.0.2.1"), rsvp("2001:db8:9::7", "2001:db8::1")},
		"multicast": {packet(17, "198.51.100.7:5353", "224.0.0.251:5353"), packet(17, "[2001:db8:9::7]:5353", "[ff02::fb]:5353")},
		"broadcast": {packet(17, "10.1.0.7:68", "255.255.255.255:67"), packet(17, "10.1.0.7:137", "10.1.255.255:137")},
	}
	for level, passing := range map[ExemptionLevel][]string{
		Level0: {"IKE", "Kerberos", "RSVP", "multicast", "broadcast"},
		Level1: {"IKE", "multicast", "broadcast"},
		Level2: {"IKE", "Kerberos", "RSVP"},
		Level3: {"IKE"},
	} {
		spd := exempt(t, ActionNegotiate, level)
		for kind, packets := range kinds {
			for _, p := range packets {
				want := VerdictBlock
				if slices.Contains(passing, kind) {
					want = VerdictPermit
				}
				if d := spd.Decide(p, PortsWAN); d.Verdict != want {
					t.Errorf("level %s, %s (%+v): %s because %s, want %s", level, kind, p, d.Verdict, d.Why, want)
				}
			}
		}
	}
	var zero Set
	if zero.Exemptions != Level3 {
		t.Errorf("a set that says nothing has level %s", zero.Exemptions)
	}
}

// The levels are the numbers 0 to 3 and nothing else, and encode as such. All but 3 warn at every start with a list of
// what they let through.
// S-031
func TestLevelNumbers(t *testing.T) {
	for n, level := range []ExemptionLevel{Level0, Level1, Level2, Level3} {
		parsed, err := ParseExemptionLevel(fmt.Sprint(n))
		text, jsonErr := json.Marshal(level)
		if err != nil || parsed != level || level.String() != fmt.Sprint(n) || jsonErr != nil || string(text) != fmt.Sprintf("%q", fmt.Sprint(n)) {
			t.Errorf("level %d: %s, %v, JSON %s, %v", n, parsed, err, text, jsonErr)
		}
		_, warnings := mustCompile(t, &Set{Exemptions: level}, gatewayEnvironment)
		said := slices.IndexFunc(warnings, func(w Warning) bool {
			return strings.HasPrefix(w.Message, fmt.Sprintf("exemption level %d passes ", n))
		})
		if (said >= 0) != (level != Level3) {
			t.Errorf("level %d: warnings %v", n, warnings)
		}
		if level == Level0 && !strings.Contains(warnings[said].Message, "Kerberos, RSVP, multicast, broadcast, IPv6 ") {
			t.Errorf("level 0 does not list what it lets through: %s", warnings[said])
		}
	}
	for _, text := range []string{"-1", "4", "x", "", "00", "0 "} {
		if level, err := ParseExemptionLevel(text); err == nil || level != Level3 || !strings.Contains(err.Error(), "0 to 3") {
			t.Errorf("level %q: %s, %v", text, level, err)
		}
	}
	if _, _, err := Compile(&Set{Exemptions: 9}, Environment{}); err == nil {
		t.Error("level 9 compiles")
	}
}

// Level 0 is exactly 17 filters, all of them on display.
// S-032
func TestSeventeenExemptions(t *testing.T) {
	spd := exempt(t, ActionNegotiate, Level0)
	var text strings.Builder
	kinds := map[ExemptionKind]int{}
	for _, state := range spd.ExemptionsAt(Level0) {
		x, row := state.Exemption, state.Exemption.Row()
		kinds[x.Kind]++
		fmt.Fprintf(&text, "%s  %s  %s  %s[%s] to %s[%s] %s\n", x.Kind, x.Name, x.Direction(), row.Source, row.SourcePort, row.Destination, row.DestinationPort, row.Protocol)
		for _, f := range x.Filters {
			fmt.Fprintf(&text, "\t%s\n", f)
		}
	}
	want := map[ExemptionKind]int{ExemptKerberos: 8, ExemptIKE: 2, ExemptRSVP: 2, ExemptMulticast: 2, ExemptBroadcast: 2, ExemptIPv6: 1}
	if fmt.Sprint(kinds) != fmt.Sprint(want) || len(spd.Exemptions) != 17 {
		t.Errorf("%d exemptions: %v, want %v", len(spd.Exemptions), kinds, want)
	}
	golden(t, "exemptions_level0.txt", text.String())
	for i, row := range spd.Rows()[:17] {
		if row.Rule != "(exempt)" || row.Verdict != "permit" || row.ID == 0 || row.ID != spd.Exemptions[i].ID {
			t.Errorf("row %d: %+v", i, row)
		}
	}
}

// golden compares text with a file of testdata, or writes it with -update.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := "testdata/" + name
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (go test -run %s -update writes it anew):\n%s", path, t.Name(), got)
	}
}

// A counter of an exemption survives a change of the level and of the policy.
func TestExemptionIDsAreStable(t *testing.T) {
	ids := map[string]uint32{}
	for _, x := range exempt(t, ActionNegotiate, Level0).Exemptions {
		ids[x.Name] = x.ID
	}
	for _, level := range []ExemptionLevel{Level1, Level2, Level3} {
		for _, x := range exempt(t, ActionNegotiate, level).Exemptions {
			if ids[x.Name] != x.ID {
				t.Errorf("level %s: %s has ID %d, at level 0 %d", level, x.Name, x.ID, ids[x.Name])
			}
		}
	}
}

// Traffic between two other hosts is filtered like any other at every level, whatever its protocol and ports.
// S-033
func TestTransitIsNeverExempt(t *testing.T) {
	for _, level := range []ExemptionLevel{Level0, Level1, Level2, Level3} {
		spd := exempt(t, ActionNegotiate, level)
		for _, hosts := range [][2]string{{"198.51.100.7", "10.1.0.7"}, {"10.1.0.7", "198.51.100.7"}, {"2001:db8:1::7", "2001:db8:2::7"}} {
			packets := []Packet{rsvp(hosts[0], hosts[1])}
			for _, ports := range [][2]uint16{{500, 500}, {4500, 4500}, {1024, 4500}, {4500, 1024}, {88, 88}, {88, 1024}, {1024, 88}} {
				for _, protocol := range []uint8{protocolTCP, protocolUDP} {
					packets = append(packets, Packet{Source: addr(hosts[0]), Destination: addr(hosts[1]), Protocol: protocol, SourcePort: ports[0], DestinationPort: ports[1], HasPorts: true})
				}
			}
			for _, p := range packets {
				if d := spd.Decide(p, PortsLAN); d.Exemption != nil || d.Verdict != VerdictBlock {
					t.Errorf("level %s: transit %+v: %s", level, p, d.Why)
				}
			}
		}
	}
}

// IKE is UDP 500 to 500 and, with a free port at the peer, 4500; both ways, own addresses only, in both IP versions, and
// only while the active policy has something to negotiate and IKE is enabled.
// S-034, C-07
func TestIKEPortsByNeed(t *testing.T) {
	ports := []uint16{88, 499, 500, 501, 1024, 4499, 4500, 4501}
	for need, spd := range map[string]*SPD{
		"negotiate":            exempt(t, ActionNegotiate, Level3),
		"permit":               exempt(t, ActionPermit, Level3),
		"block":                exempt(t, ActionBlock, Level3),
		"negotiate, level 0":   exempt(t, ActionNegotiate, Level0),
		"block, level 0":       exempt(t, ActionBlock, Level0),
		"IKE is disabled":      withoutIKE(t, Level3),
		"no IKE, level 0":      withoutIKE(t, Level0),
		"only a default reply": onlyDefaultResponse(t),
	} {
		needed := strings.HasPrefix(need, "negotiate") || strings.HasPrefix(need, "only")
		if spd.NeedsIKE != needed {
			t.Errorf("%s: needs IKE %v", need, spd.NeedsIKE)
		}
		for _, pair := range [][2]string{{"198.51.100.7", "192.0.2.1"}, {"198.51.100.7", "10.1.0.1"}, {"2001:db8:9::7", "2001:db8::1"}} {
			for _, theirs := range ports {
				for _, mine := range ports {
					in := Packet{Source: addr(pair[0]), Destination: addr(pair[1]), Protocol: protocolUDP, SourcePort: theirs, DestinationPort: mine, HasPorts: true}
					out := Packet{Source: in.Destination, Destination: in.Source, Protocol: protocolUDP, SourcePort: mine, DestinationPort: theirs, HasPorts: true}
					isIKE := needed && (mine == 500 && theirs == 500 || mine == 4500)
					for p, name := range map[Packet]string{in: "ike-inbound", out: "ike-outbound"} {
						if got := exemptionOf(spd, p); (got == name) != isIKE {
							t.Errorf("%s: %+v: exemption %q, want it to be of IKE: %v", need, p, got, isIKE)
						}
						p.Protocol = protocolTCP
						if got := exemptionOf(spd, p); got == name {
							t.Errorf("%s: TCP %+v is taken for IKE", need, p)
						}
					}
				}
			}
		}
	}
	if got := exemptionOf(exempt(t, ActionNegotiate, Level3), Packet{Source: addr("198.51.100.7"), Destination: addr("192.0.2.1"), Protocol: protocolUDP}); got != "" {
		t.Errorf("a fragment of UDP is exempt as %s", got)
	}
}

func withoutIKE(t *testing.T, level ExemptionLevel) *SPD {
	t.Helper()
	set := setOf(ruleText{name: "r", kind: ActionNegotiate, tunnel: "t", filter: Filter{Source: spec("10.8.0.0/24"), Destination: spec("10.9.0.0/24")}})
	set.IKEDisabled, set.Exemptions = true, level
	spd, warnings := mustCompile(t, set, gatewayEnvironment)
	if !slices.ContainsFunc(warnings, func(w Warning) bool { return strings.Contains(w.Message, "IKE is disabled: its traffic is dropped") }) {
		t.Errorf("warnings %v", warnings)
	}
	return spd
}

func onlyDefaultResponse(t *testing.T) *SPD {
	t.Helper()
	set := setOf()
	set.Policies[0].DefaultResponse = DefaultResponse{Enabled: true, Methods: []string{"aes128gcm16"}, AuthMethods: []string{"psk"}}
	spd, _ := mustCompile(t, set, gatewayEnvironment)
	return spd
}

// At level 3 a source port 88 opens nothing behind a one-way inbound block, and neither does a destination port 88. At
// level 0 it opens every port: the test would see it.
// S-036
func TestNoPortScanFromKerberos(t *testing.T) {
	spd, _ := mustCompile(t, setOf(ruleText{name: "deny", kind: ActionBlock, filter: Filter{Source: Any(), Destination: MyAddresses()}}), gatewayEnvironment)
	for _, pair := range [][2]netip.Addr{{addr("198.51.100.7"), addr("192.0.2.1")}, {addr("2001:db8:9::7"), addr("2001:db8::1")}} {
		for _, protocol := range []uint8{protocolTCP, protocolUDP} {
			for port := 1; port <= 65535; port++ {
				p := Packet{Source: pair[0], Destination: pair[1], Protocol: protocol, SourcePort: 88, DestinationPort: uint16(port), HasPorts: true}
				from := p
				from.SourcePort, from.DestinationPort = p.DestinationPort, p.SourcePort
				if got := spd.Decide(p, PortsWAN).Verdict; got != VerdictBlock {
					t.Fatalf("%+v passes", p)
				}
				if got := spd.Decide(from, PortsWAN).Verdict; got != VerdictBlock {
					t.Fatalf("%+v passes", from)
				}
			}
		}
	}
	open, _ := mustCompile(t, &Set{Exemptions: Level0}, gatewayEnvironment)
	if open.Decide(packet(17, "198.51.100.7:88", "192.0.2.1:139"), PortsWAN).Verdict != VerdictPermit {
		t.Error("level 0 does not let a packet from port 88 in")
	}
}

// Exemptions, entries and the default are all on display, in the order in which a packet meets them.
// S-032, S-108
func TestRows(t *testing.T) {
	spd := exempt(t, ActionNegotiate, Level3)
	rows := spd.Rows()
	if want := 2 + len(spd.Entries) + 1; len(rows) != want {
		t.Fatalf("%d rows, want %d", len(rows), want)
	}
	if first := rows[0]; first.Rule != "(exempt)" || first.ID != spd.Exemptions[0].ID || first.Source != "my" || first.DestinationPort != "500|any" {
		t.Errorf("first row %+v", first)
	}
	i := slices.IndexFunc(spd.Entries, func(e Entry) bool { return e.Verdict == VerdictProtect })
	want := Row{ID: spd.Entries[i].ID, Weight: spd.Entries[i].Weight, Specificity: "48 address bits", Rule: "r", FilterList: "list-r",
		Filter: "10.8.0.0/24 > 10.9.0.0/24 one-way", Source: "10.8.0.0/24", Destination: "10.9.0.0/24", Protocol: "any",
		SourcePort: "any", DestinationPort: "any", Ports: "all", Verdict: "protect", Tunnel: "t"}
	if entry := rows[2+i]; entry != want {
		t.Errorf("entry row\n%+v, want\n%+v", entry, want)
	}
	if last := rows[len(rows)-1]; last.Rule != "(default)" || last.Verdict != "block" {
		t.Errorf("last row %+v", last)
	}
}
