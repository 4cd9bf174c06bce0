package ike

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/crypto"
	"sallyport/policy"
)

// configure changes the configuration of an end's only peer while it runs.
func (n *end) configure(change func(*Peer)) {
	peer := n.cfg.Peers[0]
	peer.Children = slices.Clone(peer.Children)
	change(&peer)
	n.cfg.Peers = []Peer{peer}
	if err := ValidatePeers(n.cfg.Peers); err != nil {
		n.link.t.Fatal(err)
	}
	n.step(Reconfigure{Peers: n.cfg.Peers})
}

// moves reports whether all IKE SAs with a peer can.
func (n *end) moves(peer string) bool {
	return !slices.ContainsFunc(n.engine.Snapshot(), func(sa SAInfo) bool { return sa.Peer == peer && !sa.MOBIKE })
}

// seenFrom turns a's selectors into this end's.
func (n *end) seenFrom(selectors ...policy.Selector) []policy.Selector {
	if n == n.link.b {
		return mirrored(selectors)
	}
	return selectors
}

// The changes that the tests and the fuzzer make, each the same at both ends.
var (
	wider       = selector("10.1.0.0/16", "10.2.0.0/16")
	voice       = selector("10.1.5.0/24", "10.2.5.0/24")
	changeChild = func(n *end) {
		n.configure(func(p *Peer) { p.Children[0].Selectors, p.Children[0].Transport = n.seenFrom(wider), false })
	}
	changeProposals = func(n *end) {
		n.configure(func(p *Peer) { p.Children[0].Proposals = espProposals(n.link.t, "aes256gcm16") })
	}
	addChild = func(n *end) {
		n.configure(func(p *Peer) {
			child := p.Children[0]
			child.Name, child.Selectors, child.Transport = "voice", n.seenFrom(voice), false
			p.Children = append(p.Children, child)
		})
	}
	dropFirst    = func(n *end) { n.configure(func(p *Peer) { p.Children = p.Children[1:] }) }
	dropChildren = func(n *end) { n.configure(func(p *Peer) { p.Children = nil }) }
	dropPeer     = func(n *end) { n.cfg.Peers = nil; n.step(Reconfigure{}) }
	bothEnds     = func(change func(*end)) func(*link) { return func(l *link) { change(l.a); change(l.b) } }
)

// withVoice is a configuration with a second child, which the changes of "net" leave alone.
func withVoice(mirror bool) func(*Config) {
	return func(c *Config) {
		child := c.Peers[0].Children[0]
		child.Name, child.Selectors = "voice", []policy.Selector{voice}
		if mirror {
			child.Selectors = mirrored(child.Selectors)
		}
		c.Peers[0].Children = append(slices.Clone(c.Peers[0].Children), child)
	}
}

// A change of one child leaves the IKE SA and the other child as they are, on both sides: not even their SPIs differ.
func TestReconfigureOneChild(t *testing.T) {
	for name, c := range map[string]struct {
		change   func(*link)
		children []string
		ended    int // Child SAs of "net"
	}{
		"selectors by both":  {bothEnds(changeChild), []string{"net", "voice"}, 1},
		"selectors by a":     {func(l *link) { changeChild(l.a) }, []string{"net", "voice"}, 1},
		"proposals by both":  {bothEnds(changeProposals), []string{"net", "voice"}, 1},
		"removed by both":    {bothEnds(dropFirst), []string{"voice"}, 1},
		"removed by a":       {func(l *link) { dropFirst(l.a) }, []string{"voice"}, 1},
		"changed, then back": {func(l *link) { changeChild(l.a); l.a.configure(func(p *Peer) { *p = sideAWithVoice(t) }) }, []string{"net", "voice"}, 1},
		"equal":              {func(l *link) { l.a.configure(func(p *Peer) { *p = sideAWithVoice(t) }) }, []string{"net", "voice"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			l := join(t, withVoice(false), withVoice(true))
			l.begin()
			l.run()
			l.established("net", "voice")
			before, kept := l.a.ikeSAs(), [2]uint32{l.a.cells["voice"], l.b.cells["voice"]}
			c.change(l)
			l.advance(2 * time.Minute)
			l.established(c.children...)
			if after := l.a.ikeSAs(); !slices.Equal(before, after) {
				t.Errorf("IKE SAs %v became %v", before, after)
			}
			if now := [2]uint32{l.a.cells["voice"], l.b.cells["voice"]}; now != kept {
				t.Errorf("the Child SA that nobody changed had SPIs %#x, and has %#x", kept, now)
			}
			l.a.expect(ChildDeleted, "", c.ended)
			l.a.expect(ChildDeleted, DeletedReconfig, c.ended)
			l.a.expect(NegotiationStarted, "", 1)
		})
	}
}

