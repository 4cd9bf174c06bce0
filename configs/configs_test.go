// Package configs has no code: its tests load every sample and hold the samples and the systemd unit against the program.
package configs

import (
	"crypto/rand"
	"encoding/base64"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sallyport/appliance/config"
)

var keyFile = regexp.MustCompile(`psk_file: ([a-z0-9.-]+)`)

// load reads a sample in a folder of its own, with the key files that it names, on a machine with four cores.
func load(t *testing.T, name string) *config.Config {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	for _, match := range keyFile.FindAllStringSubmatch(string(text), -1) {
		key := make([]byte, 32)
		rand.Read(key)
		if err := os.WriteFile(filepath.Join(folder, match[1]), []byte(base64.StdEncoding.EncodeToString(key)+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := config.Parse(filepath.Join(folder, name), text, config.Machine{Cores: []int{0, 1, 2, 3}, UID: os.Geteuid()})
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return c
}

// Every sample loads, and warns of nothing but its preshared key.
func TestEverySampleLoads(t *testing.T) {
	samples, err := filepath.Glob("*.yaml")
	if err != nil || len(samples) < 3 {
		t.Fatalf("expected at least 3 samples, found %v, %v", samples, err)
	}
	for _, name := range samples {
		for _, warning := range load(t, name).Warnings {
			if !strings.Contains(warning, "authenticates by preshared key") {
				t.Errorf("%s: %s", name, warning)
			}
		}
	}
}

// The two sites are two ends of one tunnel.
func TestSitesFitTogether(t *testing.T) {
	a, b := load(t, "site-a.yaml"), load(t, "site-b.yaml")
	atA, atB := a.Peers[0], b.Peers[0]
	if atA.Local != atB.Remote || atA.Remote != atB.Local || atA.LocalID != atB.RemoteID || atA.RemoteID != atB.LocalID {
		t.Errorf("ends %+v and %+v", atA, atB)
	}
	if atA.IKEProposals[0].String() != atB.IKEProposals[0].String() || atA.Children[0].ESPProposals[0].String() != atB.Children[0].ESPProposals[0].String() {
		t.Errorf("proposals of %+v and %+v", atA, atB)
	}
	s := atB.Children[0].Selectors[0]
	want := s
	want.Local, want.Remote = s.Remote, s.Local
	if atA.Children[0].Selectors[0] != want {
		t.Errorf("selectors %s and %s", atA.Children[0].Selectors[0], s)
	}
}

// Every key of the site sample has its explanation on the lines before it, or its block has.
func TestSiteIsExplained(t *testing.T) {
	text, err := os.ReadFile("site-a.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for block := range strings.SplitSeq(string(text), "\n\n") {
		if !strings.Contains(block, "#") {
			t.Errorf("nothing explains\n%s", block)
		}
	}
}

// The unit gives the default control socket and the default state their folders, lets a change of policy be written and
// read again, and keys never reach a core dump (S-069).
func TestUnit(t *testing.T) {
	unit, err := os.ReadFile("sallyport.service")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"\nRuntimeDirectory=" + strings.TrimPrefix(filepath.Dir(config.DefaultSocket), "/run/") + "\n",
		"\nStateDirectory=" + strings.TrimPrefix(load(t, "lab.yaml").State, "/var/lib/") + "\n",
		"\nReadWritePaths=/etc/sallyport\n", "\nExecReload=/bin/kill -HUP $MAINPID\n",
		"\nLimitCORE=0\n", "\nExecStart=/usr/local/sbin/sallyport run -c /etc/sallyport/sallyport.yaml\n",
	} {
		if !strings.Contains(string(unit), want) {
			t.Errorf("sallyport.service has no line %q", strings.TrimSpace(want))
		}
	}
}
