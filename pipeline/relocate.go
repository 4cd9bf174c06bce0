package pipeline

/*
#include "fastpath.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"unsafe"

	"sallyport/crypto/cryptodev"
)

// SAs go to another port, device or the CPU while packets flow (relocate.c): another one with the same keys and SPI takes the place of the one that is there.

// Moved is what came of an order to move an SA.
type Moved struct {
	SPI      uint32
	Outbound bool
	From, To Place
	// Rekey says that the SA stays as it is, and that the next one will be there: nobody can read the replay window of a NIC or a crypto device, or fill it.
	Rekey bool
	// Stays says that the SA is left to the order, by which the next one goes: from a NIC, or from a device that has its window, it goes nowhere before.
	Stays bool
	Err   error // it stays as it is
}

var (
	errMoving = errors.New("it is being moved: ask again in a moment")
	errGone   = errors.New("it has ended meanwhile")
)

// mayMove is why an SA stays where it is, nil if it may move now.
func (d *Dataplane) mayMove(sa *association) error {
	switch {
	case sa.gone:
		return errGone
	case d.drivers.ending:
		return errClosed
	case !sa.child.movable():
		return errors.New("AH, by itself or around ESP, is the CPU's")
	case sa.moving:
		sa.again = true
		return errMoving
	}
	return nil
}

// stays ends a move that came to nothing. What was asked for meanwhile has its turn.
func (d *Dataplane) stays(in *inboundSA, out *outboundSA, err error) error {
	var sa *association
	if out != nil {
		sa = &out.association
	} else {
		sa = &in.association
	}
	sa.moving = false
	if again := sa.again; again {
		sa.again = false
		d.lookAgain(in, out)
	}
	return err
}

// movable reports whether the SA's work can be done elsewhere than by the CPU.
func (c *ChildSA) movable() bool { return !c.isAH() && c.AH == nil }

// relocation is an SA on its way.
type relocation struct {
	in    *inboundSA // or
	out   *outboundSA
	token uint64 // of the grace period since nobody new has met the former half

	formerIn  *C.struct_sp_sa_in
	formerOut *C.struct_sp_sa_out
	former    association // its sessions
	carried   C.struct_sp_sa_counters

	half  *C.struct_sp_sa_in // in's, when it moved
	free  bool               // to be moved again: it carries nothing, and its window goes with its next packet
	waits bool               // inbound: it has left its NIC, and what that has opened already may be on the way
	next  association
	place Place
}

// Relocate moves the SAs of one direction of a cell, and those that come after them, to a place. PlaceAuto ends that. An error is of all; those of single SAs are
// beside them.
func (d *Dataplane) Relocate(cell CellID, outbound bool, place Place, rekeys bool) ([]Moved, error) {
	d.alive.RLock()
	defer d.alive.RUnlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.checkCell(cell); err != nil {
		return nil, err
	}
	if int(place) >= len(placeNames) {
		return nil, fmt.Errorf("pipeline: place %d: want one of %v", place, placeNames)
	}
	tunnel := d.cellName(cell)
	var moved []Moved
	if outbound {
		for _, sa := range d.sad.outboundOf(cell) {
			moved = append(moved, d.orderOutbound(sa, place))
		}
	} else {
		for _, sa := range d.sad.inboundOf(cell) {
			moved = append(moved, d.orderInbound(sa, place, rekeys))
		}
	}
	moved = slices.DeleteFunc(moved, func(m Moved) bool { return errors.Is(m.Err, errGone) })
	// one that stays is no reason against those that come after the others: what a rekey has left behind may carry nothing any more, and stay for good
	if d.cellName(cell) == tunnel && (len(moved) == 0 || slices.ContainsFunc(moved, func(m Moved) bool { return m.Err == nil })) {
		d.sad.wish(cell, outbound, place)
	}
	return moved, nil
}

// orderOutbound moves an SA where an operator wants it.
func (d *Dataplane) orderOutbound(sa *outboundSA, place Place) Moved {
	m := Moved{SPI: sa.child.SPI, Outbound: true}
	if sa.gone {
		m.Err = errGone
		return m
	}
	if m.From = d.placeOut(sa); !place.at(m.From) {
		m.Err = d.relocateOutbound(sa, place)
	}
	if !sa.gone {
		m.To = d.placeOut(sa)
	}
	return m
}

// orderInbound moves an SA where an operator wants it, or leaves that to the next one.
func (d *Dataplane) orderInbound(sa *inboundSA, place Place, rekeys bool) Moved {
	m := Moved{SPI: sa.child.SPI, From: sa.place(false)}
	if sa.gone {
		m.Err = errGone
		return m
	}
	if place == PlaceAuto && (m.From.inline() || m.From.protocol()) {
		sa.stays = sa.stays || d.sad.placeOf(sa.child.Cell, false) != PlaceAuto
		m.Stays = sa.stays
	} else if sa.stays = false; !place.at(m.From) {
		m.Rekey, m.Err = d.relocateInbound(sa, place)
	}
	if why := d.sad.whyShunned(sa.child.Cell); m.Rekey && place == PlaceInlineProtocol && why != "" { // the next one would not be there
		m.Rekey, m.Err = false, errors.New(why)
	}
	if m.Rekey && !rekeys {
		m.Rekey, m.Err = false, errors.New("nobody can read the replay window of a NIC or a crypto device, or fill it, so that only a rekey moves the SA: one with keys of your own has none")
	}
	m.To = sa.place(false)
	return m
}

func (s *sad) wish(cell CellID, outbound bool, place Place) {
	places := s.places[cell]
	if outbound {
		places[1] = place
	} else {
		places[0] = place
	}
	if s.places[cell] = places; places == [2]Place{} {
		delete(s.places, cell)
	}
}

// inboundOf lists the inbound SAs of a cell by their SPIs.
func (s *sad) inboundOf(cell CellID) (list []*inboundSA) {
	for _, sa := range s.inbound {
		if sa.child.Cell == cell {
			list = append(list, sa)
		}
	}
	slices.SortFunc(list, func(a, b *inboundSA) int { return int(int64(a.child.SPI) - int64(b.child.SPI)) })
	return list
}

func (d *Dataplane) placeOut(sa *outboundSA) Place {
	var c C.struct_sp_sa_counters
	C.sp_sa_out_counters(sa.c, &c)
	return sa.place(c.stopped != 0)
}

// anew is an SA with the keys of another and a crypto session at a place. Outbound a crypto device that counts by itself begins at `first`. Inbound it would begin with an
// empty window, and is asked only where that alone is wanted: to see that it could have the next SA.
//
// Its key is its own, since the other may be gone before the drivers have answered: wipe it afterwards.
func (d *Dataplane) anew(sa *association, outbound bool, place Place, first uint64) (next association, err error) {
	next = association{child: sa.child, key: sa.key.Clone(), soft: sa.soft}
	next.child.Keymat = next.key
	against := ""
	if !outbound && !place.lookaside() {
		against = "the device would begin with an empty replay window: lookaside_protocol takes a rekey"
	}
	next.session, err = d.newSession(&next.child, next.child.Suite, next.key, next.child.ESN, outbound, append(place.only(), next.child.whole(outbound, first, against)...)...)
	if err != nil {
		next.key.Wipe()
	}
	if errors.Is(err, cryptodev.ErrNoneMay) {
		err = fmt.Errorf("no crypto device of the configuration does %s: see show offload", place)
	}
	return next, err
}

// adopt gives an SA the sessions of its other half, and returns what it had.
func (sa *association) adopt(next *association, inlined uint64) (former association) {
	former = association{session: sa.session, inline: sa.inline}
	sa.session, sa.inline = next.session, next.inline
	sa.inline.past = former.inline.past + inlined
	return former
}

// errOvertaken and errTurned are why an SA stays where it is when all attempts have failed.
var (
	errOvertaken = errors.New("its packets had the numbers behind which the device was to begin before that was ready: ask again when there are fewer of them")
	errTurned    = errors.New("its peer or the way there has changed before the device was ready: ask again in a moment")
)

const attempts = 4

// relocateOutbound moves an SA. Numbers go on: a NIC or a crypto device that numbers packets by itself begins behind all that workers take meanwhile. So does whoever comes after such
// a crypto device, which goes on to number what workers give it until they know of the other. A driver may take its time over a session, and the number is in it: where packets have
// come too near to it until then, another session begins farther on.
func (d *Dataplane) relocateOutbound(sa *outboundSA, place Place) error {
	if err := d.mayMove(&sa.association); err != nil {
		return err
	}
	if sa.child.Transport && sa.child.Remote.Addr() != sa.peer {
		return errors.New("its peer has moved, which in transport mode keeps it where it is until the next rekey")
	}
	room := uint64(inHand)
	sa.moving = true
	for attempt := 1; ; attempt++ {
		before := sa.number()
		switch is, err := d.replaceOutbound(sa, place, before+room+1); {
		case is:
			return nil
		case attempt == attempts || !errors.Is(err, errOvertaken) && !errors.Is(err, errTurned):
			return d.stays(nil, sa, err)
		}
		room = inHand + 4*(sa.number()-before)
	}
}

// number is the last one that workers have taken.
func (sa *outboundSA) number() uint64 {
	var c C.struct_sp_sa_counters
	C.sp_sa_out_counters(sa.c, &c)
	return uint64(c.sequence)
}

// replaceOutbound puts another half in the place of an SA, which begins with a number of its own where it has to. It reports whether there is one now.
func (d *Dataplane) replaceOutbound(sa *outboundSA, place Place, first uint64) (is bool, err error) {
	if sa.session.Whole && !sa.child.ESN && first > math.MaxUint32 {
		return false, errors.New(tooFewNumbers)
	}
	next, err := d.anew(&sa.association, true, place, first)
	if err != nil {
		return false, err
	}
	defer next.key.Wipe()
	begin := numbers{sa.number() + 1, first}
	if sa.session.Whole { // the crypto device numbers up to there
		begin.next = first
	}
	d.openInline(&next, true, place, begin)
	r := relocation{out: sa, formerOut: sa.c}
	C.sp_sa_out_counters(sa.c, &r.carried)
	if err := d.misses(sa, &next, place); err != nil || d.isThere(&sa.association, &next, r.carried.stopped != 0) {
		d.freeHalf(&next)
		return false, err
	}
	c, err := d.createOutbound(&next, sa.adjacency)
	if err != nil {
		d.freeHalf(&next)
		return false, err
	}
	if !sa.session.Whole && !next.place(false).protocol() {
		first = 0
	}
	if C.sp_sa_out_succeed(c, sa.c, C.uint64_t(first), &r.carried) == 0 {
		C.sp_sa_out_free(c)
		d.freeHalf(&next)
		return false, errOvertaken
	}
	C.sp_sa_out_lose(sa.c) // before another can take numbers behind those of its NIC
	d.publishOutbound(outboundPlace{sa.child.Cell, sa.child.Worker}, c)
	sa.c, r.former = c, sa.adopt(&next, uint64(r.carried.inlined))
	d.begin(r)
	return true, nil
}

// misses says why sessions are no use to an SA any more that were made for it, or never were.
func (d *Dataplane) misses(sa *outboundSA, next *association, place Place) error {
	switch {
	case sa.gone:
		return errGone
	case sa.child.Local != next.child.Local || sa.child.Remote != next.child.Remote || d.onLost(next):
		return errTurned
	case place.inline() && next.inline.Handle == nil:
		return errors.New(next.inline.refused)
	}
	return nil
}

// isThere reports whether an SA would go where it is.
func (d *Dataplane) isThere(sa, next *association, stopped bool) bool {
	return !stopped && (sa.inline.Handle != nil) == (next.inline.Handle != nil) && sa.inline.Port == next.inline.Port && sa.inline.Protocol == next.inline.Protocol &&
		sa.session.DeviceName() == next.session.DeviceName() && sa.session.Class == next.session.Class && sa.session.Whole == next.session.Whole
}

// freeHalf takes back the sessions of one half of an SA whose other half goes on.
func (d *Dataplane) freeHalf(sa *association) { d.giveSessionsBack(sa, nil) }

func (d *Dataplane) begin(r relocation) {
	r.token = uint64(C.sp_grace_start(d.c))
	d.sad.moving = append(d.sad.moving, r)
}

// relocateInbound is moveInbound for an SA that may as well stay.
func (d *Dataplane) relocateInbound(sa *inboundSA, place Place) (rekey bool, err error) {
	if !sa.moving && d.leavesTooMuch(sa) {
		return false, idleError{}
	}
	return d.moveInbound(sa, place)
}

// moveInbound moves an SA, or says that only the next one can be there. Its window is the same one all the time.
func (d *Dataplane) moveInbound(sa *inboundSA, place Place) (rekey bool, err error) {
	if err := d.mayMove(&sa.association); err != nil {
		return false, err
	}
	at := sa.place(false)
	sa.moving = true
	next, err := d.anew(&sa.association, false, place, 0)
	if err != nil { // nor can the next one be there
		return false, d.stays(sa, nil, err)
	}
	next.key.Wipe()
	switch {
	case sa.gone:
		d.freeHalf(&next)
		return false, errGone
	case next.session.Whole || at.protocol() || place == PlaceInlineProtocol:
		d.freeHalf(&next)
		return true, d.stays(sa, nil, nil)
	case at != PlaceInlineCrypto:
		return false, d.replaceInbound(sa, next, place)
	}
	d.closeInline(&sa.association) // its packets are the CPU's from now on, but for those on the way
	if sa.gone {
		d.freeHalf(&next)
		return false, errGone
	}
	d.begin(relocation{in: sa, waits: true, next: next, place: place})
	return false, nil
}

// replaceInbound puts another half in the place of an SA that is on its way. Where a NIC is to open its packets workers believe that before it does.
func (d *Dataplane) replaceInbound(sa *inboundSA, next association, place Place) error {
	if sa.gone {
		d.freeHalf(&next)
		return errGone
	}
	next.child = sa.child // its peer may have moved since
	next.child.Keymat = sa.key.Clone()
	key := next.child.Keymat
	defer key.Wipe()
	var port *PortSpec
	var why error
	if d.cfg.Inline == nil {
		why = errors.New("there is no inline IPsec in the configuration")
	} else if port, why = d.inlinePort(&next, place); why == nil {
		why = d.unoffered(port, &next)
	}
	switch {
	case sa.gone:
		d.freeHalf(&next)
		return errGone
	case d.onLost(&next):
		d.freeHalf(&next)
		return d.stays(sa, nil, errTurned)
	case why != nil && place.inline():
		d.freeHalf(&next)
		return d.stays(sa, nil, why)
	case why != nil && !sa.inline.marks && d.isThere(&sa.association, &next, false):
		d.freeHalf(&next)
		return d.stays(sa, nil, nil)
	}
	r := relocation{in: sa, formerIn: sa.c}
	var c *C.struct_sp_sa_in
	err := d.withConfig(&next, false, func(config *C.struct_sp_sa_config, text *C.char) int32 {
		config.owner = C.uint8_t(sa.owner)
		if why == nil {
			config.inline_session = unsafe.Pointer(d.c) // inbound nobody looks at the session itself
			config.inline_device, config.inline_port = C.uint16_t(port.Port), d.portID(uint16(port.Port), port.VLAN)
		}
		if c = C.sp_sa_in_create(d.c, config, text, errorTextLen); c == nil {
			return -1
		}
		return 0
	})
	if err != nil {
		d.freeHalf(&next)
		return d.stays(sa, nil, err)
	}
	C.sp_sa_in_counters(sa.c, &r.carried)
	C.sp_sa_in_succeed(c, sa.c)
	C.sp_sa_in_replace(d.c, c)
	next.inline.marks = why == nil
	if why != nil && d.cfg.Inline != nil {
		next.inline.refused = why.Error()
	}
	sa.c, r.former, r.half = c, sa.adopt(&next, uint64(r.carried.inlined)), c
	if at := r.former.place(false); !at.inline() {
		sa.before = at
	}
	d.begin(r)
	if why != nil {
		return nil
	}
	return d.openMarked(sa, port, place)
}

// unoffered is why a port has no sessions, whatever the SA; nil if it has.
func (d *Dataplane) unoffered(port *PortSpec, sa *association) error {
	if d.cfg.Inline.Offers(uint16(port.Port)) {
		return nil
	}
	wanted := sa.child.inlineSA(false, port.VLAN)
	session, err := d.openSession(uint16(port.Port), &wanted)
	if err == nil {
		d.giveSessionBack(session)
		return errors.New("the port says that it has no sessions")
	}
	return err
}

// openMarked makes the session of an inbound SA whose packets workers take as opened already.
func (d *Dataplane) openMarked(sa *inboundSA, port *PortSpec, place Place) error {
	id := uint16(port.Port)
	C.sp_inline_expect(d.c, C.uint16_t(id))
	wanted := sa.child.inlineSA(false, port.VLAN)
	wanted.Keymat = sa.key.Clone()
	defer wanted.Keymat.Wipe()
	place.limit(&wanted)
	wanted.NoProtocol = "its NIC would begin with an empty replay window: inline_protocol takes a rekey"
	sa.comes = true
	session, err := d.openSession(id, &wanted)
	sa.comes = false
	switch {
	case err == nil && sa.gone:
		d.giveSessionBack(session)
		return errGone
	case err == nil:
		sa.inline.InlineSession, sa.inline.vlan = session, port.VLAN
		return nil
	}
	sa.inline.refused = err.Error()
	if place.inline() {
		return err
	}
	return nil
}
