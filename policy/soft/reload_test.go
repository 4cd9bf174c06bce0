package soft

import (
	"net/netip"
	"slices"
	"testing"

	"sallyport/policy"
)

// handedOver is a rig whose rule "files" is one of two that peer "old" has, and its configuration once "files" is peer "new"'s.
func handedOver(t *testing.T) (r *rig, after Config) {
	t.Helper()
	r = newRig(t, generous, fileServer, rule{name: "print", destination: "192.0.2.99/32", kind: policy.ActionNegotiate, fallback: true})
	after = r.cfg
	r.cfg.Peers = []Peer{{Name: "old", Identity: "old", Remote: addr(fileHost), Tunnels: []string{"files", "print"}}, {Name: "new", Identity: "new", Remote: addr("192.0.2.77")}}
	after.Peers = []Peer{{Name: "old", Identity: "old", Remote: addr(fileHost), Tunnels: []string{"print"}}, {Name: "new", Identity: "new", Remote: addr("192.0.2.77"), Tunnels: []string{"files"}}}
	r.book.Configure(r.now, r.cfg)
	e, ok := r.spd.Match(toServer, policy.PortsLAN)
	if !ok {
		t.Fatal("no filter")
	}
	r.book.Ask(r.now, Request{Entry: e.ID, Peer: "old", Tunnel: "files", Packet: toServer})
	return r, after
}

// A rule that becomes another peer's takes nothing along from the silence of the one before, which other rules keep in the book.
// S-042, S-051
func TestARuleOfAnotherPeer(t *testing.T) {
	r, after := handedOver(t)
	if o := r.silence("old"); len(o.Made) != 1 {
		t.Fatalf("made %+v, expected one", o.Made)
	}
	if ended := r.book.Configure(r.now, after); len(ended) != 1 || ended[0].Reason != Policy {
		t.Errorf("ended %+v, expected one for reason %s", ended, Policy)
	}
	r.empty()

	r, after = handedOver(t)
	r.book.Configure(r.now, after)
	if o := r.silence("old"); len(o.Made) != 0 || o.Next != nil || r.book.Counts().Waiting != 0 {
		t.Errorf("the silence of the peer before: %+v", o)
	}
}

// A filter that has a name keeps its number when its ports change: what waited for the former ports asked for nothing else.
// S-049
func TestAFilterOfOtherPorts(t *testing.T) {
	r := newRig(t, generous, fileServer)
	r.ask(toServer, false)
	other := r.cfg
	other.Filters = slices.Clone(other.Filters)
	other.Filters[0].Traffic.RemotePort = policy.PortRange{First: 22, Last: 22}
	r.book.Configure(r.now, other)
	if o := r.silence("files"); len(o.Made) != 0 {
		t.Errorf("made %+v", o.Made)
	}
}

// What waits counts against a limit that has become lower, too.
// S-090
func TestALowerLimitWhileManyWait(t *testing.T) {
	r := newRig(t, generous, fileServer)
	from := netip.MustParseAddrPort(lanHost + ":40000")
	for range 20 {
		r.ask(tcp(from.String(), fileHost+":445"), false)
		from = netip.AddrPortFrom(from.Addr().Next(), from.Port())
	}
	lower := generous
	lower.MaxPerPeer = 3
	r.configure(lower, fileServer)
	if st := r.book.State(r.now, "files"); st.Full != FullOfPeer || st.Waiting != 3 {
		t.Errorf("state %+v", st)
	}
	if o := r.silence("files"); len(o.Made) != 3 || r.book.Counts().Waiting != 0 {
		t.Errorf("%d soft SAs of at most 3", len(o.Made))
	}
}

// Another rate holds from the reload on, and not from when the former one has let through what it has counted.
// S-090
func TestAnotherInboundRate(t *testing.T) {
	slow := generous
	slow.InboundPerSource, slow.InboundPerFilter = 1, 1
	r := newRig(t, slow, fileServer)
	in := tcp(fileHost+":445", lanHost+":40000")
	for range sourceBurst {
		r.ask(in, true)
	}
	if a := r.ask(in, true); a.Refused != RateSource {
		t.Fatalf("found %+v, expected %s", a, RateSource)
	}
	r.configure(slow, fileServer)
	if a := r.ask(in, true); a.Refused != RateSource {
		t.Errorf("the same rate again: %+v", a)
	}
	r.configure(generous, fileServer)
	if a := r.ask(in, true); a.Refused != "" || !a.Negotiate {
		t.Errorf("another rate: %+v", a)
	}
}

// A peer that is to name itself otherwise from a reload on is the host that has proved to speak IPsec, as long as its key and its address are the same.
// S-051
func TestAnotherIdentityOfAProvedPeer(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Peer)
		kept   bool
	}{
		{"another identity", func(p *Peer) { p.Identity = "fqdn:files" }, true},
		{"another key too", func(p *Peer) { p.Identity, p.Renewed = "fqdn:files", true }, false},
		{"another host", func(p *Peer) { p.Identity, p.Remote = "fqdn:files", addr("192.0.2.77") }, false},
	} {
		r := newRig(t, generous, fileServer)
		r.book.Established("files")
		c.change(&r.cfg.Peers[0])
		r.book.Configure(r.now, r.cfg)
		r.book.Configure(r.now, Config{Limits: generous}) // without the peer
		r.cfg.Peers[0].Renewed = false
		r.book.Configure(r.now, r.cfg) // and with it again
		if refused := r.ask(toServer, false).Refused; (refused == Authenticated) != c.kept {
			t.Errorf("%s: refused for %q", c.name, refused)
		}
	}
}
