package appliance

import (
	"errors"
	"fmt"
	"maps"
	"time"

	"sallyport/pipeline"
)

// cellBook knows the cell of every tunnel: whether the policy in force names
// it, what is installed in it, and what happens to its traffic while nothing is.
//
//	claim ──> claimed ──adopt──> in force ──adopt of another──> leaving ──last SA gone──> closed
//	             └──release───────────────────────────────────────────────────────────────^
//
// It belongs to the goroutine of the engine.
type cellBook struct {
	plane plane
	cells map[string]*cell // by tunnel
	down  map[string]bool  // peers that the operator took down

	// Of thousands of tunnels, those of one peer and those that are paused, for each SA that comes up asks for them.
	ofPeer map[string][]*cell
	paused map[*cell]bool
}

type cell struct {
	tunnel  string
	id      pipeline.CellID
	inForce bool
	claims  int // changes under way that will name it
	sas     int // installed, of both directions
	state   pipeline.CellState

	peer        string    // that IKE negotiates it with; empty: none, traffic is dropped
	down        bool      // by the operator
	failedUntil time.Time // end of the pause after a failed negotiation (S-024)
}

func newCellBook(p plane) cellBook {
	return cellBook{plane: p, cells: map[string]*cell{}, down: map[string]bool{}, ofPeer: map[string][]*cell{}, paused: map[*cell]bool{}}
}

// claim gives every tunnel a cell, and keeps those that it has, until release.
func (b *cellBook) claim(tunnels []string) (map[string]pipeline.CellID, error) {
	ids := make(map[string]pipeline.CellID, len(tunnels))
	for i, tunnel := range tunnels {
		c := b.cells[tunnel]
		if c == nil {
			id, err := b.plane.OpenCell(tunnel)
			if err != nil {
				return nil, errors.Join(err, b.release(tunnels[:i]))
			}
			c = &cell{tunnel: tunnel, id: id, state: pipeline.CellClosed}
			b.cells[tunnel] = c
		}
		c.claims++
		ids[tunnel] = c.id
	}
	return ids, nil
}

// release ends a claim; cells that nothing else needs are closed.
func (b *cellBook) release(tunnels []string) (failed error) {
	for _, tunnel := range tunnels {
		b.cells[tunnel].claims--
		failed = errors.Join(failed, b.sweep(tunnel))
	}
	return failed
}

// adopt makes the tunnels those in force; all are claimed. Peers names the peer
// that IKE negotiates each with, and until says when that may be tried again where
// it was paused. A tunnel that leaves drops what it held, and so does a new one at
// a peer that is down.
func (b *cellBook) adopt(now time.Time, tunnels []string, peers map[string]string, until func(peer, tunnel string) time.Time) (failed error) {
	wanted := make(map[string]bool, len(tunnels))
	for _, tunnel := range tunnels {
		wanted[tunnel] = true
	}
	known := map[string]bool{}
	for _, peer := range peers {
		known[peer] = true
	}
	maps.DeleteFunc(b.down, func(peer string, _ bool) bool { return !known[peer] })
	clear(b.ofPeer)
	for tunnel, c := range b.cells {
		c.inForce = wanted[tunnel]
		peer := peers[tunnel]
		if !c.inForce {
			peer = ""
		}
		if c.peer != peer {
			c.peer, c.down = peer, b.down[peer]
			b.hold(c, time.Time{})
		}
		if peer != "" {
			b.ofPeer[peer] = append(b.ofPeer[peer], c)
		}
		if !c.failedUntil.IsZero() {
			b.hold(c, until(peer, tunnel))
		}
		failed = errors.Join(failed, b.settle(now, c))
	}
	return failed
}

// orphan drops the traffic of a tunnel whose peer has gone.
func (b *cellBook) orphan(now time.Time, tunnel string) error {
	c := b.cells[tunnel]
	delete(b.down, c.peer)
	delete(b.ofPeer, c.peer)
	c.peer, c.down = "", false
	b.hold(c, time.Time{})
	return b.settle(now, c)
}

// settle tells the data plane what happens to the cell's traffic from now on.
func (b *cellBook) settle(now time.Time, c *cell) error {
	state := pipeline.CellHold
	switch {
	case c.peer == "" || c.down:
		state = pipeline.CellClosed
	case now.Before(c.failedUntil):
		state = pipeline.CellFailed
	}
	if state == c.state {
		return nil
	}
	if err := b.plane.SetCellState(c.id, state); err != nil {
		return err
	}
	c.state = state
	return nil
}

// sweep closes a cell that nothing needs any more.
func (b *cellBook) sweep(tunnel string) error {
	c := b.cells[tunnel]
	if c == nil || c.inForce || c.claims > 0 || c.sas > 0 {
		return nil
	}
	delete(b.cells, tunnel)
	if err := b.plane.CloseCell(c.id); err != nil {
		return fmt.Errorf("closing the cell of %s: %w", tunnel, err)
	}
	return nil
}

// sweepAll closes every cell that nothing needs any more.
func (b *cellBook) sweepAll() (failed error) {
	for tunnel := range b.cells {
		failed = errors.Join(failed, b.sweep(tunnel))
	}
	return failed
}

// installed and removed keep count of a cell's SAs.
func (b *cellBook) installed(c *cell) { c.sas++ }

func (b *cellBook) removed(c *cell) error {
	c.sas--
	return b.sweep(c.tunnel)
}

// pause makes traffic of a peer's tunnels drop until a negotiation may be tried
// again; until is zero where it may be now.
func (b *cellBook) pause(now time.Time, peer string, until func(peer, tunnel string) time.Time) (failed error) {
	for _, c := range b.ofPeer[peer] {
		b.hold(c, until(peer, c.tunnel))
		failed = errors.Join(failed, b.settle(now, c))
	}
	return failed
}

// hold notes until when a cell is paused, the zero time if it is not.
func (b *cellBook) hold(c *cell, until time.Time) {
	c.failedUntil = until
	if until.IsZero() {
		delete(b.paused, c)
	} else {
		b.paused[c] = true
	}
}

// resume ends the pauses that are over and says when the next one is; the zero
// time if there is none.
func (b *cellBook) resume(now time.Time) (next time.Time, failed error) {
	for c := range b.paused {
		if !now.Before(c.failedUntil) {
			b.hold(c, time.Time{})
			failed = errors.Join(failed, b.settle(now, c))
		} else if next.IsZero() || c.failedUntil.Before(next) {
			next = c.failedUntil
		}
	}
	return next, failed
}

// closedOf is which tunnels of a peer an operator has closed.
func (b *cellBook) closedOf(peer string) map[string]bool {
	closed := map[string]bool{}
	for _, c := range b.ofPeer[peer] {
		closed[c.tunnel] = c.down
	}
	return closed
}

// order opens or closes the cells of a peer, or the one that is named, as an operator wants.
func (b *cellBook) order(now time.Time, peer, tunnel string, down bool) (failed error) {
	if !down || tunnel == "" {
		b.down[peer] = down // IKE begins again with all of a peer, whichever tunnel is wanted
	}
	for _, c := range b.ofPeer[peer] {
		if tunnel == "" || tunnel == c.tunnel {
			c.down = down
			b.hold(c, time.Time{})
			failed = errors.Join(failed, b.settle(now, c))
		}
	}
	return failed
}
