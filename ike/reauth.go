package ike

import (
	"time"

	"sallyport/ike/wire"
)

// Reauthentication, make before break (RFC 7296 2.8.3): a new IKE SA is negotiated from the start beside the present one, as if there were none. When
// both ends have proved who they are once more it takes over (heir.go), and the present one is deleted. If that fails the present one stays,
// another try follows, and when the time is over it ends: who cannot prove who he is any more has had his time.
//
// Each end may begin it. The one that answered IKE_AUTH tells the other how much time it gives (AUTH_LIFETIME, RFC 4478), and begins
// itself when that has passed.

// How long before the end of an AUTH_LIFETIME we begin, as a share of it, and the least of them that a peer can make us keep to.
const (
	authLifetimeMargin = 0.1
	authLifetimeLeast  = 10 * time.Second
)

// DefaultReauth is how often a peer with a certificate has to prove anew who it is: the certificate may have been revoked.
const DefaultReauth = 24 * time.Hour

// limitAuthentication says how long an authentication is good for. The one that began the IKE SA is early, the other in time, so that they do not
// meet.
func (sa *ikeSA) limitAuthentication() {
	e, nominal, since := sa.engine, sa.peer.cfg.ReauthTime, sa.authentication.established
	own := lifetime{established: since}
	if nominal > 0 {
		own = e.lifetimeFrom(since, nominal)
		if sa.origin.role == RoleResponder {
			own.rekeyAt = later(own.rekeyAt, since.Add(nominal))
		}
	}
	if given := sa.given; !given.rekeyAt.IsZero() && (nominal <= 0 || given.rekeyAt.Before(own.rekeyAt)) {
		own.rekeyAt, own.ends = given.rekeyAt, given.ends
	}
	sa.authentication = own
	sa.watchAuthentication()
}

// watchAuthentication sets the timer, for a new IKE SA or another time.
func (sa *ikeSA) watchAuthentication() {
	e := sa.engine
	e.timers.Stop(&sa.reauth)
	if !sa.authentication.rekeyAt.IsZero() {
		e.timers.Set(&sa.reauth, sa.authentication.rekeyAt, sa.reauthDue)
	}
}

// reauthDue has both ends authenticated anew, or lets the IKE SA end when nobody uses it.
func (sa *ikeSA) reauthDue() {
	sa.engine.timers.Set(&sa.reauth, sa.authentication.ends, func() { sa.terminate(DeletedExpired) })
	if sa.state == stateEstablished && len(sa.children) == 0 && !sa.peer.alwaysUp() {
		sa.terminate(DeletedIdle)
		return
	}
	sa.reauthWanted = true
	sa.peer.touch()
}

// heedLifetime takes what the peer says about how long an authentication is good for (RFC 4478 3). Only the one that began the IKE SA is told, and can
// do something about it.
func (sa *ikeSA) heedLifetime(m *message) {
	n := m.notify(wire.NotifyAuthLifetime)
	if n == nil || sa.origin.role != RoleInitiator {
		return
	}
	seconds, err := n.Seconds()
	if err != nil {
		return // a status that says nothing
	}
	e := sa.engine
	given := max(time.Duration(seconds)*time.Second, authLifetimeLeast)
	early := time.Duration(authLifetimeMargin * float64(given))
	sa.given = lifetime{rekeyAt: e.now.Add(e.jitter(given-early, rekeyJitter)), ends: e.now.Add(given + early)}
	sa.limitAuthentication()
}

// addLifetime tells the initiator how long this authentication is good for.
func (sa *ikeSA) addLifetime(m *message) {
	if nominal := sa.peer.cfg.ReauthTime; nominal > 0 {
		m.add(wire.AuthLifetime(uint32(nominal / time.Second)))
	}
}

// reauth is the operator's wish, whatever failed before.
func (p *peer) reauth() {
	if sa := p.carrier(); sa != nil {
		sa.reauthWanted = true
		p.engine.timers.Stop(&p.retry)
		p.touch()
	}
}

// startOver replaces the IKE SA by one from the start, with a peer that makes no Child SA or IKE SA on it, whatever it is asked for: such a peer cannot
// rekey (RFC 7296 1.3 and 4), and without another IKE SA the tunnel would end with its keys. One on which there never was a Child SA is no better than
// the next would be.
func (sa *ikeSA) startOver(reason Reason, failures int) {
	if reason == FailNoAdditionalSAs && failures >= startOverAfter && sa.made > 0 {
		sa.reauthWanted = true
		sa.peer.touch()
	}
}

// startOverAfter is how many refusals in a row it takes: a peer may be full for a moment.
const startOverAfter = 2

// reauthenticate begins what reauthDue or an operator has asked for, one IKE SA at a time.
func (p *peer) reauthenticate() {
	if p.retry.Pending() || p.busy() {
		return
	}
	for _, sa := range p.sas {
		if sa.reauthWanted && sa.usable() {
			p.starts++
			newInitiator(p)
			return
		}
	}
}

// announceLifetime is AUTH_LIFETIME outside IKE_AUTH, after the time has changed.
type announceLifetime struct{}

func (announceLifetime) build(m *message) error {
	if m.sa.state != stateEstablished || m.sa.peer.cfg.ReauthTime <= 0 {
		return errNothingToDo
	}
	m.sa.addLifetime(m)
	return nil
}
func (announceLifetime) process(*message) error { return nil }
func (announceLifetime) abandon()               {}
