package config

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/crypto"
	"sallyport/policy"
)

// manual is base with an SA of its own keys in place of a peer.
var manual = strings.NewReplacer(
	"name: gw-a", "name: gw-a\nlab: true",
	"peers:\n  - {name: site-b, local: 192.0.2.1, remote: 192.0.2.2, auth: {psk_file: site-b.psk}}\n",
	"sas:\n  - name: by-hand\n    local: 192.0.2.1\n    remote: 192.0.2.2\n    algorithm: aes128gcm16\n    spi_in: 0x1001\n    spi_out: 0x2001\n"+
		"    key_in: 0x"+strings.Repeat("1a", 20)+"\n    key_out: "+strings.Repeat("2b", 20)+"\n",
	"peer: site-b}", "sa: by-hand}",
).Replace(base)

// manualWith is manual with other text in the place of some of it.
func manualWith(t *testing.T, pairs ...string) string {
	t.Helper()
	text := manual
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatalf("the configuration has no %q", pairs[i])
		}
		text = strings.Replace(text, pairs[i], pairs[i+1], 1)
	}
	return text
}

func parseLab(t *testing.T, text string) (*Config, error) {
	t.Helper()
	folder := t.TempDir()
	writeKey(t, folder, "site-b.psk", goodKey+"\n")
	writeKey(t, folder, "good.keys", "key_in: "+strings.Repeat("1a", 20)+"\nkey_out: "+strings.Repeat("2b", 20)+"\n\n")
	writeKey(t, folder, "short.keys", "key_in: 1a\nkey_out: 2b\n")
	writeKey(t, folder, "twice.keys", "key_in: 1a\nkey_in: 2b\n")
	writeKey(t, folder, "bad.keys", "secret material 0123456789\n")
	return ParseWith(filepath.Join(folder, "gw.yaml"), []byte(text), Options{Machine: twoCores(), Lab: true})
}

