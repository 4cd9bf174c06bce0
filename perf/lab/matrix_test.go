package lab_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"sallyport/appliance/api"
	"sallyport/perf/lab"
	"sallyport/perf/peers"
)

// allCases is what `make interop` sets.
var allCases = flag.Bool("all", false, "test every case that the Linux kernel has, not only one of each kind")

// matrix is our gateway at site A with a host behind it, and at site B a guest whose kernel is gateway and hosts in one.
type matrix struct {
	*lab.Sites
	gateway *lab.Gateway
	guest   *peers.Guest
	capture *lab.Capture
}

// matrixChunk is how many cases both ends have at once; then they are given others.
const matrixChunk = 48

// TestKernelMatrix: our gateway and the Linux kernel understand each other in every case with keys given by hand. One gateway and one
// guest serve them all, chunk by chunk: the gateway by loading its configuration again.
// S-095, S-096: ESP with and without encryption, and AH around it. S-098, S-099: tunnel mode, and transport mode with ICMP, UDP and TCP
// between unchanged addresses.
func TestKernelMatrix(t *testing.T) {
	cases := peers.CoreMatrix()
	if *allCases {
		cases = peers.FullMatrix()
	}
	var m *matrix
	for chunk := range slices.Chunk(cases, matrixChunk) {
		if m == nil {
			m = newMatrix(t)
			m.startGateway(t, chunk, lab.GatewayOptions{Binary: binary(t)})
		} else if err := m.gateway.Reload(t.Context(), m.policy(chunk), m.sas(chunk)); err != nil {
			t.Fatal(err)
		}
		m.runAll(t, chunk, m.run)
	}
}

// runAll carries out the cases that the gateway has, and gives the guest its ends of them.
func (m *matrix) runAll(t *testing.T, cases []peers.Case, run func(t *testing.T, c peers.Case, number int, tunnel peers.ManualTunnel)) {
	t.Helper()
	var tunnels []peers.ManualTunnel
	for number, c := range cases {
		tunnels = append(tunnels, c.Tunnel(m.A, m.B, number))
	}
	if err := peers.InstallTunnels(t.Context(), m.guest, tunnels...); err != nil {
		t.Fatal(err)
	}
	if err := m.gateway.WaitReady(t.Context(), tunnelLimit); err != nil {
		t.Fatal(err)
	}
	var err error
	if m.capture, err = m.Capture(lab.CaptureOptions{Snap: 256}); err != nil {
		t.Fatal(err)
	}
	for number, c := range cases {
		t.Run(c.Name(), func(t *testing.T) { run(t, c, number, tunnels[number]) })
	}
	m.verify(t)
}

// startGateway starts the gateway with its ends of the cases.
func (m *matrix) startGateway(t *testing.T, cases []peers.Case, o lab.GatewayOptions) {
	t.Helper()
	o.PSK, o.IPv6, o.Policy, o.ManualSAs = testPSK, true, m.policy(cases), m.sas(cases)
	var err error
	if m.gateway, err = m.StartGateway(m.A, o); err != nil {
		t.Fatal(err)
	}
}

// newMatrix starts the guest.
func newMatrix(t *testing.T) *matrix {
	t.Helper()
	m := &matrix{Sites: newSites(t, lab.RawGateway, lab.RawGateway)}
	t.Cleanup(func() {
		if t.Failed() && m.gateway != nil {
			t.Logf("gateway: %s", m.gateway.Diagnosis(context.Background()))
		}
	})
	var err error
	speakIPv6(t, m.A.Host, netip.PrefixFrom(m.A.HostAddress6, m.A.LAN6.Bits()), m.A.LANAddress6, netip.MustParsePrefix("::/0"))
	if m.guest, err = peers.StartGuest(t.Context(), m.Lab, m.B.Gateway, "guest-b", lab.WANLink); err != nil {
		t.Fatal(err)
	}
	if err := m.guest.Configure(t.Context(), m.B, m.A); err != nil {
		t.Fatal(err)
	}
	if err := m.guest.ConfigureCases(t.Context(), m.B, m.A); err != nil {
		t.Fatal(err)
	}
	var hosts []netip.Addr
	for number := range matrixChunk {
		hosts = append(hosts, peers.Case{}.Host(m.B, number), peers.Case{Inner6: true}.Host(m.B, number))
	}
	if err := m.guest.ServeEcho(t.Context(), true, hosts...); err != nil {
		t.Fatal(err)
	}
	return m
}

