package ike

import (
	"net/netip"
	"slices"

	"sallyport/crypto"
	"sallyport/ike/wire"
)

// deleteIKE tells the peer that the IKE SA ends, with all its children (RFC 7296 1.4.1).
type deleteIKE struct {
	reason Reason
	why    wire.NotifyType // an error to go with it, or 0
}

func (t *deleteIKE) build(m *message) error {
	if t.why != 0 {
		m.add(wire.NewNotify(t.why, nil))
	}
	m.add(&wire.Delete{Protocol: wire.ProtocolIKE})
	return nil
}

func (t *deleteIKE) process(m *message) error {
	m.sa.close(t.reason)
	return nil
}

func (t *deleteIKE) abandon() {}

// deleteChild tells the peer that a Child SA ends.
type deleteChild struct {
	child  *childSA
	reason Reason
}

func (t *deleteChild) build(m *message) error {
	if t.child.state == childGone {
		return errNothingToDo
	}
	m.add(&wire.Delete{Protocol: wire.ProtocolID(t.child.chosen.protocol), SPIs: []uint32{t.child.spiIn}})
	return nil
}

func (t *deleteChild) process(*message) error {
	t.child.remove(t.reason, t.child.grace())
	return nil
}

func (t *deleteChild) abandon() {}

// protocolMade is of what protocol the Child SA is that the peer has made by its answer.
func protocolMade(m *message) wire.ProtocolID {
	if wire.Find[*wire.SA](m.Payloads).Proposals[0].Protocol == wire.ProtocolAH {
		return wire.ProtocolAH
	}
	return wire.ProtocolESP
}

// deleteUnused tells the peer to remove a Child SA that it made and we could not accept.
type deleteUnused struct {
	engine   *Engine
	protocol wire.ProtocolID
	spi      uint32
}

func (t *deleteUnused) build(m *message) error {
	m.add(&wire.Delete{Protocol: t.protocol, SPIs: []uint32{t.spi}})
	return nil
}

func (t *deleteUnused) process(*message) error {
	t.abandon()
	return nil
}

func (t *deleteUnused) abandon() { t.engine.effect(ReleaseSPI{SPI: t.spi}) }

// informationalResponder answers deletes, liveness checks and notifications.
type informationalResponder struct {
	deleted map[crypto.Protocol][]uint32 // our halves of what the peer deletes
	closing Reason
	answers []wire.Payload // to MOBIKE (RFC 4555)
	gateway netip.Addr     // that the peer sends us to (RFC 5685)
}

func (t *informationalResponder) process(m *message) error {
	sa := m.sa
	for _, d := range wire.FindAll[*wire.Delete](m.Payloads) {
		switch d.Protocol {
		case wire.ProtocolIKE:
			t.closing = DeletedByPeer
		case wire.ProtocolESP, wire.ProtocolAH:
			for _, spi := range d.SPIs {
				t.deleteChild(sa, crypto.Protocol(d.Protocol), spi)
			}
		}
	}
	if m.notify(wire.NotifyAuthenticationFailed) != nil {
		t.closing = DeletedByPeer // the initiator does not accept who we are (RFC 7296 2.21.2)
	}
	sa.heedLifetime(m)
	t.answers = sa.peerRelocates(m)
	t.gateway, _ = sa.redirected(m)
	if n := m.notify(wire.NotifyInvalidSPI); n != nil && len(n.Data) == 4 {
		// Our packets arrive at an SA that the peer does not have: its answer to a rekey tells (RFC 7296 1.5).
		if i := slices.IndexFunc(sa.children, func(c *childSA) bool { return string(spi4(c.spiOut)) == string(n.Data) }); i >= 0 {
			sa.children[i].rekey()
		}
	}
	return nil
}

// deleteChild removes both halves and names ours in the answer, unless our own delete of them is on its way and names them (RFC 7296 1.4.1).
func (t *informationalResponder) deleteChild(sa *ikeSA, protocol crypto.Protocol, spi uint32) {
	c := sa.childBySPI(protocol, spi)
	if c == nil {
		if own := sa.tasks.creating(); own != nil && len(own.deadSPIs) < maxDeadSPIs {
			own.deadSPIs = append(own.deadSPIs, spi)
		}
		return
	}
	s := c.slot
	if s.negotiating != nil && s.negotiating.old == c && s.negotiating.rival != nil {
		c.replacedFor = DeletedRekeyed // by the peer's own rekey, while ours is on its way
	}
	reason, ours := c.replacedFor, sa.tasks.deleting(c)
	switch {
	case ours != nil:
		reason = ours.reason
	case reason == "":
		reason = DeletedByPeer
		s.peer.wait(&s.retry, s.pauseAfterDelete())
	}
	if ours == nil {
		if t.deleted == nil {
			t.deleted = map[crypto.Protocol][]uint32{}
		}
		t.deleted[protocol] = append(t.deleted[protocol], c.spiIn)
	}
	c.remove(reason, c.grace())
}

// deleting is our delete of the Child SA, if it is on its way.
func (tm *taskManager) deleting(c *childSA) *deleteChild {
	if tm.active != nil {
		if d, ok := tm.active.tasks[0].(*deleteChild); ok && d.child == c {
			return d
		}
	}
	return nil
}

func (t *informationalResponder) build(m *message) error {
	sa := m.sa
	for _, protocol := range []crypto.Protocol{crypto.ProtocolESP, crypto.ProtocolAH} {
		if spis := t.deleted[protocol]; len(spis) > 0 {
			m.add(&wire.Delete{Protocol: wire.ProtocolID(protocol), SPIs: spis})
		}
	}
	m.add(t.answers...)
	if t.gateway.IsValid() && t.closing == "" {
		m.then(func() {
			if sa.state == stateEstablished {
				sa.goTo(t.gateway)
			}
		})
	}
	if t.closing == "" {
		return nil
	}
	m.then(func() {
		// A peer that deletes while our rekey is on its way did not notice it; its own has won (RFC 7296 2.8.2).
		if x := sa.tasks.active; x != nil {
			if r, ok := x.tasks[0].(*rekeyInitiator); ok && r.rivalLives() {
				sa.handOver(r.rival)
				r.rival = nil
				sa.replacedFor = DeletedRekeyed
			}
		}
		switch {
		case sa.endedFor != "": // both ends delete it
			t.closing = sa.endedFor
		case sa.replacedFor != "":
			t.closing = sa.replacedFor
		}
		sa.close(t.closing)
	})
	return nil
}

func (t *informationalResponder) abandon() {}
