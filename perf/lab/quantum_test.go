package lab_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport/perf/lab"
)

const (
	quantumPSK = "Vt7#pQ2m!xL9@rZ4&wK6^sB1*"
	quantumPPK = "q0Yw5n1S2bqDkQm3v8RtXz7uLp4eHj6aGc9oFi0WsMA="
	hybrid     = "aes256gcm16-prfsha384-curve25519-ke1_mlkem768"
)

// hybridSite is the peer of a gateway: ML-KEM beside Curve25519 in IKE, and a postquantum preshared key that is required.
func hybridSite(t *testing.T, s *lab.Sites, site *lab.Site) string {
	t.Helper()
	folder := t.TempDir()
	for name, key := range map[string]string{"psk": quantumPSK, "ppk": quantumPPK} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(key+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return fmt.Sprintf(`peers:
  - name: %s
    local: %s
    remote: %s
    auth: {psk_file: %s/psk}
    ppk_file: %s/ppk
    ppk_id: lab
    ppk_required: true
    ike_proposals: [%s]
`, lab.PeerName, site.WANAddress, s.Peer(site).WANAddress, folder, folder, hybrid)
}

// TestQuantum: two gateways agree on keys by Curve25519, ML-KEM-768 and a postquantum preshared key (RFC 9370, RFC 8784) over their data planes, where
// the messages of ML-KEM travel in fragments, and traffic passes protected. The key shows nowhere.
func TestQuantum(t *testing.T) {
	s := newSites(t, lab.RawGateway, lab.RawGateway)
	capture, err := s.Capture(lab.CaptureOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var gateways []*lab.Gateway
	for _, site := range []*lab.Site{s.A, s.B} {
		g, err := s.StartGateway(site, lab.GatewayOptions{Binary: binary(t), Peers: hybridSite(t, s, site), LogLevel: "debug", Metrics: metricsAddress})
		if err != nil {
			t.Fatal(err)
		}
		gateways = append(gateways, g)
	}
	for _, g := range gateways {
		if _, err := g.WaitTunnel(t.Context(), nil, tunnelLimit); err != nil {
			t.Fatal(err)
		}
	}
	result, err := s.A.Host.Ping(t.Context(), s.B.HostAddress, lab.PingOptions{Count: 5, Interval: 50 * time.Millisecond})
	if err != nil || result.Lost() != 0 {
		t.Errorf("ping %+v, %v, want every answer", result, err)
	}
	for _, g := range gateways {
		shown := everythingShown(t, g) + g.Process.Log()
		if !strings.Contains(shown, hybrid) {
			t.Errorf("gw-%s does not show that its keys are by %s", g.Site.Name, hybrid)
		}
		if leak := secretIn(shown, []byte(quantumPPK)); leak != "" {
			t.Errorf("gw-%s shows the postquantum preshared key: %s", g.Site.Name, leak)
		}
	}
	a, b, err := capture.Stop()
	if err != nil {
		t.Fatal(err)
	}
	for name, sent := range map[string]lab.Tally{"a": a, "b": b} {
		if sent.Clear != 0 || sent.Lost != 0 || sent.Protected() == 0 {
			t.Errorf("site %s sent %v, want ESP and nothing clear", name, sent)
		}
	}
}
