package config

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/crypto"
	"sallyport/ike"
	"sallyport/policy"
)

// goodKey is random, as S-067 wants it.
const goodKey = "vK3r8Qm1Zx9TfLw2Hc7NbYp5Sd4G"

// base is a complete small configuration; the tests change one line of it.
const base = `name: gw-a
dataplane: {workers: [1]}
ports:
  - {name: lan, device: "net_af_packet0,iface=lan0", role: protected, addresses: [10.1.0.1/24]}
  - {name: wan, device: "net_af_packet1,iface=wan0", role: unprotected, addresses: [192.0.2.1/24]}
routes:
  - {to: 10.9.0.0/16, via: 10.1.0.254}
peers:
  - {name: site-b, local: 192.0.2.1, remote: 192.0.2.2, auth: {psk_file: site-b.psk}}
filter_lists:
  - name: lan-to-lan
    updated: 2026-11-21
    filters: [{source: 10.1.0.0/24, destination: 10.2.0.0/24}]
filter_actions:
  - {name: protect, action: negotiate}
policies:
  - name: site
    rules:
      - {name: to-site-b, filter_list: lan-to-lan, filter_action: protect, peer: site-b}
active_policy: site
`

// twoCores is a machine on which the tests run whatever machine they run on.
func twoCores() Machine { return Machine{Cores: []int{0, 1}, UID: os.Geteuid()} }

// writeKey puts a key file into the folder.
func writeKey(t *testing.T, folder, name, key string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(folder, name), []byte(key), 0o600); err != nil {
		t.Fatal(err)
	}
}

// parseBase parses a configuration in a folder of its own with good keys site-b.psk and site-c.psk.
func parseBase(t *testing.T, text string) (*Config, error) {
	t.Helper()
	folder := t.TempDir()
	writeKey(t, folder, "site-b.psk", goodKey+"\n")
	writeKey(t, folder, "site-c.psk", strings.ToUpper(goodKey)+"\n")
	writeKey(t, folder, "strangers.psk", "Zr8Kq3XvT6mWb1NcY9HsJ4pLd7GfQ\n")
	return Parse(filepath.Join(folder, "gw.yaml"), []byte(text), twoCores())
}

