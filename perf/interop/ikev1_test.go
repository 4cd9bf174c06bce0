package interop

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"sallyport/perf/lab"
	"sallyport/perf/peers"
)

// Proposals of the cases of IKEv1 that are about something else.
const (
	defaultIKEv1 = "aes256-sha256-modp2048"
	defaultESPv1 = "aes128-sha256"
)

// ofIKEv1 makes cases such of IKEv1, and names them so.
func ofIKEv1(cases []testCase) []testCase {
	for i := range cases {
		cases[i].v1, cases[i].name = true, "v1/"+cases[i].name
	}
	return cases
}

// TestStrongSwanIKEv1: every case of strongSwan with IKEv1.
// S-060: either end starts. S-079: no packet is lost in rekeys.
func TestStrongSwanIKEv1(t *testing.T) {
	b := newBed(t)
	runCases(t, b, b.strongSwanVersion(t), ofIKEv1(slices.Concat(strongSwanV1Forms(b), strongSwanV1Certificates(t, b), strongSwanV1Algorithms())))
}

// strongSwanV1Forms are the ways to protect packets, and selectors.
func strongSwanV1Forms(b *bed) []testCase {
	return []testCase{
		{name: "psk", core: true, ike: defaultIKEv1, esp: defaultESP, theirs: strongSwan(), wire: plainESP},
		{name: "aes-tunnel", core: true, ike: "aes128-sha1-ecp256", esp: "aes256-sha256", theirs: strongSwan(), wire: plainESP, check: wantMode("tunnel")},
		{name: "3des-sha1-transport", core: true, ike: "3des-sha1-modp1024", esp: "3des-sha1", theirs: strongSwan(swanTransport), wire: plainESP,
			ours: transport(b).and(legacy), traffic: betweenGateways, check: wantMode("transport")},
		{name: "ah", core: true, ike: defaultIKEv1, ah: "sha256", theirs: strongSwan(), wire: plainAH},
		{name: "pfs", core: true, ike: defaultIKEv1, esp: "aes128-sha256-modp2048", theirs: strongSwan(), wire: plainESP, check: wantLog("/MODP_2048/")},
		{name: "rekey", core: true, ike: defaultIKEv1, esp: defaultESPv1, theirs: strongSwan(), wire: plainESP, check: rekeyBothWays},
		{name: "rekey-at-once", ike: defaultIKEv1, esp: defaultESPv1, theirs: strongSwan(), wire: plainESP, check: rekeyAtOnce},
		{name: "lifetimes", ike: defaultIKEv1, esp: defaultESPv1, wire: plainESP, check: rekeysByTime,
			theirs: strongSwan(func(_ *bed, t *peers.Tunnel) {
				t.Connection, t.Child = "reauth_time = 15s\n over_time = 15s", "rekey_time = 8s\n life_time = 40s\n rand_time = 0s"
			})},
		{name: "delete", core: true, ike: defaultIKEv1, esp: defaultESPv1, theirs: strongSwan(), wire: plainESP, check: deleteBothWays, changing: true},
		{name: "nat", ike: defaultIKEv1, esp: defaultESPv1, wire: espInUDP,
			theirs: strongSwan(func(_ *bed, t *peers.Tunnel) { t.Connection = "encap = yes" })},
		{name: "ah-transport", ike: defaultIKEv1, ah: "sha1", theirs: strongSwan(swanTransport), wire: plainAH,
			ours: transport(b), traffic: betweenGateways, check: wantMode("transport")},
		{name: "pfs-of-another-group", ike: defaultIKEv1, esp: "aes128-sha256-ecp384", theirs: strongSwan(), wire: plainESP, check: wantLog("/ECP_384/")},
		{name: "pfs-rekey", ike: defaultIKEv1, esp: "aes128gcm16-ecp256", theirs: strongSwan(), wire: plainESP, check: rekeyBothWays},
		{name: "within-a-filter", ike: defaultIKEv1, esp: defaultESPv1, wire: plainESP, starts: theyStart,
			theirs: strongSwan(func(b *bed, t *peers.Tunnel) { t.LocalNet = netip.PrefixFrom(b.B.LAN.Addr(), 25) })},
		{name: "one-port", ike: defaultIKEv1, esp: defaultESPv1, wire: plainESP, traffic: onlyTCP,
			theirs: strongSwan(func(b *bed, t *peers.Tunnel) {
				t.Child = fmt.Sprintf("local_ts = %s[tcp/%d]\n remote_ts = %s[tcp]", b.B.LAN, lab.EchoPort, b.A.LAN)
			}),
			ours: ours{filters: fmt.Sprintf("{source: %s, destination: %s, protocol: tcp, destination_port: %d}", b.A.LAN, b.B.LAN, lab.EchoPort)}},
		{name: "two-children", ike: defaultIKEv1, esp: defaultESP, wire: plainESP, ours: ours{policy: twoChildren(b)}, starts: weStart,
			theirs: strongSwan(swanTwoChildren), traffic: echoesAndDatagrams, check: wantTwoChildren},
		{name: "over-ipv6", ike: defaultIKEv1, esp: defaultESPv1, over6: true, theirs: strongSwan(), wire: plainESP},
		{name: "no-dpd", ike: defaultIKEv1, esp: defaultESPv1, wire: plainESP, ours: ours{peer: "dpd_delay: 0"}, theirs: strongSwan()},
		{name: "wrong-key", ike: defaultIKEv1, esp: defaultESPv1, refusal: "pre-shared key", starts: weStart,
			theirs: strongSwan(func(_ *bed, t *peers.Tunnel) { t.PSK = "another pre-shared key" })},
	}
}

