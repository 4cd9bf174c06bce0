// Package silence tells whether anything at all has come from an address since somebody there was called.
package silence

import (
	"net/netip"
	"slices"
	"time"
)

// Call is a negotiation that we have begun. Of the zero value nothing is asked: it is not silent.
type Call struct {
	Began  time.Time
	to     netip.Addr
	silent bool
}

// Silent reports whether nothing has come from who is called.
func (c *Call) Silent() bool { return c.silent }

// Calls are those to which nothing has come. The first datagram from an address ends the silence of all that go there, so that a flood from there costs
// no more than a look. An answer may come when its call is over: whoever is called again then is known to be there, only slow, and that call is not silent.
type Calls struct {
	silent map[netip.Addr][]*Call
	late   map[netip.Addr]time.Time // whose call ended in silence: when something came after all, the zero time if nothing has
}

// recent is how long who was late counts as slow: longer than any pause between two calls, and shorter than nobody speaks in clear to whom something has come from.
const recent = 2 * time.Minute

// mostLate bounds the addresses that are kept; who is called is a peer of the configuration.
const mostLate = 1 << 17

// Begin takes note of a call.
func (c *Calls) Begin(call *Call, to netip.Addr, now time.Time) {
	if c.silent == nil {
		c.silent, c.late = map[netip.Addr][]*Call{}, map[netip.Addr]time.Time{}
	}
	came := c.late[to]
	delete(c.late, to)
	*call = Call{Began: now, to: to, silent: came.IsZero() || now.Sub(came) >= recent}
	if call.silent {
		c.silent[to] = append(c.silent[to], call)
	}
}

// Heard takes note of a datagram, whatever is in it.
func (c *Calls) Heard(from netip.Addr, now time.Time) {
	for _, call := range c.silent[from] {
		call.silent = false
	}
	delete(c.silent, from)
	if _, waited := c.late[from]; waited {
		c.late[from] = now
	}
}

// End forgets a call that is over.
func (c *Calls) End(call *Call) {
	if !call.silent {
		return
	}
	call.silent = false
	if c.silent[call.to] = slices.DeleteFunc(c.silent[call.to], func(other *Call) bool { return other == call }); len(c.silent[call.to]) == 0 {
		delete(c.silent, call.to)
	}
	if len(c.late) < mostLate {
		c.late[call.to] = time.Time{}
	}
}
