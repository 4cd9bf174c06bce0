package pipeline

import (
	"fmt"
	"testing"
)

// Soft and hard lifetimes in packets and bytes are reported once each, and nothing passes beyond a hard one (S-078).
func TestLifetimes(t *testing.T) {
	for name, c := range map[string]struct {
		soft, hard Lifetime
		passed     int
		reports    []string // after each burst of 2 packets of 60 bytes
	}{
		"packets":          {Lifetime{Packets: 3}, Lifetime{Packets: 5}, 5, []string{"0", "1", "2", "2"}},
		"bytes":            {Lifetime{Bytes: 61}, Lifetime{Bytes: 299}, 4, []string{"1", "1", "2", "2"}},
		"soft in packets":  {Lifetime{Packets: 2}, Lifetime{Bytes: 240}, 4, []string{"1", "2", "2", "2"}},
		"soft and no hard": {Lifetime{Packets: 2, Bytes: 500}, Lifetime{}, 8, []string{"1", "1", "1", "1"}},
	} {
		for _, suite := range []string{"aes128gcm16", "aes128-sha256"} {
			r := newRig(t, rigOptions{})
			out := r.child("site", suite, false)
			out.Soft, out.Hard = c.soft, c.hard
			r.outbound(out)
			var got []string
			for range c.reports {
				r.enqueue(0, lan, fromHost(tcp(lanHost, farHost)), fromHost(tcp(lanHost, farHost)))
				r.settle()
				r.serveAll()
				got = append(got, fmt.Sprint(len(r.seen.expired)))
			}
			what := name + " " + suite
			same(t, what, got, c.reports)
			if n := len(r.sent(wan)); n != c.passed || r.d.Counters().Ports[lan].Drops["lifetime_expired"] != uint64(8-c.passed) {
				t.Errorf("%s: %d packets passed, want %d; drops %v", what, n, c.passed, r.d.Counters().Ports[lan].Drops)
			}
			for i, report := range r.seen.expired {
				same(t, what, report, fmt.Sprintf("cell %d spi %d outbound true hard %v", out.Cell, out.SPI, i == 1))
			}
		}
	}
}

// Inbound a burst ends what its first packets used up.
func TestInboundLifetimes(t *testing.T) {
	for _, suite := range []string{"aes128gcm16", "aes128-sha256"} {
		r := newRig(t, rigOptions{})
		in := r.child("site", suite, true)
		in.Soft, in.Hard = Lifetime{Packets: 2}, Lifetime{Packets: 4}
		near := r.inbound(in)
		for range 6 {
			near.sequence++
			r.enqueue(0, wan, fromPeer(near.encapsulate(tcp(farHost, lanHost), near.sequence)))
			r.settle()
			r.serveAll()
		}
		name := fmt.Sprintf("cell %d spi %d outbound false hard ", in.Cell, in.SPI)
		same(t, suite, r.seen.expired, []string{name + "false", name + "true"})
		sa := r.d.SACounters()[0]
		if n := len(r.sent(lan)); n != 4 || sa.Packets != 4 || sa.Drops["lifetime_expired"] != 2 {
			t.Errorf("%s: %d packets passed: %+v", suite, n, sa)
		}
	}
}

// More happens at once than the ring has room for: each event is told in the end, and once.
func TestEventsOfManySAs(t *testing.T) {
	const n = 200
	r := newRig(t, rigOptions{maxSAs: 256})
	var near []*referenceOut
	for range n {
		in := r.child("site", "aes128gcm16", true)
		in.Soft, in.Hard = Lifetime{Packets: 1}, Lifetime{Packets: 2}
		near = append(near, r.inbound(in))
	}
	for round := range 5 {
		for _, sa := range near {
			sa.sequence++
			r.enqueue(0, wan, fromPeer(sa.encapsulate(tcp(farHost, lanHost), sa.sequence)))
		}
		r.settle()
		if round >= 2 { // until then nobody listens
			r.serveAll()
		}
		r.sent(lan)
	}
	told := map[string]bool{}
	for _, report := range r.seen.expired {
		told[report] = true
	}
	if len(told) != 2*n || len(r.seen.expired) != 2*n {
		t.Errorf("%d reports, %d different ones, want %d", len(r.seen.expired), len(told), 2*n)
	}
}
