package ike

import (
	"crypto/subtle"
	"net/netip"
	"slices"

	"sallyport/ike/wire"
)

// An end that changes its address (RFC 4555), if Peer.MOBIKE allows it and the peer agrees.
//
//	initiator has another address              responder has another address
//	│ UPDATE_SA_ADDRESSES, from there          │ NO_ADDITIONAL_ADDRESSES, from there
//	│ ────────────────────────────────> it     │ ────────────────────────────────> it
//	│ <──────────────────────────────── takes  │ <────────────────────────────────
//	its Child SAs move        the IKE SA there its Child SAs move
//	│        COOKIE2, to where it says to be   │               UPDATE_SA_ADDRESSES
//	│ <────────────────────────────────        │ <────────────────────────────────
//	│ ────────────────────────────────>        │ COOKIE2 and so on, as at the left
//	                      its Child SAs move
//
// The initiator, that of the first IKE SA of a line of rekeys, decides; the responder may only say where it is. What comes from another address and says nothing of
// it changes nothing, so that a NAT or an attacker that writes addresses moves no IKE SA.
type mobike struct {
	on     bool
	others []netip.Addr // where the peer may be too, as it says
	news   bool         // the peer is yet to confirm that it knows where we are
	tried  bool         // at another address than it was: its answer tells that we mean it
}

// maxOthers bounds what a peer can make others hold. Sites have one or two.
const maxOthers = 8

// pathTries is how often a request goes unanswered on one path before another is tried, if the peer has named one.
const pathTries = 4

// agree notes that the peer supports it, in IKE_AUTH.
func (b *mobike) agree(m *message) {
	b.on = m.sa.peer.cfg.MOBIKE && m.notify(wire.NotifyMOBIKESupported) != nil
	if b.on {
		b.note(m)
	}
}

func (m *message) addMOBIKE() {
	if m.sa.peer.cfg.MOBIKE {
		m.add(wire.NewNotify(wire.NotifyMOBIKESupported, nil))
	}
}

// note takes the list of the peer's other addresses, which replaces the one before. It reports whether there was one.
func (b *mobike) note(m *message) bool {
	var list []netip.Addr
	found := m.notify(wire.NotifyNoAdditionalAddresses) != nil
	for _, n := range wire.FindAll[*wire.Notify](m.Payloads) {
		if n.Type != wire.NotifyAdditionalIPv4Address && n.Type != wire.NotifyAdditionalIPv6Address {
			continue
		}
		found = true
		if a, ok := netip.AddrFromSlice(n.Data); ok && a.Is4() == (n.Type == wire.NotifyAdditionalIPv4Address) && len(list) < maxOthers {
			list = append(list, a)
		}
	}
	if found {
		b.others = list
	}
	return found
}

// whereabouts is where a peer and we are: as configured, unless one of them has moved.
func (p *peer) whereabouts() (local, remote netip.Addr) {
	if sa := p.carrier(); sa != nil && sa.mobike.on {
		return sa.local.Addr(), sa.remote.Addr()
	}
	return p.cfg.Local, p.cfg.Remote
}

// migrate takes the IKE SAs to where the configuration has them now. One whose peer does not support that ends.
func (p *peer) migrate() {
	for _, sa := range slices.Clone(p.sas) {
		switch {
		case !sa.mobike.on || sa.state != stateEstablished:
			sa.terminate(DeletedReconfig)
		default:
			remote := sa.remote
			if sa.origin.role == RoleInitiator && p.cfg.Remote != sa.remote.Addr() {
				remote = netip.AddrPortFrom(p.cfg.Remote, portNATT)
			}
			sa.move(netip.AddrPortFrom(p.cfg.Local, sa.local.Port()), remote)
		}
	}
}

// move changes our end of an IKE SA, or where we look for the peer, and tells the peer.
func (sa *ikeSA) move(local, remote netip.AddrPort) {
	if local == sa.local && remote == sa.remote {
		return
	}
	sa.relocate(local, remote)
	sa.engine.index()
	if sa.origin.role != RoleInitiator {
		sa.moveChildren() // the former address is gone: no answer is worth waiting for (RFC 4555 3.5)
	}
	sa.announce()
}

// announce tells the peer where we are, before anything else that waits. What is under way is sent again from there.
func (sa *ikeSA) announce() {
	sa.mobike.news = true
	waits := func(t task) bool { _, ok := t.(*updateAddresses); return ok }
	if tm := &sa.tasks; !slices.ContainsFunc(tm.queue, func(x *exchange) bool { return slices.ContainsFunc(x.tasks, waits) }) {
		tm.queue = slices.Insert(tm.queue, 0, &exchange{kind: wire.ExchangeInformational, tasks: []task{&updateAddresses{}}})
	}
	if x := sa.tasks.active; x != nil {
		sa.engine.timers.set(&sa.tasks.retry, sa.engine.now, sa.tasks.transmit)
	}
	sa.tasks.start()
}

// moveOn has the successor of a rekey be where an IKE SA is, which may have moved since the rekey began.
func (sa *ikeSA) moveOn(next *ikeSA) {
	if !sa.mobike.on {
		return
	}
	next.local, next.remote, next.natLocal, next.natRemote, next.mobike = sa.local, sa.remote, sa.natLocal, sa.natRemote, sa.mobike
	if sa.mobike.news {
		next.announce()
	}
}

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
	} else {
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
	}
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
	if n := m.notify(wire.NotifyNoNATsAllowed); n != nil && !slices.Equal(n.Data, endpointsOf(m.remote, m.local)) {
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
	if local.Addr() != sa.peer.cfg.Local {
		local = sa.local // we have moved too, and the peer is yet to hear of it
	}
	if local != sa.local || m.remote != sa.remote {
		sa.relocate(local, m.remote)
		sa.engine.index()
	}
	sa.tasks.enqueue(wire.ExchangeInformational, &routability{})
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
		m.sa.moveChildren()
	}
	return nil
}

func (*routability) abandon() {}

// tryElsewhere looks for a peer that does not answer at the next of the addresses that it has named. The one that answers is told that we mean it.
func (sa *ikeSA) tryElsewhere(x *exchange) {
	if !sa.mobike.on || sa.origin.role != RoleInitiator || len(sa.mobike.others) == 0 || x.tries == 0 || x.tries%pathTries != 0 {
		return
	}
	next := sa.mobike.others[0]
	if remote := netip.AddrPortFrom(next, portNATT); next.Is4() == sa.remote.Addr().Is4() && sa.mayMove(remote) {
		sa.mobike.others = append(slices.Clone(sa.mobike.others[1:]), sa.remote.Addr())
		sa.remote, sa.mobike.tried = remote, true
	}
}

// settlePath follows tryElsewhere when an answer has come.
func (sa *ikeSA) settlePath() {
	if sa.mobike.tried && sa.state == stateEstablished {
		sa.mobike.tried = false
		sa.engine.fact(sa.fact(AddressChanged))
		sa.announce()
	}
}
