package appliance

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"sallyport/ike"
)

// Who begins negotiations with a peer's address and lets them fail gets its lines a second, and one says how many there were besides. What needs a key, what we
// begin, and other peers are in the log as ever.
func TestLogLimit(t *testing.T) {
	var text bytes.Buffer
	log, limit := slog.New(slog.NewTextHandler(&text, nil)), logLimit{}
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	lines := func(n int, f ike.Fact) int {
		text.Reset()
		for range n {
			f.Time = now
			limit.write(log, f)
		}
		return strings.Count(text.String(), "\n")
	}
	begun := ike.Fact{Kind: ike.NegotiationStarted, Peer: "a", Role: ike.RoleResponder}
	if n := lines(1000, begun); n != logLineBurst {
		t.Errorf("%d lines of 1000 at once, expected %d", n, logLineBurst)
	}
	now = now.Add(time.Second)
	failed := begun
	failed.Kind, failed.Reason = ike.Failed, ike.FailTimeout
	if n := lines(1000, failed); n != logLinesPerSecond || strings.Count(text.String(), "unwritten=800") != 1 {
		t.Errorf("%d lines a second later, expected %d, one of which says that 800 were not written:\n%s", n, logLinesPerSecond, text.String())
	}
	for name, change := range map[string]func(*ike.Fact){
		"another peer":  func(f *ike.Fact) { f.Peer = "b" },
		"begun by us":   func(f *ike.Fact) { f.Role = ike.RoleInitiator },
		"authenticated": func(f *ike.Fact) { f.Kind = ike.IKEEstablished },
	} {
		f := begun
		change(&f)
		if n := lines(100, f); n != 100 {
			t.Errorf("%s: %d lines of 100", name, n)
		}
	}
}
