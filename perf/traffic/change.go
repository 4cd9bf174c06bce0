package traffic

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"sallyport/ike"
)

// Change is what is done to tunnels that IKE makes.
type Change string

const (
	Add    Change = "add"    // a new Child SA, with an IKE SA where there is none
	Rekey  Change = "rekey"  // new keys, by CREATE_CHILD_SA, or of IKEv1 by a quick mode
	Remove Change = "remove" // a delete
)

// Negotiation is how tunnels came up.
type Negotiation struct {
	Tunnels  int            `json:"tunnels"`
	Up       int            `json:"up"`
	Seconds  float64        `json:"seconds"`
	Failures map[string]int `json:"failures,omitempty"` // tunnels, by why
}

// change is one under way: a list of exchanges with peers, of which so many are made at once.
type change struct {
	kind    Change
	steps   []step
	place   map[Negotiated]int // of steps; of a whole peer with an empty Child
	begun   int
	tunnels int
	open    int // tunnels of steps that have begun and have not ended

	failures map[string]int    // tunnels, by why
	details  map[string]string // of the first of each
	last     time.Time         // something happened
	spared   bool              // of tunnels that are as they should be already
	done     atomic.Int64      // tunnels that nothing is to be done for any more
	quiet    time.Time         // when packets of tunnels that are to be removed have arrived; zero: they are sent
	over     chan struct{}
	closed   bool
}

// step is what one peer is asked to do.
type step struct {
	engine *engine
	event  ike.Event
	left   map[string]bool // children that wait for it
}

// tooMany tunnels that have failed are enough: no more are tried.
const tooMany = 64

// failed counts tunnels.
func (c *change) failed() (n int) {
	for _, tunnels := range c.failures {
		n += tunnels
	}
	return n
}

// underWay is how long packets of a tunnel that is removed have to arrive before.
const underWay = 50 * time.Millisecond

// newChange plans one of tunnels. Of a peer all of whose tunnels come or go the IKE SA does, too.
func (n *negotiator) newChange(kind Change, tunnels []int) *change {
	c := &change{kind: kind, tunnels: len(tunnels), place: map[Negotiated]int{}, failures: map[string]int{}, details: map[string]string{}, over: make(chan struct{})}
	children := map[string]map[string]bool{}
	var order []string
	for _, i := range tunnels {
		name := n.tester.config.Tunnels[i].IKE
		if children[name.Peer] == nil {
			children[name.Peer] = map[string]bool{}
			order = append(order, name.Peer)
		}
		children[name.Peer][name.Child] = true
	}
	for _, peer := range order {
		if kind != Rekey && len(children[peer]) == len(n.members[peer]) {
			c.place[Negotiated{Peer: peer}] = len(c.steps)
			c.steps = append(c.steps, step{n.of[peer], kind.event(peer, ""), children[peer]})
			continue
		}
		for _, child := range slices.Sorted(maps.Keys(children[peer])) {
			c.place[Negotiated{peer, child}] = len(c.steps)
			c.steps = append(c.steps, step{n.of[peer], kind.event(peer, child), map[string]bool{child: true}})
		}
	}
	return c
}

func (c Change) event(peer, child string) ike.Event {
	switch c {
	case Add:
		return ike.Initiate{Peer: peer, Child: child}
	case Rekey:
		return ike.Rekey{Peer: peer, Child: child}
	}
	return ike.Terminate{Peer: peer, Child: child}
}

// begin begins the steps whose turn it is, and says whether there were some.
func (c *change) begin(n *negotiator, now time.Time) (began bool) {
	if c.closed {
		n.current = nil
		return false
	}
	if !c.spared {
		c.spare(n)
	}
	if c.kind == Remove && c.quiet.IsZero() {
		c.quiet = now.Add(underWay)
		for _, s := range c.steps {
			c.want(n, s, false)
		}
	}
	if now.Before(c.quiet) {
		return false
	}
	if c.failed() >= tooMany {
		c.steps = c.steps[:c.begun]
	}
	for c.begun < len(c.steps) && c.open < n.tester.config.AtOnce {
		s := c.steps[c.begun]
		c.begun++
		if len(s.left) == 0 {
			continue
		}
		c.open += len(s.left)
		c.last, began = now, true
		if c.kind == Add {
			c.want(n, s, true)
		}
		n.step(s.engine, s.event)
	}
	if c.open > 0 && n.tester.config.outOfPatience(now.Sub(c.last), n.up.Load()) {
		for i := range c.steps[:c.begun] {
			c.end(&c.steps[i], "", fmt.Sprintf("nothing came of it for %s", n.tester.config.Patience))
		}
	}
	if c.begun == len(c.steps) && c.open == 0 {
		c.closed = true
		close(c.over)
	}
	return began
}

