package lab_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"sallyport/perf/lab"
)

// narrowMTU is that of the way between the gateways, in octets: the least that IPv6 allows (RFC 8200 section 5).
const narrowMTU = 1280

// mtuCase is an SA between the sites, what crosses it, and what of that is seen between the gateways.
type mtuCase struct {
	name           string
	inner6, outer6 bool
	udp            bool   // ESP is in UDP, as behind a NAT
	encapsulation  string // of the SAs, as YAML
	fragments      bool   // of outer packets are what the gateways send
	narrow         bool   // no packet is longer than the way takes, from the first one
}

// mtuCases: what is too long is refused and its sender told, unless the sender knows before, or it is cut on the way. IPv6 has no
// packets shorter than the narrow way to ask for: those come in outer fragments (RFC 2473 section 7.1).
var mtuCases = []mtuCase{
	{name: "4in4-told"},
	{name: "4in6-told", outer6: true},
	{name: "6in4-told", inner6: true, fragments: true},
	{name: "6in6-told", inner6: true, outer6: true, fragments: true},
	{name: "4in4-udp-told", udp: true},
	{name: "6in6-udp-told", inner6: true, outer6: true, udp: true, fragments: true},
	{name: "4in4-clamped", encapsulation: "mss_clamp: 1100", narrow: true},
	{name: "6in4-clamped", inner6: true, encapsulation: "mss_clamp: 1100", narrow: true},
	{name: "6in6-clamped", inner6: true, outer6: true, encapsulation: "mss_clamp: 1100", narrow: true},
	{name: "4in4-cut-by-the-router", encapsulation: "df: clear, path_mtu: off"},
	{name: "6in4-cut-by-the-router", inner6: true, encapsulation: "df: clear, path_mtu: off"},
	{name: "4in4-udp-cut-twice", udp: true, encapsulation: "df: clear, fragment: after, path_mtu: off", fragments: true},
	{name: "4in4-cut-twice", encapsulation: "df: clear, fragment: after, path_mtu: off", fragments: true},
	{name: "6in4-cut-twice", inner6: true, encapsulation: "df: clear, fragment: after, path_mtu: off", fragments: true},
}

// number is the case's place in the list, which its hosts and keys differ by.
func (c mtuCase) host(s *lab.Site, number int) netip.Addr {
	if c.inner6 {
		address := s.HostAddress6.As16()
		address[15] += byte(number)
		return netip.AddrFrom16(address)
	}
	address := s.HostAddress.As4()
	address[3] += byte(number)
	return netip.AddrFrom4(address)
}

// sa is a gateway's end of the case.
func (c mtuCase) sa(site, peer *lab.Site, number int) string {
	local, remote := site.WANAddress, peer.WANAddress
	if c.outer6 {
		local, remote = site.WANAddress6, peer.WANAddress6
	}
	in, out := 0x1001+number, 0x2001+number
	keyIn, keyOut := strings.Repeat(fmt.Sprintf("%02x", 0x40+number), 20), strings.Repeat(fmt.Sprintf("%02x", 0x80+number), 20) // AES-128 and its salt
	if site.Name == "b" {
		in, out, keyIn, keyOut = out, in, keyOut, keyIn
	}
	udp := ""
	if c.udp {
		udp = ", udp: {}"
	}
	return fmt.Sprintf("  - {name: %s, local: %q, remote: %q, algorithm: aes128gcm16, spi_in: %#x, spi_out: %#x, key_in: %q, key_out: %q, encapsulation: {%s}%s}\n",
		c.name, local, remote, in, out, keyIn, keyOut, c.encapsulation, udp)
}

