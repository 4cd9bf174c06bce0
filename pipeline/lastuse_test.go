package pipeline

import (
	"testing"
	"time"
)

// S-081: what idleness and liveness are counted from is when an SA carried a packet, and that of the tunnel which sends beside it.
func TestLastUse(t *testing.T) {
	r := newRig(t, rigOptions{})
	out, in := r.child("site", "aes128gcm16", false), r.child("site", "aes128gcm16", true)
	r.outbound(out)
	near := r.inbound(in)
	spi := near.child.SPI
	check := func(when string, took, sent bool, since time.Time) {
		t.Helper()
		for _, direction := range []struct {
			name string
			at   time.Time
			want bool
		}{{"in", r.d.LastInbound(spi), took}, {"out", r.d.LastOutbound(spi), sent}} {
			const clocks = time.Millisecond // that of packets is the CPU's counter
			if got := !direction.at.IsZero(); got != direction.want || got && (direction.at.Before(since.Add(-clocks)) || direction.at.After(time.Now())) {
				t.Errorf("%s, %s: last use %v; now it is %v, and %v when it began", when, direction.name, direction.at, time.Now(), since)
			}
		}
	}
	check("before any packet", false, false, time.Time{})
	began := time.Now()
	r.wantForward(wan, fromPeer(near.encapsulate(tcp(farHost, lanHost), 1)), lan)
	check("after one that came", true, false, began)
	if o, _ := r.check(lan, fromHost(tcp(lanHost, farHost))); o.Disposition != packetForwarded {
		t.Fatalf("outbound: %+v", o)
	}
	check("after one that left", true, true, began)
	next := r.child("site", "aes128gcm16", false)
	next.SPI++
	r.outbound(next)
	check("after a rekey", true, false, began)
	if err := r.d.RemoveInbound(spi); err != nil {
		t.Fatal(err)
	}
	check("after the end", false, false, began)
}
