package ike

import (
	"net/netip"
	"testing"
	"time"

	"sallyport/ike/internal/admission"
)

// S-088: first messages are limited by address, by prefix and in all, each by itself, and a peer that has authenticated before has its own bucket and needs no other.
func TestLedgerAffords(t *testing.T) {
	limits := Limits{ProvenInits: 2, HalfOpenPerAddress: 3, InitsPerPrefix: 2, Inits: 4}
	l := NewLedger(limits)
	limits = limits.Complete()
	now := start
	address := func(network, host byte) netip.Addr { return netip.AddrFrom4([4]byte{198, 51, network, host}) }
	own := map[netip.Addr]*admission.Bucket{}
	ask := func(from netip.Addr, known bool) Reason {
		if own[from] == nil {
			own[from] = &admission.Bucket{PerSecond: limits.ProvenInits, Burst: limits.HalfOpenPerAddress}
		}
		return l.Afford(now, from, own[from], known)
	}
	for i, want := range []Reason{"", "", "", RefuseProven} {
		if got := ask(address(0, 1), false); got != want {
			t.Errorf("message %d of one address: %q, expected %q", i, got, want)
		}
	}
	for host := byte(2); host < 7; host++ { // 8 of a prefix at once, of which 3 are gone
		if got := ask(address(0, host), false); got != "" {
			t.Errorf("host %d of one prefix: %q", host, got)
		}
	}
	if got := ask(address(0, 7), false); got != RefusePrefix {
		t.Errorf("one more of the prefix: %q, expected %q", got, RefusePrefix)
	}
	for network := byte(1); network < 9; network++ { // 16 in all at once
		if got := ask(address(network, 1), false); got != "" {
			t.Errorf("network %d: %q", network, got)
		}
	}
	if got := ask(address(9, 1), false); got != RefuseInits {
		t.Errorf("one more in all: %q, expected %q", got, RefuseInits)
	}
	for _, known := range []netip.Addr{address(0, 8), address(10, 1)} {
		if got := ask(known, true); got != "" {
			t.Errorf("a peer that is known, at %v: %q", known, got)
		}
	}
	now = now.Add(time.Second)
	if got := ask(address(0, 9), false); got != "" {
		t.Errorf("a second later: %q", got)
	}
	for i := range 3 * maxPrefixes { // each prefix its own
		now = now.Add(time.Second)
		ask(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1}), false)
	}
	if kept := l.prefixes[0].Kept(); kept > maxPrefixes {
		t.Errorf("%d prefixes are kept, expected %d at the most", kept, maxPrefixes)
	}
}

// S-088: a quarter of all half-open places is for peers that have authenticated before.
func TestPlacesOfKnownPeers(t *testing.T) {
	limits := (Limits{HalfOpen: 100}).Complete()
	h := admission.NewHalfOpen()
	place := func(n int) admission.Place {
		return admission.Place{From: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}), 500)}
	}
	take := func(known bool) (taken int) {
		for limits.RefuseHalfOpen(&h, place(h.Total()), known) == "" {
			h.Add(place(h.Total()), 1)
			taken++
		}
		return taken
	}
	if others, known := take(false), take(true); others != 75 || known != 25 {
		t.Errorf("%d places for others and %d more for peers that are known, expected 75 and 25", others, known)
	}
}

// A change of limits holds at once: for those that are beyond it too, of which nothing ends.
func TestLimitsChange(t *testing.T) {
	l := up(t, nil, nil)
	change := func(limits Limits) { l.b.step(Reconfigure{Peers: l.b.cfg.Peers, Limits: &limits}) }
	change(Limits{HalfOpenEstablished: 4, CookieThreshold: 1000, Established: 1, ProvenInits: 3})
	for i := range 10 {
		l.b.step(Datagram{Local: at(addrB, 500), Remote: at(addrA, 500), Payload: initFrom(t, byte(100+i))})
	}
	if open := l.b.engine.halfOpen.Total(); open != 2 { // and two more by a cookie
		t.Errorf("%d half-open IKE SAs, expected 2", open)
	}
	if rate := l.b.engine.peers[0].proven.PerSecond; rate != 3 {
		t.Errorf("%d first messages a second, expected 3", rate)
	}
	change(Limits{HalfOpen: 1})
	if open := l.b.engine.halfOpen.Total(); open != 2 {
		t.Errorf("%d half-open IKE SAs after the change, expected 2", open)
	}
	l.wire = nil
	l.advance(time.Minute)
	l.established("net")
	l.a.rekey(rekeyIKE) // which is no more of them
	l.run()
	l.established("net")
}