// strongSwanV1Certificates are the cases with signatures, of RSA and of ECDSA (RFC 4754).
func strongSwanV1Certificates(t *testing.T, b *bed) []testCase {
	var all []testCase
	for _, k := range []struct {
		kind   keyKind
		core   bool
		name   string
		method string // as strongSwan calls it
		ike    string // RFC 4754 has a hash for each curve
	}{
		{rsa2048, true, "rsa", "RSA", defaultIKEv1},
		{p256, false, "ecdsa256", "ECDSA", "aes128-sha256-ecp256"},
		{p384, false, "ecdsa384", "ECDSA", "aes256-sha384-ecp384"},
		{p521, false, "ecdsa521", "ECDSA", "aes256-sha512-ecp521"},
	} {
		c := chainOf(t, b, k.kind)
		all = append(all, testCase{name: k.name, core: k.core, ike: k.ike, esp: defaultESPv1, ours: c.ours(), theirs: strongSwan(swanCertificates(c)), wire: plainESP,
			check: wantLog(fmt.Sprintf("authentication of '%s' with %s", nameA, k.method), fmt.Sprintf("authentication of '%s' (myself)", nameB))})
	}
	c, big := chainOf(t, b, rsa2048), chainOf(t, b, rsa4096)
	return append(all,
		testCase{name: "fragmentation", ike: defaultIKEv1, esp: defaultESPv1, wire: plainESP, ours: big.ours(), theirs: strongSwan(swanCertificates(big)), check: wantFragments},
		testCase{name: "identity-mail", ike: defaultIKEv1, esp: defaultESPv1, wire: plainESP, ours: c.ours().called(mailA, mailB),
			theirs: strongSwan(swanCertificates(c), swanCalled(mailB, mailA))},
		testCase{name: "identity-dn", ike: defaultIKEv1, esp: defaultESPv1, wire: plainESP, ours: c.ours().called("dn:CN="+nameA+",O=Sallyport,C=GB", "dn:CN="+nameB+",O=Sallyport,C=GB"),
			theirs: strongSwan(swanCertificates(c), swanCalled("C=GB, O=Sallyport, CN="+nameB, "C=GB, O=Sallyport, CN="+nameA))},
		testCase{name: "revoked", ike: defaultIKEv1, esp: defaultESPv1, ours: c.ours(c.b), theirs: strongSwan(swanCertificates(c)), refusal: "revoked"},
	)
}

// strongSwanV1Algorithms are every group, cipher and hash of main mode that strongSwan has too, and what quick mode has numbers for.
func strongSwanV1Algorithms() []testCase {
	var all []testCase
	for _, suite := range []struct{ ike, child string }{
		{"aes128-sha256-modp2048", "aes192-sha384"},
		{"aes192-sha384-modp3072", "aes256-sha512"},
		{"aes256-sha512-modp4096", "aes128-sha1"},
		{"aes256-sha1-modp6144", "aes256gcm16"},
		{"aes128-sha256-modp8192", "aes192gcm12"},
		{"aes128-sha256-ecp256", "aes128gcm8"},
		{"aes256-sha384-ecp384", "aes128ccm16"},
		{"aes256-sha512-ecp521", "aes192ccm12"},
		{"aes192-sha256-ecp256", "aes256ccm8"},
		{defaultIKEv1, "aes128ctr-sha256"},
		{defaultIKEv1, "aes256gmac"},
		{defaultIKEv1, "aes128-aesxcbc"},
		{defaultIKEv1, "ah sha384"},
		{defaultIKEv1, "ah sha512"},
		{defaultIKEv1, "ah aesxcbc"},
		{"3des-md5-modp1536", "3des-md5"},
		{"3des-sha1-modp768", "des-sha1"},
		{"3des-sha256-modp2048", "null-sha256"},
		{"aes128-sha1-modp1024", "ah md5"},
	} {
		child, isAH := strings.CutPrefix(suite.child, "ah ")
		c := testCase{name: suite.ike + "/" + strings.ReplaceAll(suite.child, " ", "-"), ike: suite.ike, esp: child, theirs: strongSwan(), wire: plainESP,
			traffic: func(r *running) error { return pingAll(r.A.Host, r.B.HostAddress) }, check: wantProposal}
		if isAH {
			c.esp, c.ah, c.wire = "", child, plainAH
		}
		if weak(suite.ike + "/" + suite.child) {
			c.ours.top = legacy
		}
		all = append(all, c)
	}
	return all
}