func mustParseLab(t *testing.T, text string) *Config {
	t.Helper()
	c, err := parseLab(t, text)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// An SA without a mode is a tunnel, as is one that IKE negotiates; its rule's filters are its traffic, and nothing about
// it needs IKE.
// S-099
func TestManualSA(t *testing.T) {
	c := mustParseLab(t, manual)
	if len(c.Manual) != 1 || len(c.Peers) != 0 || c.SPD.NeedsIKE || len(c.SPD.MainMode) != 0 {
		t.Fatalf("manual SAs %v, peers %v, IKE %v", c.Manual, c.Peers, c.SPD.NeedsIKE)
	}
	tunnel := c.Manual[0]
	sa := tunnel.SA
	if sa.Transport || sa.Protocol != crypto.ProtocolESP || sa.Local.Addr() != netip.MustParseAddr("192.0.2.1") || sa.Remote.Addr() != netip.MustParseAddr("192.0.2.2") || sa.UDP {
		t.Errorf("SA %+v", sa)
	}
	if sa.Suite.String() != "aes128gcm16" || sa.SPIIn != 0x1001 || sa.SPIOut != 0x2001 || sa.ReplayWindow != 1024 || sa.ESN || sa.Sequence != 1 || sa.AH != nil {
		t.Errorf("SA %+v", sa)
	}
	if sa.KeyIn.Bytes()[0] != 0x1a || sa.KeyIn.Len() != 20 || sa.KeyOut.Bytes()[19] != 0x2b {
		t.Error("the keys are not those of the file")
	}
	if sa.Encapsulation != DefaultEncapsulation() {
		t.Errorf("encapsulation %+v", sa.Encapsulation)
	}
	want := policy.Selector{Local: policy.RangeOf(netip.MustParsePrefix("10.1.0.0/24")), Remote: policy.RangeOf(netip.MustParsePrefix("10.2.0.0/24")), LocalPort: policy.AnyPort, RemotePort: policy.AnyPort}
	if tunnel.Rule != "to-site-b" || !slices.Equal(tunnel.Selectors, []policy.Selector{want}) || c.SPD.Entries[0].Tunnel != "to-site-b" {
		t.Errorf("tunnel %+v", tunnel)
	}
	if text := fmt.Sprintf("%+v %#v", sa, *sa); strings.Contains(text, "1a1a") || strings.Contains(text, "26, 26") || strings.Contains(text, "2b2b") {
		t.Errorf("a key prints: %s", text)
	}
	c.Wipe()
	if sa.KeyIn.Len()+sa.KeyOut.Len() != 0 {
		t.Error("keys were not wiped")
	}
}

// All of what an SA can be arrives.
func TestManualSAInFull(t *testing.T) {
	bundle := mustParseLab(t, manualWith(t, "algorithm: aes128gcm16", "algorithm: aes256-sha256\n    ah: sha384\n    ah_spi_in: 4099\n    ah_spi_out: 0x2002\n    esn: true\n    replay_window: 32\n    sequence: 4294967296\n"+
		"    ah_key_in: "+strings.Repeat("03", 48)+"\n    ah_key_out: "+strings.Repeat("04", 48),
		strings.Repeat("1a", 20), strings.Repeat("1a", 64), strings.Repeat("2b", 20), strings.Repeat("2b", 64))).Manual[0].SA
	if bundle.AH == nil || bundle.AH.Suite.String() != "sha384" || bundle.AH.SPIIn != 4099 || bundle.AH.SPIOut != 0x2002 || bundle.AH.KeyOut.Len() != 48 || !bundle.ESN || bundle.ReplayWindow != 32 || bundle.Sequence != 1<<32 {
		t.Errorf("bundle %+v", bundle)
	}
	ah := mustParseLab(t, manualWith(t, "algorithm: aes128gcm16", "protocol: ah\n    algorithm: sha1\n    mode: transport",
		"{source: 10.1.0.0/24, destination: 10.2.0.0/24}", "{source: 192.0.2.1, destination: 192.0.2.2}")).Manual[0].SA
	if !ah.Transport || ah.Protocol != crypto.ProtocolAH || ah.Suite.String() != "sha1" {
		t.Errorf("AH %+v", ah)
	}
	udp := mustParseLab(t, manualWith(t, "spi_in:", "udp: {remote_port: 61000}\n    spi_in:")).Manual[0].SA
	if !udp.UDP || udp.Local.Port() != 4500 || udp.Remote.Port() != 61000 {
		t.Errorf("UDP %+v", udp)
	}
	if udp := mustParseLab(t, manualWith(t, "spi_in:", "udp: {}\n    spi_in:")).Manual[0].SA; !udp.UDP || udp.Remote.Port() != 4500 {
		t.Errorf("UDP %+v", udp)
	}
	from := strings.Repeat("1a", 20)
	if sa := mustParseLab(t, manualWith(t, "    key_in: 0x"+from+"\n    key_out: "+strings.Repeat("2b", 20), "    key_file: good.keys")).Manual[0].SA; sa.KeyIn.Len() != 20 || sa.KeyOut.Bytes()[0] != 0x2b {
		t.Error("the keys are not those of the key file")
	}
	host := mustParseLab(t, manualWith(t, "local: 192.0.2.1", "mode: transport\n    local: 10.1.0.7", "remote: 192.0.2.2", "remote: 10.2.0.9",
		"{source: 10.1.0.0/24, destination: 10.2.0.0/24}", "{source: 10.1.0.7, destination: 10.2.0.9, protocol: tcp}")).Manual[0].SA
	if host.Local.Addr() != netip.MustParseAddr("10.1.0.7") {
		t.Errorf("for a host behind the gateway: %+v", host)
	}
}

// Who has keys of his own hears at every start what that means.
func TestManualWarnings(t *testing.T) {
	c := mustParseLab(t, manual)
	if len(c.Warnings) != 2 || !warns(c, "(by-hand)", "keys never change", "for a lab only") || !warns(c, "stand in", "key_file") {
		t.Errorf("warnings %q", c.Warnings)
	}
	c = mustParseLab(t, manualWith(t, strings.Repeat("2b", 20), strings.Repeat("1a", 20)))
	if !warns(c, `"by-hand"`, "one key for both directions") {
		t.Errorf("warnings %q", c.Warnings)
	}
	c = mustParseLab(t, manualWith(t, "lab: true", "lab: true\nlegacy_algorithms: true", "algorithm: aes128gcm16", "algorithm: null-sha1"))
	if !warns(c, `SA "by-hand" uses null-sha1`, "legacy_algorithms") {
		t.Errorf("warnings %q", c.Warnings)
	}
	c = mustParseLab(t, manualWith(t, "sas:", "sas:\n  - {name: spare, local: 192.0.2.1, remote: 192.0.2.3, algorithm: aes128gcm16, spi_in: 0x1002, spi_out: 0x2001, key_in: "+strings.Repeat("3c", 20)+", key_out: "+strings.Repeat("4d", 20)+"}"))
	if !warns(c, `SA "spare" is named by no rule`) {
		t.Errorf("warnings %q", c.Warnings)
	}
}

// Each mistake in an SA is named with its place and what to do; a key is never shown.
func TestManualErrors(t *testing.T) {
	key := "    key_in: 0x" + strings.Repeat("1a", 20)
	second := func(text string) string {
		return "sas:\n  - {name: second, local: 192.0.2.1, remote: 192.0.2.2, algorithm: aes128gcm16, key_file: good.keys, " + text + "}"
	}
	for _, test := range []struct{ old, new, want string }{
		{"lab: true", "lab: false", "gw.yaml:9: sas: expected no SAs with keys of your own, which are for a lab only, because their keys never change: write lab: true"},
		{"mode", "", ""},
		{"spi_in:", "mode: bridge\n    spi_in:", `gw.yaml:14: sas[0].mode: expected tunnel or transport, found "bridge"`},
		{"spi_in:", "protocol: gre\n    spi_in:", `gw.yaml:14: sas[0].protocol: expected esp or ah, found "gre"`},
		{"sas:", second("spi_in: 0x1002, spi_out: 0x2002"), `expected a key_out that no other SA has, found that of SA "second"`},
		{"spi_in: 0x1001", "esn: true\n    sequence: 18446744073709551615\n    spi_in: 0x1001", "gw.yaml:15: sas[0].sequence: expected at most 18446744073709551614"},
		{"remote: 192.0.2.2", "remote: 192.0.2.255", "sas[0].remote: expected the address of another gateway, found 192.0.2.255, which no host can have"},
		{"remote: 192.0.2.2", "remote: 240.0.0.1", "sas[0].remote: expected the address of another gateway, found 240.0.0.1, which no host can have"},
		{"spi_in: 0x1001", "spi_in: 255", `gw.yaml:14: sas[0].spi_in: expected an SPI from 256 to 0xffffffff (RFC 4303 reserves those below 256), found "255"`},
		{"spi_in: 0x1001", "spi_in: 0x1ffffffff", "gw.yaml:14: sas[0].spi_in: expected an SPI from 256"},
		{"spi_in: 0x1001", "spi_in: 01001", "gw.yaml:14: sas[0].spi_in: expected an SPI from 256"},
		{"    spi_out: 0x2001\n", "", "gw.yaml:10: sas[0].spi_out: is missing: expected the SPI of packets to the other end"},
		{"algorithm: aes128gcm16", "algorithm: rot13", `gw.yaml:13: sas[0].algorithm: expected an algorithm of ESP: suite "rot13"`},
		{"algorithm: aes128gcm16", "algorithm: sha256", "gw.yaml:13: sas[0].algorithm: expected an algorithm of ESP"},
		{"algorithm: aes128gcm16", "protocol: ah\n    algorithm: aes128gcm16", "gw.yaml:14: sas[0].algorithm: expected an algorithm of AH"},
		{"algorithm: aes128gcm16", "algorithm: null-sha1", "gw.yaml:13: sas[0].algorithm: expected algorithms that still protect, found null-sha1, which does not"},
		{"algorithm: aes128gcm16", "algorithm: aes128-md5", "legacy_algorithms: true"},
		{"algorithm: aes128gcm16", "protocol: ah\n    algorithm: sha256\n    encapsulation: {dummy_interval: 1s}", "sas[0].encapsulation.dummy_interval: expected off with protocol: ah"},
		{"algorithm: aes128gcm16", "protocol: ah\n    algorithm: sha256\n    ah: sha256", "gw.yaml:15: sas[0].ah: expected AH around ESP only"},
		{"algorithm: aes128gcm16", "algorithm: aes128gcm16\n    ah: sha256", "gw.yaml:10: sas[0].ah_spi_in: is missing: expected ah_spi_in and ah_spi_out"},
		{"algorithm: aes128gcm16", "algorithm: aes128gcm16\n    ah_spi_in: 0x1005", "gw.yaml:14: sas[0].ah_spi_in: expected an SPI of AH only with ah: ALGORITHM"},
		{"algorithm: aes128gcm16", "algorithm: aes128gcm16\n    ah_key_in: aa", "gw.yaml:14: sas[0].ah_key_in: expected a key of AH only with ah: ALGORITHM"},
		{key, "    key_in: 0x1a", "gw.yaml:16: sas[0].key_in: expected key_in of 20 bytes for aes128gcm16 (16 of the cipher, then 4 of salt), found 1"},
		{key + "\n", "", "gw.yaml:10: sas[0].key_in: expected key_in of 20 bytes"},
		{key, "    key_in: nothexnothexnothex", "gw.yaml:16: sas[0].key_in: expected a key as an even number of hexadecimal digits, found something else, which is not shown"},
		{key, "    key_in: [nothexnothexnothex]", "gw.yaml:16: sas[0].key_in: expected text, found a list"},
		{key, "    nothexnothexnothex: 1\n" + key, "gw.yaml:16: sas[0]: unknown key, which is not shown because it may be a secret itself"},
		{key, "    key_in: " + strings.Repeat("a", 514), "gw.yaml:16: sas[0].key_in: expected a key of at most 512 hexadecimal digits, found more"},
		{key, key + "\n    key_file: good.keys", "gw.yaml:17: sas[0].key_file: expected keys in this file or in a key file, found both"},
		{key + "\n    key_out: " + strings.Repeat("2b", 20), "    key_file: short.keys", "gw.yaml:16: sas[0].key_file: expected key_in of 20 bytes"},
		{key + "\n    key_out: " + strings.Repeat("2b", 20), "    key_file: twice.keys", "gw.yaml:16: sas[0].key_file: line 2 of the key file: expected one key_in, found a second"},
		{key + "\n    key_out: " + strings.Repeat("2b", 20), "    key_file: bad.keys", `gw.yaml:16: sas[0].key_file: line 1 of the key file: expected a line such as "key_in: HEX"`},
		{key + "\n    key_out: " + strings.Repeat("2b", 20), "    key_file: none.keys", "gw.yaml:16: sas[0].key_file: expected the name of a file with keys: no such file or directory"},
		{"spi_in:", "replay_window: 31\n    spi_in:", "gw.yaml:14: sas[0].replay_window: expected 32 to 8192 packets, found 31"},
		{"spi_in:", "sequence: 0\n    spi_in:", `gw.yaml:14: sas[0].sequence: expected the first sequence number to send, 1 or more, found "0"`},
		{"spi_in:", "sequence: 0x100000000\n    spi_in:", "gw.yaml:14: sas[0].sequence: expected a number of 32 bits, because esn is false, found 4294967296"},
		{"spi_in:", "udp: {local_port: 4501}\n    spi_in:", "gw.yaml:14: sas[0].udp.local_port: there is no such key: ESP in UDP is received and sent at port 4500"},
		{"spi_in:", "udp: {remote_port: 0}\n    spi_in:", "gw.yaml:14: sas[0].udp.remote_port: expected 1 to 65535"},
		{"remote: 192.0.2.2", `remote: "2001:db8::2"`, "gw.yaml:12: sas[0].remote: expected an address of the IP version of local, 192.0.2.1, found 2001:db8::2"},
		{"local: 192.0.2.1", "local: 192.0.2.9", "gw.yaml:11: sas[0].local: expected an address of a port (10.1.0.1, 192.0.2.1), found 192.0.2.9"},
		{"spi_in:", "mode: transport\n    spi_in:", "filter_list: expected filters from 192.0.2.1 to 192.0.2.2 only, because SA \"by-hand\" is of transport mode"},
		{"sas:", second("spi_in: 0x2001, spi_out: 0x3001"), "sas[1].spi_in: expected an SPI whose remainder by dataplane.max_sas (4096) is its own, found 0x00001001, whose remainder 0x1 is that of sas[0].spi_in"},
		{"sas:", second("spi_in: 0x1002, spi_out: 0x2001"), "sas[1].spi_out: expected an SPI that no other SA to 192.0.2.2 has, found 0x00002001, which sas[0].spi_out has already"},
		{"sa: by-hand}", "sa: by-foot}", `policies[0].rules[0].sa: expected the name of an SA (by-hand), found "by-foot"`},
		{"sa: by-hand}", "sa: by-hand, auth_methods: [psk]}", "policies[0].rules[0].auth_methods: expected no authentication methods, because nobody negotiates its SA"},
		{"sa: by-hand}", "sa: by-hand}\n      - {name: more, filter_list: lan-to-lan, filter_action: protect, sa: by-hand}", `policies[0].rules[1].sa: expected an SA that no other rule of the policy names, found "by-hand" of rule "to-site-b"`},
		{"action: negotiate", "action: negotiate, esp_proposals: [aes128gcm16]", `filter_action: expected an action without esp_proposals, because SA "by-hand" is not negotiated`},
		{"action: negotiate", "action: negotiate, encapsulation: {df: set}", "filter_action: expected an action without encapsulation"},
		{"action: negotiate", "action: block", `policies[0].rules[0].sa: expected no SA, because action "protect" is block, found "by-hand"`},
	} {
		if test.old == "mode" {
			continue
		}
		_, err := parseLab(t, manualWith(t, test.old, test.new))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q instead of %q: want an error with\n\t%s\nfound\n\t%v", test.new, test.old, test.want, err)
		}
		if err != nil && (strings.Contains(err.Error(), "1a1a1a") || strings.Contains(err.Error(), "nothexnothex") || strings.Contains(err.Error(), "secret material")) {
			t.Errorf("%q: the error shows a key: %v", test.new, err)
		}
	}
	if _, err := parseBase(t, manual); err == nil || !strings.Contains(err.Error(), "gw.yaml:9: sas: expected no SAs with keys of your own, which are for a lab only, found 1 of them: a lab can run them with --lab") {
		t.Errorf("without --lab: %v", err)
	}
}

