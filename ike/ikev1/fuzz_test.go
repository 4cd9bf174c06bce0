package ikev1

import (
	"slices"
	"testing"
	"time"

	"sallyport/ike"
)

// FuzzLink has a file say what becomes of the datagrams between two ends, what is ordered at each, and how time passes. Whatever it says: no panic, no
// effect that the data plane cannot carry out, bounds on what is kept; and once the wire is good again the tunnel comes up. A mode has both ends protect by a
// bundle, or b know nobody and answer by the default response rule: then nothing of a is left once it has gone.
func FuzzLink(f *testing.F) {
	random := make([]byte, 2000)
	seeded(77).Read(random)
	for mode := range modes {
		f.Add(mode, []byte{})
		f.Add(mode, []byte{0, 0, 0, 0, 1, 0, 2, 3, 0x41, 0, 4, 5, 10, 0, 0, 0})
		f.Add(mode, []byte("quick modes and main modes cross, and datagrams are lost, doubled and changed on their way"))
		f.Add(mode, random)
	}
	f.Fuzz(func(t *testing.T, mode byte, script []byte) {
		var l *link
		switch mode % modes {
		case modePlain:
			l = join(t, nil, both)
		case modeBundle:
			l = join(t, usualBundle(t), all(usualBundle(t), both))
		case modeStrangers:
			l = join(t, hosts, answering(template(t)))
		}
		l.begin()
		for n := 0; len(script) > 0 && n < 1000; n++ {
			script = l.act(script)
		}
		l.bounded()
		l.wire = nil
		for _, n := range []*end{l.a, l.b} {
			n.step(ike.Initiate{Peer: n.peerName()})
		}
		l.advance(6 * time.Minute)
		l.bounded()
		if mode%modes != modeStrangers {
			l.established()
			return
		}
		l.advance(2 * time.Hour) // b begins nothing: what a deletes by a message that is lost, or b, is found out at a's next rekey
		l.letIn()
		l.a.step(ike.Terminate{Peer: "b"})
		l.advance(10 * time.Hour) // ISAKMP SAs that a does not know end by their time
		l.nobodyLeft()
	})
}

// Modes of FuzzLink.
const (
	modePlain byte = iota
	modeBundle
	modeStrangers
	modes
)

// peerName is whom an end speaks with, childName the child that it has with it: without a peer of its own the dynamic one.
func (n *end) peerName() string {
	if len(n.engine.peers) == 0 {
		return dynamicA
	}
	return n.engine.peers[0].cfg.Name
}

func (n *end) childName() string {
	if len(n.engine.peers) == 0 {
		return dynamicA
	}
	return "net"
}

// act does what the next octets of a script say, and returns the rest.
func (l *link) act(script []byte) []byte {
	l.t.Helper()
	next := func() int {
		if len(script) == 0 {
			return 0
		}
		octet := script[0]
		script = script[1:]
		return int(octet)
	}
	order, n := next(), l.a
	if order&0x80 != 0 {
		n = l.b
	}
	peer, child := n.peerName(), n.childName()
	i := -1
	if len(l.wire) > 0 {
		i = next() % len(l.wire)
	}
	switch order & 0x0f {
	case 0, 1, 2, 3, 4:
		if i >= 0 {
			l.deliver(i)
		}
	case 5:
		if i >= 0 {
			l.wire = slices.Delete(l.wire, i, i+1)
		}
	case 6:
		if i >= 0 && len(l.wire) < 64 {
			l.wire = append(l.wire, l.wire[i])
		}
	case 7:
		if i >= 0 && len(l.wire[i].payload) > 0 {
			p := &l.wire[i]
			p.payload = slices.Clone(p.payload)
			p.payload[next()%len(p.payload)] ^= byte(next())
		}
	case 8:
		l.tick(l.now.Add(time.Duration(next()) * 100 * time.Millisecond))
	case 9:
		l.tick(l.now.Add(time.Duration(next()) * time.Minute))
	case 10:
		n.step(ike.Rekey{Peer: peer, Child: child})
	case 11:
		n.step(ike.Rekey{Peer: peer})
	case 12:
		n.step(ike.Terminate{Peer: peer, Child: child})
	case 13:
		n.step(ike.Initiate{Peer: peer})
	case 14:
		n.step(ike.Terminate{Peer: peer})
	case 15:
		for _, spi := range sortedKeys(n.inbound) {
			n.step(ike.Expire{SPI: spi, Hard: next()&1 != 0})
		}
	}
	return script
}

func sortedKeys(m map[uint32]ike.ChildSA) (list []uint32) {
	for spi := range m {
		list = append(list, spi)
	}
	slices.Sort(list)
	return list
}

// bounded insists that what an end keeps does not grow with what it was told.
func (l *link) bounded() {
	l.t.Helper()
	for _, n := range []*end{l.a, l.b} {
		e := n.engine
		quick := 0
		for _, sa := range e.sas {
			quick += len(sa.quick)
		}
		limits := e.limits
		if len(e.sas) > limits.IKEPerPeer+limits.HalfOpenPerAddress+1 || len(e.begun) > 1 || len(e.asked) > len(e.sas) || len(e.children) > 2*limits.ChildrenPerChild ||
			quick > 600 || len(e.touched) != 0 {
			l.t.Errorf("%s keeps %d ISAKMP SAs, %d and %d begun, %d pairs, %d quick modes", n.name, len(e.sas), len(e.begun), len(e.asked), len(e.children), quick)
		}
	}
}