// spare leaves out what is not to be asked for, since no answer would end it: tunnels that are there already, or gone already, and new keys of one that is down.
func (c *change) spare(n *negotiator) {
	c.spared = true
	for _, s := range c.steps {
		for child := range s.left {
			tunnel := n.tunnels[Negotiated{c.peer(s), child}]
			there := n.tester.there[tunnel] != 0
			switch {
			case c.kind == Rekey && !there:
				c.failures[tunnelDown]++
			case c.kind == Add && !there, c.kind == Remove && (there || n.wanted[tunnel]), c.kind == Rekey:
				continue
			}
			delete(s.left, child)
			c.done.Add(1)
		}
	}
}

// tunnelDown is why there are no new keys.
const tunnelDown = "the tunnel is down"

// want has tunnels of a step carry packets as soon as they are there, or none from now on.
func (c *change) want(n *negotiator, s step, on bool) {
	for child := range s.left {
		tunnel := n.tunnels[Negotiated{c.peer(s), child}]
		n.wanted[tunnel] = on
		if !on {
			n.use(tunnel, 0)
		}
	}
}

func (c *change) peer(s step) string {
	switch e := s.event.(type) {
	case ike.Initiate:
		return e.Peer
	case ike.Rekey:
		return e.Peer
	case ike.Terminate:
		return e.Peer
	}
	return ""
}

// hear takes what an engine says has happened.
func (c *change) hear(f ike.Fact) {
	at, whole := c.place[Negotiated{Peer: f.Peer}]
	if !whole {
		var known bool
		if at, known = c.place[Negotiated{f.Peer, f.Child}]; !known && f.Kind != ike.Failed && f.Kind != ike.IKEDeleted {
			return
		}
	}
	switch f.Kind {
	case ike.Failed:
		c.fail(f)
		return
	case ike.IKEDeleted:
		if c.kind == Remove && whole {
			c.end(&c.steps[at], "", "")
		}
		return
	case ike.ChildEstablished:
		if c.kind != Add {
			return
		}
	case ike.ChildRekeyed:
		if c.kind == Remove {
			return
		}
	case ike.ChildDeleted:
		if c.kind != Remove || whole { // a whole peer's are deleted with their IKE SA, when the gateway has said so
			return
		}
	default:
		return
	}
	c.last = f.Time
	c.end(&c.steps[at], f.Child, "")
}

// fail ends what has failed: a child, or with the IKE SA all steps with its peer that have begun.
func (c *change) fail(f ike.Fact) {
	c.last = f.Time
	why := string(f.Reason)
	if _, another := c.details[why]; !another && f.Detail != "" {
		c.details[why] = f.Peer + ": " + f.Detail
	}
	for i := range c.steps[:c.begun] {
		if s := &c.steps[i]; c.peer(*s) == f.Peer {
			c.end(s, f.Child, why)
		}
	}
}

// end ends a child of a step, or with an empty name all of its children; failed says why, or nothing.
func (c *change) end(s *step, child, failed string) {
	for name := range s.left {
		if child != "" && name != child {
			continue
		}
		delete(s.left, name)
		c.done.Add(1)
		c.open--
		if failed != "" {
			c.failures[failed]++
		}
	}
}

// why names what went wrong with how many tunnels, the most frequent first, each with an example.
func (c *change) why() string {
	var parts []string
	for _, reason := range slices.SortedFunc(maps.Keys(c.failures), func(a, b string) int { return cmp.Or(c.failures[b]-c.failures[a], strings.Compare(a, b)) }) {
		part := fmt.Sprintf("%d by %s", c.failures[reason], reason)
		if detail := c.details[reason]; detail != "" {
			part += " (" + detail + ")"
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ", ")
}

// ErrNotChanged says that a target has not carried out a change.
var ErrNotChanged = errors.New("traffic: the target has not carried it out")

// Change adds, rekeys or removes tunnels that IKE makes while a trial runs, and returns when the target has carried it out.
func (t *Tester) Change(ctx context.Context, kind Change, tunnels []int) error {
	if t.ike == nil {
		return errors.New("traffic: expected tunnels that IKE makes, found keys given by hand, which nothing changes")
	}
	c := t.ike.newChange(kind, tunnels)
	if err := t.await(ctx, c); err != nil {
		return err
	}
	if len(c.failures) > 0 {
		return fmt.Errorf("%w: %s of %d tunnels failed: %s", ErrNotChanged, kind, len(tunnels), c.why())
	}
	return nil
}

// await has whoever serves the ports carry out a change.
func (t *Tester) await(ctx context.Context, c *change) error {
	select {
	case t.ike.orders <- c:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-c.over:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
