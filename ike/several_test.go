package ike

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"sallyport/crypto"
	"sallyport/ike/wire"
)

// gateway is an engine on its own that answers several peers.
func gateway(t *testing.T, change func(base Peer) []Peer) func(*Config) {
	return func(c *Config) {
		c.Peers = change(c.Peers[0])
		if err := ValidatePeers(c.Peers); err != nil {
			t.Fatal(err)
		}
	}
}

// S-059: each source address gets the method that is configured for it and no other, in the first response and in the proof.
func TestMethodByAddress(t *testing.T) {
	elsewhere := netip.MustParseAddr("192.0.2.3")
	twoPeers := gateway(t, func(base Peer) []Peer {
		byKey, byCertificate := base, base
		byKey.Name, byKey.Remote = "by-key", elsewhere
		c := Config{Peers: []Peer{byCertificate}}
		certified("p384", "p256")(&c)
		return []Peer{c.Peers[0], byKey}
	})
	for _, c := range []struct {
		from     netip.Addr
		change   func(*Config)
		asked    bool // for a certificate
		accepted bool
	}{
		{addrA, certified("p256", "p384"), true, true},
		{addrA, nil, true, false},
		{elsewhere, nil, false, true},
		{elsewhere, certified("p256", "p384"), false, false},
	} {
		l := join(t, func(cfg *Config) {
			cfg.Peers[0].Local = c.from
			if c.change != nil {
				c.change(cfg)
			}
		}, twoPeers)
		l.begin()
		l.deliver(0)
		if l.wire[0].to != l.a {
			t.Fatal("no answer")
		}
		m, err := wire.Parse(l.wire[0].payload)
		if err != nil {
			t.Fatal(err)
		}
		if asked := wire.Find[*wire.CertReq](m.Payloads) != nil; asked != c.asked {
			t.Errorf("%v: asked for a certificate: %t", c.from, asked)
		}
		l.run()
		if up := l.a.count(IKEEstablished, "") == 1 && l.b.count(IKEEstablished, "") == 1; up != c.accepted {
			t.Errorf("%v: established: %t\n%s%s", c.from, up, l.a.story(), l.b.story())
		}
	}
}

// Two peers at one address, told apart by what they call themselves: each by its own method.
func TestMethodsAtOneAddress(t *testing.T) {
	name := func(text string) Identity { return Identity{wire.IDFQDN, text} }
	two := gateway(t, func(base Peer) []Peer {
		byKey := base
		byKey.Name, byKey.RemoteID = "by-key", name("key.example")
		c := Config{Peers: []Peer{base}}
		certified("p384", "p256")(&c)
		c.Peers[0].RemoteID = name("cert.example")
		c.Peers[0].Children = slices.Clone(base.Children)
		return []Peer{byKey, c.Peers[0]}
	})
	for _, c := range []struct {
		id       string
		change   func(*Config)
		peer     string
		accepted bool
	}{
		{"key.example", nil, "by-key", true},
		{"KEY.example", nil, "by-key", true},
		{"cert.example", certified("p256", "p384"), "a", true},
		{"cert.example", nil, "", false},
		{"key.example", certified("p256", "p384"), "", false},
		{"other.example", nil, "", false},
	} {
		l := join(t, func(cfg *Config) {
			cfg.Peers[0].LocalID = name(c.id)
			if c.change != nil {
				c.change(cfg)
			}
		}, two)
		l.begin()
		l.run()
		i := slices.IndexFunc(l.b.facts, func(f Fact) bool { return f.Kind == IKEEstablished })
		if (i >= 0) != c.accepted || i >= 0 && l.b.facts[i].Peer != c.peer {
			t.Errorf("%s: fact %d\n%s", c.id, i, l.b.story())
		}
	}
}

// One identity by two methods: the initiator's proof says which of the two peers it is. What it is answered is that peer's.
func TestProofPicksPeer(t *testing.T) {
	two := gateway(t, func(base Peer) []Peer {
		byKey := base
		byKey.Name, byKey.LocalID = "by-key", Identity{wire.IDFQDN, "key.b.example"}
		c := Config{Peers: []Peer{base}}
		certified("p384", "p256")(&c)
		return []Peer{byKey, c.Peers[0]}
	})
	l := join(t, certified("p256", "p384"), two)
	l.begin()
	l.deliver(0)
	l.deliver(0)
	// Whom it wants, it does not say.
	l.forge(func(_ *ikeSA, list []wire.Payload) []wire.Payload {
		return slices.DeleteFunc(list, func(p wire.Payload) bool { id, is := p.(*wire.ID); return is && !id.Initiator })
	})
	l.run()
	l.a.expect(IKEEstablished, "", 1)
	if peer := l.b.facts[slices.IndexFunc(l.b.facts, func(f Fact) bool { return f.Kind == IKEEstablished })].Peer; peer != "a" {
		t.Errorf("taken for %s", peer)
	}
}

// Peers at one address whose proposals differ: the choice in IKE_SA_INIT, where nobody has said who it is, suits both where it can.
func TestProposalsAtOneAddress(t *testing.T) {
	weak, strong := ikeProposals(t, "aes128gcm16-prfsha256-curve25519", "aes256gcm16-prfsha384-curve25519"), ikeProposals(t, "aes256gcm16-prfsha384-curve25519")
	two := gateway(t, func(base Peer) []Peer {
		other := base
		other.Name, other.RemoteID, other.IKEProposals = "other", Identity{wire.IDFQDN, "other.example"}, weak
		base.IKEProposals = strong
		return []Peer{other, base}
	})
	for _, proposals := range [][]crypto.IKEProposal{weak, strong} {
		l := join(t, func(c *Config) { c.Peers[0].IKEProposals = proposals }, two)
		l.begin()
		l.advance(time.Minute)
		l.a.expect(IKEEstablished, "", 1)
		l.a.expect(ChildEstablished, "", 1)
		l.b.expect(Failed, "", 0)
	}
	// The one that takes less can still be somebody that only the other is.
	l := join(t, func(c *Config) { c.Peers[0].IKEProposals = weak[:1] }, two)
	l.begin()
	l.run()
	l.b.expect(Failed, AuthIdentity, 1)
}
