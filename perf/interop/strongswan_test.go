package interop

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"sallyport/perf/lab"
	"sallyport/perf/peers"
)

// strongSwan is a connection of the daemon that says what the case does, and what the changes say.
func strongSwan(changes ...func(b *bed, t *peers.Tunnel)) theirs {
	return func(ctx context.Context, b *bed, c testCase, name string) (peers.Daemon, error) {
		tunnel := peers.Tunnel{Name: name, Local: b.B.WANAddress, Remote: b.address(b.A), LocalNet: b.B.LAN, RemoteNet: b.A.LAN, PSK: psk,
			IKEProposals: c.ike, ESPProposals: c.esp}
		if c.v1 {
			tunnel.Version = 1
		}
		if c.ah != "" {
			tunnel.Child = "ah_proposals = " + c.ah + "\n"
		}
		if c.over6 {
			tunnel.Local, tunnel.Remote = b.B.WANAddress6, b.A.WANAddress6
		}
		for _, change := range changes {
			change(b, &tunnel)
		}
		return peers.StartStrongSwanIn(ctx, b.guest, tunnel)
	}
}

// TestStrongSwan: every case of strongSwan, whose ESP and AH are the Linux kernel's.
// S-060: either end starts.
func TestStrongSwan(t *testing.T) {
	b := newBed(t)
	runCases(t, b, b.strongSwanVersion(t), slices.Concat(strongSwanForms(b), certificateCases(t, b), lifeCases(t, b), []testCase{mobikeCase()}, algorithmCases()))
}

func (b *bed) strongSwanVersion(t *testing.T) string {
	t.Helper()
	return b.version(t, "dpkg-query", "-W", "-f", "strongSwan ${Version}", "charon-systemd")
}

// Proposals of the cases that are about something else.
const (
	defaultIKE = "aes128gcm16-prfsha256-ecp256"
	defaultESP = "aes128gcm16"
)

// strongSwanForms are the ways to protect packets, and selectors.
func strongSwanForms(b *bed) []testCase {
	return []testCase{
		{name: "psk", core: true, ike: defaultIKE, esp: defaultESP, theirs: strongSwan(), wire: plainESP},
		{name: "rekey", core: true, ike: defaultIKE, esp: "aes128gcm16-ecp256", theirs: strongSwan(), wire: plainESP, check: rekeyBothWays},
		{name: "nat", core: true, ike: defaultIKE, esp: defaultESP, wire: espInUDP,
			theirs: strongSwan(func(_ *bed, t *peers.Tunnel) { t.Connection = "encap = yes" })},
		{name: "esn", core: true, ike: defaultIKE, esp: "aes128-sha256-esn", theirs: strongSwan(), wire: plainESP, check: wantESN},
		{name: "ah", core: true, ike: defaultIKE, ah: "sha256", theirs: strongSwan(), wire: plainAH},
		{name: "ah-esn", ike: defaultIKE, ah: "sha512-esn", theirs: strongSwan(), wire: plainAH, check: wantESN},
		{name: "transport", core: true, ike: defaultIKE, esp: defaultESP, theirs: strongSwan(swanTransport), wire: plainESP,
			ours: transport(b), traffic: betweenGateways, check: wantMode("transport")},
		{name: "ah-transport", ike: defaultIKE, ah: "sha1", theirs: strongSwan(swanTransport), wire: plainAH,
			ours: transport(b), traffic: betweenGateways, check: wantMode("transport")},
		{name: "default-response", starts: theyStart, ike: defaultIKE, esp: defaultESP, theirs: strongSwan(swanTransport), wire: plainESP,
			ours: ours{noPeer: true, policy: answerAnybody("v2", defaultIKE)}, traffic: betweenGateways, check: wantMode("transport")},
		{name: "default-response-v1", v1: true, starts: theyStart, ike: "aes128-sha256-modp2048", esp: defaultESP, theirs: strongSwan(swanTransport), wire: plainESP,
			ours: ours{noPeer: true, policy: answerAnybody("any", "aes128-sha256-modp2048")}, traffic: betweenGateways, check: wantMode("transport")},
		{name: "narrowing", core: true, ike: defaultIKE, esp: defaultESP, wire: plainESP, check: wantNarrow,
			theirs: strongSwan(func(b *bed, t *peers.Tunnel) {
				t.LocalNet, t.RemoteNet = netip.PrefixFrom(b.B.LAN.Addr(), 25), netip.PrefixFrom(b.A.LAN.Addr(), 16).Masked()
			})},
		{name: "one-port", ike: defaultIKE, esp: defaultESP, wire: plainESP,
			theirs: strongSwan(func(b *bed, t *peers.Tunnel) {
				t.Child = fmt.Sprintf("local_ts = %s[tcp/%d]\n remote_ts = %s[tcp]", b.B.LAN, lab.EchoPort, b.A.LAN)
			}),
			ours:    ours{filters: fmt.Sprintf("{source: %s, destination: %s, protocol: tcp, destination_port: %d}", b.A.LAN, b.B.LAN, lab.EchoPort)},
			traffic: onlyTCP},
		{name: "icmp-types", ike: defaultIKE, esp: defaultESP, wire: plainESP, traffic: requestsOnly,
			theirs: strongSwan(func(b *bed, t *peers.Tunnel) {
				t.Child = fmt.Sprintf("local_ts = %s[icmp/8]\n remote_ts = %s[icmp/8]", b.B.LAN, b.A.LAN)
			}), check: wantTypes},
		{name: "over-ipv6", core: true, ike: defaultIKE, esp: defaultESP, over6: true, theirs: strongSwan(), wire: plainESP},
		{name: "identity-keyid", ike: defaultIKE, esp: defaultESP, wire: plainESP, ours: ours{peer: "local_id: \"keyid:site-a\"\nremote_id: \"keyid:0x00ff01\""},
			theirs: strongSwan(func(_ *bed, t *peers.Tunnel) { t.LocalID, t.RemoteID = "@#00ff01", "@#736974652d61" })},
		{name: "identity-ipv6", ike: defaultIKE, esp: defaultESP, wire: plainESP, ours: ours{peer: "local_id: \"2001:db8::a\"\nremote_id: \"2001:db8::b\""},
			theirs: strongSwan(func(_ *bed, t *peers.Tunnel) { t.LocalID, t.RemoteID = "2001:db8::b", "2001:db8::a" })},
		{name: "delete", core: true, ike: defaultIKE, esp: defaultESP, theirs: strongSwan(), wire: plainESP, check: deleteBothWays, changing: true},
	}
}

// answerAnybody is a policy without a rule but the default response rule, for a version of IKE: a peer is whoever has the key.
func answerAnybody(version, proposals string) string {
	return fmt.Sprintf(`policies:
  - name: anybody
    key_exchange_methods: [%s]
    default_response: {enabled: true, ike: %s, esp_proposals: [%s], auth: {psk_file: gw-a.psk}}
active_policy: anybody
`, proposals, version, defaultESP)
}

// swanTransport protects what the two gateways say to each other.
func swanTransport(_ *bed, t *peers.Tunnel) {
	t.LocalNet, t.RemoteNet = netip.Prefix{}, netip.Prefix{}
	t.Child += "\n mode = transport"
}