func mustParse(t *testing.T, text string) *Config {
	t.Helper()
	config, err := parseBase(t, text)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

func replaced(t *testing.T, old, new string) string {
	t.Helper()
	if !strings.Contains(base, old) {
		t.Fatalf("the base configuration has no %q", old)
	}
	return strings.Replace(base, old, new, 1)
}

// Every value arrives where the rest of the program looks for it, defaults included.
func TestParse(t *testing.T) {
	c := mustParse(t, base)
	if want := (Dataplane{HugePages: "auto", MemoryMB: 512, Workers: []int{1}, Idle: "poll", FlowEntries: 65536, MaxSAs: 4096, MaxTunnels: 1024, MaxNeighbours: 1024, PuntQueue: 256, LogLevel: "notice"}); !equalDataplane(c.Dataplane, want) {
		t.Errorf("dataplane %+v, want %+v", c.Dataplane, want)
	}
	wan := c.Ports[1]
	if wan.Name != "wan" || wan.Role != policy.PortsWAN || wan.MTU != 1500 || wan.Addresses[0] != netip.MustParsePrefix("192.0.2.1/24") || wan.Device != "net_af_packet1,iface=wan0" {
		t.Errorf("port %+v", wan)
	}
	if want := (Route{To: netip.MustParsePrefix("10.9.0.0/16"), Via: netip.MustParseAddr("10.1.0.254")}); c.Routes[0] != want {
		t.Errorf("route %+v, want %+v", c.Routes[0], want)
	}
	if c.Control.Socket != DefaultSocket || c.Metrics.Listen.IsValid() || c.Log.Level != 0 || c.Log.Format != "text" {
		t.Errorf("control %+v, metrics %+v, log %+v", c.Control, c.Metrics, c.Log)
	}
	if c.SPD.Policy != "site" || !c.SPD.NeedsIKE || len(c.SPD.Entries) != 2 {
		t.Errorf("SPD %+v", c.SPD)
	}
}

func equalDataplane(a, b Dataplane) bool {
	return slices.Equal(a.Workers, b.Workers) && len(a.CryptoDevices) == len(b.CryptoDevices) &&
		a.HugePages == b.HugePages && a.MemoryMB == b.MemoryMB && a.MainCore == b.MainCore && a.Idle == b.Idle && a.FlowEntries == b.FlowEntries &&
		a.MaxSAs == b.MaxSAs && a.MaxTunnels == b.MaxTunnels && a.MaxNeighbours == b.MaxNeighbours && a.PuntQueue == b.PuntQueue && a.LogLevel == b.LogLevel
}

// A peer gets a Child SA, named as the rule, for every rule of the active policy that negotiates with it, and AES-GCM
// first where nothing else is said.
// S-058
func TestPeersGetTheirChildren(t *testing.T) {
	c := mustParse(t, base)
	peer := c.Peers[0]
	if peer.Name != "site-b" || string(peer.PSK.Bytes()) != goodKey || peer.LocalID.String() != "192.0.2.1" || peer.RemoteID.String() != "192.0.2.2" {
		t.Errorf("peer %+v", peer)
	}
	if peer.DPDDelay != 30*time.Second || peer.RekeyTime != 8*time.Hour || peer.IKEProposals[0].Ciphers[0].Encr != crypto.EncrAESGCM16 {
		t.Errorf("peer %+v", peer)
	}
	child := peer.Children[0]
	want := policy.Selector{Local: policy.RangeOf(netip.MustParsePrefix("10.1.0.0/24")), Remote: policy.RangeOf(netip.MustParsePrefix("10.2.0.0/24")), LocalPort: policy.AnyPort, RemotePort: policy.AnyPort}
	if len(peer.Children) != 1 || child.Name != "to-site-b" || len(child.Selectors) != 1 || child.Selectors[0] != want {
		t.Errorf("children %+v", peer.Children)
	}
	if child.Start != ike.StartAlways || child.RekeyTime != time.Hour || child.ReplayWindow != 1024 || len(child.Proposals) != 0 { // each version of IKE has its own
		t.Errorf("child %+v", child)
	}
	if e := c.SPD.Entries[0]; e.Tunnel != "to-site-b" {
		t.Errorf("entry %+v: the tunnel is named as its rule", e)
	}
}

// Text is taken as it was written, where YAML would see a number, a date or a truth.
func TestTextStaysText(t *testing.T) {
	c := mustParse(t, replaced(t, "name: gw-a", "name: 0x10"))
	if c.Name != "0x10" {
		t.Errorf("name %q, want 0x10", c.Name)
	}
	c = mustParse(t, replaced(t, "remote: 192.0.2.2,", "remote: 192.0.2.2, remote_id: 010, local_id: true,"))
	if c.Peers[0].RemoteID.String() != "010" || c.Peers[0].LocalID.String() != "true" {
		t.Errorf("identities %s and %s", c.Peers[0].LocalID, c.Peers[0].RemoteID)
	}
}

// Never is 0s in the file and a negative time for package ike; an alias stands for what it names; "any" is traffic of
// either IP version.
func TestSmallPrint(t *testing.T) {
	c := mustParse(t, replaced(t, "auth: {psk_file: site-b.psk}", "auth: {psk_file: site-b.psk}, dpd_delay: 0s, idle_timeout: 0s, start: on-demand"))
	if peer := c.Peers[0]; peer.DPDDelay >= 0 || peer.Children[0].IdleTimeout >= 0 || peer.Children[0].Start != ike.StartOnDemand {
		t.Errorf("peer %+v", peer)
	}
	for text, want := range map[string]time.Duration{"": 0, ", reauth: 12h": 12 * time.Hour, ", reauth: 0s": -1} {
		c = mustParse(t, replaced(t, "auth: {psk_file: site-b.psk}", "auth: {psk_file: site-b.psk}"+text))
		if got := c.Peers[0].ReauthTime; got != want {
			t.Errorf("with %q a peer is authenticated anew after %v, expected %v", text, got, want)
		}
	}
	c = mustParse(t, replaced(t, "{source: 10.1.0.0/24, destination: 10.2.0.0/24}", "{source: &net 10.1.0.0/24, destination: any}, {source: *net, destination: 10.7.0.0/24}"))
	if got := c.Policy.FilterLists[0].Filters[1].Source.String(); got != "10.1.0.0/24" {
		t.Errorf("alias for 10.1.0.0/24 is %s", got)
	}
	c = mustParse(t, replaced(t, "{source: 10.1.0.0/24, destination: 10.2.0.0/24}", "{source: any, destination: any}"))
	if selectors := c.Peers[0].Children[0].Selectors; len(selectors) != 2 || selectors[0].Local.Is4() == selectors[1].Local.Is4() || len(c.SPD.Entries) != 4 {
		t.Errorf("selectors %v, entries %+v", selectors, c.SPD.Entries)
	}
}

// What an operator should know at every start is said, and no more.
// S-008, S-068
func TestWarnings(t *testing.T) {
	const notice = `peer "site-b" of to-site-b authenticates by preshared key: a certificate`
	for _, test := range []struct{ old, new, want string }{
		{"name: gw-a", "name: gw-a", ""},
		{"    updated: 2026-11-21\n", "", `gw.yaml:11) has no date of its last review (updated)`}, // S-020
		{"    rules:\n", "    default_action: permit\n    rules:\n", "no filter matches in clear"},
		{"psk_file: site-b.psk}}", "psk_file: site-b.psk}}\n  - {name: c, local: 192.0.2.1, remote: 192.0.2.3, auth: {psk_file: site-c.psk}}", `peer "c" is named by no rule`},
	} {
		c := mustParse(t, replaced(t, test.old, test.new))
		others := slices.DeleteFunc(slices.Clone(c.Warnings), func(w string) bool { return strings.Contains(w, notice) })
		if len(others) == len(c.Warnings) {
			t.Errorf("no notice on the preshared key in %q", c.Warnings)
		}
		if (test.want == "") != (len(others) == 0) || test.want != "" && (len(others) != 1 || !strings.Contains(others[0], test.want)) {
			t.Errorf("warnings %q, want %q", others, test.want)
		}
	}
}

// A machine with one core has its worker on the main core, and hears that it should not poll.
func TestOneCore(t *testing.T) {
	folder := t.TempDir()
	writeKey(t, folder, "site-b.psk", goodKey)
	machine := Machine{Cores: []int{0}, UID: os.Geteuid()}
	c, err := Parse(filepath.Join(folder, "gw.yaml"), []byte(replaced(t, "workers: [1]", "workers: [0]")), machine)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(c.Warnings, func(w string) bool { return strings.Contains(w, "sleep") }) {
		t.Errorf("warnings %q, want one on idle", c.Warnings)
	}
}

// DPDK does not survive more memory than there is.
func TestMemoryOfTheMachine(t *testing.T) {
	folder := t.TempDir()
	writeKey(t, folder, "site-b.psk", goodKey)
	machine := twoCores()
	machine.MemoryMB = 4000
	for memory, want := range map[string]string{"4000": "", "4001": "expected less than this machine has, 4000 MiB, found 4001"} {
		_, err := Parse(filepath.Join(folder, "gw.yaml"), []byte(replaced(t, "workers: [1]", "workers: [1], memory_mb: "+memory)), machine)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s MiB: error %v, expected %q", memory, err, want)
		}
	}
}

