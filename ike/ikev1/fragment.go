package ikev1

import (
	"bytes"
	"encoding/binary"
	"errors"
	"maps"
	"net/netip"
	"slices"

	"sallyport/ike"
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
	most int // ever used
}

// reassembly is a message of one ISAKMP SA of which fragments are there. Its zero value has none.
type reassembly struct {
	id     uint16
	pieces map[uint8][]byte // by number
	last   uint8            // number of the last one, 0 as long as it is not there
	octets int
}

var (
	// errIncomplete is not an error: others are still to come.
	errIncomplete = errors.New("message is not complete yet")
	errNoRoom     = errors.New("no room for fragments that wait for others of their message")
)

// collect takes a fragment and gives the whole message when it was the last one missing. share is the part of all room that this SA may help to fill:
// half before its peer is authenticated, and a quarter of a stranger's. Each leaves room for those that are better known.
func (r *reassembly) collect(room *fragmentRoom, share float64, f *isakmp.Fragment) ([]byte, error) {
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
		r.id, r.pieces = f.ID, map[uint8][]byte{}
	}
	if f.Last {
		r.last = f.Number
	}
	r.pieces[f.Number] = f.Data
	r.octets += len(f.Data)
	room.used += len(f.Data)
	room.most = max(room.most, room.used)
	if r.last == 0 || len(r.pieces) < int(r.last) { // none is beyond the last
		return nil, errIncomplete
	}
	var whole []byte
	for _, number := range slices.Sorted(maps.Keys(r.pieces)) {
		whole = append(whole, r.pieces[number]...)
	}
	r.forget(room)
	return whole, nil
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

// forget drops what is there.
func (r *reassembly) forget(room *fragmentRoom) {
	room.used -= r.octets
	*r = reassembly{}
}

// fragment takes a fragment of a message of this ISAKMP SA, and with the last one the message.
func (sa *isakmpSA) fragment(d ike.Datagram, h isakmp.Header) {
	e := sa.engine
	m, err := isakmp.Parse(d.Payload)
	if err == nil {
		_, err = isakmp.Check(m.Header, m.Payloads)
	}
	if err != nil || !sa.can.fragments || h.Cookies != sa.cookies { // without our cookie it need not come from where message 2 went
		e.drop(d, h, ike.DropFragment)
		return
	}
	share := 1.0
	switch {
	case sa.state < stateEstablished && sa.stranger:
		share = 0.25
	case sa.state < stateEstablished:
		share = 0.5
	}
	whole, err := sa.parts.collect(&e.room, share, isakmp.Find[*isakmp.Fragment](m.Payloads))
	switch {
	case errors.Is(err, errIncomplete):
		if !sa.wait.Pending() {
			e.timers.Set(&sa.wait, e.now.Add(e.limits.FragmentTimeout), func() { sa.parts.forget(&e.room) })
		}
		return
	case err != nil:
		f := sa.fact(ike.Refused)
		f.Reason, f.Detail = ike.RefuseFragments, err.Error()
		e.fact(f)
		return
	}
	e.timers.Stop(&sa.wait)
	d.Payload = whole
	h, err = isakmp.ParseHeader(whole)
	switch {
	case err != nil, h.Cookies != sa.cookies, h.NextPayload == isakmp.PayloadFragment:
		e.drop(d, h, ike.DropFragment) // of another ISAKMP SA, or a fragment once more
	case !spokenExchange(h.Exchange):
		e.drop(d, h, ike.DropExchange)
	default:
		sa.receive(d, h)
	}
}

// spokenExchange reports whether an exchange is one of those that there are here.
func spokenExchange(t isakmp.ExchangeType) bool {
	return t == isakmp.ExchangeMain || t == isakmp.ExchangeQuick || t == isakmp.ExchangeInformational
}

// transmit sends a message, in fragments where it is longer than the path may carry and the peer takes them. Those of one message are the same each time.
func (sa *isakmpSA) transmit(local, remote netip.AddrPort, message []byte) {
	pieces := [][]byte{message}
	if sa.can.fragments {
		digest := digestOf(ike.Datagram{Payload: message})
		if cut, err := cut(message, binary.BigEndian.Uint16(digest[:]), sa.roomTo(remote)); err == nil { // what was made can be cut
			pieces = cut
		}
	}
	for _, piece := range pieces {
		sa.engine.send(local, remote, piece)
	}
}

// Octets of a datagram before its IKE message.
const (
	ipv4Header   = 20
	ipv6Header   = 40
	udpHeader    = 8
	nonESPMarker = 4
)

// roomTo is how long an IKE message may be to travel in one piece.
func (sa *isakmpSA) roomTo(remote netip.AddrPort) int {
	size := sa.configuration().FragmentSize
	if size == 0 {
		size = ike.DefaultFragmentSize
	}
	if remote.Addr().Is4() {
		size -= ipv4Header
	} else {
		size -= ipv6Header
	}
	return size - udpHeader - nonESPMarker
}

// configuration is the peer's, or as long as that is not known that of one that it may be: those at one address had better agree on what its path is like.
func (sa *isakmpSA) configuration() *ike.Peer {
	if sa.peer != nil {
		return &sa.peer.cfg
	}
	return &sa.among[0].cfg
}
