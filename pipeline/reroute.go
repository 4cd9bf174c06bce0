package pipeline

import (
	"errors"
	"net/netip"
)

// An SA is at the NIC of the port that leads to its peer. When routes lead there by another port, or the peer moves behind one, the SA goes after them: to that port's NIC if it has
// one, and off the NIC of the former port, by which none of its packets leave any more.

// noPort stands for the port where no route leads to a peer.
const noPort = -1

// portToward is the place in Config.Ports of the port that leads to an address, or noPort.
func (d *Dataplane) portToward(address netip.Addr) int {
	hop, ok := nextHop(d.routesToPeers(), address)
	if !ok {
		return noPort
	}
	return hop.Port
}

// routesToPeers are those in force. SAs with keys of the operator's are there before the first policy is, whose routes then count.
func (d *Dataplane) routesToPeers() []hop {
	if d.policy.spd == nil && d.prepared != nil {
		return d.prepared.next.routes
	}
	return d.policy.routes
}

// hasTurned reports whether another port leads to an SA's peer than before, and that is of interest to the SA: it is at the former one's NIC, or may be at this one's. Without
// any route nothing leaves, and the SA stays as it is for the time when there is one again.
func (d *Dataplane) hasTurned(sa *association, outbound bool) bool {
	toward := d.portToward(sa.child.Remote.Addr())
	if toward == noPort || toward == sa.toward {
		return false
	}
	sa.toward = toward
	spec := &d.cfg.Ports[toward]
	port := uint16(spec.Port)
	if sa.inline.Handle != nil && outbound && sa.inline.Port == port {
		sa.inline.vlan = spec.VLAN // a tag is nothing to the NIC
		return false
	}
	if sa.inline.Handle != nil {
		return sa.inline.Port != port || sa.inline.vlan != spec.VLAN
	}
	return d.sad.placeOf(sa.child.Cell, outbound).mayInline() && d.lostPorts[port] == nil && d.cfg.Inline.Offers(port)
}

func (d *Dataplane) rerouteOutbound(sa *outboundSA) {
	if d.cfg.Inline == nil || !d.hasTurned(&sa.association, true) {
		return
	}
	d.sendOutbound(sa)
}

// sendOutbound has an SA moved to where it is wanted now.
func (d *Dataplane) sendOutbound(sa *outboundSA) {
	d.reroute(&sa.association, true, func(place Place) error { return d.relocateOutbound(sa, place) })
}

// rerouteInbound leaves alone what a crypto device has the window of.
func (d *Dataplane) rerouteInbound(sa *inboundSA) {
	if d.cfg.Inline == nil || !d.hasTurned(&sa.association, false) || sa.place(false) == PlaceLookasideProtocol {
		return
	}
	d.sendInbound(sa)
}

func (d *Dataplane) sendInbound(sa *inboundSA) {
	d.reroute(&sa.association, false, func(place Place) error {
		rekey, err := d.relocateInbound(sa, place)
		if rekey { // the next SA will be there; until then this one takes what comes by the former port
			d.askForNext(&sa.association, false)
		}
		return err
	})
}

// reroute has an SA moved. Where it cannot go it stays: what the NIC of the former port does not do the CPU does, with the same numbers and the same window.
func (d *Dataplane) reroute(sa *association, outbound bool, relocate func(Place) error) {
	d.later(func() {
		if err := d.relocateAnew(sa, outbound, relocate); errors.Is(err, errMoving) {
			sa.toward = noPort // it looks again when it has come to rest
		}
	})
}

// routeSAs points the outbound SAs at their next hops anew, after the routes have changed.
func (d *Dataplane) routeSAs() {
	for _, sa := range d.sad.outbound {
		d.routeSA(sa)
	}
	for _, sa := range d.sad.inbound {
		d.rerouteInbound(sa)
	}
}