// TestLibreswanIKEv1: every case of libreswan with IKEv1.
// S-060: either end starts. S-079: no packet is lost in rekeys.
func TestLibreswanIKEv1(t *testing.T) {
	b := newBed(t)
	runCases(t, b, b.libreswanVersion(t), ofIKEv1([]testCase{
		{name: "psk", core: true, ike: defaultIKEv1, esp: "aes256gcm16", wire: plainESP,
			theirs: libreswan(map[string]string{"ike": "aes256-sha2_256;modp2048", "phase2alg": "aes_gcm256"})},
		{name: "rsa", core: true, ike: defaultIKEv1, esp: defaultESPv1, wire: plainESP, ours: chainOf(t, b, rsa2048).ours(), theirs: libreswanCertified(t, b, rsa2048, rsasig())},
		{name: "rekey", core: true, ike: defaultIKEv1, esp: defaultESPv1, wire: plainESP, check: rekeyBothWays,
			theirs: libreswan(map[string]string{"ike": "aes256-sha2_256;modp2048", "phase2alg": "aes128-sha2_256"})},
		{name: "rekey-at-once", ike: defaultIKEv1, esp: defaultESPv1, wire: plainESP, check: rekeyAtOnce,
			theirs: libreswan(map[string]string{"ike": "aes256-sha2_256;modp2048", "phase2alg": "aes128-sha2_256"})},
		{name: "lifetimes", ike: defaultIKEv1, esp: defaultESPv1, wire: plainESP, check: rekeysByTime,
			theirs: libreswan(map[string]string{"ike": "aes256-sha2_256;modp2048", "phase2alg": "aes128-sha2_256", "rekey": "yes",
				"ikelifetime": "30s", "salifetime": "25s", "rekeymargin": "10s", "rekeyfuzz": "0%"})},
		{name: "defaults", ike: defaultIKEv1, esp: "aes128-sha1", wire: plainESP, theirs: libreswan(nil)},
		{name: "pfs", ike: "aes256-sha256-ecp256", esp: "aes128-sha256-modp2048", wire: plainESP,
			theirs: libreswan(map[string]string{"ike": "aes256-sha2_256;dh19", "phase2alg": "aes128-sha2_256;modp2048", "pfs": "yes"})},
		{name: "ah", ike: "aes128-sha1-modp2048", ah: "sha256", wire: plainAH,
			theirs: libreswan(map[string]string{"ike": "aes128-sha1;modp2048", "phase2": "ah", "phase2alg": "sha2_256"})},
		{name: "transport", ike: "3des-sha1-modp1536", esp: "3des-sha1", wire: plainESP, ours: transport(b).and(legacy), traffic: betweenGateways,
			check: wantMode("transport"), theirs: libreswan(map[string]string{"ike": "3des-sha1;modp1536", "phase2alg": "3des-sha1",
				"type": "transport", "leftsubnet": "", "rightsubnet": ""})},
		{name: "nat", ike: "aes128-sha512-ecp384", esp: "aes256-sha512", wire: espInUDP,
			theirs: libreswan(map[string]string{"ike": "aes128-sha2_512;dh20", "phase2alg": "aes256-sha2_512", "encapsulation": "yes"})},
		{name: "md5", ike: "3des-md5-modp1536", esp: "3des-md5", wire: plainESP, ours: ours{top: legacy},
			theirs: libreswan(map[string]string{"ike": "3des-md5;modp1536", "phase2alg": "3des-md5"})},
		{name: "fragmentation", ike: defaultIKEv1, esp: defaultESPv1, wire: plainESP, ours: chainOf(t, b, rsa4096).ours(), check: wantFragments,
			theirs: libreswanCertified(t, b, rsa4096, rsasig(), func(_ *bed, t *peers.LibreswanTunnel) { t.Connection["fragmentation"] = "force" })},
	}))
}

// rsasig has libreswan sign by RSA, with the default proposals of our side.
func rsasig() map[string]string {
	return map[string]string{"authby": "rsasig", "ike": "aes256-sha2_256;modp2048", "phase2alg": "aes128-sha2_256"}
}
