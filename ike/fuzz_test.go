package ike

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

// FuzzLink lets a script of octets drive both engines through the link: what is delivered, lost, repeated, reordered and damaged, what time passes,
// what operators, configurations and data planes want, who is switched off and on. When the network is well again and the wire quiet, the tunnel
// must stand, alone, the same on both sides. Some scripts have b know nobody and answer by the default response rule: then nothing of a is left once it has gone.
func FuzzLink(f *testing.F) {
	for _, seed := range [][]byte{
		{}, {0, 0, 0, 0, 0},
		{1, 0, 0, 0, 0, 8, 9, 0, 0x10, 0, 0x10, 0, 0, 0},               // both begin; both rekey the child
		{1, 0, 0, 0, 0, 10, 11, 0x10, 0, 0x10, 0, 0, 0, 0},             // both rekey the IKE SA
		{0, 0, 0, 0, 0, 10, 9, 8, 11, 0x10, 0x20, 1, 2, 3, 0, 0},       // everything crosses, with losses
		{0, 0, 0, 0, 0, 12, 0, 8, 0, 13, 0, 0, 0},                      // hard ends
		{2, 0, 0, 0, 0, 14, 0, 0, 16, 0, 0, 0},                         // down and up
		{3, 0, 0, 0, 0, 18, 5, 0, 0, 0, 19, 4, 4, 4, 4, 0, 0, 0},       // one side is killed, then the other
		{0, 0, 0, 0, 0, 20, 8, 0, 0, 0, 20, 8, 0, 0, 0},                // no SPI left for a while
		{4, 2, 0, 2, 0, 0, 2, 3, 0, 8, 2, 0, 3, 0, 7, 7, 7, 0, 0},      // repetition, damage
		{5, 0, 0, 0, 0, 22, 0, 0, 4, 4, 0, 0, 10, 0, 0, 0, 22, 0, 0},   // another configuration
		{0xc0, 0, 0, 0, 0, 0, 10, 9, 8, 11, 0x10, 0x20, 1, 2, 3, 0, 0}, // additional key exchanges, and everything crosses
		{0xc1, 0, 0, 2, 0, 0, 0x36, 8, 0, 0x37, 10, 0, 0, 0, 9, 1, 0, 0},
		// another child, another protection, no child, no peer, and back: in flight, at both ends, during rekeys
		{0, 0, 0, 0, 0, 0x36, 0, 0x37, 0, 0, 0x96, 0, 0x97, 0, 0, 0xb6, 0, 0, 0x16, 0, 0},
		{0, 0, 0, 0x36, 0, 0, 0x76, 0, 0, 0x77, 0, 0, 0x56, 4, 0, 0},
		{0, 0, 0, 0, 0, 8, 9, 0x36, 0x20, 0x37, 0, 0x20, 10, 0xf6, 0, 0, 0, 0x16, 0, 0},
		{1, 0, 0, 0, 0, 10, 11, 0xb6, 0, 0, 0x97, 0, 0x16, 0, 0xd7, 0, 0, 0x17, 0, 0},
		{8, 0, 0, 0, 0, 8, 9, 0x36, 0x20, 0x37, 0, 0x20, 10, 0x16, 0, 0},               // both IP versions
		{0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 9, 0x20, 0, 12, 0x2d, 0, 0, 10, 0, 1, 0},  // a Child SA for each worker
		{0x51, 0, 0, 0, 0, 0, 0, 8, 9, 0, 0x10, 0, 10, 11, 0, 0},                       // the same in transport mode, both begin
		{0x21, 0, 0, 0, 0, 8, 9, 0, 12, 0, 14, 0, 16, 0}, {0x60, 0, 0, 0, 0, 8, 9, 10}, // AH
		{0x48, 0, 0, 0, 0, 0xd6, 0, 0, 0, 0, 0xd7, 0, 0, 8, 0, 0xd6, 11, 0, 0, 0}, // addresses change, and cross with rekeys
		{0x49, 0, 0, 0, 0, 0, 0xd6, 0xd7, 1, 0, 0, 2, 0, 6, 0xd6, 0, 0, 0, 10, 0, 0},
		{0x80, 0, 0, 0, 0, 8, 0, 0, 8, 0, 0, 8, 0, 0, 9, 0, 0, 11, 0, 0}, // an IKE SA first
		{0x91, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 9, 0, 0, 0, 0, 0, 0},
		{0, 6, 6, 6, 0, 0, 6, 0, 0, 10, 11, 1, 6, 6, 0, 0, 6, 0, 0},       // long silences
		{6, 0, 0, 0xfe, 0, 4, 4, 0, 0x1e, 0, 0, 0, 10, 0, 0},              // certificates whose check takes time
		{0, 0, 0, 0, 0, 0x90, 0x91, 0x20, 0, 2, 0, 1, 0, 6, 0, 8, 0},      // both authenticate anew
		{0x11, 0, 0, 0, 0, 0, 0, 0, 0x90, 0, 10, 0, 0x91, 0x20, 0, 6, 11}, // and rekey
		{0xa1, 0, 0, 0, 0, 0x91, 1, 0, 0, 0x90, 0x20, 0x40, 0, 5, 0x8e, 0},
		{7, 0x7e, 0, 0, 0, 0, 6, 0x1e, 14, 0x7e, 16, 0, 0x1e, 4, 0, 0, 0}, // at both ends, with operators between
		// a stranger: keys renewed by both, ends by both, either one switched off, no place, another configuration, losses
		{asStranger, 0, 0, 0, 0, 0, 0, 8, 9, 0, 0x10, 0, 0, 10, 11, 0, 0, 0},
		{asStranger | 1, 0, 0, 0, 0, 0, 0, 15, 0, 0, 16, 0, 0, 0, 0, 0, 14, 0, 16, 0},
		{asStranger | 2, 0, 0, 0, 0, 0, 0, 18, 0, 0, 0, 0, 0, 19, 4, 4, 4, 4, 0, 0, 0},
		{asStranger | 4, 21, 0, 0, 0, 0, 0, 21, 0x1d, 0, 0, 0, 0, 0x36, 0, 0, 0x37, 8, 0},
		{asStranger, 2, 0, 2, 0, 0, 2, 3, 0, 1, 2, 0, 3, 0, 7, 7, 7, 0, 0, 0x90, 0, 6, 6, 0},
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		play(t, script[:min(len(script), 400)]) // more would take too long for one run
	})
}