// policy protects the traffic of each case with its own SA. Its rule for a peer opens UDP port 4500 (S-034).
func (m *matrix) policy(cases []peers.Case) string {
	var lists, rules strings.Builder
	for number, c := range cases {
		tunnel := c.Tunnel(m.A, m.B, number)
		fmt.Fprintf(&lists, "  - {name: case-%d, updated: 2026-11-21, filters: [{source: %q, destination: %q}]}\n", number, tunnel.RemoteNet, tunnel.LocalNet)
		fmt.Fprintf(&rules, "      - {name: case-%d, filter_list: case-%d, filter_action: protect, sa: case-%d}\n", number, number, number)
	}
	return fmt.Sprintf(`routes:
  - {to: %q, via: %q}
  - {to: %q, via: %q}
filter_lists:
  - {name: unused, updated: 2026-11-21, filters: [{source: 203.0.113.1, destination: 203.0.113.2}]}
%sfilter_actions:
  - {name: protect, action: negotiate}
policies:
  - name: matrix
    rules:
      - {name: unused, filter_list: unused, filter_action: protect, peer: unused}
%sactive_policy: matrix
`, m.B.LAN, m.B.WANAddress, m.B.LAN6, m.B.WANAddress6, &lists, &rules)
}

// sas are the gateway's ends of the tunnels, of which the guest has the other: what it sends is what we receive.
func (m *matrix) sas(cases []peers.Case) string {
	var text strings.Builder
	fmt.Fprintf(&text, "peers:\n  - {name: unused, local: %s, remote: 192.0.2.99, auth: {psk_file: gw-a.psk}, start: on-demand}\nsas:\n", m.A.WANAddress)
	for number, c := range cases {
		text.WriteString(manualText(number, mirror(c.Tunnel(m.A, m.B, number))))
	}
	return text.String()
}

// mirror is the other end of a tunnel.
func mirror(m peers.ManualTunnel) peers.ManualTunnel {
	m.Local, m.Remote, m.LocalNet, m.RemoteNet = m.Remote, m.Local, m.RemoteNet, m.LocalNet
	m.Layers = slices.Clone(m.Layers)
	for i := range m.Layers {
		m.Layers[i].In, m.Layers[i].Out = m.Layers[i].Out, m.Layers[i].In
	}
	return m
}

// manualText is a gateway's end of a tunnel as its configuration has it, case-N by name, with other fields if there are any.
func manualText(number int, tunnel peers.ManualTunnel, others ...string) string {
	inner := tunnel.Layers[0]
	fields := []string{fmt.Sprintf("name: case-%d, local: %q, remote: %q", number, tunnel.Local, tunnel.Remote),
		fmt.Sprintf("algorithm: %s, spi_in: %#x, spi_out: %#x", inner.Suite, inner.In.SPI, inner.Out.SPI),
		fmt.Sprintf("key_in: %q, key_out: %q", hexOf(inner.In), hexOf(inner.Out)), "replay_window: 128"}
	fields = append(fields, others...)
	if inner.Suite.AH() {
		fields = append(fields, "protocol: ah")
	}
	if tunnel.Transport {
		fields = append(fields, "mode: transport")
	}
	if len(tunnel.Layers) > 1 {
		outer := tunnel.Layers[1]
		fields = append(fields, fmt.Sprintf("ah: %s, ah_spi_in: %#x, ah_spi_out: %#x, ah_key_in: %q, ah_key_out: %q",
			outer.Suite, outer.In.SPI, outer.Out.SPI, hexOf(outer.In), hexOf(outer.Out)))
	}
	if tunnel.UDP {
		fields = append(fields, "udp: {remote_port: 4500}")
	}
	if tunnel.ESN {
		fields = append(fields, "esn: true")
	}
	if tunnel.Sequence > 0 {
		fields = append(fields, fmt.Sprintf("sequence: %d", tunnel.Sequence))
	}
	return fmt.Sprintf("  - {%s}\n", strings.Join(fields, ", "))
}

