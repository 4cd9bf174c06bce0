package ikev1

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sallyport/crypto"
	"sallyport/ike"
)

// C-19, S-082, S-083: perfect forward secrecy of session keys is a Diffie-Hellman exchange in each quick mode, that of the master key a main mode with
// authentication for each, and one says nothing of the other. The latter is wanted by a alone: ten pairs then take ten main modes.
func TestPerfectForwardSecrecy(t *testing.T) {
	const pairs = 10
	for _, test := range []struct {
		session, master bool
		ke, mainModes   int // KE payloads in quick modes, and main modes, which each prove who both ends are
	}{
		{false, false, 0, 1},
		{true, false, 2 * pairs, 1},
		{false, true, 0, pairs},
		{true, true, 2 * pairs, pairs},
	} {
		t.Run(fmt.Sprintf("session %t, master %t", test.session, test.master), func(t *testing.T) {
			ke, proofs := 0, 0
			observe := func(o ike.Observation) {
				lines := strings.Join(o.Lines(), "\n")
				if quick := strings.Contains(lines, "IKEv1 quick mode"); quick {
					ke += strings.Count(lines, "\nKE: ")
				} else if strings.Contains(lines, "IKEv1 main mode") {
					proofs += strings.Count(lines, "\nID: ")
				}
			}
			session := func(c *ike.Config) {
				c.Peers[0].Children[0].Proposals = childProposals(t, "aes128gcm16")
				if test.session {
					c.Peers[0].Children[0].Proposals = childProposals(t, "aes128gcm16-ecp256")
				}
			}
			l := up(t, func(c *ike.Config) { session(c); c.Peers[0].MasterPFS, c.Observe = test.master, observe }, session)
			for range pairs - 1 {
				l.a.step(ike.Rekey{Peer: "b", Child: "net"})
				l.busy(time.Minute, time.Second)
			}
			l.a.expect(ike.ChildRekeyed, "", pairs-1)
			l.a.expect(ike.IKEEstablished, "", test.mainModes)
			l.b.expect(ike.IKEEstablished, "", test.mainModes)
			if ke != test.ke || proofs != 2*test.mainModes {
				t.Errorf("%d KE payloads in quick modes and %d proofs in main modes, expected %d and %d", ke, proofs, test.ke, 2*test.mainModes)
			}
			l.established()
			l.settled(1, 1)
		})
	}
}

// S-083: with a main mode for each quick mode there is no end of either: the ISAKMP SAs that are over make room.
func TestMasterPFSGoesOn(t *testing.T) {
	changeA, changeB := several(t, 4)
	l := join(t, func(c *ike.Config) { changeA(c); c.Peers[0].MasterPFS = true }, changeB)
	l.begin()
	l.run()
	for i := range 40 {
		l.a.step(ike.Rekey{Peer: "b", Child: fmt.Sprintf("net: %d", i%4)})
		l.busy(time.Minute, 10*time.Second)
	}
	l.a.expect(ike.IKEEstablished, "", 44)
	l.a.expect(ike.ChildRekeyed, "", 40)
	l.b.expect(ike.Refused, "", 0)
	l.each(4)
	l.settled(1, 4)
}

// S-082: perfect forward secrecy at one end only: no pair comes up, and so nothing to send by.
func TestPFSAtOneEnd(t *testing.T) {
	pfs := func(c *ike.Config) { c.Peers[0].Children[0].Proposals = childProposals(t, "aes128gcm16-ecp256") }
	none := func(c *ike.Config) { c.Peers[0].Children[0].Proposals = childProposals(t, "aes128gcm16") }
	for _, c := range []struct{ a, b func(*ike.Config) }{{pfs, none}, {none, pfs}} {
		l := join(t, c.a, c.b)
		l.begin()
		l.advance(10 * time.Second)
		l.settled(1, 0)
		if l.a.count(ike.Failed, ike.FailProposal) == 0 || l.b.count(ike.Failed, ike.FailProposal) == 0 {
			t.Errorf("facts of a:\n%s\nof b:\n%s", l.a.story(), l.b.story())
		}
	}
}

// A group that the peer turns down is followed by our next one at once.
func TestNextGroup(t *testing.T) {
	l := up(t, func(c *ike.Config) {
		c.Peers[0].Children[0].Proposals = childProposals(t, "aes128gcm16-ecp384", "aes128gcm16-ecp256")
	},
		func(c *ike.Config) { c.Peers[0].Children[0].Proposals = childProposals(t, "aes128gcm16-ecp256") })
	l.settled(1, 1)
	l.a.expect(ike.Failed, "", 0)
	if group := l.a.engine.peers[0].slots[0].live().group; group != crypto.DHECP256 {
		t.Errorf("group %v", group)
	}
}