func play(t *testing.T, script []byte) {
	var first byte
	if len(script) > 0 {
		first, script = script[0], script[1:]
	}
	if first&asStranger == asStranger {
		playStranger(t, first, script)
		return
	}
	both := func(c *Config) {
		if first&4 != 0 {
			pfs(t)(c)
		}
		if first&0xc0 == 0xc0 { // with additional key exchanges and a PPK
			followed(t)(c)
			havingPPK("site", "a postquantum preshared key of 256 bits", first&1 != 0)(c)
		}
		if first&0x80 != 0 { // IKE SAs that make few Child SAs, and none at first
			c.Peers[0].ChildLimit, c.Peers[0].Childless = 2, true
		}
		if first&0x10 != 0 {
			forWorkers(2)(c)
		}
		if first&0x20 != 0 {
			with(ahProposals(t, "sha256-esn"))(c)
		}
		if first&0x48 == 0x48 {
			mobile(c)
		} else if first&0x40 != 0 {
			inTransport(c)
		} else if first&8 != 0 {
			child := &c.Peers[0].Children[0]
			child.Selectors = append(slices.Clone(child.Selectors), net6)
			if c.Peers[0].Local == addrB {
				child.Selectors[1] = mirrored(child.Selectors[1:])[0]
			}
		}
	}
	byCertificate := first&6 == 6
	changeA := func(c *Config) {
		both(c)
		if byCertificate {
			certified("p256", "ed25519")(c)
		}
	}
	l := join(t, changeA, func(c *Config) {
		both(c)
		if byCertificate {
			certified("ed25519", "p256")(c)
		}
		if first&1 != 0 {
			c.Peers[0].Children[0].Start = StartAlways
		}
		if first&2 != 0 {
			c.Limits.CookieThreshold = -1
		}
	})
	l.a.base, l.b.base = l.a.cfg, l.b.cfg
	l.begin()
	for _, op := range script {
		l.op(op)
		if byCertificate && op&0x1f >= 30 {
			l.a.mute, l.b.mute = op&0x20 != 0, op&0x40 != 0 // checks wait, or go on
		}
	}
	for _, n := range []*end{l.a, l.b} {
		n.noSPI, n.refuseIn, n.refuseOut, n.mute = false, false, false, false
		n.restore()
	}
	l.a.step(Initiate{Peer: "b"})
	l.advance(10 * time.Minute)
	children := []string{"net"}
	if first&0x10 != 0 {
		children = []string{"net", "net#1", "net#2"}
	}
	l.established(children...)
	for _, n := range []*end{l.a, l.b} {
		e := n.engine
		if len(e.sas) != 1 || len(e.children) != len(children) || len(e.inits) > 1 || e.timers.Len() > 5+3*len(children) || len(e.touched) != 0 {
			t.Errorf("%s holds %d IKE SAs, %d Child SAs, %d requests, %d timers", n.name, len(e.sas), len(e.children), len(e.inits), e.timers.Len())
		}
	}
	if t.Failed() {
		t.Fatalf("a:\n%sb:\n%s", l.a.story(), l.b.story())
	}
}

// asStranger are the bits of a script's first octet by which b answers a as a stranger. The rest says how.
const asStranger = 0x78

