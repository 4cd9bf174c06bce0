package ikev1

import (
	"time"

	"sallyport/ike"
	"sallyport/ike/isakmp"
)

// The commit bit (RFC 2408 3.1) has an initiator send nothing by a pair of SAs until the responder has said CONNECTED.
//
// As responder we gain nothing by it: our inbound half is there before message 2 leaves. So we never ask for it, many peers would pass it over or take
// message 4 for a mistake; an initiator that sets it, in message 1 or 3, is told, by the message 4 that Windows, racoon and others know. As initiator we wait
// for CONNECTED, in whichever of its forms it comes:
//
//	message 4 of the quick mode                                   as deployed
//	an informational exchange under the ID of the quick mode      RFC 2408 3.1
//	an informational exchange under an ID of its own, by its SPI  of whoever gives every one of them a new one
//	a packet by the pair: the responder uses it
//
// No HASH covers the header, so that anybody on the path can set the bit, and there are responders that set it and say nothing: after RekeyGrace the
// pair is used all the same. Message 3 is sent again until then, and after it when the responder asks again.

// awaitConnected is what becomes of a pair whose responder has set the commit bit.
func (t *quickInitiator) awaitConnected() {
	e := t.sa.engine
	until := e.now.Add(e.limits.RekeyGrace)
	var look func()
	look = func() {
		used := e.cfg.LastInbound != nil && !e.cfg.LastInbound(t.made.spiIn).IsZero()
		if used || !e.now.Before(until) {
			t.finish()
			return
		}
		e.timers.Set(&t.linger, e.now.Add(min(time.Second, until.Sub(e.now))), look)
	}
	look()
}

// awaits reports whether the pair is there and CONNECTED is not.
func (t *quickInitiator) awaits() bool { return t.made != nil && t.slot.negotiating == t }

// connected takes message 4.
func (t *quickInitiator) connected(m *message) error {
	if err := m.carries(t.sa.keys.hash1(t.x.id, m.chain.Rest())); err != nil {
		return err
	}
	t.x.accept(m)
	if isakmp.FindNotify(m.Payloads, isakmp.NotifyConnected) == nil {
		return failf(ike.FailPeer, "%v", isakmp.Find[*isakmp.Notify](m.Payloads).Type)
	}
	t.finish()
	return nil
}

// openInformational reads an informational exchange. One under the ID of a quick mode whose CONNECTED is due goes on with the IV chain of that, or begins
// it anew, for the RFCs do not say which.
func (sa *isakmpSA) openInformational(d ike.Datagram, h isakmp.Header) (*message, error) {
	x := sa.quick[h.MessageID]
	if x == nil {
		return sa.openPhase2(d, h)
	}
	if t, ok := x.task.(*quickInitiator); !ok || !t.awaits() {
		return sa.openPhase2(d, h)
	}
	m, err := sa.openWith(d, h, x.iv)
	if err != nil {
		m, err = sa.openWith(d, h, sa.phase2IV(h.MessageID))
	}
	return m, err
}

// said finds the quick mode that a CONNECTED is about: that of the SPI in it, of either end, and without one the only one that waits.
func (sa *isakmpSA) said(n *isakmp.Notify) *quickInitiator {
	var waiting []*quickInitiator
	for _, x := range sa.exchanges() {
		if t, ok := x.task.(*quickInitiator); ok && t.awaits() {
			waiting = append(waiting, t)
		}
	}
	if _, spi, err := n.SASPI(); err == nil && spi != 0 {
		for _, t := range waiting {
			if t.made.spiIn == spi || t.made.spiOut == spi {
				return t
			}
		}
		return nil
	}
	if len(waiting) == 1 {
		return waiting[0]
	}
	return nil
}

// confirm tells an initiator that set the commit bit that the pair may be used. Message 4 is sent again whenever message 3 comes again.
func (t *quickResponder) confirm() error {
	c := t.made
	err := t.x.send(false, func(rest []byte) []byte { return t.sa.keys.hash1(t.x.id, rest) }, isakmp.Connected(isakmp.ProtocolID(c.protocol), c.spiIn))
	t.sa.engine.timers.Set(&t.linger, t.sa.engine.now.Add(lingering), func() { delete(t.sa.quick, t.x.id) })
	return err
}
