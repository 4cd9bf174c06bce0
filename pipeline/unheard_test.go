package pipeline

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"sallyport/pmd/ethdev"
)

// An IKE message of ours whose next hop does not answer has not left, and neither has what waits for one: that is told, and of the peer it was for alone.
// Once the next hop answers messages leave.
// S-043, S-044
func TestUnsentIKE(t *testing.T) {
	for version, peers := range map[string]struct{ own, deaf, hears netip.Addr }{
		"IPv4": {wanOwn, wanOwn.Next().Next().Next(), peer},
		"IPv6": {wanOwn6, wanOwn6.Next().Next().Next(), peer6},
	} {
		t.Run(version, func(t *testing.T) {
			r := newRig6(t, rigOptions{})
			from := netip.AddrPortFrom(peers.own, portIKE)
			pass := func(seconds int) {
				for range seconds {
					r.serveAll()
					r.settle()
					r.now = r.now.Add(time.Second)
				}
			}
			for _, to := range []netip.Addr{peers.deaf, peers.hears} {
				if err := r.d.SendUDP(from, netip.AddrPortFrom(to, portIKE), []byte("IKE"), false); err != nil {
					t.Fatal(err)
				}
			}
			if err := r.d.SendUDP(from, netip.AddrPortFrom(peers.deaf.Next(), 53), []byte("no IKE, were it not for its port here"), false); err != nil {
				t.Fatal(err)
			}
			r.settle()
			pass(1)
			if to := r.d.UnsentIKE(); len(to) != 0 || r.d.Reaches(peers.deaf) || !r.d.Reaches(peers.hears) {
				t.Fatalf("while it waits: unsent to %v", to)
			}
			pass(4)
			if to := r.d.UnsentIKE(); !slices.Contains(to, peers.deaf) || slices.Contains(to, peers.hears) || r.d.Reaches(peers.deaf) {
				t.Errorf("unsent to %v, expected %s among them", to, peers.deaf)
			}
			if to := r.d.UnsentIKE(); len(to) != 0 {
				t.Errorf("%v are told twice", to)
			}
			if r.d.LostIKE() != 0 {
				t.Error("what did not leave was lost on its way in")
			}
		})
	}
}

// There is room for so many of them: beyond that nobody's silence is certain.
func TestUnsentIKEIsBounded(t *testing.T) {
	var u unsentIKE
	to := netip.MustParseAddr("10.0.0.0")
	for range mostUnsent + 5 {
		u.note(to)
		to = to.Next()
	}
	u.note(netip.MustParseAddr("10.0.0.0"))
	if len(u.to) != mostUnsent || u.untold != 5 {
		t.Errorf("%d are noted, and %d untold", len(u.to), u.untold)
	}
}

// What a port has missed, or had no buffer for, may have been a message to IKE.
// S-043, S-045
func TestPortsThatMissMayLoseIKE(t *testing.T) {
	r := newRig(t, rigOptions{})
	var missed ethdev.Stats
	r.d.cfg.portStats = func(p ethdev.Port) (ethdev.Stats, error) {
		if p == r.d.cfg.Ports[wan].Port {
			return missed, nil
		}
		return ethdev.Stats{RxPackets: 7, RxErrors: 7, TxErrors: 7}, nil
	}
	before := r.d.LostIKE()
	for _, missed = range []ethdev.Stats{{RxMissed: 1}, {RxMissed: 1, RxNoBuffer: 1}} {
		if now := r.d.LostIKE(); now != before+1 {
			t.Errorf("%+v: %d messages may be lost, expected %d", missed, now, before+1)
		}
		before = r.d.LostIKE()
	}
}
