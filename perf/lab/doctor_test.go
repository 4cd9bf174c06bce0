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
	// An answer has little more than a second to come, which a busy machine may take: then the doctor is asked again. What is blocked is never open.
	printed := func(blocked string) string {
		t.Helper()
		var out, errOut string
		var code int
		err := lab.Until(t.Context(), nil, "the openings as they are", changeLimit, func() (bool, error) {
			out, errOut, code = sallyport(t, a, "doctor", lab.PeerName)
			as := true
			for _, o := range openings {
				state := stateIn(out, o.name)
				if strings.Count(out, o.name+" ") != 2 || o.name == blocked && state != "BLOCKED" {
					return false, fmt.Errorf("%s is not listed, or is blocked and %s", o.name, state)
				}
				as = as && (o.name == blocked || state == "open")
			}
			return as, nil
		})
		if err != nil || code != min(1, len(blocked)) {
			t.Fatalf("with %q blocked: %v; exit code %d, %s, found:\n%s", blocked, err, code, errOut, out)
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