// AH does not cross a NAT: an SA of it in UDP is refused, alone and around ESP, and the reason says why.
// S-091
func TestAHAcrossNAT(t *testing.T) {
	for _, change := range []string{"protocol: ah\n    algorithm: sha256", "algorithm: aes128gcm16\n    ah: sha256"} {
		_, err := parseLab(t, manualWith(t, "algorithm: aes128gcm16", change+"\n    udp: {}"))
		if err == nil || !strings.Contains(err.Error(), "sas[0].udp: expected no UDP encapsulation with AH, which cannot cross a NAT: its integrity check covers the addresses that a NAT changes") {
			t.Errorf("%s: %v", change, err)
		}
	}
	_, err := parseBase(t, replaced(t, "action: negotiate", "action: negotiate, esp_proposals: [sha256]"))
	if err == nil || !strings.Contains(err.Error(), "gw.yaml:15: filter_actions[0].esp_proposals[0]: ") || !strings.Contains(err.Error(), "no cipher") {
		t.Errorf("a proposal without ESP: %v", err)
	}
}

// An own address that goes takes its SA with it: what the SA protected is dropped. A transport SA for a host stays.
func TestManualWithoutTheEndpoint(t *testing.T) {
	c := mustParseLab(t, manual)
	env := c.Environment
	env.LocalAddresses = []netip.Addr{netip.MustParseAddr("10.1.0.1")}
	out, err := c.Compile(env)
	if err != nil || len(out.Manual) != 0 {
		t.Fatalf("SAs %v, error %v", out.Manual, err)
	}
	packet := policy.Packet{Source: netip.MustParseAddr("10.1.0.7"), Destination: netip.MustParseAddr("10.2.0.7"), Protocol: 1}
	if d := out.SPD.Decide(packet, policy.PortsLAN); d.Verdict != policy.VerdictStale {
		t.Errorf("decision %+v, want stale", d)
	}
}

