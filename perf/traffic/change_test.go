package traffic

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/crypto"
	"sallyport/ike"
)

// apart are streams of both directions, of tunnels that stay as they are and of those that change.
func apart(tunnels, changing int, rate float64) (list []Stream) {
	for _, s := range both(Stream{Sizes: Sizes{128}, Rate: Rate{Packets: rate}}) {
		stay, change := s, s
		stay.Name, stay.Tunnels, stay.Flows = string(s.Direction), tunnels-changing, tunnels-changing
		change.Name, change.First, change.Tunnels, change.Flows = string(s.Direction)+", changing", tunnels-changing, changing, changing
		list = append(list, stay, change)
	}
	return list
}

// While packets flow some of the tunnels get new keys, are removed, and come back: nothing of the others is lost, comes twice or out of order, and nothing of those
// either, though packets that were due while they were not there are not sent.
func TestChangesUnderLoad(t *testing.T) {
	const tunnels, changing = 12, 4
	g := newSpeakingGateway(t, tunnels, "aes128gcm16-esn", nil)
	config := g.negotiating(t, "aes128gcm16-esn", apart(tunnels, changing, 500)...)
	var done atomic.Bool
	config.enough = done.Load
	tester, err := Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer tester.Close()
	arriving(tester, func() int64 { return 0 })
	which := []int{8, 9, 10, 11}
	if r, err := tester.Trial(t.Context(), Load{Packets: 200}); err != nil || r.Verdict != Forwards { // the gateway knows all hosts now
		t.Fatalf("%v, %+v", err, r)
	}
	done.Store(false)
	var changed error
	began := make(chan struct{})
	go func() {
		defer done.Store(true)
		for _, s := range tester.streams {
			for atomic.LoadUint64((*uint64)(&s.c.sent)) == 0 || atomic.LoadUint64((*uint64)(&tester.control.start)) == 0 {
				time.Sleep(time.Millisecond) // of the trial before there is none left once it has begun
			}
		}
		close(began)
		for i, kind := range []Change{Rekey, Rekey, Remove, Remove, Rekey, Add, Add, Rekey} { // what is done already takes no time
			err := tester.Change(t.Context(), kind, which)
			if down := i == 4; down && errors.Is(err, ErrNotChanged) && strings.HasSuffix(err.Error(), "4 by the tunnel is down") {
				continue
			} else if down || err != nil {
				changed = fmt.Errorf("%d, %s: %w", i, kind, err)
				return
			}
		}
	}()
	r, err := tester.Trial(t.Context(), Load{Duration: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if changed != nil {
		t.Error(changed)
	}
	if r.Verdict != Forwards {
		t.Errorf("verdict %s, %q", r.Verdict, r.Findings)
	}
	for _, s := range r.Streams {
		want(t, s.Name+": lost", s.Lost, 0)
		want(t, s.Name+": reordered and duplicates", s.Reordered+s.Duplicates+s.TooOld, 0)
		if away := strings.HasSuffix(s.Name, "changing"); away != (s.Withheld > 0) {
			t.Errorf("%s: %d packets withheld", s.Name, s.Withheld)
		}
	}
	counters := g.plane.Counters()
	if err := counters.Conserved(); err != nil {
		t.Error(err)
	}
}

// A target with which the tunnels cannot be made gets a verdict that says why, in bounded time, and nothing is sent; the next trial does not wait again.
func TestTunnelsThatDoNotComeUp(t *testing.T) {
	const tunnels = 6
	for name, c := range map[string]struct {
		change  func(*speaker, []ike.Peer)
		wish    func(*Config)
		verdict Verdict
		up      int
		says    string
	}{
		"nobody answers IKE": {func(s *speaker, _ []ike.Peer) { s.mute = func(netip.Addr) bool { return true } }, func(c *Config) { c.Patience = time.Second },
			NoTunnels, 0, "IKE: 0 of 6 tunnels are up: 6 by nothing came of it for 1s"},
		"another key": {func(_ *speaker, peers []ike.Peer) {
			for i := range peers {
				peers[i].PSK = crypto.NewSecret([]byte("another key"))
			}
		}, nil, NoTunnels, 0, "IKE: 0 of 6 tunnels are up: 6 by authentication_failed"},
		"half of them": {func(s *speaker, _ []ike.Peer) { s.mute = func(a netip.Addr) bool { return a.As4()[3]%2 == 0 } }, func(c *Config) {
			c.Patience, c.hopeless = 10*time.Second, func(up int) bool { return up == 3 }
		}, SomeTunnels, 3, "IKE: 3 of 6 tunnels are up: 3 by nothing came of it for 10s"},
	} {
		t.Run(name, func(t *testing.T) {
			g := newSpeakingGateway(t, tunnels, "aes128gcm16", c.change)
			config := g.negotiating(t, "aes128gcm16", both(Stream{Rate: Rate{Packets: 1000}})...)
			if c.wish != nil {
				c.wish(&config)
			}
			tester, err := Open(t.Context(), config)
			if err != nil {
				t.Fatal(err)
			}
			defer tester.Close()
			for range 2 {
				r, err := tester.Trial(t.Context(), Load{Packets: 100})
				if err != nil {
					t.Fatal(err)
				}
				if text := strings.Join(r.Findings, "; "); r.Verdict != c.verdict || r.Negotiation.Up != c.up || !strings.Contains(text, c.says) {
					t.Errorf("verdict %s, %q, %+v; want %s, %q", r.Verdict, text, r.Negotiation, c.verdict, c.says)
				}
			}
		})
	}
}

// Who is interrupted while tunnels come up has a result, and keys given by hand are changed by nobody.
func TestNegotiationInterrupted(t *testing.T) {
	g := newSpeakingGateway(t, 2, "aes128gcm16", func(s *speaker, _ []ike.Peer) { s.mute = func(netip.Addr) bool { return true } })
	config := g.negotiating(t, "aes128gcm16", both(Stream{Rate: Rate{Packets: 1000}})...)
	ctx, cancel := context.WithCancel(t.Context())
	config.Progress = func(p Progress) {
		if p.Tunnels != 2 || p.Up != 0 {
			t.Errorf("progress %+v", p)
		}
		cancel()
	}
	tester, err := Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer tester.Close()
	if r, err := tester.Trial(ctx, Load{Packets: 100}); err != nil || !r.Interrupted || r.Negotiation == nil {
		t.Errorf("%v, %+v", err, r)
	}
	err = (&Tester{}).Change(t.Context(), Add, []int{0})
	if err == nil || errors.Is(err, ErrNotChanged) || !strings.Contains(err.Error(), "keys given by hand") {
		t.Errorf("a change of keys given by hand: %v", err)
	}
	if !slices.Equal(tester.negotiated(), []int{0, 1}) {
		t.Errorf("negotiated %v", tester.negotiated())
	}
}
