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
// no more than a look.
type Calls struct{ silent map[netip.Addr][]*Call }

// Begin takes note of a call.
func (c *Calls) Begin(call *Call, to netip.Addr, now time.Time) {
	if c.silent == nil {
		c.silent = map[netip.Addr][]*Call{}
	}
	*call = Call{Began: now, to: to, silent: true}
	c.silent[to] = append(c.silent[to], call)
}

// Heard takes note of a datagram, whatever is in it.
func (c *Calls) Heard(from netip.Addr) {
	for _, call := range c.silent[from] {
		call.silent = false
	}
	delete(c.silent, from)
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
}
