package pipeline

/*
#include "fastpath.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"sallyport/pmd/ethdev"
)

// A NIC or a crypto device that does nothing any more: its SAs go on elsewhere, and new ones keep off it until it is back.

// OffloadChange is the loss of a device, or its return.
type OffloadChange struct {
	Device  string // the crypto device; empty for a port
	Port    uint16 // else DPDK id
	Lost    bool   // else it is back
	Why     string // it is taken for lost
	Moved   int    // SAs that others go on with
	Blocked int    // SAs that carry nothing until they are negotiated anew
}

// PortLoss is a port whose NIC does no ESP any more.
type PortLoss struct {
	Port uint16 // DPDK id
	Why  string
}

// A NIC that is lost is asked for a session after a pause, which doubles each time. Nobody waits for its answer: a driver may give up on a dead card after a second, or later.
const (
	firstPause   = time.Second
	longestPause = 5 * time.Minute
)

// lostPort is a port whose NIC does no ESP any more.
type lostPort struct {
	why   string
	pause time.Duration
	next  time.Time  // when it is asked again; zero: not worked out yet
	reply chan error // of Inline.Probe, which is under way; nil: it is not
}

var lossReasons = [...]string{
	C.SP_NIC_BLOCKED: "took none of the packets that it was to encrypt for a second",
	C.SP_NIC_REFUSES: "took none of the packets that it was to encrypt for a second",
	C.SP_NIC_LEAVES:  "opened none of the packets whose replay window it has for a second",
}

// LoseInline says that a port's NIC does no ESP any more. What was sent by it the CPU sends, with inline protocol behind all numbers that the NIC can have
// used. What comes in by inline crypto the CPU opens. Of inline protocol the window is lost: such an SA takes no packet, and Handler.Expire asks for
// another at once. No SA gets a session there until Inline.Probe says that one can.
func (d *Dataplane) LoseInline(port uint16, why string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.c != nil {
		d.loseInline(port, why)
	}
}

func (d *Dataplane) loseInline(port uint16, why string) {
	if d.lostPorts[port] != nil || d.cfg.Inline == nil {
		return
	}
	d.lostPorts[port] = &lostPort{why: why, pause: firstPause}
	d.cfg.Inline.Lose(port)
	change := OffloadChange{Port: port, Lost: true, Why: why}
	for _, sa := range d.sad.outbound {
		if sa.inline.Handle != nil && sa.inline.Port == port {
			C.sp_sa_out_lose(sa.c)
			d.fleeOutbound(sa, &change)
		}
	}
	for _, sa := range d.sad.inbound {
		if sa.inline.Handle != nil && sa.inline.Port == port {
			delete(d.sad.shunned, sa.child.Cell) // it is not the path that had packets come past the NIC
			d.fleeInbound(sa, &change)
		}
	}
	d.later(func() { d.tellOffload(change) })
}

func (d *Dataplane) tellOffload(change OffloadChange) {
	d.sad.lost = append(d.sad.lost, func(h Handler) { h.Offload(change) })
}

// watchPorts looks for NICs that do no ESP any more, and for those that do again.
func (d *Dataplane) watchPorts(now time.Time) {
	if d.cfg.Inline == nil {
		return
	}
	for i, id := range d.portIDs {
		port := uint16(d.cfg.Ports[i].Port)
		loss := C.sp_nic_take_loss(d.c, id)
		refuses := loss == C.SP_NIC_REFUSES || loss == C.SP_NIC_BLOCKED
		if refuses && d.cfg.Ports[i].linkDown() || loss == C.SP_NIC_BLOCKED && d.isPaused(d.cfg.Ports[i].Port) {
			loss = C.SP_NIC_WORKS // nobody could send there
		}
		if loss != C.SP_NIC_WORKS {
			d.loseInline(port, lossReasons[loss])
		}
		if d.cfg.Inline.Removed(port) {
			d.loseInline(port, "was taken out of the machine")
		}
	}
	for port, lost := range d.lostPorts {
		switch {
		case lost.next.IsZero():
			lost.next = now.Add(lost.pause)
		case lost.reply != nil:
			d.hearProbe(port, lost)
		case !now.Before(lost.next) && !d.drivers.ending:
			lost.pause = min(2*lost.pause, longestPause)
			lost.next = now.Add(lost.pause)
			lost.reply = make(chan error, 1)
			d.probes.Go(func() { lost.reply <- d.cfg.Inline.Probe(port) })
		}
	}
}

// hearProbe takes the answer of a NIC that was asked, if there is one yet.
func (d *Dataplane) hearProbe(port uint16, lost *lostPort) {
	select {
	case err := <-lost.reply:
		if lost.reply = nil; err == nil {
			delete(d.lostPorts, port)
			d.tellOffload(OffloadChange{Port: port})
		}
	default:
	}
}

// isPaused reports whether the other end of a link has asked for a pause since a port was last blocked. When that was long ago, or never, it may have: who is blocked still a second
// later is asked again.
func (d *Dataplane) isPaused(port ethdev.Port) bool {
	pauses := d.cfg.portPauses
	if pauses == nil {
		pauses = ethdev.Port.Pauses
	}
	n, err := pauses(port)
	if err != nil { // the driver counts none
		return false
	}
	before, asked := d.pauses[port]
	d.pauses[port] = n
	return !asked || n != before
}

// linkDown reports whether a port's link is known to be down.
func (p *PortSpec) linkDown() bool {
	link, err := p.link()
	return err == nil && !link.Up
}

func (p *PortSpec) link() (ethdev.Link, error) {
	if p.Link != nil {
		return p.Link()
	}
	return p.Port.LinkStatus()
}

// portLosses lists the ports whose NICs are lost.
func (d *Dataplane) portLosses() (list []PortLoss) {
	for port, lost := range d.lostPorts {
		list = append(list, PortLoss{Port: port, Why: lost.why})
	}
	slices.SortFunc(list, func(a, b PortLoss) int { return int(a.Port) - int(b.Port) })
	return list
}

// leaveDevice moves the SAs of a crypto device that is lost.
func (d *Dataplane) leaveDevice(device *queueDevice, why string) {
	change := OffloadChange{Device: device.name, Lost: true, Why: why}
	for _, sa := range d.sad.outbound {
		if queued(sa.session) && sa.session.Device == uint8(device.id) {
			d.fleeOutbound(sa, &change)
		}
	}
	for _, sa := range d.sad.inbound {
		if queued(sa.session) && sa.session.Device == uint8(device.id) {
			d.fleeInbound(sa, &change)
		}
	}
	d.later(func() { d.tellOffload(change) })
}

// onLost reports whether an SA needs a device that does nothing any more.
func (d *Dataplane) onLost(sa *association) bool {
	if sa.inline.Handle != nil && d.lostPorts[sa.inline.Port] != nil {
		return true
	}
	return queued(sa.session) && slices.ContainsFunc(d.devices, func(device queueDevice) bool { return device.lost && uint8(device.id) == sa.session.Device })
}

func (d *Dataplane) fleeOutbound(sa *outboundSA, change *OffloadChange) {
	d.flee(&sa.association, true, change, func(place Place) error { return d.relocateOutbound(sa, place) })
}

func (d *Dataplane) fleeInbound(sa *inboundSA, change *OffloadChange) {
	d.flee(&sa.association, false, change, func(place Place) error {
		rekey, err := d.moveInbound(sa, place)
		if rekey {
			err = errors.New("the replay window is lost with its device")
		}
		return err
	})
}

// flee has an SA moved off a device that is lost: to where the operator wants it, or by the order. Where nobody else can go on with it IKE is asked for another,
// and it carries nothing until then. Change counts it.
func (d *Dataplane) flee(sa *association, outbound bool, change *OffloadChange, relocate func(Place) error) {
	d.later(func() {
		var err error
		if d.onLost(sa) { // else somebody has moved it meanwhile
			err = d.relocateAnew(sa, outbound, relocate)
		}
		switch {
		case errors.Is(err, errGone):
		case err == nil || errors.Is(err, errMoving): // it looks again when it has come to rest
			change.Moved++
		default:
			change.Blocked++
			sa.inline.refused = fmt.Sprintf("blocked: %v", err)
			d.askForNext(sa, outbound)
		}
	})
}

// relocateAnew moves an SA to where the operator wants it, or where that cannot be by the order.
func (d *Dataplane) relocateAnew(sa *association, outbound bool, relocate func(Place) error) error {
	wish := d.sad.placeOf(sa.child.Cell, outbound)
	err := relocate(wish)
	if err != nil && (wish != PlaceAuto || errors.Is(err, errTurned)) && !errors.Is(err, errMoving) && !errors.Is(err, errGone) {
		err = relocate(PlaceAuto)
	}
	return err
}

// askForNext has IKE asked, once, for the SA that comes after this one.
func (d *Dataplane) askForNext(sa *association, outbound bool) {
	if sa.soft {
		return
	}
	sa.soft = true
	cell, spi := sa.child.Cell, sa.child.SPI
	d.sad.lost = append(d.sad.lost, func(h Handler) { h.Expire(cell, spi, outbound, false) })
}
