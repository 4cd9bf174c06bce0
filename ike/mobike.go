package ike

import (
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
// it changes nothing, so that a NAT or an attacker that writes addresses moves no IKE SA. ESP in UDP from another address is followed by the data plane as ever (3.8).
type mobike struct {
	on     bool
	others []netip.Addr   // where the peer may be too, as it says
	home   netip.Addr     // where it is: tryElsewhere is elsewhere
	proven netip.AddrPort // where it has shown to be: by IKE_AUTH, or by a cookie
	news   bool           // the peer is yet to confirm that it knows where we are
	tried  bool           // another path than that: an answer tells that we mean it
	seenAs []byte         // what the peer said of the address that we have for it: digest of a NAT's mapping
}

// maxOthers bounds what a peer can make others hold. Sites have one or two.
const maxOthers = 8

// agree notes that the peer supports it, in IKE_AUTH.
func (b *mobike) agree(m *message) {
	b.on = m.sa.peer.cfg.MOBIKE && m.notify(wire.NotifyMOBIKESupported) != nil
	if b.on {
		b.home, b.proven = m.remote.Addr(), m.remote
		b.note(m)
	}
}

func (m *message) addMOBIKE() {
	if m.sa.peer.cfg.MOBIKE {
		m.add(wire.NewNotify(wire.NotifyMOBIKESupported, nil))
		m.addAdditional()
	}
}

// addAdditional names our other addresses.
func (m *message) addAdditional() {
	for _, a := range m.sa.peer.cfg.Additional {
		kind := wire.NotifyAdditionalIPv6Address
		if a.Is4() {
			kind = wire.NotifyAdditionalIPv4Address
		}
		if a != m.sa.local.Addr() { // which the message itself shows
			m.add(wire.NewNotify(kind, a.AsSlice()))
		}
	}
}

// note takes the list of the peer's addresses, which replaces the one before: those named, and where the message comes from. It reports whether there was one.
func (b *mobike) note(m *message) bool {
	list := []netip.Addr{m.remote.Addr()}
	found := m.notify(wire.NotifyNoAdditionalAddresses) != nil
	for _, n := range wire.FindAll[*wire.Notify](m.Payloads) {
		if n.Type != wire.NotifyAdditionalIPv4Address && n.Type != wire.NotifyAdditionalIPv6Address {
			continue
		}
		found = true
		if a, ok := netip.AddrFromSlice(n.Data); ok && a.Is4() == (n.Type == wire.NotifyAdditionalIPv4Address) && len(list) <= maxOthers {
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
	if p.redirection.to.IsValid() {
		return p.cfg.Local, p.redirection.to
	}
	return p.cfg.Local, p.cfg.Remote
}

// migrate takes the IKE SAs to where the configuration has them now. One whose peer does not support that ends. A peer that has moved by itself stays
// where it is unless the configuration's word on that is another than before.
func (p *peer) migrate(was Peer) {
	for _, sa := range slices.Clone(p.sas) {
		switch {
		case !sa.mobike.on || sa.state != stateEstablished:
			sa.terminate(DeletedReconfig)
		default:
			remote := sa.remote
			if sa.origin.role == RoleInitiator && p.cfg.Remote != was.Remote && p.cfg.Remote != sa.remote.Addr() {
				remote = netip.AddrPortFrom(p.cfg.Remote, portNATT)
			}
			sa.move(netip.AddrPortFrom(p.cfg.Local, sa.local.Port()), remote)
		}
	}
}

// readdress tells the peer of other additional addresses.
func (p *peer) readdress() {
	for _, sa := range p.sas {
		if sa.mobike.on && sa.state == stateEstablished {
			sa.announce()
		}
	}
}

// move changes our end of an IKE SA, or where we look for the peer, and tells the peer.
func (sa *ikeSA) move(local, remote netip.AddrPort) {
	if local == sa.local && remote == sa.remote {
		return
	}
	sa.relocate(local, remote)
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
		sa.engine.timers.Set(&sa.tasks.retry, sa.engine.now, sa.tasks.transmit)
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