// How packets are put into others is set for a filter action and for an SA, and every word of it arrives.
func TestEncapsulation(t *testing.T) {
	const all = "encapsulation: {df: clear, dscp: 46, ecn: off, ttl: 32, fragment: after, mss_clamp: 1300, tfc_pad: 1400, dummy_interval: 50ms, path_mtu: off}"
	want := Encapsulation{DF: "clear", DSCP: 46, TTL: 32, FragmentAfter: true, MSSClamp: 1300, TFCPad: 1400, DummyInterval: 50 * time.Millisecond}
	if got := mustParse(t, replaced(t, "action: negotiate", "action: negotiate, "+all)).Encapsulation("to-site-b"); got != want {
		t.Errorf("action: %+v, want %+v", got, want)
	}
	if got := mustParseLab(t, manualWith(t, "spi_in:", all+"\n    spi_in:")).Manual[0].SA.Encapsulation; got != want {
		t.Errorf("SA: %+v, want %+v", got, want)
	}
	if got := mustParse(t, base).Encapsulation("to-site-b"); got != DefaultEncapsulation() {
		t.Errorf("default: %+v", got)
	}
	if got := mustParse(t, replaced(t, "action: negotiate", "action: negotiate, encapsulation: {mss_clamp: auto}")).Encapsulation("to-site-b"); got.MSSClamp != -1 || got.TTL != 64 {
		t.Errorf("automatic: %+v", got)
	}
	const at = "gw.yaml:15: filter_actions[0].encapsulation"
	for text, want := range map[string]string{
		"{df: maybe}": at + `.df: expected copy, set or clear, found "maybe"`, "{dscp: 64}": at + ".dscp: expected copy or a code point from 0 to 63",
		"{ttl: 0}": at + ".ttl: expected 1 to 255 hops, found 0", "{ecn: maybe}": at + ".ecn: expected on or off", "{fragment: never}": at + ".fragment: expected before or after",
		"{mss_clamp: 10}": at + ".mss_clamp: expected auto, off or 88 to 9688 bytes", "{tfc_pad: 0}": at + ".tfc_pad: expected off or the length in bytes",
		"{tfc_pad: 2000}": at + ".tfc_pad: expected at most the mtu of a port, 1500 bytes, found 2000", "{dummy_interval: 1us}": at + ".dummy_interval: expected off or a time from 1ms to 1h0m0s",
		"{path_mtu: yes}": at + ".path_mtu: expected on or off", "{dscp_copy: on}": at + ".dscp_copy: unknown key",
	} {
		if _, err := parseBase(t, replaced(t, "action: negotiate", "action: negotiate, encapsulation: "+text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: want an error with\n\t%s\nfound\n\t%v", text, want, err)
		}
	}
	if _, err := parseBase(t, strings.Replace(replaced(t, ", peer: site-b}", "}"), "action: negotiate", "action: block, encapsulation: {df: set}", 1)); err == nil || !strings.Contains(err.Error(), at+": expected none, because an action that is block") {
		t.Errorf("with a block: %v", err)
	}
}

// Weak algorithms are refused unless the file says that they may be, and then named at every start.
func TestLegacyAlgorithms(t *testing.T) {
	for _, proposal := range []string{"3des-sha1", "des-sha1", "aes128-md5", "null-sha256", "aes128-aes256-md5-sha256"} {
		weak := replaced(t, "action: negotiate", "action: negotiate, esp_proposals: ["+proposal+"]")
		if _, err := parseBase(t, weak); err == nil || !strings.Contains(err.Error(), "gw.yaml:15: filter_actions[0].esp_proposals[0]: expected algorithms that still protect, found ") {
			t.Errorf("%s: error %v", proposal, err)
		}
		if c := mustParse(t, strings.Replace(weak, "name: gw-a", "name: gw-a\nlegacy_algorithms: true", 1)); !warns(c, `action "protect" uses`, "no longer protects") {
			t.Errorf("%s: warnings %q", proposal, c.Warnings)
		}
	}
	for _, at := range []struct{ old, new, key, user string }{
		{"name: site-b,", "name: site-b, ike_proposals: [3des-md5-modp2048],", "peers[0].ike_proposals[0]", `peer "site-b" uses 3des and prfmd5 and md5`},
		{"- name: site\n", "- name: site\n    key_exchange_methods: [aes128-sha256-ecp256, des-sha1-ecp256]\n", "policies[0].key_exchange_methods[1]", `policy "site" uses des`},
	} {
		weak := replaced(t, at.old, at.new)
		if _, err := parseBase(t, weak); err == nil || !strings.Contains(err.Error(), at.key+": expected algorithms that still protect, found ") {
			t.Errorf("%s: error %v", at.new, err)
		}
		if c := mustParse(t, strings.Replace(weak, "name: gw-a", "name: gw-a\nlegacy_algorithms: true", 1)); !warns(c, at.user) {
			t.Errorf("%s: warnings %q", at.new, c.Warnings)
		}
	}
	mustParse(t, replaced(t, "action: negotiate", "action: negotiate, esp_proposals: [chacha20poly1305, aes128ccm16, aes128ctr-sha256, aes128gmac, aes256-aescmac]"))
}

// S-057: DES before 3DES and MD5 before SHA-1 give weak_first, in one proposal and over several, for ESP and for IKE; the other order does not.
func TestWeakFirst(t *testing.T) {
	for _, c := range []struct{ old, new, says string }{
		{"action: negotiate", "action: negotiate, esp_proposals: [des-3des-sha1]", "filter_actions[0].esp_proposals: weak_first: action \"protect\" prefers des to 3des"},
		{"action: negotiate", "action: negotiate, esp_proposals: [aes128-md5, aes128-sha1]", "prefers md5 to sha1"},
		{"action: negotiate", "action: negotiate, esp_proposals: [3des-sha1, aes128gcm16]", "prefers 3des to aes128gcm16"},
		{"name: site-b,", "name: site-b, ike_proposals: [3des-sha1-ecp256, aes128-sha256-ecp256],", "peers[0].ike_proposals: weak_first: peer \"site-b\" prefers 3des to aes128"},
		{"- name: site\n", "- name: site\n    key_exchange_methods: [aes128-sha1-sha256-ecp256]\n", "policies[0].key_exchange_methods: weak_first: policy \"site\" prefers prfsha1 to prfsha256"},
		{"action: negotiate", "action: negotiate, esp_proposals: [aes128gcm16, 3des-sha1-md5, des-md5]", ""},
	} {
		text := strings.Replace(replaced(t, c.old, c.new), "name: gw-a", "name: gw-a\nlegacy_algorithms: true", 1)
		if config := mustParse(t, text); !warns(config, c.says) || c.says == "" && warns(config, "weak_first") {
			t.Errorf("%s: warnings %q", c.new, config.Warnings)
		}
	}
}

// Ports may share a device if each has a VLAN of its own.
func TestVLANs(t *testing.T) {
	const wan = `{name: wan, device: "net_af_packet1,iface=wan0", role: unprotected, addresses: [192.0.2.1/24]}`
	same := func(vlan string) string {
		return `{name: wan, device: "net_af_packet0,iface=lan0", ` + vlan + `role: unprotected, addresses: [192.0.2.1/24]}`
	}
	c := mustParse(t, replaced(t, wan, same("vlan: 7, ")))
	if c.Ports[0].VLAN != 0 || c.Ports[1].VLAN != 7 || c.Ports[0].Device != c.Ports[1].Device {
		t.Errorf("ports %+v", c.Ports)
	}
	expectErrors(t, []struct{ old, new, want string }{
		{wan, same(""), "gw.yaml:5: ports[1].device: expected a device of its own, found \"net_af_packet0,iface=lan0\", which ports[0] has already: ports of one device need a vlan each"},
		{wan, same("vlan: 7, ") + "\n  - {name: third, device: \"net_af_packet0,iface=lan0\", vlan: 7, role: protected, addresses: [10.7.0.1/24]}", `gw.yaml:6: ports[2].vlan: expected a VLAN of its own on device "net_af_packet0,iface=lan0", found 7, which ports[1] has already`},
		{wan, same("vlan: 4095, "), "gw.yaml:5: ports[1].vlan: expected 0 to 4094 as VLAN, 0 for none, found 4095"},
	})
	many := ""
	for i := range 32 {
		many += fmt.Sprintf("  - {name: v%d, device: net_tap0, vlan: %d, role: protected, addresses: [172.16.%d.1/24]}\n", i, i+1, i)
	}
	if _, err := parseBase(t, replaced(t, "routes:\n", "\nroutes:\n")[:strings.Index(base, "routes:")]+many+base[strings.Index(base, "routes:"):]); err == nil || !strings.Contains(err.Error(), "ports: expected at most 31 ports with a vlan, found 32") {
		t.Errorf("32 VLANs: %v", err)
	}
}

// What waits for fragments is bounded.
func TestFragments(t *testing.T) {
	if c := mustParse(t, base); c.Fragments != (Fragments{MemoryMB: 8, Timeout: time.Second}) {
		t.Errorf("default %+v", c.Fragments)
	}
	if c := mustParse(t, base+"fragments: {memory_mb: 16, timeout: 30s}\n"); c.Fragments != (Fragments{MemoryMB: 16, Timeout: 30 * time.Second}) {
		t.Errorf("found %+v", c.Fragments)
	}
	for text, want := range map[string]string{
		"{memory_mb: 0}":   "gw.yaml:21: fragments.memory_mb: expected 1 to 1024 MiB, found 0",
		"{memory_mb: 300}": "gw.yaml:21: fragments.memory_mb: expected at most half of dataplane.memory_mb, 256 MiB, found 300",
		"{timeout: 1ms}":   "gw.yaml:21: fragments.timeout: expected a time from 100ms to 1m0s, found 1ms",
	} {
		if _, err := parseBase(t, base+"fragments: "+text+"\n"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %s", text, err, want)
		}
	}
}
