package peers

import (
	"strings"
	"testing"

	"sallyport/perf/lab"
)

// startGuest boots a guest as site B's gateway, configured.
func startGuest(t *testing.T, s *lab.Sites) *Guest {
	t.Helper()
	g, err := StartGuest(t.Context(), s.Lab, s.B.Gateway, "guest-b", lab.WANLink)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Configure(t.Context(), s.B, s.A); err != nil {
		t.Fatal(err)
	}
	return g
}

// TestGuestRun proves that commands, their output and their failure come back from the guest.
func TestGuestRun(t *testing.T) {
	s := newSites(t, lab.KernelGateway, lab.RawGateway)
	g := startGuest(t, s)
	out, err := g.Run(t.Context(), "printf", "%s", "it's 100%")
	if err != nil || out != "it's 100%" {
		t.Errorf("output %q, error %v", out, err)
	}
	if _, err := g.Run(t.Context(), "ls", "/nowhere"); err == nil || !strings.Contains(err.Error(), "exit status 2") {
		t.Errorf("error %v, want exit status 2", err)
	}
	result, err := s.A.Gateway.Ping(t.Context(), s.B.WANAddress, lab.PingOptions{Count: 3, Interval: 1e7})
	if err != nil || result.Received != 3 {
		t.Errorf("ping %+v, error %v: want 3 answers from the guest", result, err)
	}
}