// mtuOptions are those of one gateway for all cases.
func mtuOptions(t *testing.T, site, peer *lab.Site, cases []mtuCase) lab.GatewayOptions {
	sas, lists, rules := "sas:\n", "", ""
	for number, c := range cases {
		sas += c.sa(site, peer, number)
		lists += fmt.Sprintf("  - {name: %s, updated: 2026-11-21, filters: [{source: %q, destination: %q}]}\n", c.name, c.host(site, number), c.host(peer, number))
		rules += fmt.Sprintf("      - {name: %s, filter_list: %s, filter_action: protect, sa: %s}\n", c.name, c.name, c.name)
	}
	return lab.GatewayOptions{Binary: binary(t), IPv6: true, Tap: true, ManualSAs: sas, Policy: "filter_lists:\n" + lists +
		"filter_actions:\n  - {name: protect, action: negotiate}\npolicies:\n  - name: narrow\n    rules:\n" + rules + "active_policy: narrow\n"}
}

// routedGateways are two sites with a router between them whose gateways have the SAs of the cases.
func routedGateways(t *testing.T, cases []mtuCase) (*lab.Sites, []*lab.Gateway) {
	t.Helper()
	s := routedSites(t)
	var gateways []*lab.Gateway
	for _, site := range []*lab.Site{s.A, s.B} {
		g, err := s.StartGateway(site, mtuOptions(t, site, s.Peer(site), cases))
		if err != nil {
			t.Fatal(err)
		}
		gateways = append(gateways, g)
		speakIPv6(t, site.Host, netip.PrefixFrom(site.HostAddress6, site.LAN6.Bits()), site.LANAddress6, netip.MustParsePrefix("::/0"))
	}
	t.Cleanup(func() {
		for _, g := range gateways {
			if t.Failed() {
				t.Log(g.Diagnosis(context.Background()))
			}
		}
	})
	for _, g := range gateways {
		if err := g.WaitReady(t.Context(), tunnelLimit); err != nil {
			t.Fatal(err)
		}
	}
	return s, gateways
}

// TestPathMTU: a TCP transfer gets across a way of 1280 octets in both IP versions, inside and outside, whether its sender learns of
// that by ICMP, by the gateway's clamp, or not at all.
func TestPathMTU(t *testing.T) {
	t.Parallel()
	s, gateways := routedGateways(t, mtuCases)
	if err := s.LimitMTU(narrowMTU); err != nil {
		t.Fatal(err)
	}
	for number, c := range mtuCases {
		t.Run(c.name, func(t *testing.T) { c.transfer(t, s, number) })
	}
	for _, g := range gateways {
		if _, err := g.Counters(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// arrive gives the hosts of both sites the case's addresses.
func (c mtuCase) arrive(t *testing.T, s *lab.Sites, number int) (from, to netip.Addr) {
	t.Helper()
	for _, site := range []*lab.Site{s.A, s.B} {
		if address := c.host(site, number); number > 0 {
			if err := site.Host.AddAddress("eth0", netip.PrefixFrom(address, address.BitLen())); err != nil {
				t.Fatal(err)
			}
		}
	}
	return c.host(s.A, number), c.host(s.B, number)
}

// transfer sends a stream there and back.
func (c mtuCase) transfer(t *testing.T, s *lab.Sites, number int) {
	from, to := c.arrive(t, s, number)
	serveEcho(t, s.B.Host, to)
	capture, err := s.Capture(lab.CaptureOptions{Snap: 128})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.A.Host.EchoTCP(from, to); err != nil {
		t.Error(err)
	}
	a, b, err := capture.Stop()
	if err != nil {
		t.Fatal(err)
	}
	for name, sent := range map[string]lab.Tally{"a": a, "b": b} {
		if sent.Clear != 0 || sent.Lost != 0 || sent.ESP+sent.ESPinUDP == 0 || (sent.ESPinUDP > 0) != c.udp {
			t.Errorf("site %s sent %v, want ESP, in UDP: %v, and nothing clear", name, sent, c.udp)
		}
	}
	if longest := max(a.Longest, b.Longest); c.narrow != (longest <= etherLen+narrowMTU) {
		t.Errorf("sent frames of up to %d octets, want none above %d: %v", longest, etherLen+narrowMTU, c.narrow)
	}
	if cut := a.Fragments+b.Fragments > 0; cut != c.fragments {
		t.Errorf("sent %v and %v, want fragments: %v", a, b, c.fragments)
	}
}
