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

var errMoving = errors.New("it is being moved: ask again in a moment")

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
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.checkCell(cell); err != nil {
		return nil, err
	}
	if int(place) >= len(placeNames) {
		return nil, fmt.Errorf("pipeline: place %d: want one of %v", place, placeNames)
	}
	var moved []Moved
	if outbound {
		for _, sa := range d.sad.outboundOf(cell) {
			m := Moved{SPI: sa.child.SPI, Outbound: true, From: d.placeOut(sa)}
			if !place.at(m.From) {
				m.Err = d.relocateOutbound(sa, place)
			}
			m.To = d.placeOut(sa)
			moved = append(moved, m)
		}
	} else {
		for _, sa := range d.sad.inboundOf(cell) {
			m := Moved{SPI: sa.child.SPI, From: sa.place(false)}
			if place == PlaceAuto && (m.From.inline() || m.From.protocol()) {
				sa.stays = sa.stays || d.sad.placeOf(cell, false) != PlaceAuto
				m.Stays = sa.stays
			} else if sa.stays = false; !place.at(m.From) {
				m.Rekey, m.Err = d.relocateInbound(sa, place)
			}
			if m.Rekey && !rekeys {
				m.Rekey, m.Err = false, errors.New("nobody can read the replay window of a NIC or a crypto device, or fill it, so that only a rekey moves the SA: one with keys of your own has none")
			}
			m.To = sa.place(false)
			moved = append(moved, m)
		}
	}
	// one that stays is no reason against those that come after the others: what a rekey has left behind may carry nothing any more, and stay for good
	if len(moved) == 0 || slices.ContainsFunc(moved, func(m Moved) bool { return m.Err == nil }) {
		d.sad.wish(cell, outbound, place)
	}
	return moved, nil
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
func (d *Dataplane) anew(sa *association, outbound bool, place Place, first uint64) (next association, err error) {
	next = association{child: sa.child, key: sa.key, soft: sa.soft}
	next.child.Keymat = sa.key
	against := ""
	if !outbound && !place.lookaside() {
		against = "the device would begin with an empty replay window: lookaside_protocol takes a rekey"
	}
	next.session, err = d.newSession(&next.child, next.child.Suite, sa.key, next.child.ESN, outbound, append(place.only(), next.child.whole(outbound, first, against)...)...)
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

// errOvertaken is why an SA stays where it is when all attempts have failed.
var errOvertaken = errors.New("its packets had the numbers behind which the device was to begin before that was ready: ask again when there are fewer of them")

const attempts = 4

// relocateOutbound moves an SA. Numbers go on: a NIC or a crypto device that numbers packets by itself begins behind all that workers take meanwhile. So does whoever comes after such
// a crypto device, which goes on to number what workers give it until they know of the other. A driver may take its time over a session, and the number is in it: where packets have
// come too near to it until then, another session begins farther on.
func (d *Dataplane) relocateOutbound(sa *outboundSA, place Place) error {
	room := uint64(inHand)
	for attempt := 1; ; attempt++ {
		before := sa.number()
		err := d.replaceOutbound(sa, place, before+room+1)
		if attempt == attempts || !errors.Is(err, errOvertaken) {
			return err
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

// replaceOutbound puts another half in the place of an SA, which begins with a number of its own where it has to.
func (d *Dataplane) replaceOutbound(sa *outboundSA, place Place, first uint64) error {
	switch {
	case !sa.child.movable():
		return errors.New("AH, by itself or around ESP, is the CPU's")
	case sa.moving:
		return errMoving
	case sa.child.Transport && sa.child.Remote.Addr() != sa.peer:
		return errors.New("its peer has moved, which in transport mode keeps it where it is until the next rekey")
	}
	r := relocation{out: sa, formerOut: sa.c}
	C.sp_sa_out_counters(sa.c, &r.carried)
	if sa.session.Whole && !sa.child.ESN && first > math.MaxUint32 {
		return errors.New(tooFewNumbers)
	}
	next, err := d.anew(&sa.association, true, place, first)
	if err != nil {
		return err
	}
	d.openInline(&next, true, place, first)
	if refused := place.inline() && next.inline.Handle == nil; refused || d.isThere(&sa.association, &next, r.carried.stopped != 0) {
		err := d.freeHalf(&next)
		if refused {
			err = errors.Join(errors.New(next.inline.refused), err)
		}
		return err
	}
	c, err := d.createOutbound(&next, sa.adjacency)
	if err != nil {
		return errors.Join(err, d.freeHalf(&next))
	}
	if !sa.session.Whole && !next.place(false).protocol() {
		first = 0
	}
	if C.sp_sa_out_succeed(c, sa.c, C.uint64_t(first), &r.carried) == 0 {
		C.sp_sa_out_free(c)
		return errors.Join(errOvertaken, d.freeHalf(&next))
	}
	C.sp_sa_out_lose(sa.c) // before another can take numbers behind those of its NIC
	d.publishOutbound(outboundPlace{sa.child.Cell, sa.child.Worker}, c)
	sa.c, sa.moving, r.former = c, true, sa.adopt(&next, uint64(r.carried.inlined))
	d.begin(r)
	return nil
}

// isThere reports whether an SA would go where it is.
func (d *Dataplane) isThere(sa, next *association, stopped bool) bool {
	return !stopped && (sa.inline.Handle != nil) == (next.inline.Handle != nil) && sa.inline.Port == next.inline.Port && sa.inline.Protocol == next.inline.Protocol &&
		sa.session.DeviceName() == next.session.DeviceName() && sa.session.Class == next.session.Class && sa.session.Whole == next.session.Whole
}

// freeHalf takes back the sessions of one half of an SA whose other half goes on.
func (d *Dataplane) freeHalf(sa *association) error {
	return errors.Join(d.closeInline(sa), d.cfg.Crypto.Free(sa.session))
}

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
	at := sa.place(false)
	switch {
	case !sa.child.movable():
		return false, errors.New("AH, by itself or around ESP, is the CPU's")
	case sa.moving:
		return false, errMoving
	}
	next, err := d.anew(&sa.association, false, place, 0)
	if err != nil { // nor can the next one be there
		return false, err
	}
	if next.session.Whole || at.protocol() || place == PlaceInlineProtocol {
		return true, d.freeHalf(&next)
	}
	if at != PlaceInlineCrypto {
		return false, d.replaceInbound(sa, next, place)
	}
	var c C.struct_sp_sa_counters
	C.sp_sa_in_counters(sa.c, &c)
	d.graves.failed = errors.Join(d.graves.failed, d.closeInline(&sa.association)) // its packets are the CPU's from now on, but for those on the way
	sa.moving = true
	d.begin(relocation{in: sa, waits: true, next: next, place: place})
	return false, nil
}

// replaceInbound puts another half in the place of an SA. Where a NIC is to open its packets workers believe that before it does.
func (d *Dataplane) replaceInbound(sa *inboundSA, next association, place Place) error {
	var port *PortSpec
	var why error
	if d.cfg.Inline == nil {
		why = errors.New("there is no inline IPsec in the configuration")
	} else if port, why = d.inlinePort(&next, place); why == nil {
		why = d.unoffered(port, &next)
	}
	if why != nil && place.inline() {
		return errors.Join(why, d.freeHalf(&next))
	}
	if why != nil && !sa.inline.marks && d.isThere(&sa.association, &next, false) {
		return d.freeHalf(&next)
	}
	r := relocation{in: sa, formerIn: sa.c}
	next.child = sa.child // its peer may have moved since
	next.child.Keymat = sa.key
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
		return errors.Join(err, d.freeHalf(&next))
	}
	C.sp_sa_in_counters(sa.c, &r.carried)
	C.sp_sa_in_succeed(c, sa.c)
	C.sp_sa_in_replace(d.c, c)
	next.inline.marks = why == nil
	if why != nil && d.cfg.Inline != nil {
		next.inline.refused = why.Error()
	}
	sa.c, sa.moving, r.former, r.half = c, true, sa.adopt(&next, uint64(r.carried.inlined)), c
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
	session, err := d.cfg.Inline.Open(uint16(port.Port), &wanted)
	if err == nil {
		return errors.Join(errors.New("the port says that it has no sessions"), d.cfg.Inline.Close(session))
	}
	return err
}

// openMarked makes the session of an inbound SA whose packets workers take as opened already.
func (d *Dataplane) openMarked(sa *inboundSA, port *PortSpec, place Place) error {
	id := uint16(port.Port)
	C.sp_inline_expect(d.c, C.uint16_t(id))
	wanted := sa.child.inlineSA(false, port.VLAN)
	wanted.Keymat = sa.key
	place.limit(&wanted)
	wanted.NoProtocol = "its NIC would begin with an empty replay window: inline_protocol takes a rekey"
	session, err := d.cfg.Inline.Open(id, &wanted)
	if err == nil {
		if why := wanted.refusal(&session, id); why != "" {
			err = errors.Join(errors.New(why), d.cfg.Inline.Close(session))
		}
	}
	if err == nil {
		sa.inline.InlineSession, sa.inline.vlan = session, port.VLAN
		return nil
	}
	sa.inline.refused = err.Error()
	if place.inline() {
		return err
	}
	return nil
}

// settleMoves ends the moves whose former halves nobody uses any more.
func (d *Dataplane) settleMoves() {
	under := d.sad.moving
	d.sad.moving = nil
	var left []relocation
	for i := range under {
		r := &under[i]
		older := r.in != nil && slices.ContainsFunc(left, func(l relocation) bool { return l.in == r.in })
		if !d.settleMove(r, older) {
			left = append(left, *r)
		}
	}
	d.sad.moving = append(left, d.sad.moving...) // of one SA the oldest first: what it leaves behind is needed no longer than what a later one does
}

// settleMove reports whether a move has come to its end. While an older one of the same SA has not, what this one leaves behind is needed: its owner may have
// taken all windows over just now.
func (d *Dataplane) settleMove(r *relocation, older bool) bool {
	if C.sp_grace_passed(d.c, C.uint64_t(r.token)) == 0 {
		return false
	}
	switch {
	case r.out != nil:
		var c C.struct_sp_sa_counters
		C.sp_sa_out_counters(r.formerOut, &c)
		r.out.inline.past += uint64(c.inlined - r.carried.inlined)
		C.sp_sa_out_settle(r.out.c, r.formerOut, &r.carried)
		r.out.moving = false
	case r.waits:
		r.in.moving = false
		if err := d.replaceInbound(r.in, r.next, r.place); err != nil {
			r.in.inline.refused = err.Error() // the half that is there goes on, without its NIC
		}
		return true
	default:
		if !r.free {
			r.free, r.in.moving = true, false
			d.lookAgain(r)
		}
		if older || C.sp_sa_in_settled(r.half) == 0 {
			return false
		}
		var c C.struct_sp_sa_counters
		C.sp_sa_in_counters(r.formerIn, &c)
		r.in.inline.past += uint64(c.inlined - r.carried.inlined)
	}
	former := *r
	d.retire(func() error { return d.freeFormer(&former) })
	d.lookAgain(r)
	return true
}

// lookAgain moves an SA on that has come to where it cannot stay: the device is lost meanwhile, no NIC opens its packets after all, or another port leads to the peer.
func (d *Dataplane) lookAgain(r *relocation) {
	switch {
	case r.in != nil && r.in.moving: // again, meanwhile
	case r.out != nil && d.onLost(&r.out.association):
		d.fleeOutbound(r.out)
	case r.in != nil && d.onLost(&r.in.association):
		d.fleeInbound(r.in)
	case r.in != nil && r.in.inline.marks && r.in.inline.Handle == nil:
		d.goBack(r)
	case r.out != nil:
		d.rerouteOutbound(r.out)
	default:
		d.rerouteInbound(r.in)
	}
}

// goBack moves an SA to where it was before it was to go to a NIC that has no session for it after all; without room there to the CPU.
func (d *Dataplane) goBack(r *relocation) {
	refused := r.in.inline.refused
	for _, place := range []Place{r.former.place(false), PlaceCPU} {
		if place.inline() {
			continue
		}
		if next, err := d.anew(&r.in.association, false, place, 0); err == nil {
			_ = d.replaceInbound(r.in, next, place)
			r.in.inline.refused = refused
			return
		}
	}
}

func (d *Dataplane) freeFormer(r *relocation) error {
	switch {
	case r.waits:
		return d.freeHalf(&r.next)
	case r.out != nil:
		d.leave(&r.former, r.formerOut)
		C.sp_sa_out_free(r.formerOut)
	default:
		C.sp_sa_in_free(r.formerIn)
	}
	return d.freeHalf(&r.former)
}

// endMove forgets the move of an SA that is gone, and returns what frees its former half when no worker uses it.
func (d *Dataplane) endMove(in *inboundSA, out *outboundSA) func() error {
	var gone []relocation
	d.sad.moving = slices.DeleteFunc(d.sad.moving, func(r relocation) bool {
		is := r.in == in && r.out == out
		if is {
			gone = append(gone, r)
		}
		return is
	})
	return func() (failed error) {
		for i := range gone {
			failed = errors.Join(failed, d.freeFormer(&gone[i]))
		}
		return failed
	}
}