// A new child is negotiated on the IKE SA that there is, beside the one that stays.
func TestReconfigureAddsChild(t *testing.T) {
	l := up(t, nil, nil)
	before, kept := l.a.ikeSAs(), [2]uint32{l.a.cells["net"], l.b.cells["net"]}
	addChild(l.b)
	l.expectWire() // on demand there
	addChild(l.a)
	l.expectWire("a: CREATE_CHILD_SA request 2")
	l.run()
	l.established("net", "voice")
	if now := [2]uint32{l.a.cells["net"], l.b.cells["net"]}; now != kept || !slices.Equal(before, l.a.ikeSAs()) {
		t.Errorf("IKE SA and SPIs %v %#x became %v %#x", before, kept, l.a.ikeSAs(), now)
	}
}

func sideAWithVoice(t *testing.T) Peer {
	cfg := sideA(t)
	withVoice(false)(&cfg)
	return cfg.Peers[0]
}

// The change comes at every moment of everything else that can be under way, at both ends or at one; what is in flight then arrives in several
// orders, is lost, comes twice. No SA remains on one side only, and the other child loses no packet.
func TestReconfigureWhileBusy(t *testing.T) {
	busy := map[string]func(*link){
		"first exchanges":           func(l *link) { l.begin() },
		"child rekey by a":          func(l *link) { upWithVoice(l); l.a.rekey(rekeyChild) },
		"child rekey by b":          func(l *link) { upWithVoice(l); l.b.rekey(rekeyChild) },
		"child rekey by both":       func(l *link) { upWithVoice(l); l.a.rekey(rekeyChild); l.b.rekey(rekeyChild) },
		"IKE rekey by a":            func(l *link) { upWithVoice(l); l.a.rekey(rekeyIKE) },
		"IKE rekey by both":         func(l *link) { upWithVoice(l); l.a.rekey(rekeyIKE); l.b.rekey(rekeyIKE) },
		"IKE rekey by b, child's a": func(l *link) { upWithVoice(l); l.b.rekey(rekeyIKE); l.a.rekey(rekeyChild) },
	}
	for name, c := range map[string]struct {
		change   func(*link)
		children []string
	}{
		"changed by both": {bothEnds(changeChild), []string{"net", "voice"}},
		"changed by a":    {func(l *link) { changeChild(l.a) }, []string{"net", "voice"}},
		"changed by b":    {func(l *link) { changeChild(l.b) }, []string{"net", "voice"}},
		"removed by both": {bothEnds(dropFirst), []string{"voice"}},
		"removed by a":    {func(l *link) { dropFirst(l.a) }, []string{"voice"}},
		"all by a":        {func(l *link) { dropChildren(l.a) }, nil},
		"peer by a":       {func(l *link) { dropPeer(l.a) }, nil},
	} {
		for what, begin := range busy {
			t.Run(name+" during "+what, func(t *testing.T) {
				for moment, more := 0, true; more; moment++ {
					more = changedAt(t, moment, begin, c.change, func(l *link) {
						if c.children == nil {
							l.consistent()
							if n := len(l.a.engine.sas) + len(l.b.engine.sas); n != 0 {
								t.Errorf("%d IKE SAs left of a peer without children", n)
							}
							return
						}
						l.established(c.children...)
						if what != "first exchanges" && l.lostBy["voice"] != 0 {
							t.Errorf("%d packets of the other child lost", l.lostBy["voice"])
						}
					})
				}
			})
		}
	}
}

func upWithVoice(l *link) {
	l.begin()
	l.run()
	l.established("net", "voice")
}

