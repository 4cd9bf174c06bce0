package lab_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/appliance/api"
	"sallyport/crypto"
	"sallyport/offload/softnic"
	"sallyport/perf/lab"
	"sallyport/perf/lab/labtest"
	"sallyport/perf/peers"
)

// buildSoftNIC makes the program of the lab, whose ports have software NICs where SALLYPORT_SOFTNIC says so.
var buildSoftNIC = sync.OnceValues(func() (string, error) {
	return labtest.Build(lab.ScratchDir, "softnic")
})

// withSoftNIC are the options of a gateway whose WAN port has a software NIC of a kind: "crypto", "protocol", or "" for one that offers both.
func withSoftNIC(t *testing.T, kind string) lab.GatewayOptions {
	t.Helper()
	path, err := buildSoftNIC()
	if err != nil {
		t.Fatalf("building the gateway: %v", err)
	}
	return lab.GatewayOptions{Binary: path, PSK: testPSK, Env: []string{strings.TrimSuffix("SALLYPORT_SOFTNIC="+lab.WANLink+"="+kind, "=")}}
}

// softNICReport is what the NIC of a gateway that has ended says of its life. A site's gateways have one log.
func softNICReport(t *testing.T, g *lab.Gateway) softnic.Counters {
	t.Helper()
	var last *softnic.Counters
	for line := range strings.Lines(g.Process.Log()) {
		var report struct {
			Softnic  string
			Counters softnic.Counters
		}
		if json.Unmarshal([]byte(line), &report) == nil && report.Softnic != "" {
			last = &report.Counters
		}
	}
	if last == nil {
		t.Fatalf("no report of a software NIC in the log:\n%s", g.Process.Log())
	}
	return *last
}

