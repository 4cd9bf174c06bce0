// Package configs has no code: its tests load every sample and hold the samples and the systemd unit against the program.
package configs

import (
	"crypto/rand"
	"encoding/base64"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sallyport/appliance/config"
	"sallyport/pki/pkitest"
	"sallyport/policy"
)

var (
	keyFile         = regexp.MustCompile(`psk_file: ([a-z0-9.-]+)`)
	certificateFile = regexp.MustCompile(`certificate_file: ([a-z0-9-]+)\.pem`) // its key is beside it
	authorityFile   = regexp.MustCompile(`ca_files: \[([a-z0-9.-]+)\]`)
)

// labSample has SAs with keys of its own, and warns of them.
const labSample = "lab-keys.yaml"

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
	root := pkitest.NewRoot(t, "root")
	for _, match := range authorityFile.FindAllStringSubmatch(string(text), -1) {
		pkitest.Write(t, folder, match[1], pkitest.PEM(root.Certificate))
	}
	for _, match := range certificateFile.FindAllStringSubmatch(string(text), -1) {
		own := root.Issue(match[1] + ".example")
		pkitest.Write(t, folder, match[1]+".pem", pkitest.PEM(own.Certificate))
		pkitest.Write(t, folder, match[1]+".key", pkitest.KeyPEM(t, own.Key))
	}
	c, err := config.ParseWith(filepath.Join(folder, name), text, config.Options{Machine: config.Machine{Cores: []int{0, 1, 2, 3}, UID: os.Geteuid()}, Lab: name == labSample})
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
			if name != labSample && !strings.Contains(warning, "authenticates by preshared key") {
				t.Errorf("%s: %s", name, warning)
			}
		}
	}
}

// Every rule of every sample decides on some packet: explain names it as the winner, with its line in the file, and the
// exemptions that were considered. A packet that no filter is for is dropped.
func TestEverySampleIsExplained(t *testing.T) {
	samples, err := filepath.Glob("*.yaml")
	if err != nil || len(samples) < 4 {
		t.Fatalf("expected at least 4 samples, found %v, %v", samples, err)
	}
	for _, name := range samples {
		c := load(t, name)
		decided := map[string]bool{}
		for i := range c.SPD.Entries {
			e := &c.SPD.Entries[i]
			packet := policy.Packet{Source: e.Source.First, Destination: e.Destination.First, Protocol: e.Protocol,
				SourcePort: e.SourcePort.First, DestinationPort: e.DestinationPort.First, HasPorts: e.Protocol == 6 || e.Protocol == 17}
			x := c.SPD.Explain(packet, e.Ports&-e.Ports) // on a port of the lowest of its roles
			if len(x.Matches) == 0 || x.Decision.Why == "" || len(x.Exemptions) == 0 {
				t.Errorf("%s: %s is not explained: %+v", name, e.FilterName, x)
				continue
			}
			if x.Decision.Entry == e && strings.HasPrefix(e.Origin.String(), c.Path+":") && strings.HasPrefix(e.RuleOrigin.String(), c.Path+":") {
				decided[e.Rule] = true
			}
		}
		for _, p := range c.Policy.Policies {
			for _, rule := range p.Rules {
				if p.Name == c.SPD.Policy && !decided[rule.Name] {
					t.Errorf("%s: rule %q decides on no packet", name, rule.Name)
				}
			}
		}
		other := policy.Packet{Source: netip.MustParseAddr("203.0.113.1"), Destination: netip.MustParseAddr("203.0.113.2"), Protocol: 47}
		if x := c.SPD.Explain(other, policy.PortsWAN); x.Decision.Verdict != policy.VerdictBlock || len(x.Matches) != 0 {
			t.Errorf("%s: of a packet for nobody: %+v", name, x.Decision)
		}
	}
}