// changedAt plays a scenario, makes the change after so many deliveries, and sees orders of what is then in flight. It reports whether anything
// was.
func changedAt(t *testing.T, moment int, begin, change, check func(*link)) (inFlight bool) {
	t.Helper()
	play := func() *link {
		l := join(t, withVoice(false), withVoice(true))
		begin(l)
		for range moment {
			if len(l.wire) == 0 {
				break
			}
			l.deliver(0)
		}
		inFlight = len(l.wire) > 0
		change(l)
		return l
	}
	settled := func(l *link) {
		check(l)
		l.lost = 0 // packets by an SA that was deleted may be lost
		if t.Failed() {
			t.Logf("changed after %d deliveries", moment)
		}
	}
	everyAccident(t, 8, play, settled)
	return inFlight
}

// A change that ends a peer whose IKE_AUTH is on its way waits for the response: the moment the wire is quiet neither side has anything.
func TestReconfigureDuringAuth(t *testing.T) {
	for name, change := range map[string]func(*end){"peer gone": dropPeer, "children gone": dropChildren} {
		t.Run(name, func(t *testing.T) {
			l := join(t, nil, nil)
			l.begin()
			l.deliver(0)
			l.deliver(0)
			l.expectWire("a: IKE_AUTH request 1")
			change(l.a)
			l.run()
			l.consistent()
			l.b.expect(IKEEstablished, "", 1)
			l.b.expect(IKEDeleted, DeletedByPeer, 1)
		})
	}
	// An operator who changes his mind keeps what is on its way.
	l := join(t, nil, nil)
	l.begin()
	l.deliver(0)
	l.deliver(0)
	l.a.step(Terminate{Peer: "b"})
	l.a.step(Initiate{Peer: "b"})
	l.run()
	l.established("net")
	l.a.expect(NegotiationStarted, "", 1)
}

// What only one end protects otherwise is refused, and comes up when the other end follows.
func TestReconfigureOneEndFirst(t *testing.T) {
	l := join(t, withVoice(false), withVoice(true))
	upWithVoice(l)
	changeProposals(l.a)
	l.b.configure(func(p *Peer) { p.Children[0].Proposals = espProposals(t, "aes128gcm16") })
	l.advance(10 * time.Second)
	l.established("voice")
	ours, theirs := l.a.engine.Snapshot()[0], l.b.engine.Snapshot()[0]
	if ours.Failure.Reason != FailProposal || theirs.PeerFailure.Reason != FailProposal {
		t.Errorf("a says %+v of its own attempts, b says %+v of a's", ours.Failure, theirs.PeerFailure)
	}
	last := l.a.facts[len(l.a.facts)-1]
	if last.Kind != Failed || last.Child != "net" || !last.NextAttempt.After(l.now) || !ours.NextAttempt.Equal(last.NextAttempt) {
		t.Errorf("last fact %+v, snapshot says next attempt %v", last, ours.NextAttempt)
	}
	changeProposals(l.b)
	l.advance(2 * time.Minute)
	l.established("net", "voice")
	if got := l.b.engine.Snapshot()[0].Children; slices.ContainsFunc(got, func(c ChildInfo) bool { return c.Name == "net" && c.Suite != "aes256gcm16" }) {
		t.Errorf("children %+v", got)
	}
}

// Times count for the SAs that there are, from now on: none is ended by the news.
func TestReconfigureTimes(t *testing.T) {
	l := up(t, nil, func(c *Config) { c.Peers[0].DPDDelay = -1 })
	l.advance(40 * time.Minute)
	l.a.configure(func(p *Peer) { p.Children[0].RekeyTime = 10 * time.Minute })
	l.a.expect(ChildRekeyed, "", 0)
	for range 60 {
		l.traffic()
		l.advance(2 * time.Second)
	}
	l.established("net")
	l.a.expect(ChildRekeyed, "", 1) // it is past its new time, so soon
	l.a.expect(ChildDeleted, DeletedExpired, 0)
	if l.lost != 0 {
		t.Errorf("%d packets lost", l.lost)
	}

	l.a.configure(func(p *Peer) { p.RekeyTime = 20 * time.Minute })
	l.advance(2*time.Minute + time.Second)
	l.established("net")
	l.a.expect(IKERekeyed, "", 1)
	l.a.expect(IKEDeleted, DeletedExpired, 0)

	l.a.configure(func(p *Peer) { p.DPDDelay = -1 })
	sent := len(l.b.effects)
	l.advance(2 * time.Minute)
	if len(l.b.effects) != sent {
		t.Error("liveness checks after they were turned off")
	}
	l.a.configure(func(p *Peer) { p.DPDDelay = 5 * time.Second })
	l.advance(10 * time.Second)
	if len(l.b.effects) == sent {
		t.Error("no liveness check after they were turned on")
	}
	l.a.expect(NegotiationStarted, "", 1)
}