// TestSoftwareNIC: a whole gateway whose WAN port has a NIC with inline IPsec, and one without. All ESP that comes goes by the NIC, and it keeps no session.
func TestSoftwareNIC(t *testing.T) {
	s := newSites(t, lab.RawGateway, lab.RawGateway)
	capture, err := s.Capture(lab.CaptureOptions{})
	if err != nil {
		t.Fatal(err)
	}
	gateway, err := s.StartGateway(s.A, withSoftNIC(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.StartGateway(s.B, lab.GatewayOptions{Binary: binary(t), PSK: testPSK}); err != nil {
		t.Fatal(err)
	}
	const count = 10
	for range 2 {
		if _, err := gateway.WaitTunnel(t.Context(), nil, tunnelLimit); err != nil {
			t.Fatal(err)
		}
		result, err := s.A.Host.Ping(t.Context(), s.B.HostAddress, lab.PingOptions{Count: count, Interval: 20 * time.Millisecond})
		if err != nil || result.Lost() != 0 {
			t.Errorf("ping %+v, %v, want every answer", result, err)
		}
		if err := gateway.RekeyChild(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := gateway.Stop(); err != nil {
		t.Error(err)
	}
	report := softNICReport(t, gateway)
	if seen := report.RxSecured + report.RxPassed; seen < 2*count || report.RxFailed != 0 || report.TxFailed != 0 || report.SessionsLive != 0 || report.FlowsLive != 0 {
		t.Errorf("the NIC's report: %+v", report)
	}
	a, b, err := capture.Stop()
	if err != nil {
		t.Fatal(err)
	}
	if a.Clear != 0 || b.Clear != 0 || a.Protected() < 2*count || b.Protected() < 2*count {
		t.Errorf("on the wire: %v and %v, want ESP and nothing clear", a, b)
	}
}

// nicCases are cases of the Linux kernel's, with what the NIC has and with what it leaves to the CPU.
func nicCases(t *testing.T) []peers.Case {
	t.Helper()
	of := func(name string) []crypto.Suite {
		suite, err := crypto.ParseSuite(name)
		if err != nil {
			t.Fatal(err)
		}
		return []crypto.Suite{suite}
	}
	return []peers.Case{
		{Layers: of("aes128gcm16")},
		{Layers: of("aes256gcm16"), Inner6: true},
		{Layers: of("aes128-sha1"), Outer6: true},
		{Layers: of("aes256-sha256"), Inner6: true, Outer6: true},
		{Layers: of("aes128gcm16"), UDP: true},
		{Layers: of("aes128-sha256"), Transport: true},
		{Layers: of("aes256gcm16"), ESN: true, Sequence: 1<<32 - 96}, // from which the first packets lead beyond 32 bits
		{Layers: of("chacha20poly1305")},
	}
}

// nicPlan is by which plan an SA goes at a NIC of a kind.
func nicPlan(c peers.Case, kind, direction string) string {
	switch {
	case c.Layers[0].String() == "chacha20poly1305", // which the NIC has not
		kind == "crypto" && c.ESN,
		kind == "protocol" && c.Transport,
		kind == "protocol" && c.UDP && direction == "inbound": // it does not say where the peer sends from
		return "cpu"
	}
	return "inline_" + kind
}

// wentBy wants an SA to have gone by its plan with all its packets, and returns how many that were of the NIC's.
func (m *matrix) wentBy(t *testing.T, c peers.Case, kind, direction string, spi uint32) uint64 {
	t.Helper()
	all, err := m.gateway.SAs(t.Context())
	i := slices.IndexFunc(all, func(sa api.SA) bool { return sa.SPI == fmt.Sprintf("%#08x", spi) && sa.Direction == direction })
	if err != nil || i < 0 || all[i].Offload == nil {
		t.Fatalf("%s: no plan of SA %#x among %+v (%v)", c.Name(), spi, all, err)
	}
	sa, plan, want := all[i], nicPlan(c, kind, direction), uint64(0)
	if plan != "cpu" {
		want = sa.Packets
	}
	if sa.Offload.Plan != plan || sa.Offload.InlinePackets != want {
		t.Errorf("%s, %s: %d packets, offload %+v, want plan %s and %d packets inline", c.Name(), direction, sa.Packets, *sa.Offload, plan, want)
	}
	return sa.Offload.InlinePackets
}

// TestKernelMatrixByNIC: a gateway whose NIC does the crypto, or all of ESP, and the Linux kernel understand each other, by ICMP, UDP and TCP of all sizes in
// both directions. Each packet of an SA with a session has gone by the NIC, and none of the others.
func TestKernelMatrixByNIC(t *testing.T) {
	m, cases := newMatrix(t), nicCases(t)
	for _, kind := range []string{"crypto", "protocol"} {
		t.Run(kind, func(t *testing.T) {
			m.startGateway(t, cases, withSoftNIC(t, kind))
			m.runAll(t, cases, m.run)
			inline := map[string]uint64{}
			for number, c := range cases {
				tunnel := c.Tunnel(m.A, m.B, number)
				inline["inbound"] += m.wentBy(t, c, kind, "inbound", tunnel.Layers[0].Out.SPI)
				inline["outbound"] += m.wentBy(t, c, kind, "outbound", tunnel.Layers[0].In.SPI)
			}
			if err := m.gateway.Stop(); err != nil {
				t.Error(err)
			}
			// What ends a connection may have come after the gateway was asked.
			report := softNICReport(t, m.gateway)
			if report.TxSecured < inline["outbound"] || report.RxSecured < inline["inbound"] || report.TxFailed != 0 || report.RxFailed != 0 || report.SessionsLive != 0 {
				t.Errorf("the NIC's report: %+v, want what the gateway says that it has done: %v", report, inline)
			}
		})
	}
}

// The commands of the operator's page by which all of offload is tried without a card: two gateways with software NICs and a tunnel between them.
func TestTryOffload(t *testing.T) {
	text, err := os.ReadFile("../../docs/OFFLOAD.md")
	if err != nil {
		t.Fatal(err)
	}
	_, page, _ := strings.Cut(string(text), "## Without a card")
	_, page, _ = strings.Cut(page, "```\n")
	page, _, _ = strings.Cut(page, "```")
	commands := strings.Split(strings.TrimSpace(page), "\n")
	if len(commands) != 2 || commands[0] != "scripts/go build -tags softnic -o bin/sallyport-softnic ./cmd/sallyport" {
		t.Fatalf("found %q, expected a build and a demo", commands)
	}
	program, err := buildSoftNIC() // as the first command does
	if err != nil {
		t.Fatalf("building the gateway: %v", err)
	}
	command := strings.ReplaceAll(commands[1], "bin/sallyport-softnic", program)
	out, err := exec.CommandContext(t.Context(), "bash", "-c", command).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	if want := "inbound by inline_crypto, outbound by inline_protocol"; strings.Count(string(out), want) != 2 {
		t.Errorf("%s: expected %s of both gateways, found\n%s", command, want, out)
	}
}