func hexOf(sa peers.ManualSA) string { return fmt.Sprintf("%x", sa.Keymat.Bytes()) }

// run sends traffic through one case and wants the wire, the gateway's SAs and the traffic to agree.
func (m *matrix) run(t *testing.T, c peers.Case, number int, tunnel peers.ManualTunnel) {
	if err := echoFrom(m.A.Host, c.Host(m.B, number)); err != nil {
		stat, _ := m.guest.XFRMErrors(t.Context())
		t.Errorf("%v; the kernel's errors: %v", err, stat)
		return
	}
	enough := len(pingSizes) + len(lab.EchoDatagrams)
	inner := tunnel.Layers[0]
	for _, layer := range tunnel.Layers {
		m.agree(t, "to the guest", layer.In.SPI, inner.In.SPI, enough, func(a, _ lab.Tally) lab.Tally { return a })
		m.agree(t, "from the guest", layer.Out.SPI, inner.Out.SPI, enough, func(_, b lab.Tally) lab.Tally { return b })
	}
}

// agree wants as many packets with an SPI on the wire as the gateway has counted for the SA, which a bundle lists by its ESP, and more
// than enough. What ends a connection is still under way when its last octet is there.
func (m *matrix) agree(t *testing.T, way string, spi, listed uint32, enough int, side func(a, b lab.Tally) lab.Tally) {
	t.Helper()
	seen, counted := 0, uint64(0)
	err := lab.Until(t.Context(), nil, "the counts to agree", settleLimit, func() (bool, error) {
		all, err := m.gateway.SAs(t.Context())
		i := slices.IndexFunc(all, func(sa api.SA) bool { return sa.SPI == fmt.Sprintf("%#08x", listed) })
		if i < 0 {
			return false, errors.Join(err, fmt.Errorf("the gateway lists no SA %#x", listed))
		}
		counted, seen = all[i].Packets, side(m.capture.Sofar()).SPIs[spi]
		return seen > enough && uint64(seen) == counted, nil
	})
	if err != nil {
		t.Errorf("SA %#x %s: %d packets on the wire, %d by the gateway's count, want more than %d: %v", spi, way, seen, counted, enough, err)
	}
}

// verify ends the capture and wants nothing clear, no error of the kernel's and none of ours, and an account that adds up.
func (m *matrix) verify(t *testing.T) {
	t.Helper()
	a, b, err := m.capture.Stop()
	if err != nil {
		t.Fatal(err)
	}
	for name, sent := range map[string]lab.Tally{"a": a, "b": b} {
		if sent.Clear != 0 || sent.Lost != 0 || sent.Protected() == 0 {
			t.Errorf("site %s sent %v, want ESP and AH and nothing clear", name, sent)
		}
	}
	if errors, err := m.guest.XFRMErrors(t.Context()); err != nil || len(errors) > 0 {
		t.Errorf("the kernel's errors: %v, %v", errors, err)
	}
	counters, err := m.gateway.Counters(t.Context())
	if err != nil {
		t.Error(err)
	}
	for _, port := range counters.Ports {
		for _, multicast := range []string{"ipv6", "bad_source"} { // the guest's kernel tells routers what it listens to (RFC 3810)
			delete(port.Drops, multicast)
		}
		if port.Name == wanPort && len(port.Drops) > 0 {
			t.Errorf("the gateway dropped packets of the guest's: %v", port.Drops)
		}
	}
}