// playStranger is play with a b that has no peers and a default response rule.
func playStranger(t *testing.T, first byte, script []byte) {
	response := template(t)
	changeA := []func(*Config){hosts}
	if first&1 != 0 {
		changeA = []func(*Config){inTransport}
	}
	if first&2 != 0 {
		changeA = append(changeA, with(espProposals(t, "aes128gcm16-ecp256")))
		response.Children[0].Proposals = espProposals(t, "aes128gcm16-ecp256")
	}
	l := join(t, both(changeA...), both(answering(response), func(c *Config) {
		if first&4 != 0 {
			c.Limits.Dynamic = 1
		}
	}))
	l.a.base, l.b.base = l.a.cfg, l.b.cfg
	l.begin()
	for _, op := range script {
		l.op(op)
	}
	l.strangerIsWell()
	l.a.step(Terminate{Peer: "b"})
	l.advance(10 * time.Minute) // what a has told by a message that was lost b finds out by asking whether it lives
	l.nobodyLeft()
	if t.Failed() {
		t.Fatalf("a:\n%sb:\n%s", l.a.story(), l.b.story())
	}
}

// strangerIsWell has the network and both ends well again, and wants a let in.
func (l *link) strangerIsWell() {
	l.t.Helper()
	for _, n := range []*end{l.a, l.b} {
		n.noSPI, n.refuseIn, n.refuseOut = false, false, false
		n.restore()
	}
	l.a.step(Initiate{Peer: "b"})
	l.advance(10 * time.Minute)
	l.letIn()
}

// peerName is whom an end speaks with, childName the child that it has with it: without a peer of its own the dynamic one.
func (n *end) peerName() string {
	if len(n.base.Peers) == 0 {
		return dynamicA
	}
	return n.base.Peers[0].Name
}

func (n *end) childName() string {
	if len(n.base.Peers) == 0 {
		return dynamicA
	}
	return "net"
}

// op carries out one octet of a script. Its low five bits say what, the rest which datagram in flight, counted from the oldest.
func (l *link) op(op byte) {
	which := int(op >> 5)
	if len(l.wire) > 0 {
		which %= len(l.wire)
	}
	sides := [2]*end{l.a, l.b}
	side := sides[op&1]
	switch what := op & 0x1f; {
	case what < 8:
		l.mishap(what, which)
	case what < 10:
		side.rekey(rekeyChild)
	case what < 12:
		side.rekey(rekeyIKE)
	case what < 14:
		for _, child := range slices.Sorted(keys(side.cells)) {
			side.step(Expire{SPI: side.outbound[side.cells[child]].PairSPI, Hard: which&1 == 0})
		}
	case what < 16 && op&0x80 != 0:
		side.step(Terminate{Peer: side.peerName(), Child: side.childName()})
	case what < 16:
		side.step(Terminate{Peer: side.peerName()})
	case what < 18 && op&0x80 != 0:
		side.step(Reauthenticate{Peer: side.peerName()})
	case what < 18:
		side.step(Initiate{Peer: side.peerName()})
	case what < 20:
		side.boot(side.cfg)
		side.step(Tick{})
	case what < 22:
		side.noSPI = !side.noSPI
	case what < 24:
		side.reconfigure(op >> 5)
	case what < 26:
		for spi := range side.inbound {
			side.heard[spi] = l.now
		}
	case what < 28:
		side.step(Acquire{Peer: side.peerName(), Child: side.childName()})
	case what < 30:
		side.refuseIn = true
	default:
		side.refuseOut = true
	}
}

// mishap is what the network does with a datagram, or the clock.
func (l *link) mishap(what byte, which int) {
	if len(l.wire) == 0 || what >= 4 {
		pause := []time.Duration{time.Second, 100 * time.Millisecond, 20 * time.Second, 30 * time.Minute}[what&3]
		l.tick(l.now.Add(pause))
		return
	}
	switch what {
	case 0:
		l.deliver(which)
	case 1:
		l.wire = slices.Delete(l.wire, which, which+1)
	case 2:
		l.wire = append(l.wire, l.wire[which])
	case 3:
		bad := l.wire[which]
		bad.payload = slices.Clone(bad.payload)
		bad.payload[len(bad.payload)*(which+1)/9] ^= 1
		l.arrive(bad)
	}
	if len(l.wire) > 64 {
		l.wire = l.wire[:64]
	}
}

// reconfigure changes something of the peer.
func (n *end) reconfigure(what byte) {
	if what == 0 || len(n.cfg.Peers) == 0 || len(n.cfg.Peers[0].Children) == 0 {
		n.restore()
		return
	}
	switch what {
	case 1:
		changeChild(n)
	case 2:
		n.configure(func(p *Peer) {
			p.DPDDelay, p.RekeyTime = 25*time.Second, time.Hour
			for i := range p.Children {
				p.Children[i].RekeyTime = 10 * time.Minute
			}
		})
	case 3:
		changeProposals(n)
	case 4:
		n.restore()
		addChild(n)
	case 5:
		dropChildren(n)
	case 6:
		n.configure(func(p *Peer) {
			if p.MOBIKE {
				p.Local = map[netip.Addr]netip.Addr{addrA: addrA2, addrA2: addrA, addrB: addrB2, addrB2: addrB}[p.Local]
				return
			}
			p.IKEProposals = nil // the default ones: another identity, negotiable
		})
	case 7:
		dropPeer(n)
	}
}

// restore configures what the end began with.
func (n *end) restore() {
	n.cfg.Peers = n.base.Peers
	n.step(Reconfigure{Peers: n.cfg.Peers, DefaultResponse: n.cfg.DefaultResponse})
}
