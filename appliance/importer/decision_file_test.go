package importer

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"sallyport/policy"
)

// The golden files decide as their authors meant: who may do what, and through which tunnel.
func TestGoldenDecisions(t *testing.T) {
	for _, c := range []struct {
		file, packet string // protocol source[port] > destination[port]
		want         string
	}{
		{"server-isolation.netsh", "tcp OWN:1433 > 10.20.0.11:40000", "protect SQL-10.20.0.11"},
		{"server-isolation.netsh", "tcp 10.20.0.12:40000 > OWN:1433", "require SQL-10.20.0.12"},
		{"server-isolation.netsh", "tcp 10.20.0.13:40000 > OWN:1433", "block"},
		{"server-isolation.netsh", "udp OWN:40000 > 10.20.0.53:53", "permit"},
		{"server-isolation.netsh", "udp OWN:40000 > 10.20.0.54:53", "block"},
		{"server-isolation.netsh", "tcp 10.20.11.255:40000 > OWN:3389", "permit"}, // 255.255.252.0
		{"server-isolation.netsh", "tcp 10.20.12.0:40000 > OWN:3389", "block"},
		{"site-to-site.netsh", "tcp 10.1.2.3:40000 > 10.2.3.4:80", "protect Tunnel-to-Zurich"},
		{"site-to-site.netsh", "tcp 10.2.3.4:80 > 10.1.2.3:40000", "require Tunnel-to-Zurich"},
		{"site-to-site.netsh", "tcp 10.1.2.3:40000 > 10.3.3.4:80", "block"},
		{"domain-policy.netsh", "tcp OWN:40000 > 10.9.9.9:80", "protect All-IP"},
		{"domain-policy.netsh", "icmp OWN:0 > 10.9.9.9:0", "permit"},
		{"domain-policy.netsh", "udp OWN:40000 > 239.255.255.250:1900", "block"},
		{"domain-policy.netsh", "udp OWN:40000 > 10.7.1.1:1900", "protect SSDP"},
		{"hub-spokes.netsh", "udp 10.0.0.1:1 > 10.13.0.1:2", "protect B3-out"},
		{"hub-spokes.netsh", "udp 10.2.0.1:1 > 10.0.0.1:2", "require B2-out"},
		{"hub-spokes.netsh", "udp 10.2.0.1:1 > 10.1.0.1:2", "block"}, // branches do not reach each other
		{"hub.swanctl.conf", "udp 10.0.5.1:5060 > 10.1.5.9:40000", "protect voice"},
		{"hub.swanctl.conf", "udp 10.0.5.1:5061 > 10.1.5.9:40000", "protect lan"},
		{"hub.swanctl.conf", "tcp 10.12.3.255:1 > 10.0.0.1:2", "require paris-lan"},
		{"hub.swanctl.conf", "tcp 10.0.0.1:2 > 10.12.4.0:1", "block"},
		{"hub.swanctl.conf", "tcp 10.0.0.1:2 > 10.1.9.7:9100", "permit"},
		{"hub.swanctl.conf", "tcp 10.1.9.7:9100 > 10.0.0.1:2", "permit"},
	} {
		result, err := importFile(t, "testdata/"+c.file)
		if err != nil {
			t.Fatal(err)
		}
		config := mustParse(t, result)
		own := config.Environment.LocalAddresses[len(config.Environment.LocalAddresses)-1]
		p := readPacket(t, strings.ReplaceAll(c.packet, "OWN", own.String()))
		for _, port := range []policy.PortGroup{policy.PortsLAN, policy.PortsWAN} {
			if strings.Contains(c.packet, ":3389") && port == policy.PortsWAN {
				continue // conntype=lan
			}
			got := "block"
			if e, ok := config.SPD.Match(p, port); ok {
				got = strings.TrimSpace(e.Verdict.String() + " " + e.Tunnel)
			}
			if got != c.want {
				t.Errorf("%s: %s on %s: %s, want %s", c.file, c.packet, port, got, c.want)
			}
		}
	}
}

