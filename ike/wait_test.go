package ike

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// byCertificate is a link with certificates at both ends; silent ends do not answer checks by themselves.
func byCertificate(t *testing.T, silentA, silentB bool) *link {
	l := join(t, certified("p256", "p384"), certified("p384", "p256"))
	l.a.mute, l.b.mute = silentA, silentB
	l.begin()
	return l
}

// While the responder waits for the check of a certificate nothing is answered, and the request that comes again changes nothing.
func TestResponderWaits(t *testing.T) {
	l := byCertificate(t, false, true)
	l.deliver(0)
	l.deliver(0)
	l.expectWire("a: IKE_AUTH request 1")
	request := l.wire[0]
	l.run()
	l.advance(3 * time.Second) // a sends again, several times
	if len(l.b.checks) != 1 || len(l.wire) != 0 || l.a.count(Retransmitted, "") == 0 {
		t.Fatalf("%d checks, %d answers, %d repetitions", len(l.b.checks), len(l.wire), l.a.count(Retransmitted, ""))
	}
	q := l.b.checks[0]
	if q.Peer != "a" || !q.Identity.Equal(AddressIdentity(addrA)) || len(q.Certificates) != 2 || string(q.Certificates[0]) != "leaf p256" {
		t.Errorf("asked %+v", q)
	}
	l.b.expect(Dropped, "", 0)
	l.b.answer()
	l.run()
	l.established("net")
	l.arrive(request)
	l.run()
	if l.b.step(l.b.answerTo(q)); len(l.wire) != 0 {
		t.Error("an answer that came twice had an effect")
	}
	l.advance(time.Minute)
	l.established("net")
}

// The same of the initiator, to which the peer's requests come in the meantime.
func TestInitiatorWaits(t *testing.T) {
	l := byCertificate(t, true, false)
	l.run()
	response := len(l.a.checks)
	l.advance(5 * time.Second)
	if response != 1 || len(l.a.checks) != 1 || l.a.count(Retransmitted, "") != 0 {
		t.Fatalf("%d checks, %d repetitions", len(l.a.checks), l.a.count(Retransmitted, ""))
	}
	l.b.expect(IKEEstablished, "", 1)
	l.b.rekey(rekeyChild)
	l.run()
	l.a.expect(Dropped, DropExchange, 1)
	l.a.answer()
	l.advance(10 * time.Second) // b's rekey comes again
	l.established("net")
}

// A check that is never answered ends the negotiation, at either end, and leaves nothing. What comes of it then is too late.
func TestCheckIsNeverAnswered(t *testing.T) {
	for name, silent := range map[string][2]bool{"initiator's": {true, false}, "responder's": {false, true}} {
		t.Run(name, func(t *testing.T) {
			l := byCertificate(t, silent[0], silent[1])
			n, reason := l.a, CertUnanswered
			if silent[1] {
				n = l.b
			}
			l.run()
			q := n.checks[0]
			l.advance(21 * time.Second)
			n.expect(Failed, reason, 1)
			if len(n.engine.checks.byPeer) > 1 || len(n.engine.checks.out) > 1 {
				t.Errorf("%d checks and %d peers are kept", len(n.engine.checks.out), len(n.engine.checks.byPeer))
			}
			if effects := n.step(n.answerTo(q)); len(answers(effects)) != 0 {
				t.Error("a late answer had an effect")
			}
			n.mute = false
			l.advance(3 * time.Minute)
			l.established("net")
			if c := &n.engine.checks; len(c.out)+len(c.byPeer)+c.byRole[RoleInitiator]+c.byRole[RoleResponder] != 0 {
				t.Errorf("counts are left: %+v", c)
			}
		})
	}
}

