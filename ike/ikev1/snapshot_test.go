package ikev1

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"sallyport/crypto"
	"sallyport/ike"
)

// What is shown of a peer that is up: its ISAKMP SA, its pair, and what its vendor IDs say.
func TestSnapshot(t *testing.T) {
	l := up(t, nil, nil)
	for _, n := range []*end{l.a, l.b} {
		list := n.engine.Snapshot()
		if len(list) != 1 || len(list[0].Children) != 1 {
			t.Fatalf("%s shows %+v", n.name, list)
		}
		sa, child := list[0], list[0].Children[0]
		if sa.Version != ike.V1 || sa.State != "established" || sa.Proposal != "aes128-sha256-ecp256 (pre-shared key)" || sa.SPIi == 0 || sa.SPIr == 0 || sa.Attempt != nil || sa.Outstanding != "" {
			t.Errorf("%s shows %+v", n.name, sa)
		}
		if !slices.Contains(sa.Vendors, "DPD") || !slices.Contains(sa.Vendors, "NAT-T RFC 3947") {
			t.Errorf("%s knows vendors %q", n.name, sa.Vendors)
		}
		if !child.Outbound || child.State != "installed" || child.SPIIn == child.SPIOut || child.RekeyAt.IsZero() {
			t.Errorf("%s shows %+v", n.name, child)
		}
		if n.engine.Retired() != 0 {
			t.Error("a peer is gone")
		}
	}
	l.a.step(ike.Terminate{Peer: "b"})
	if list := l.a.engine.Snapshot(); len(list) != 1 || list[0].State != "down" || len(list[0].Children) != 0 {
		t.Errorf("a shows %+v", list)
	}
}

// While a main mode goes unanswered what is shown says since when, what was offered, and when it is sent again; afterwards why it failed, and when the next
// one begins.
func TestAttempt(t *testing.T) {
	l := join(t, nil, nil)
	l.twist = func(*end, []byte) []byte { return nil }
	l.begin()
	l.advance(2 * time.Second)
	a := l.a.engine.Snapshot()[0].Attempt
	if a == nil || a.Exchange != "main mode" || a.Sent != 3 || !a.NextSending.After(l.now) || a.Began != start || len(a.Ours.IKE) != 1 || a.Ours.Method != "pre-shared key" {
		t.Fatalf("a shows %+v", a)
	}
	if want := (crypto.Transform{Type: crypto.TransformEncr, ID: uint16(crypto.EncrAESCBC), KeyBits: 128}); !slices.Contains(a.Ours.IKE[0].Transforms, want) {
		t.Errorf("a offers %v", a.Ours.IKE)
	}
	l.advance(60 * time.Second)
	for l.a.count(ike.Failed, "") == 0 {
		l.tick(l.now.Add(10 * time.Millisecond))
	}
	info := l.a.engine.Snapshot()[0]
	if info.Failure.Reason != ike.FailSilent || info.Failure.Attempt == nil || info.Failure.Attempt.Exchange != "main mode" || info.NextAttempt.IsZero() || info.NextAttempt != l.a.engine.NotBefore("b", "net") {
		t.Errorf("a shows %+v", info)
	}
}

// A quick mode that the peer refuses is shown at both ends, with the traffic that was asked for.
func TestAttemptOfQuickMode(t *testing.T) {
	l := join(t, nil, func(c *ike.Config) { c.Peers[0].Children[0].Selectors[0] = selector(t, "10.9.0.0/24", "10.1.0.0/24") })
	l.begin()
	l.run()
	f := l.a.engine.Snapshot()[0].Failure
	if f.Reason != ike.FailSelectors || f.Attempt == nil || f.Attempt.Exchange != "quick mode" || !slices.Equal(f.Attempt.Ours.Remote, []string{"10.2.0.0/24"}) {
		t.Errorf("a shows %+v", f)
	}
	if p := l.b.engine.Snapshot()[0].PeerFailure; p.Reason != ike.FailSelectors || p.Attempt == nil {
		t.Errorf("b shows %+v", p)
	}
}

// What was not taken is told of the peer at whose address it came from, and of strangers apart; another configuration does not forget it.
func TestUntaken(t *testing.T) {
	l := up(t, nil, nil)
	l.toB([]byte("nothing"))
	l.toB(make([]byte, 40))
	l.b.step(ike.Datagram{Local: netip.AddrPortFrom(addrB, portIKE), Remote: netip.MustParseAddrPort("198.51.100.9:500"), Payload: []byte("nothing")})
	l.b.step(ike.Reconfigure{Peers: sideB(t).Peers})
	info := l.b.engine.Snapshot()[0]
	if d := info.Dropped; d.Count != 2 || d.Reason != ike.DropVersion || d.Remote.Addr() != addrA {
		t.Errorf("dropped %+v", d)
	}
	if s := info.Stray; s.Count != 1 || s.Reason != ike.DropShort || info.Refused.Count != 0 {
		t.Errorf("stray %+v, refused %+v", s, info.Refused)
	}
}

// A main mode that is refused says at both ends by which word, and at the one that refuses who the other has said that it is; where its limit of answers in clear
// is reached nothing was answered.
func TestRefusedMainMode(t *testing.T) {
	proposals := func(c *ike.Config) { c.Peers[0].IKEProposals = ikeProposals(t, "aes256-sha512-ecp521") }
	l := join(t, nil, proposals)
	l.begin()
	l.run()
	if p := l.b.engine.Snapshot()[0].PeerFailure; p.Reason != ike.FailProposal || p.Attempt == nil || p.Attempt.Answer != "NO-PROPOSAL-CHOSEN" {
		t.Errorf("b refuses an offer and shows %+v", p)
	}
	l = join(t, nil, func(c *ike.Config) { proposals(c); c.Limits.UnprotectedReplies = -1 })
	l.begin()
	l.run()
	if p := l.b.engine.Snapshot()[0].PeerFailure; p.Reason != ike.FailProposal || p.Attempt == nil || p.Attempt.Answer != "" || l.b.sends != 0 {
		t.Errorf("b, which may not answer, has sent %d messages and shows %+v", l.b.sends, p)
	}
	l = join(t, func(c *ike.Config) { c.Peers[0].LocalID = fqdn(t, "gate.example") }, nil)
	l.begin()
	l.run()
	p, f := l.b.engine.Snapshot()[0].PeerFailure, l.a.engine.Snapshot()[0].Failure
	if p.Reason != ike.AuthIdentity || p.Attempt == nil || p.Attempt.Answer != "AUTHENTICATION-FAILED" || !p.Attempt.Theirs.Identity.Equal(fqdn(t, "gate.example")) {
		t.Errorf("b refuses an identity and shows %+v", p)
	}
	if f.Reason != ike.FailAuthentication || f.Attempt == nil || f.Attempt.Answer != "AUTHENTICATION-FAILED" || !f.Attempt.NextSending.IsZero() {
		t.Errorf("a is refused and shows %+v", f)
	}
}
