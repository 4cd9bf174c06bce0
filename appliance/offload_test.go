package appliance

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"sallyport/appliance/api"
	"sallyport/appliance/config"
	"sallyport/crypto"
	"sallyport/crypto/cryptodev"
)

// offloadSites have two tunnels: by AES-GCM to the lower half of 10.2.0.0/24, by AES-CBC to the upper one. The wan port of the first has a NIC that
// knows AES-GCM alone.
func offloadSites() (a, b string) {
	const rest = `filter_actions:
  - {name: gcm, action: negotiate, esp_proposals: [aes128gcm16]}
  - {name: cbc, action: negotiate, esp_proposals: [aes128-sha256]}
policies:
  - name: site
    rules:
      - {name: low, filter_list: low, filter_action: gcm, peer: far}
      - {name: high, filter_list: high, filter_action: cbc, peer: far}
active_policy: site
`
	a = head("gw-a", "10.1.0.1/24", "192.0.2.1", "192.0.2.2", "always") + `filter_lists:
  - {name: low, updated: 2026-11-21, filters: [{source: 10.1.0.0/24, destination: 10.2.0.0/25}]}
  - {name: high, updated: 2026-11-21, filters: [{source: 10.1.0.0/24, destination: 10.2.0.128/25}]}
` + rest + "# card: inline crypto, AES-GCM\n"
	b = head("gw-b", "10.2.0.1/24", "192.0.2.2", "192.0.2.1", "on-demand") + `filter_lists:
  - {name: low, updated: 2026-11-21, filters: [{source: 10.2.0.0/25, destination: 10.1.0.0/24}]}
  - {name: high, updated: 2026-11-21, filters: [{source: 10.2.0.128/25, destination: 10.1.0.0/24}]}
` + rest
	return a, b
}

// S-102: a NIC that lacks one algorithm. The tunnel of the other is its own, that one is the CPU's, and every view says so and why. Both carry traffic to a gateway
// without a NIC, and nothing of it passes in clear, which the rig looks after.
func TestNICWithoutAnAlgorithm(t *testing.T) {
	r := newRig(t, func() []string { a, b := offloadSites(); return []string{a, b} }()...)
	g := r.gateways[0]
	r.awaitChildren("high", "low")
	const each = 20
	for i := range each { // no more at once than wait for a neighbour
		for _, host := range []int{7, 207} {
			r.send(g, rigLAN, "10.1.0.7:1000", fmt.Sprintf("10.2.0.%d:2000", host), fmt.Sprint("there ", i))
			r.send(r.gateways[1], rigLAN, fmt.Sprintf("10.2.0.%d:2000", host), "10.1.0.7:1000", fmt.Sprint("back ", i))
		}
		for _, g := range r.gateways {
			eventually(t, "all packets to arrive at "+g.cfg.Name, func() bool { return len(r.received(g)) == 2*(i+1) })
		}
	}
	for _, sa := range get[[]api.SA](r, g, api.PathSAs) {
		plan, why := "inline_crypto", map[string]string{}
		if sa.Child == "high" {
			plan, why["inline_crypto"] = "cpu", "has no ENCR_AES_CBC"
		}
		if sa.Child == "high" || sa.Direction == "outbound" {
			why["inline_protocol"] = "the port has none"
		}
		if sa.Offload == nil || sa.Offload.Plan != plan || sa.Offload.Device != map[string]string{"cpu": "ipsec_mb", "inline_crypto": "wan"}[plan] {
			t.Errorf("%s %s: %+v, expected %s", sa.Child, sa.Direction, sa.Offload, plan)
			continue
		}
		if inline := sa.Offload.InlinePackets; inline != map[string]uint64{"inline_crypto": each}[plan] || sa.Packets != each {
			t.Errorf("%s %s: %d packets, %d of them inline", sa.Child, sa.Direction, sa.Packets, inline)
		}
		for _, refused := range sa.Offload.Refused {
			if refused.Device != "wan" || !strings.Contains(refused.Reason, why[refused.Plan]) || why[refused.Plan] == "" {
				t.Errorf("%s %s: refused %+v, expected %q", sa.Child, sa.Direction, refused, why)
			}
			delete(why, refused.Plan)
		}
		if len(why) != 0 {
			t.Errorf("%s %s: nothing said of %q", sa.Child, sa.Direction, why)
		}
	}
	valid(t, "sa", "SAs with plans", raw(g, "GET", api.PathSAD, nil))
	text := metricsOf(t, g)
	for _, want := range []string{`sallyport_sas{plan="inline_crypto"} 2`, `sallyport_sas{plan="cpu"} 2`, `sallyport_sas{plan="inline_protocol"} 0`, `sallyport_sas{plan="lookaside_crypto"} 0`} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("expected %q among the metrics", want)
		}
	}
	if did := g.card.Counters(); did.SessionsLive != 2 || did.SessionsRefused != 0 || did.TxSecured != each || did.RxSecured != each {
		t.Errorf("the NIC did %+v", did)
	}
}

