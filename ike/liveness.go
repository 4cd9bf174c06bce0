package ike

import (
	"time"

	"sallyport/ike/wire"
)

// liveness is a request without content: any response proves that the peer still has the IKE SA (RFC 7296 2.4). Behind a NAT it also asks whether that
// shows us at another address now (RFC 4555 3.8).
type liveness struct{}

func (*liveness) build(m *message) error {
	if m.sa.watchesMapping() {
		m.addNATDetection()
	}
	return nil
}

func (*liveness) process(m *message) error {
	if sa := m.sa; sa.watchesMapping() && sa.noteMapping(m) {
		sa.announce()
	}
	return nil
}

func (*liveness) abandon() {}

// watchLiveness checks on the peer whenever it has been silent for its DPDDelay, ESP included.
func (sa *ikeSA) watchLiveness() {
	delay := sa.peer.cfg.DPDDelay
	if delay < 0 {
		return
	}
	e := sa.engine
	for _, c := range sa.children {
		c.checkSilence()
	}
	due := sa.lastSign().Add(delay)
	if !due.After(e.now) {
		sa.probe()
		due = e.now.Add(delay)
	}
	e.timers.Set(&sa.watch, due, sa.watchLiveness)
}

// checkSilence rekeys a Child SA that packets leave by and none come by: the peer may have lost it, with the IKE SA in good health, and the packets go into
// a hole. The rekey shows it (RFC 7296 2.25, CHILD_SA_NOT_FOUND). Traffic that goes one way only looks the same, and is rekeyed without need: each time
// after twice the silence, until something comes.
func (c *childSA) checkSilence() {
	e, s := c.engine(), c.slot
	in, out := e.cfg.LastInbound, e.cfg.LastOutbound
	if in == nil || out == nil || c.state != childActive || s.outbound != c {
		return
	}
	if !in(c.spiIn).IsZero() {
		s.silences = 0
	}
	heard, patience := later(in(c.spiIn), c.established), e.limits.Silence<<min(s.silences, maxSilences)
	if sent := out(c.spiIn); e.now.Sub(heard) < patience || !sent.After(heard) || e.now.Sub(sent) > silenceFresh {
		return
	}
	s.silences++
	f := c.fact(Silent)
	f.Detail = "packets leave by it and none came for " + e.now.Sub(heard).Round(time.Second).String()
	e.fact(f)
	c.rekey()
}

// silenceFresh is how long ago the last packet may have left: a flow that has ended needs no answer.
const silenceFresh = 30 * time.Second

// maxSilences bounds the doubling: with the default limit at more than three days.
const maxSilences = 10

// lastSign is when the peer last proved to be alive.
func (sa *ikeSA) lastSign() time.Time {
	last := sa.lastHeard
	if heard := sa.engine.cfg.LastInbound; heard != nil && !sa.watchesMapping() { // whose IKE messages are what the NAT is asked about
		for _, c := range sa.children {
			if t := heard(c.spiIn); t.After(last) {
				last = t
			}
		}
	}
	return last
}

// probe begins a liveness check unless a request is on its way, whose response says the same.
func (sa *ikeSA) probe() {
	if sa.state == stateEstablished && sa.tasks.active == nil {
		sa.tasks.enqueue(wire.ExchangeInformational, &liveness{})
	}
}

// hintPause is the least time between two liveness checks on an IKE SA at a stranger's word.
const hintPause = 10 * time.Second

// hint takes an unprotected notification that claims to know better whether an SA exists. It proves nothing, and causes no more than a
// liveness check now and then (RFC 7296 2.4); when that goes unanswered too, a negotiation beside what there is.
func (sa *ikeSA) hint(m *wire.Message) {
	e := sa.engine
	unknown := wire.FindNotify(m.Payloads, wire.NotifyInvalidIKESPI) != nil
	if !unknown && wire.FindNotify(m.Payloads, wire.NotifyInvalidSPI) == nil {
		return
	}
	if x := sa.tasks.active; unknown && x != nil && x.tries >= suspectTries && sa.state == stateEstablished && !sa.unseen {
		sa.becomeSuspect()
		return
	}
	if !sa.lastHint.IsZero() && e.now.Sub(sa.lastHint) < hintPause || !e.replies.Take(e.now) {
		f := sa.fact(Refused)
		f.Reason = RefuseRate
		e.fact(f)
		return
	}
	sa.lastHint = e.now
	sa.probe()
}

// suspectTries is how often a request has been sent in vain before a stranger's word counts for more than a liveness check.
const suspectTries = 3

// becomeSuspect begins another IKE SA with a peer that seems to have started anew. Retransmission goes on; nothing ends until the peer has
// authenticated itself on the new one, or has not answered on this one to the last.
func (sa *ikeSA) becomeSuspect() {
	if sa.suspect {
		return
	}
	sa.suspect = true
	for _, c := range sa.children {
		c.slot.wanted = true
	}
	sa.peer.touch()
}

// hint takes an unprotected notification that names no IKE SA of ours, only perhaps the Child SA that a packet of ours came with (RFC 7296 1.5).
func (p *peer) hint(m *wire.Message) {
	n := wire.FindNotify(m.Payloads, wire.NotifyInvalidSPI)
	if n == nil || len(n.Data) != 4 {
		return
	}
	for _, s := range p.slots {
		for _, c := range s.children {
			if string(spi4(c.spiOut)) == string(n.Data) {
				c.ike.hint(m)
				return
			}
		}
	}
}
