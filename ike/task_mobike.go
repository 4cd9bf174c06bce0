package ike

import (
	"bytes"
	"crypto/subtle"
	"net/netip"
	"slices"

	"sallyport/ike/wire"
)

// updateAddresses tells the peer where we are: the initiator decides with it, the responder asks for it.
type updateAddresses struct{ local, remote netip.AddrPort }

func (t *updateAddresses) build(m *message) error {
	sa := m.sa
	if sa.state != stateEstablished {
		return errNothingToDo
	}
	t.local, t.remote = sa.local, sa.remote
	if sa.origin.role == RoleInitiator {
		m.add(wire.NewNotify(wire.NotifyUpdateSAAddresses, nil))
	}
	before := len(m.Payloads)
	if m.addAdditional(); len(m.Payloads) == before {
		m.add(wire.NewNotify(wire.NotifyNoAdditionalAddresses, nil))
	}
	m.addNATDetection()
	return nil
}

func (t *updateAddresses) process(m *message) error {
	sa := m.sa
	switch {
	case t.local != sa.local || t.remote != sa.remote:
		return nil // moved again meanwhile: the next one is on its way
	case m.notify(wire.NotifyUnacceptableAddresses) != nil || m.notify(wire.NotifyUnexpectedNATDetected) != nil:
		f := sa.fact(Failed)
		f.Reason, f.Detail = FailAddress, "the peer does not let us move to "+sa.local.String()
		sa.engine.fact(f)
		sa.terminate(DeletedFailed)
		return nil
	}
	sa.mobike.news = false
	sa.noteMapping(m)
	if sa.origin.role == RoleInitiator {
		sa.redetectNAT(m)
		sa.moveChildren()
	}
	return nil
}

func (*updateAddresses) abandon() {}

// redetectNAT looks for a NAT on the new path, where the peer has said what it sees.
func (sa *ikeSA) redetectNAT(m *message) {
	if m.notify(wire.NotifyNATDetectionSourceIP) != nil && m.notify(wire.NotifyNATDetectionDestinationIP) != nil {
		sa.detectNAT(m)
		sa.keepMapping()
	}
}

// watchesMapping reports whether a NAT before us may give us another address without our knowing: the peer says so when it is asked (RFC 4555 3.8).
func (sa *ikeSA) watchesMapping() bool {
	return sa.mobike.on && sa.natLocal && sa.origin.role == RoleInitiator
}

// noteMapping takes what the peer says of the address that we have for it, and reports whether that is news.
func (sa *ikeSA) noteMapping(m *message) bool {
	n := m.notify(wire.NotifyNATDetectionDestinationIP)
	if n == nil || bytes.Equal(n.Data, sa.mobike.seenAs) {
		return false
	}
	sa.mobike.seenAs = n.Data
	return true
}

// peerRelocates reads what an INFORMATIONAL request says about addresses, and answers it.
func (sa *ikeSA) peerRelocates(m *message) (answers []wire.Payload) {
	if n := m.notify(wire.NotifyCookie2); n != nil {
		answers = append(answers, n) // as it is (RFC 4555 3.7)
	}
	if !sa.mobike.on || sa.state != stateEstablished {
		return answers
	}
	if m.notify(wire.NotifyNATDetectionSourceIP) != nil {
		h := m.Header
		answers = append(answers, wire.NATDetectionSource(h.InitiatorSPI, h.ResponderSPI, m.local), wire.NATDetectionDestination(h.InitiatorSPI, h.ResponderSPI, m.remote))
	}
	update, listed := m.notify(wire.NotifyUpdateSAAddresses) != nil, sa.mobike.note(m)
	if !update && !listed {
		return answers
	}
	if m.translated() {
		return append(answers, wire.NewNotify(wire.NotifyUnexpectedNATDetected, nil))
	}
	if !sa.mayMove(m.remote) {
		if update {
			answers = append(answers, wire.NewNotify(wire.NotifyUnacceptableAddresses, nil))
		}
		return answers
	}
	switch {
	case update && sa.origin.role == RoleResponder:
		sa.peerUpdates(m)
	case listed && sa.origin.role == RoleInitiator && m.remote != sa.remote && !slices.Contains(sa.mobike.others, sa.remote.Addr()):
		sa.move(sa.local, m.remote) // the peer is no longer where we know it
	}
	return answers
}

// peerUpdates follows the initiator, and asks it to show that it is where it says to be before any packet of the Child SAs goes there (RFC 4555 3.7).
func (sa *ikeSA) peerUpdates(m *message) {
	sa.redetectNAT(m)
	local := m.local
	if !sa.peer.owns(local.Addr()) {
		local = sa.local // we have moved too, and the peer is yet to hear of it
	}
	if local != sa.local || m.remote != sa.remote {
		sa.relocate(local, m.remote)
	}
	if sa.remote == sa.mobike.proven {
		sa.moveChildren()
		return
	}
	sa.tasks.enqueue(wire.ExchangeInformational, &routability{})
}

// translated reports whether the addresses that a peer does not want changed on the way are others now (RFC 4555 3.9).
func (m *message) translated() bool {
	n := m.notify(wire.NotifyNoNATsAllowed)
	return n != nil && !slices.Equal(n.Data, endpointsOf(m.remote, m.local))
}

// endpointsOf is the data of NO_NATS_ALLOWED (RFC 4555 4.2.6).
func endpointsOf(source, destination netip.AddrPort) []byte {
	b := append(source.Addr().AsSlice(), destination.Addr().AsSlice()...)
	return append(b, byte(source.Port()>>8), byte(source.Port()), byte(destination.Port()>>8), byte(destination.Port()))
}

// routability asks a peer to return a cookie from where it says to be.
type routability struct {
	cookie []byte
	remote netip.AddrPort
}

const cookie2Len = 16 // 8 to 64 octets (RFC 4555 4.2.5)

func (t *routability) build(m *message) error {
	sa := m.sa
	if sa.state != stateEstablished {
		return errNothingToDo
	}
	t.cookie, t.remote = sa.engine.random(cookie2Len), sa.remote
	m.add(wire.NewNotify(wire.NotifyCookie2, t.cookie))
	return nil
}

func (t *routability) process(m *message) error {
	n := m.notify(wire.NotifyCookie2)
	switch {
	case n == nil || subtle.ConstantTimeCompare(n.Data, t.cookie) != 1:
		return failf(FailAddress, "the peer at %v does not return the cookie that it was sent", t.remote)
	case t.remote == m.sa.remote: // else another check follows
		m.sa.mobike.proven = t.remote
		m.sa.moveChildren()
	}
	return nil
}

func (*routability) abandon() {}
