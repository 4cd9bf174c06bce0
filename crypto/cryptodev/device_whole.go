package cryptodev

import (
	"fmt"
	"slices"

	"sallyport/crypto"
)

// A device may do all of ESP, not its crypto alone (rte_security, lookaside protocol): outer header, number, padding and ICV, and inbound the replay window.

// openSecurity asks devices what they can do of ESP, those that may be used by queue pairs, and takes memory for their sessions.
func (p *Pool) openSecurity(socket int) error {
	for _, dev := range p.devices {
		if p.classes != nil && !slices.Contains(p.classes, dev.queued()) {
			continue
		}
		security := securityOf(dev.id)
		if security == nil {
			continue
		}
		if err := security.Reserve(p.capacity, socket); err != nil {
			return fmt.Errorf("%s: %w", dev.name, err)
		}
		dev.security = security
	}
	return nil
}

func (d *device) createWhole(s *Session, sa *ESP, keymat crypto.Secret) error {
	d.retry(retries)
	c, refusal := d.security.Find(LookasideProtocol, sa)
	if c == nil {
		return fmt.Errorf("%s", refusal)
	}
	handle, err := d.security.Create(c, sa, keymat)
	if err != nil {
		return err
	}
	s.Device, s.Handle, s.Whole, s.device = d.id, handle, true, d
	d.live.Add(1)
	return nil
}

// freeWhole takes a session back. What the device keeps nevertheless it is asked for again, and the place is nobody else's.
func (d *device) freeWhole(s *Session) error {
	d.retry(retries)
	if err := d.security.Destroy(s.Handle); err != nil {
		kept := *s
		d.stuck = append(d.stuck, &kept)
		return nil
	}
	d.live.Add(-1)
	return nil
}

// retries of sessions that a device did not take back, whenever others come and go: it may have come to its senses.
const retries = 4

func (d *device) retry(most int) {
	again := d.stuck[:min(most, len(d.stuck))]
	d.stuck = d.stuck[len(again):]
	for _, session := range again {
		if d.security.Destroy(session.Handle) != nil {
			d.stuck = append(d.stuck, session)
		} else {
			d.live.Add(-1)
		}
	}
}

// closeSecurity gives memory back, but that of sessions which the device never did: it may still know the place. Their keys are gone.
func (d *device) closeSecurity() {
	if d.security == nil {
		return
	}
	d.retry(len(d.stuck))
	for _, session := range d.stuck {
		d.security.Forget(session.Handle)
	}
	if len(d.stuck) == 0 {
		d.security.Close()
	}
	d.security = nil
}
