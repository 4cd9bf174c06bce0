package lab_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sallyport/perf/lab"
)

// TestDoctor: the doctor prints the four openings that a path needs, and names the one that a firewall on the path blocks, whether
// it keeps away what is asked or only the answer. Each of them is blocked in turn.
// S-093
func TestDoctor(t *testing.T) {
	t.Parallel()
	s := routedSites(t)
	options := lab.GatewayOptions{Binary: binary(t), PSK: testPSK, LivenessTime: time.Hour}
	b, err := s.StartGateway(s.B, options)
	if err != nil {
		t.Fatal(err)
	}
	a, err := s.StartGateway(s.A, options)
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range []*lab.Gateway{a, b} {
		if _, err := g.WaitTunnel(t.Context(), nil, tunnelLimit); err != nil {
			t.Fatal(err)
		}
	}

	openings := []struct{ name, match string }{
		{"UDP 500", "udp dport 500"}, {"UDP 4500", "udp dport 4500"}, {"IP protocol 50", "ip protocol 50"}, {"IP protocol 51", "ip protocol 51"},
	}
	printed := func(blocked string) string {
		t.Helper()
		out, errOut, code := sallyport(t, a, "doctor", lab.PeerName)
		for _, o := range openings {
			want := map[bool]string{true: "BLOCKED", false: "open"}[o.name == blocked]
			if strings.Count(out, o.name+" ") != 2 || stateIn(out, o.name) != want {
				t.Fatalf("with %q blocked: want it listed and %s %s, found:\n%s", blocked, o.name, want, out)
			}
		}
		if code != min(1, len(blocked)) {
			t.Errorf("with %q blocked: exit code %d, %s", blocked, code, errOut)
		}
		return errOut
	}
	printed("")
	for _, o := range openings {
		for _, way := range []string{"", fmt.Sprintf("oifname %q ", "to-a")} {
			if err := s.Block(t.Context(), way+o.match); err != nil {
				t.Fatal(err)
			}
			if errOut := printed(o.name); !strings.Contains(errOut, o.name+" is blocked on the path to "+lab.PeerName) {
				t.Errorf("with %q blocked: %s", way+o.match, errOut)
			}
		}
	}
	if err := s.Block(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	printed("")
}

// stateIn is what the doctor's table, which has every opening, says of one: the word behind its name where that is last.
func stateIn(table, opening string) string {
	word, _, _ := strings.Cut(strings.TrimLeft(table[strings.LastIndex(table, opening)+len(opening):], " "), " ")
	return strings.TrimRight(word, ":")
}