// The samples ship closed: no exemption but IKE, no default response, no way around IPsec, no default that permits.
// C-09, C-10
func TestSamplesShipClosed(t *testing.T) {
	samples, err := filepath.Glob("*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range samples {
		c := load(t, name)
		if c.Exemptions != policy.Level3 || c.SPD.DefaultAction != policy.ActionBlock {
			t.Errorf("%s: level %s, default %s", name, c.Exemptions, c.SPD.DefaultAction)
		}
		for _, p := range c.Policy.Policies {
			if p.DefaultResponse.Enabled || p.Name == c.SPD.Policy && p.Sample {
				t.Errorf("%s: policy %+v", name, p)
			}
		}
		for _, a := range c.Policy.FilterActions {
			if a.FallbackClear || a.FallbackClearOnWAN || a.InboundPassthrough {
				t.Errorf("%s: action %+v", name, a)
			}
		}
	}
}

// The branch can change between its policies in place, and its sample is for a lab only.
func TestBranchActivates(t *testing.T) {
	text, err := os.ReadFile("branch.yaml")
	if err != nil {
		t.Fatal(err)
	}
	business := load(t, "branch.yaml")
	locked, err := config.SetActivePolicy(text, "lockdown")
	if err != nil {
		t.Fatal(err)
	}
	c, err := config.Parse(business.Path, locked, config.Machine{Cores: []int{0, 1, 2, 3}, UID: os.Geteuid()})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := c.Peers[0], business.Peers[0]; got.RekeyTime != want.RekeyTime || len(got.Children) != 1 || !slices.Equal(got.Children[0].Selectors, want.Children[0].Selectors) {
		t.Errorf("head office %+v, want the same SAs as before: %+v", got, want)
	}
	if keys := config.RestartKeys(business, c); len(keys) > 0 {
		t.Errorf("needs a restart for %v", keys)
	}
	open, err := config.SetActivePolicy(text, "wide-open")
	if err != nil {
		t.Fatal(err)
	}
	options := config.Options{Machine: config.Machine{Cores: []int{0, 1, 2, 3}, UID: os.Geteuid()}}
	if _, err := config.ParseWith(business.Path, open, options); err == nil || !strings.Contains(err.Error(), "--lab") {
		t.Errorf("a sample in force: %v", err)
	}
	options.Lab = true
	if _, err := config.ParseWith(business.Path, open, options); err != nil {
		t.Errorf("a sample in a lab: %v", err)
	}
	purged, err := config.Purge(text)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := config.ParseWith(business.Path, purged, options); err != nil || len(c.SPD.Entries) != 0 || len(c.Peers) != 2 {
		t.Errorf("purged: %v, %v", c, err)
	}
}

// The two sites are two ends of one tunnel.
func TestSitesFitTogether(t *testing.T) {
	a, b := load(t, "site-a.yaml"), load(t, "site-b.yaml")
	atA, atB := a.Peers[0], b.Peers[0]
	if atA.Local != atB.Remote || atA.Remote != atB.Local || atA.LocalID != atB.RemoteID || atA.RemoteID != atB.LocalID {
		t.Errorf("ends %+v and %+v", atA, atB)
	}
	if atA.IKEProposals[0].String() != atB.IKEProposals[0].String() || atA.Children[0].Proposals[0].String() != atB.Children[0].Proposals[0].String() {
		t.Errorf("proposals of %+v and %+v", atA, atB)
	}
	s := atB.Children[0].Selectors[0]
	want := s
	want.Local, want.Remote = s.Remote, s.Local
	if atA.Children[0].Selectors[0] != want {
		t.Errorf("selectors %s and %s", atA.Children[0].Selectors[0], s)
	}
}

// Every key of the site sample has its explanation on the lines before it, or its block has; so have those of the branch.
func TestSamplesSayWhatTheyDo(t *testing.T) {
	for _, name := range []string{"site-a.yaml", "branch.yaml", "certificates.yaml"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for block := range strings.SplitSeq(string(text), "\n\n") {
			if !strings.Contains(block, "#") && !strings.HasPrefix(block, "name: ") {
				t.Errorf("%s: nothing explains\n%s", name, block)
			}
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