// Each initial message is lost, delayed behind a check or doubled: the tunnel comes up, once.
func TestMethodsWithLosses(t *testing.T) {
	for _, keys := range [][2]string{{"p256", "rsa2048"}, {"ed25519", ""}, {"", "p521"}} {
		for lost := range 4 {
			for _, mishap := range []string{"lost", "doubled", "silence"} {
				t.Run(fmt.Sprintf("%v %d %s", keys, lost, mishap), func(t *testing.T) {
					l := join(t, certified(keys[0], keys[1]), certified(keys[1], keys[0]))
					l.a.mute, l.b.mute = mishap == "silence", mishap == "silence"
					l.begin()
					for i := range 8 {
						if len(l.wire) == 0 {
							break
						}
						switch {
						case i == lost && mishap == "lost":
							l.wire = l.wire[1:]
						case i == lost:
							l.wire = append(l.wire, l.wire[0])
							l.deliver(0)
						default:
							l.deliver(0)
						}
					}
					l.a.mute, l.b.mute = false, false
					l.a.step(Tick{})
					l.b.step(Tick{})
					l.advance(time.Minute)
					l.established("net")
					l.a.expect(IKEEstablished, "", 1)
					l.b.expect(IKEEstablished, "", 1)
				})
			}
		}
	}
}

// An operator and a new configuration do not wait for a check.
func TestChangesDuringCheck(t *testing.T) {
	for name, change := range map[string]func(n *end){
		"down": func(n *end) { n.step(Terminate{Peer: n.cfg.Peers[0].Name}) },
		"down and up": func(n *end) {
			n.step(Terminate{Peer: n.cfg.Peers[0].Name})
			n.step(Initiate{Peer: n.cfg.Peers[0].Name})
		},
		"no peer":         dropPeer,
		"no child":        dropChildren,
		"another child":   changeChild,
		"other proposals": changeProposals,
		"other authority": func(n *end) { n.configure(func(p *Peer) { p.Authorities = [][]byte{[]byte("another twenty octet")} }) },
		"other credential": func(n *end) {
			c := Config{Peers: slices.Clone(n.cfg.Peers)}
			certified("p521", "")(&c)
			n.configure(func(p *Peer) { *p = c.Peers[0] })
		},
	} {
		for _, side := range []string{"a", "b"} {
			t.Run(name+" at "+side, func(t *testing.T) {
				l := byCertificate(t, side == "a", side == "b")
				n := l.a
				if side == "b" {
					n = l.b
				}
				n.base = n.cfg
				l.run()
				change(n)
				l.run()
				n.mute = false
				for len(n.checks) > 0 {
					n.answer()
				}
				l.advance(2 * time.Minute)
				if n == l.a || !strings.HasPrefix(name, "no ") { // where nobody listens a goes on asking
					l.consistent()
				}
				n.restore()
				n.step(Initiate{Peer: n.base.Peers[0].Name})
				l.advance(3 * time.Minute)
				l.established("net")
			})
		}
	}
}

// Checks under way are bounded, in all and in one peer's name; what finds no place counts as lost and is taken when it comes again.
func TestChecksAreLimited(t *testing.T) {
	l := join(t, certified("p256", "p384"), func(c *Config) {
		certified("p384", "p256")(c)
		c.Limits.ChecksPerPeer, c.Limits.CookieThreshold = 2, 100
	})
	l.b.mute = true
	l.begin()
	l.run()
	for i := range 5 { // strangers at the peer's address
		twin := &link{t: t, now: l.now, lostBy: map[string]int{}}
		twin.a = &end{name: "a", link: twin, nextSPI: 0xa0000000}
		cfg := sideA(t)
		certified("p256", "p384")(&cfg)
		cfg.Random = seeded(byte(10 + i))
		twin.a.boot(cfg)
		twin.b = l.b
		twin.a.step(Tick{})
		twin.deliver(0)
		l.wire[len(l.wire)-1].to = twin.a
		twin.wire, l.wire = append(twin.wire, l.wire[len(l.wire)-1]), l.wire[:len(l.wire)-1]
		twin.deliver(0)
		twin.deliver(0)
	}
	if len(l.b.checks) != 2 {
		t.Errorf("%d checks under way, expected 2", len(l.b.checks))
	}
	l.b.expect(Refused, RefusePeerChecks, 4)
	if out := l.b.engine.checks.byRole[RoleResponder]; out != 2 {
		t.Errorf("%d counted", out)
	}
	l.b.mute = false
	for len(l.b.checks) > 0 {
		l.b.answer()
	}
	l.wire = slices.DeleteFunc(l.wire, func(p packet) bool { return p.to != l.a })
	l.advance(2 * time.Minute)
	l.established("net")
}

