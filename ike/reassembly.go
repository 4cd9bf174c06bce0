package ike

import (
	"errors"
	"fmt"
	"slices"

	"sallyport/ike/internal/deadline"
	"sallyport/ike/wire"
)

// reassembly holds the fragments of one message (RFC 7383 2.6). Each has proved to be the peer's before it is kept, so that nobody else can fill it or
// keep the right ones out.
type reassembly struct {
	header  wire.Header // of the first to arrive
	total   uint16
	pieces  [][]byte // decrypted, that of number n at n-1
	missing int
	octets  int

	first   wire.PayloadType // fragment number 1 says so
	clear   []byte           // what stands before its body
	digest  digest           // of the datagram with fragment number 1
	longest int              // of the datagrams, in octets
	expiry  deadline.Timer
}

// errIncomplete is not an error: the datagram is a fragment, and others are still to come.
var errIncomplete = errors.New("message is not complete yet")

// reassemblies has the two messages that can be on their way in an IKE SA: the window is one each way.
type reassemblies struct{ request, response *reassembly }

func (r *reassemblies) of(response bool) **reassembly {
	if response {
		return &r.response
	}
	return &r.request
}

// collect takes a fragment, and gives the whole message when it was the last one missing.
func (sa *ikeSA) collect(d Datagram, outer *wire.Message, f *wire.Fragment) (*message, error) {
	if !sa.fragmentation {
		return nil, &unauthenticated{DropFragment, errors.New("fragment, and fragmentation was not agreed on")}
	}
	slot := sa.tasks.parts.of(outer.Response())
	if *slot != nil && (*slot).header.MessageID != outer.MessageID {
		sa.forget(slot)
	}
	if err := (*slot).accepts(outer.Header, f); err != nil {
		return nil, &unauthenticated{DropFragment, err}
	}
	piece, err := sa.keys.in.Open(f.AAD, f.Body)
	if err != nil {
		return nil, &unauthenticated{DropIntegrity, err}
	}
	if *slot != nil && f.Total > (*slot).total {
		sa.forget(slot) // the peer has begun anew with shorter ones
	}
	kept := len(piece)
	if f.Number == 1 {
		kept += len(f.AAD)
	}
	if err := sa.mayQueue(*slot, kept); err != nil {
		return nil, err
	}
	if *slot == nil {
		sa.beginReassembly(slot, outer.Header, f.Total)
	}
	r := *slot
	r.put(d, f, piece)
	r.octets += kept
	sa.engine.queued += kept
	sa.engine.most.fragments = max(sa.engine.most.fragments, sa.engine.queued)
	if r.missing > 0 {
		return nil, errIncomplete
	}
	sa.forget(slot)
	return r.whole(sa, d), nil
}

// accepts applies the rules of RFC 7383 2.6 that cost nothing to check. Nothing may be kept yet.
func (r *reassembly) accepts(h wire.Header, f *wire.Fragment) error {
	switch {
	case r == nil || f.Total > r.total:
		return nil
	case f.Total < r.total:
		return fmt.Errorf("fragment %d of %d, expected one of %d", f.Number, f.Total, r.total)
	case h.Exchange != r.header.Exchange:
		return fmt.Errorf("fragment of %v, expected one of %v", h.Exchange, r.header.Exchange)
	case r.pieces[f.Number-1] != nil:
		return fmt.Errorf("fragment %d of %d is there already", f.Number, f.Total)
	}
	return nil
}

// mayQueue applies our limits. Half of what there is in all is for IKE SAs whose peer has proved who it is.
func (sa *ikeSA) mayQueue(r *reassembly, octets int) error {
	e, all := sa.engine, sa.engine.limits.FragmentOctetsAll
	if sa.state == stateHalfOpen {
		all /= 2
	}
	own := octets
	if r != nil {
		own += r.octets
	}
	if own <= e.limits.FragmentOctets && e.queued+octets <= all {
		return nil
	}
	f := sa.fact(Refused)
	f.Reason, f.Detail = RefuseFragments, fmt.Sprintf("%d octets of fragments wait for others of their message, %d in all", own, e.queued+octets)
	e.fact(f)
	return errIncomplete
}

func (sa *ikeSA) beginReassembly(slot **reassembly, h wire.Header, total uint16) {
	r := &reassembly{header: h, total: total, pieces: make([][]byte, total), missing: int(total)}
	*slot = r
	e := sa.engine
	e.timers.Set(&r.expiry, e.now.Add(e.limits.FragmentTimeout), func() { sa.forget(slot) })
}

func (r *reassembly) put(d Datagram, f *wire.Fragment, piece []byte) {
	r.pieces[f.Number-1] = piece
	r.missing--
	r.longest = max(r.longest, len(d.Payload))
	if f.Number == 1 {
		r.first, r.clear, r.digest = f.FirstPayload, slices.Clone(f.AAD), digestOf(d)
	}
}

// whole is the message that the fragments make.
func (r *reassembly) whole(sa *ikeSA, d Datagram) *message {
	m := &message{sa: sa, local: d.Local, remote: d.Remote, digest: r.digest, first: r.first, clear: r.clear, plain: slices.Concat(r.pieces...)}
	m.Header = r.header
	if r.total > 1 {
		m.longest = r.longest
	}
	return m
}

// forget drops what is there of a message.
func (sa *ikeSA) forget(slot **reassembly) {
	if r := *slot; r != nil {
		sa.engine.queued -= r.octets
		sa.engine.timers.Stop(&r.expiry)
		*slot = nil
	}
}

// isFragmentAgain reports whether a datagram is a fragment of the request that was answered last, and is its first one, proven to come from the
// peer: on that one alone the response is sent again, whole (RFC 7383 2.6.1). The peer may have cut its request otherwise this time.
func (sa *ikeSA) isFragmentAgain(d Datagram) (fragment, first bool) {
	outer, err := wire.Parse(d.Payload)
	if err != nil || !sa.fragmentation || outer.CheckOuter() != nil {
		return false, false
	}
	f := wire.Find[*wire.Fragment](outer.Payloads)
	if f == nil || f.Number != 1 {
		return f != nil, false
	}
	_, err = sa.tasks.lastResponse.keys.in.Open(f.AAD, f.Body) // those that the request came under
	return true, err == nil
}