// DPDK is let at the PCI devices that the configuration names, as ports and as crypto devices, and at no others.
func TestPCIDevices(t *testing.T) {
	g := &Gateway{cfg: &config.Config{
		Ports:     []config.Port{{Device: "0000:3b:00.1"}, {Device: "net_tap0"}, {Device: "0000:3b:00.0", VLAN: 10}, {Device: "0000:3b:00.0", VLAN: 20}},
		Dataplane: config.Dataplane{CryptoDevices: []string{"0000:3d:01.0", "crypto_aesni_mb0"}},
	}}
	if got, want := g.pciDevices(), []string{"0000:3b:00.0", "0000:3b:00.1", "0000:3d:01.0"}; !slices.Equal(got, want) {
		t.Errorf("found %v, want %v", got, want)
	}
}

// A crypto device is shown with the plans that the order has use for, and one without any with the reason.
func TestCryptoView(t *testing.T) {
	suites := []crypto.Suite{{Encr: crypto.EncrAESGCM16, KeyBits: 128}}
	for want, x := range map[string]struct {
		device cryptodev.DeviceInfo
		order  []string
	}{
		"up [cpu lookaside_crypto] ":                                       {cryptodev.DeviceInfo{CPU: true, Queued: true, Suites: suites}, nil},
		"up [lookaside_crypto] ":                                           {cryptodev.DeviceInfo{CPU: true, Queued: true, Suites: suites}, []string{"lookaside"}},
		"up [cpu] ":                                                        {cryptodev.DeviceInfo{Direct: true, Suites: suites}, []string{"inline", "cpu"}},
		"none [] cpu is not in the order":                                  {cryptodev.DeviceInfo{Direct: true, Suites: suites}, []string{"lookaside"}},
		"none [] lookaside is not in the order":                            {cryptodev.DeviceInfo{Suites: suites}, []string{"cpu"}},
		"none [] has no algorithm of ESP":                                  {cryptodev.DeviceInfo{Queued: true}, nil},
		"none [] dataplane.crypto_devices leaves no algorithm to it":       {cryptodev.DeviceInfo{Direct: true}, nil},
		"up [cpu] makes other octets":                                      {cryptodev.DeviceInfo{Direct: true, Suites: suites, Wrong: "makes other octets"}, nil},
		"none [] no such device":                                           {cryptodev.DeviceInfo{Missing: "no such device"}, nil},
		"lost [lookaside_protocol lookaside_crypto] has stopped answering": {cryptodev.DeviceInfo{Whole: true, Queued: true, Suites: suites, Lost: "has stopped answering"}, nil},
	} {
		d := cryptoView(&x.device, 0, x.order)
		if got := fmt.Sprint(d.State, " ", d.Plans, " ", d.Why); got != want {
			t.Errorf("found %q, want %q", got, want)
		}
	}
}

// What is wrong with a crypto device that works all the same is told at the start, as an error.
func TestWrongCryptoDeviceIsTold(t *testing.T) {
	var said strings.Builder
	g := &Gateway{log: slog.New(slog.NewJSONHandler(&said, nil))}
	g.tellWrong([]cryptodev.DeviceInfo{{Name: "ipsec_mb", Wrong: "makes other octets"}, {Name: "crypto_openssl0"}})
	var line struct{ Level, Msg, Device, Why string }
	if err := json.Unmarshal([]byte(said.String()), &line); err != nil || line.Level != "ERROR" || line.Msg != "crypto_device" || line.Device != "ipsec_mb" || line.Why != "makes other octets" {
		t.Errorf("found %q, expected one error of ipsec_mb", said.String())
	}
}

// Crypto devices that DPDK refuses are told at once, with all that it says: its end may be the program's.
func TestRefusedCryptoDeviceIsTold(t *testing.T) {
	for _, device := range []string{
		"crypto_scheduler_told,worker=crypto_openssl_told,mode=round-robin,socket_id=99",
		"crypto_nosuch_told",
	} {
		var said strings.Builder
		cfg := &config.Config{Dataplane: config.Dataplane{CryptoDevices: []string{device}, Workers: []int{1}, MaxSAs: 16}}
		g := &Gateway{cfg: cfg, log: slog.New(slog.NewJSONHandler(&said, nil))}
		err := g.openOffload()
		if err == nil || len(g.undo) > 0 {
			t.Fatalf("%s: %v, with %d things to undo", device, err, len(g.undo))
		}
		name, _, _ := strings.Cut(device, ",")
		var line struct{ Level, Error string }
		if json.Unmarshal([]byte(said.String()), &line) != nil || line.Level != "ERROR" || line.Error != err.Error() || !strings.Contains(line.Error, name+": creating it") {
			t.Errorf("%s: found %q, expected %q", device, said.String(), err)
		}
	}
}