// A check that takes longer than an initiator has for its IKE_AUTH request does not end the negotiation: the request has come.
func TestAHalfOpenSAOutlivesTheCheck(t *testing.T) {
	l := join(t, certified("p256", "p384"), func(c *Config) { certified("p384", "p256")(c); c.Limits.HalfOpenTimeout = 5 * time.Second })
	l.b.mute = true
	l.begin()
	l.advance(15 * time.Second)
	if len(l.b.checks) != 1 {
		t.Fatalf("%d checks under way, expected 1", len(l.b.checks))
	}
	l.b.expect(Failed, "", 0)
	l.b.answer()
	l.run()
	l.established("net")
}

// Ours have places of their own; one that finds none waits for the next response.
func TestOwnChecksAreLimited(t *testing.T) {
	l := join(t, func(c *Config) { certified("p256", "p384")(c); c.Limits.Checks = 1 }, certified("p384", "p256"))
	l.a.engine.checks.byRole[RoleResponder] = 1
	l.a.engine.checks.byRole[RoleInitiator] = 1
	l.begin()
	l.advance(3 * time.Second)
	l.a.expect(IKEEstablished, "", 0)
	if l.a.count(Refused, RefuseChecks) < 2 {
		t.Errorf("%d refused", l.a.count(Refused, RefuseChecks))
	}
	l.a.engine.checks.byRole[RoleInitiator] = 0
	l.advance(10 * time.Second)
	l.established("net")
}

// What the answer says is what the Fact and the snapshot say, and the peer learns only that it was refused.
func TestCheckSaysNo(t *testing.T) {
	for _, reason := range []Reason{CertExpired, CertRevoked, CertUntrusted, CertIdentity, CRLUnreachable, "anything"} {
		for _, side := range []string{"a", "b"} {
			l := byCertificate(t, side == "a", side == "b")
			n, peer := l.a, l.b
			if side == "b" {
				n, peer = l.b, l.a
			}
			l.run()
			n.step(CertificatesChecked{Ticket: n.checks[0].Ticket, Reason: reason, Detail: "expected this, found that"})
			l.run()
			want := reason
			if reason == "anything" {
				want = CertUnanswered
			}
			n.expect(Failed, want, 1)
			if i := slices.IndexFunc(n.facts, func(f Fact) bool { return f.Kind == Failed }); !strings.Contains(n.facts[i].Detail, "expected this, found that") || n.facts[i].Peer == "" {
				t.Errorf("fact %+v", n.facts[i])
			}
			for _, f := range peer.facts {
				if strings.Contains(f.Detail, "found that") || strings.Contains(f.Detail, string(reason)) {
					t.Errorf("the peer knows why: %+v", f)
				}
			}
			if side == "b" {
				l.a.expect(Failed, FailAuthentication, 1)
			} else {
				l.b.expect(IKEDeleted, DeletedByPeer, 1)
			}
			l.consistent()
		}
	}
	// An answer without a key is none.
	l := byCertificate(t, false, true)
	l.run()
	l.b.step(CertificatesChecked{Ticket: l.b.checks[0].Ticket})
	l.b.expect(Failed, CertUnanswered, 1)
	// A key that is too short passes no check of ours, whatever the other says.
	l = byCertificate(t, false, true)
	l.run()
	l.b.step(CertificatesChecked{Ticket: l.b.checks[0].Ticket, Key: keysOf()["rsa1024"].Public()})
	l.b.expect(Failed, CertKeyType, 1)
}
