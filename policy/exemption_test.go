package policy

import (
	"net/netip"
	"testing"
)

var gatewayEnvironment = Environment{LocalAddresses: []netip.Addr{addr("192.0.2.1"), addr("10.1.0.1"), addr("2001:db8::1")}}

func exempt(t *testing.T, kind ActionKind) *SPD {
	t.Helper()
	r := ruleText{name: "r", kind: kind, filter: Filter{Source: spec("10.1.0.0/24"), Destination: spec("10.2.0.0/24")}}
	if kind == ActionNegotiate {
		r.tunnel = "t"
	}
	spd, _ := mustCompile(t, setOf(r), gatewayEnvironment)
	return spd
}

// Level 3 lets IKE pass and nothing else: UDP 500 to 500, and 4500 with a free port at the peer, to and from the
// gateway's own addresses.
// S-031, S-033, S-034
func TestLevel3(t *testing.T) {
	spd := exempt(t, ActionNegotiate)
	for _, test := range []struct {
		name string
		p    Packet
		want string
	}{
		{"IKE to us", packet(17, "198.51.100.7:500", "192.0.2.1:500"), "ike-inbound"},
		{"IKE to our other address", packet(17, "198.51.100.7:500", "10.1.0.1:500"), "ike-inbound"},
		{"IKE over IPv6", packet(17, "[2001:db8::9]:500", "[2001:db8::1]:500"), "ike-inbound"},
		{"IKE from us", packet(17, "192.0.2.1:500", "198.51.100.7:500"), "ike-outbound"},
		{"NAT-T to us", packet(17, "198.51.100.7:4500", "192.0.2.1:4500"), "ike-inbound"},
		{"NAT-T to us from a port a NAT chose", packet(17, "198.51.100.7:61001", "192.0.2.1:4500"), "ike-inbound"},
		{"NAT-T from us", packet(17, "192.0.2.1:4500", "198.51.100.7:61001"), "ike-outbound"},
		{"500 to 501", packet(17, "198.51.100.7:500", "192.0.2.1:501"), ""},
		{"501 to 500", packet(17, "198.51.100.7:501", "192.0.2.1:500"), ""},
		{"TCP", packet(6, "198.51.100.7:500", "192.0.2.1:500"), ""},
		{"transit IKE", packet(17, "198.51.100.7:500", "10.1.0.7:500"), ""},
		{"transit NAT-T", packet(17, "10.1.0.7:4500", "198.51.100.7:4500"), ""},
		{"Kerberos", packet(17, "198.51.100.7:88", "192.0.2.1:1000"), ""},
		{"RSVP", Packet{Source: addr("198.51.100.7"), Destination: addr("192.0.2.1"), Protocol: 46}, ""},
		{"multicast", packet(17, "198.51.100.7:500", "224.0.0.1:500"), ""},
		{"broadcast", packet(17, "198.51.100.7:500", "255.255.255.255:500"), ""},
		{"a fragment of UDP", Packet{Source: addr("198.51.100.7"), Destination: addr("192.0.2.1"), Protocol: 17}, ""},
	} {
		got := ""
		if x, ok := spd.Exempt(test.p); ok {
			got = x.Name
		}
		if got != test.want {
			t.Errorf("%s: exemption %q, want %q", test.name, got, test.want)
		}
	}
}

// IKE is open only if the active policy needs it.
// S-034
func TestExemptOnlyIfNeeded(t *testing.T) {
	for kind, want := range map[ActionKind]bool{ActionPermit: false, ActionBlock: false, ActionNegotiate: true} {
		spd := exempt(t, kind)
		_, ok := spd.Exempt(packet(17, "198.51.100.7:500", "192.0.2.1:500"))
		if ok != want || spd.NeedsIKE != want {
			t.Errorf("policy of %s: exempt %v, needs IKE %v, want %v", kind, ok, spd.NeedsIKE, want)
		}
	}
}

// Exemptions, entries and the default are all on display, in the order in which a packet meets them.
// S-032, S-108
func TestRows(t *testing.T) {
	spd := exempt(t, ActionNegotiate)
	rows := spd.Rows()
	if want := 2 + len(spd.Entries) + 1; len(rows) != want {
		t.Fatalf("%d rows, want %d", len(rows), want)
	}
	if first := rows[0]; first.Rule != "(exempt)" || first.ID != spd.Exemptions[0].ID || first.Source != "my" || first.DestinationPort != "500|any" {
		t.Errorf("first row %+v", first)
	}
	entry := rows[len(rows)-2]
	want := Row{ID: spd.Entries[1].ID, Weight: spd.Entries[1].Weight, Specificity: "48 address bits", Rule: "r", FilterList: "list-r",
		Filter: "10.1.0.0/24 > 10.2.0.0/24 one-way", Source: "10.1.0.0/24", Destination: "10.2.0.0/24", Protocol: "any",
		SourcePort: "any", DestinationPort: "any", Ports: "all", Verdict: "protect", Tunnel: "t"}
	if entry != want {
		t.Errorf("entry row\n%+v, want\n%+v", entry, want)
	}
	if last := rows[len(rows)-1]; last.Rule != "(default)" || last.Verdict != "block" {
		t.Errorf("last row %+v", last)
	}
}