func TestLoadNeedsAFile(t *testing.T) {
	if _, err := Load(filepath.Join(t.TempDir(), "none.yaml")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v, want one that the file does not exist", err)
	}
}

func TestThisMachineHasCores(t *testing.T) {
	if m := ThisMachine(); len(m.Cores) == 0 || m.MemoryMB < minMemoryMB {
		t.Errorf("found %+v", m)
	}
	for text, want := range map[string][]int{"0": {0}, "0-2,8": {0, 1, 2, 8}, "": nil, "3-1": nil, "a": nil} {
		got, err := parseCPUList(text)
		if !slices.Equal(got, want) || (err == nil) != (want != nil) {
			t.Errorf("cores %q: %v, %v, want %v", text, got, err, want)
		}
	}
}

// A key without a value is as good as no key: above all it does not mean never.
func TestKeysWithoutValue(t *testing.T) {
	without := mustParse(t, base).Peers[0]
	for _, key := range []string{"reauth", "ike_rekey", "child_rekey", "dpd_delay", "idle_timeout", "fragment_size", "remote_id"} {
		with := mustParse(t, replaced(t, "remote: 192.0.2.2,", "remote: 192.0.2.2, "+key+": ~,")).Peers[0]
		if with.ReauthTime != without.ReauthTime || with.RekeyTime != without.RekeyTime || with.DPDDelay != without.DPDDelay || with.FragmentSize != without.FragmentSize ||
			with.RemoteID != without.RemoteID || with.Children[0].RekeyTime != without.Children[0].RekeyTime || with.Children[0].IdleTimeout != without.Children[0].IdleTimeout {
			t.Errorf("%s: %+v, without the key %+v", key, with, without)
		}
	}
	if with := mustParse(t, replaced(t, "action: negotiate", "action: negotiate, lifetime: {time: ~}")).Peers[0]; with.Children[0].RekeyTime != without.Children[0].RekeyTime {
		t.Errorf("lifetime.time: %v", with.Children[0].RekeyTime)
	}
}