// readPacket reads "tcp 10.1.2.3:40000 > 10.2.3.4:80".
func readPacket(t *testing.T, text string) policy.Packet {
	t.Helper()
	var protocol, from, to string
	if _, err := fmt.Sscanf(text, "%s %s > %s", &protocol, &from, &to); err != nil {
		t.Fatal(err)
	}
	number, err := policy.ParseProtocol(protocol)
	if err != nil {
		t.Fatal(err)
	}
	source, destination := netip.MustParseAddrPort(from), netip.MustParseAddrPort(to)
	return policy.Packet{Source: source.Addr(), Destination: destination.Addr(), Protocol: number, HasPorts: protocol != "icmp",
		SourcePort: source.Port(), DestinationPort: destination.Port()}
}

// A random swanctl.conf protects what its traffic selectors say, through the child's own tunnel, and nothing else: 200
// files, 500 packets each. Children have networks of their own, as the choice among several is another test's.
func TestSwanctlProtectsItsSelectors(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 5))
	for range 200 {
		var file strings.Builder
		type selector struct {
			local, remote   netip.Prefix
			protocol        uint8
			localPort, port uint16
			child           string
		}
		var selectors []selector
		file.WriteString("connections {\n")
		for i := range 1 + r.IntN(4) {
			fmt.Fprintf(&file, "c%d {\nlocal_addrs = 192.0.2.1\nremote_addrs = 198.51.100.%d\nlocal { auth = psk }\nremote { auth = psk }\nchildren {\n", i, i+1)
			for j := range 1 + r.IntN(3) {
				remotes := []string{}
				s := selector{local: netip.MustParsePrefix("10.0.0.0/16"), protocol: []uint8{0, 6, 17}[r.IntN(3)], child: fmt.Sprintf("k%d-%d", i, j)}
				limit, localLimit := "", ""
				if s.protocol != 0 {
					s.localPort, s.port = []uint16{0, 1024}[r.IntN(2)], []uint16{0, 80}[r.IntN(2)]
					limit, localLimit = ends(s.protocol, s.port), ends(s.protocol, s.localPort)
				}
				for k := range 1 + r.IntN(3) {
					s.remote, _ = netip.AddrFrom4([4]byte{10, byte(1 + i), byte(j*8 + k), 0}).Prefix(24 + r.IntN(9))
					remotes = append(remotes, s.remote.String()+limit)
					selectors = append(selectors, s)
				}
				fmt.Fprintf(&file, "%s {\nlocal_ts = 10.0.0.0/16%s\nremote_ts = %s\nstart_action = trap\n}\n", s.child, localLimit, strings.Join(remotes, ", "))
			}
			file.WriteString("}\n}\n")
		}
		file.WriteString("}\n")
		result, err := Swanctl("file", []byte(file.String()))
		if err != nil {
			t.Fatalf("%v\n%s", err, file.String())
		}
		c := mustParse(t, result)
		for range 500 {
			p := policy.Packet{Source: netip.AddrFrom4([4]byte{10, 0, 7, 7}), Destination: netip.AddrFrom4([4]byte{10, byte(1 + r.IntN(4)), byte(r.IntN(24)), byte(r.IntN(3))}),
				Protocol: []uint8{6, 17}[r.IntN(2)], SourcePort: []uint16{1024, 80}[r.IntN(2)], DestinationPort: []uint16{80, 443}[r.IntN(2)], HasPorts: true}
			want := "block"
			for _, s := range selectors {
				if s.local.Contains(p.Source) && s.remote.Contains(p.Destination) && (s.protocol == 0 || s.protocol == p.Protocol) &&
					(s.localPort == 0 || s.localPort == p.SourcePort) && (s.port == 0 || s.port == p.DestinationPort) {
					want = "protect " + s.child
				}
			}
			if r.IntN(2) == 0 { // the answer
				p.Source, p.Destination, p.SourcePort, p.DestinationPort = p.Destination, p.Source, p.DestinationPort, p.SourcePort
				want = strings.Replace(want, "protect", "require", 1)
			}
			got := "block"
			if e, ok := c.SPD.Match(p, policy.PortsWAN); ok {
				got = e.Verdict.String() + " " + e.Tunnel
			}
			if got != want {
				t.Fatalf("%+v: %s, want %s\n%s", p, got, want, file.String())
			}
		}
	}
}

// ends is the limit of a traffic selector.
func ends(protocol uint8, port uint16) string {
	if port == 0 {
		return fmt.Sprintf("[%s]", policy.ProtocolName(protocol))
	}
	return fmt.Sprintf("[%d/%d]", protocol, port)
}