// A child that is kept up from now on comes up; one that need not be stays until nobody uses it, by the new limit from now on (S-081).
func TestReconfigureStart(t *testing.T) {
	onDemand := func(p *Peer) { p.Children[0].Start, p.Children[0].IdleTimeout = StartOnDemand, time.Minute }
	l := up(t, nil, nil)
	l.advance(10 * time.Minute)
	l.a.configure(onDemand)
	l.advance(59 * time.Second)
	l.established("net")
	l.advance(2 * time.Second)
	l.established()
	l.a.expect(ChildDeleted, DeletedIdle, 1)

	l.a.configure(func(p *Peer) { p.Children[0].Start = StartAlways })
	l.run()
	l.established("net")
	l.advance(30 * time.Minute)
	l.established("net")

	l.a.configure(onDemand)
	l.a.configure(func(p *Peer) { p.Children[0].ReplayWindow = 4096 })
	l.a.rekey(rekeyChild)
	l.run()
	for _, sa := range l.a.inbound {
		if sa.ReplayWindow != 4096 && len(l.a.inbound) == 1 {
			t.Errorf("replay window %d of an SA that was made after the change", sa.ReplayWindow)
		}
	}
	l.a.expect(ChildDeleted, DeletedReconfig, 0)
}

// A peer without a child has nothing to negotiate: what it sends gets no answer (S-040), and it comes back with its first child.
func TestReconfigureWithoutChildren(t *testing.T) {
	l := up(t, nil, func(c *Config) { c.Peers[0].Children[0].Start = StartAlways })
	children := l.a.cfg.Peers[0].Children
	dropChildren(l.a)
	l.run()
	l.a.expect(IKEDeleted, DeletedReconfig, 1)
	l.consistent()
	sent := func() (n int) {
		for _, ef := range l.a.effects {
			if _, ok := ef.(Send); ok {
				n++
			}
		}
		return n
	}
	before := sent()
	l.advance(5 * time.Second) // b tries again
	if n := sent() - before; n != 0 {
		t.Errorf("%d datagrams to a peer without a rule, expected none", n)
	}
	if l.a.count(Dropped, DropNoPolicy) == 0 {
		t.Error("nothing counted under ike_no_policy")
	}
	l.a.configure(func(p *Peer) { p.Children = children })
	l.advance(2 * time.Minute)
	l.established("net")
}

// The same of a peer that is being negotiated with: its first child never comes up, and it is not let in.
func TestReconfigureWithoutChildrenDuringAuth(t *testing.T) {
	l := join(t, func(c *Config) { c.Peers[0].Children[0].Start = StartOnDemand }, func(c *Config) { c.Peers[0].Children[0].Start = StartAlways })
	l.begin()
	l.deliver(0)
	l.deliver(0)
	l.expectWire("b: IKE_AUTH request 1")
	dropChildren(l.a)
	l.run()
	l.consistent()
	l.a.expect(IKEEstablished, "", 0)
	l.b.expect(Failed, FailAuthentication, 1)
}

// An operator's down outlives changes of the configuration.
func TestReconfigureKeepsDown(t *testing.T) {
	for name, change := range map[string]func(*Peer){
		"times":    func(p *Peer) { p.DPDDelay = time.Minute },
		"identity": func(p *Peer) { p.PSK = crypto.NewSecret([]byte("new key")) },
	} {
		t.Run(name, func(t *testing.T) {
			l := up(t, nil, nil)
			l.a.step(Terminate{Peer: "b"})
			l.run()
			l.a.configure(change)
			l.advance(time.Hour)
			if got := l.a.engine.Snapshot()[0].State; got != "down" {
				t.Errorf("peer is %s, expected down", got)
			}
		})
	}
}

