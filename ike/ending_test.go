package ike

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/crypto"
)

// What Endings foretells of a change is what Reconfigure then ends, and no more.
func TestEndingsForetellReconfigure(t *testing.T) {
	changePeer := func(change func(*Peer)) func(*end) {
		return func(n *end) { n.configure(change) }
	}
	for name, c := range map[string]struct {
		change func(*end)
		ends   []string
		why    string
	}{
		"nothing":        {changePeer(func(*Peer) {}), nil, ""},
		"times":          {changePeer(func(p *Peer) { p.RekeyTime, p.DPDDelay = time.Hour, time.Minute }), nil, ""},
		"start":          {changePeer(func(p *Peer) { p.Children[1].Start = StartOnDemand }), nil, ""},
		"selectors":      {changeChild, []string{"net"}, "selectors"},
		"ESP proposals":  {changeProposals, []string{"net"}, "proposals"},
		"child gone":     {dropFirst, []string{"net"}, "no rule"},
		"all gone":       {dropChildren, []string{"net", "voice"}, "no rule"},
		"peer gone":      {dropPeer, []string{"net", "voice"}, "no longer"},
		"key":            {changePeer(func(p *Peer) { p.PSK = crypto.NewSecret([]byte("another horse")) }), []string{"net", "voice"}, "preshared key"},
		"address":        {changePeer(func(p *Peer) { p.Remote = netip.MustParseAddr("192.0.2.99") }), []string{"net", "voice"}, "addresses"},
		"identity":       {changePeer(func(p *Peer) { p.LocalID = AddressIdentity(netip.MustParseAddr("192.0.2.98")) }), []string{"net", "voice"}, "identities"},
		"IKE proposals":  {changePeer(func(p *Peer) { p.IKEProposals = ikeProposals(t, "aes256gcm16-prfsha384-ecp384") }), []string{"net", "voice"}, "IKE proposals"},
		"the same again": {changePeer(func(p *Peer) { p.PSK = p.PSK.Clone() }), nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			l := join(t, withVoice(false), withVoice(true))
			upWithVoice(l)
			before := l.a.cfg.Peers
			seen := len(l.a.facts)
			c.change(l.a)
			var foretold []string
			for _, e := range Endings(before, l.a.cfg.Peers, l.a.moves) {
				foretold = append(foretold, e.Child)
				if e.Peer != "b" || !strings.Contains(e.Why, c.why) {
					t.Errorf("%+v: expected peer b and a reason with %q", e, c.why)
				}
			}
			l.run()
			var ended []string
			for _, f := range l.a.facts[seen:] {
				if f.Kind == ChildDeleted {
					ended = append(ended, f.Child)
				}
			}
			slices.Sort(ended)
			if !slices.Equal(foretold, c.ends) || !slices.Equal(ended, c.ends) {
				t.Errorf("foretold %v, ended %v, expected %v", foretold, ended, c.ends)
			}
		})
	}
}

// Where no answer can arrive any more, the IKE SA too is gone at once, with its delete on the wire; a peer that is heard is waited for.
func TestDeafEndIsOverAtOnce(t *testing.T) {
	for _, deaf := range []bool{true, false} {
		l := join(t, withVoice(false), withVoice(true))
		upWithVoice(l)
		l.a.cfg.Peers = nil
		l.a.step(Reconfigure{Deaf: func(local netip.Addr) bool { return deaf && local == addrA }})
		if n := len(l.a.inbound); n != 0 {
			t.Errorf("deaf %v: %d inbound SAs are left", deaf, n)
		}
		if retired := l.a.engine.Retired() > 0; retired == deaf {
			t.Errorf("deaf %v: %d IKE SAs of former peers are left", deaf, l.a.engine.Retired())
		}
		l.run()
		l.consistent()
		l.b.expect(IKEDeleted, DeletedByPeer, 1)
		if n := l.a.engine.Retired(); n != 0 {
			t.Errorf("deaf %v: %d IKE SAs of former peers are left in the end", deaf, n)
		}
	}
}

// A failed negotiation keeps every child of the peer from being asked for, whoever asks, until the pause is over.
func TestNotBefore(t *testing.T) {
	for _, start := range []Start{StartAlways, StartOnDemand} {
		l := join(t, func(c *Config) {
			c.Peers[0].PSK = crypto.NewSecret([]byte("wrong horse"))
			c.Peers[0].Children[0].Start = start
		}, nil)
		l.begin()
		l.a.step(Initiate{Peer: "b", Child: "net"})
		l.run()
		at := l.a.engine.NotBefore("b", "net")
		if !at.After(l.now) {
			t.Errorf("%s: after a failure at %v: not before %v", start, l.now, at)
		}
		tries := len(l.a.failures())
		l.a.step(Acquire{Peer: "b", Child: "net"})
		l.run()
		if n := len(l.a.failures()); n != tries {
			t.Errorf("%s: a packet has begun a negotiation in the pause", start)
		}
		l.advance(at.Sub(l.now) + time.Second)
		if n := len(l.a.failures()); n == tries {
			t.Errorf("%s: no negotiation after the pause", start)
		}
		if at := l.a.engine.NotBefore("nobody", "net"); !at.IsZero() {
			t.Errorf("a peer that does not exist: %v", at)
		}
	}
}

// failures are the facts of failed negotiations.
func (n *end) failures() []Fact {
	return slices.DeleteFunc(slices.Clone(n.facts), func(f Fact) bool { return f.Kind != Failed })
}
