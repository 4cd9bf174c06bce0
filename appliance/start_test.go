package appliance

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// S-031, C-06: every start at level 0, 1 or 2 logs a warning that lists what the
// level lets through; at level 3, and without the key, there is none.
func TestStartWarnsOfTheExemptionLevel(t *testing.T) {
	for setting, want := range map[string]string{
		"exemptions: {level: 0}\n": "exemption level 0 passes IKE, Kerberos, RSVP, multicast, broadcast, IPv6 to and from the gateway",
		"exemptions: {level: 1}\n": "exemption level 1 passes IKE, multicast, broadcast to and from the gateway",
		"exemptions: {level: 2}\n": "exemption level 2 passes IKE, Kerberos, RSVP to and from the gateway",
		"exemptions: {level: 3}\n": "",
		"":                         "",
	} {
		for start := range 2 {
			logged := startLog(t, setting)
			if want == "" && strings.Contains(logged, "exemption level") || !strings.Contains(logged, want) {
				t.Errorf("%q, start %d: expected the warning %q in\n%s", setting, start, want, logged)
			}
			if want != "" && !strings.Contains(logged, "ike-inbound") {
				t.Errorf("%q, start %d: the exemptions are not listed in\n%s", setting, start, logged)
			}
		}
	}
}

// startLog is what a gateway logs that starts and finds its control socket taken.
func startLog(t *testing.T, setting string) string {
	t.Helper()
	dir := t.TempDir()
	path, socket := filepath.Join(dir, "sallyport.yaml"), filepath.Join(dir, "control.sock")
	for name, text := range map[string]string{
		path:                           setting + strings.ReplaceAll(siteA(), "$DIR", dir),
		filepath.Join(dir, "peer.psk"): "wq7Lk2mXv9RtZ4pLc8HsJ3nYd6BfG\n",
		socket:                         "no socket",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	loaded, err := Load(path, false)
	if err != nil {
		t.Fatal(err)
	}
	var logs bytes.Buffer
	if err := Run(t.Context(), loaded, nil, slog.New(slog.NewTextHandler(&logs, nil))); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("control socket %s: the path is taken", socket)) {
		t.Fatalf("expected the start to end at the control socket, found %v", err)
	}
	return logs.String()
}
