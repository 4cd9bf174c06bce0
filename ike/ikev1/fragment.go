package ikev1

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"sallyport/ike/isakmp"
)

// Fragments, as Cisco began them and strongSwan and libreswan have them. Unlike those of IKEv2 they prove nothing: anybody who has seen the cookies can
// send some. What they make is a message like any other, which has to decrypt and to authenticate; until then all they can do is take room, which is
// bounded, and keep a message from being put together, which whoever is on the path can do anyway.

// sentFragments bounds the fragments of one message of ours: libreswan takes 16 of one.
const sentFragments = 16

// cut turns a message of ours into datagrams of at most room octets: fragments where it is longer. A message that would make too many of them is cut into
// longer ones, which IP then fragments.
func cut(message []byte, id uint16, room int) ([][]byte, error) {
	if len(message) > room {
		room = max(room, (len(message)+sentFragments-1)/sentFragments+isakmp.FragmentOverhead)
	}
	return isakmp.Split(message, id, room)
}

// fragmentRoom is what may wait for the rest of its message, in octets, in all of an engine.
type fragmentRoom struct {
	each int // of one message
	all  int
	used int
}

// reassembly is a message of one ISAKMP SA of which fragments are there. Its zero value has none.
type reassembly struct {
	id     uint16
	pieces map[uint8][]byte // by number
	last   uint8            // number of the last one, 0 as long as it is not there
	octets int
	began  time.Time
}

var (
	// errIncomplete is not an error: others are still to come.
	errIncomplete = errors.New("message is not complete yet")
	errNoRoom     = errors.New("no room for fragments that wait for others of their message")
)

// collect takes a fragment of a datagram with these cookies and gives the whole message when it was the last one missing. share is the part of all room
// that this SA may help to fill: half before its peer is authenticated, so that strangers leave the other half.
func (r *reassembly) collect(room *fragmentRoom, share float64, cookies isakmp.Cookies, f *isakmp.Fragment, now time.Time) (*isakmp.Message, error) {
	if r.begun() && !r.continues(f) {
		r.forget(room) // some senders give all messages one id: other octets under a number that is there are another message
	}
	switch {
	case r.pieces[f.Number] != nil:
		return nil, errIncomplete // the same once more
	case r.octets+len(f.Data) > room.each || float64(room.used+len(f.Data)) > share*float64(room.all):
		return nil, errNoRoom
	}
	if !r.begun() {
		r.id, r.began, r.pieces = f.ID, now, map[uint8][]byte{}
	}
	if f.Last {
		r.last = f.Number
	}
	r.pieces[f.Number] = f.Data
	r.octets += len(f.Data)
	room.used += len(f.Data)
	if r.last == 0 || len(r.pieces) < int(r.last) { // none is beyond the last
		return nil, errIncomplete
	}
	var whole []byte
	for _, number := range slices.Sorted(maps.Keys(r.pieces)) {
		whole = append(whole, r.pieces[number]...)
	}
	r.forget(room)
	return readWhole(whole, cookies)
}

func (r *reassembly) begun() bool { return r.octets > 0 }

// continues reports whether a fragment can be of the message that is there: by its id, and by what it says of numbers that are known.
func (r *reassembly) continues(f *isakmp.Fragment) bool {
	known := r.pieces[f.Number]
	switch {
	case f.ID != r.id, known != nil && !bytes.Equal(known, f.Data):
		return false
	case r.last != 0:
		return f.Number <= r.last && f.Last == (f.Number == r.last)
	case f.Last:
		return f.Number > slices.Max(slices.Collect(maps.Keys(r.pieces))) // none is behind it, and it was not there without the mark
	}
	return true
}

// expired reports whether the rest has been waited for long enough.
func (r *reassembly) expired(now time.Time, timeout time.Duration) bool {
	return r.begun() && now.Sub(r.began) >= timeout
}

// forget drops what is there.
func (r *reassembly) forget(room *fragmentRoom) {
	room.used -= r.octets
	*r = reassembly{}
}

// readWhole reads what fragments made. It is of the ISAKMP SA that they are of, and no fragment itself.
func readWhole(whole []byte, cookies isakmp.Cookies) (*isakmp.Message, error) {
	m, err := isakmp.Parse(whole)
	if err != nil {
		return nil, err
	}
	switch {
	case m.Cookies != cookies:
		return nil, fmt.Errorf("fragments make a message of cookies %016x and %016x, expected %016x and %016x",
			m.Cookies.Initiator, m.Cookies.Responder, cookies.Initiator, cookies.Responder)
	case isakmp.Find[*isakmp.Fragment](m.Payloads) != nil:
		return nil, errors.New("fragments make a fragment, expected a whole message")
	}
	return m, nil
}