// A peer that is gone, or proves itself otherwise from now on, may never answer a delete: what it sends by its SAs is not taken any more from the
// very Step that changes it.
func TestReconfigureEndsInboundAtOnce(t *testing.T) {
	for name, change := range map[string]func(*end){
		"peer gone": dropPeer,
		"other key": func(n *end) { n.configure(func(p *Peer) { p.PSK = crypto.NewSecret([]byte("new key")) }) },
	} {
		t.Run(name, func(t *testing.T) {
			l := up(t, nil, nil)
			l.a.rekey(rekeyChild)
			l.run()
			if n := len(l.a.inbound); n != 2 {
				t.Fatalf("%d inbound SAs after a rekey, expected the former one to take what is on its way", n)
			}
			changeChild(l.a) // its delete is on its way
			change(l.a)
			if n := len(l.a.inbound) + len(l.a.outbound); n != 0 {
				t.Errorf("%d halves of SAs left, expected none", n)
			}
			l.wire = nil // b hears of nothing
			l.advance(2 * time.Minute)
			if n := l.a.engine.Retired(); n != 0 {
				t.Errorf("%d IKE SAs of the former peer left", n)
			}
		})
	}
}

// Effects bear the names of the configuration that they come from, so that the data plane finds the place of an SA that is on its way out.
func TestReconfigureEffects(t *testing.T) {
	l := up(t, nil, nil)
	var found []string
	note := func(effects []Effect) {
		for _, ef := range effects {
			switch ef := ef.(type) {
			case RemoveOutbound:
				found = append(found, fmt.Sprintf("remove outbound %s", ef.Child))
			case RemoveInbound:
				found = append(found, fmt.Sprintf("remove inbound %s", ef.Child))
			case InstallOutbound:
				found = append(found, fmt.Sprintf("install outbound %s", ef.Child))
			}
		}
	}
	before := len(l.a.effects)
	l.a.configure(func(p *Peer) { p.Children[0].Name = "lan" })
	note(l.a.effects[before:])
	if expected := []string{"remove outbound net"}; !slices.Equal(found, expected) {
		t.Errorf("within the Step: %v, expected %v", found, expected)
	}
	before, found = len(l.a.effects), nil
	l.run()
	note(l.a.effects[before:])
	if expected := []string{"remove inbound net", "install outbound lan"}; !slices.Equal(found, expected) {
		t.Errorf("after it: %v, expected %v", found, expected)
	}
}

// A renewed certificate of ours, and one more authority, end nothing and serve the next authentication; an authority that is gone ends what it
// vouched for.
func TestReconfigureCertificates(t *testing.T) {
	renewed := func(p *Peer) {
		p.Credential = &Credential{Certificates: [][]byte{[]byte("leaf ed25519")}, Key: keysOf()["ed25519"]}
	}
	added := func(p *Peer) {
		p.Authorities = append(slices.Clone(p.Authorities), bytes.Repeat([]byte{7}, authorityLen))
	}
	gone := func(p *Peer) { p.Authorities = p.Authorities[1:] }

	l := up(t, certified("p256", "rsa2048"), certified("rsa2048", "p256"))
	before := l.a.cfg.Peers
	l.b.configure(renewed)
	l.a.configure(added)
	if endings := Endings(before, l.a.cfg.Peers, l.a.moves); len(endings) != 0 {
		t.Errorf("endings %+v", endings)
	}
	l.advance(time.Minute)
	l.established("net")
	l.a.expect(NegotiationStarted, "", 1)

	before = l.a.cfg.Peers
	l.a.configure(gone)
	if endings := Endings(before, l.a.cfg.Peers, l.a.moves); len(endings) != 1 || !strings.Contains(endings[0].Why, "trusted authorities") {
		t.Errorf("endings %+v", endings)
	}
	l.advance(time.Minute)
	l.established("net")
	l.a.expect(IKEDeleted, DeletedReconfig, 1)
}
