package pipeline

/*
#include "fastpath.h"
*/
import "C"

import (
	"errors"
	"fmt"
)

// cellTable names the cells. A cell that was closed goes to another tunnel once no worker can mean the former one, the
// longest closed first.
type cellTable struct {
	cells  []cell
	byName map[string]CellID
	free   []CellID
}

type cell struct {
	name  string
	open  bool
	state CellState
}

// ErrNoCell says that every cell is a tunnel's, or was one's and is not free yet.
var ErrNoCell = errors.New("all cells are in use")

// OpenCell gives a tunnel its place in the data plane, in state CellClosed. The same name gives the same cell.
func (d *Dataplane) OpenCell(name string) (CellID, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.c == nil {
		return 0, errClosed
	}
	t := &d.cells
	if id, ok := t.byName[name]; ok {
		return id, nil
	}
	d.reclaim()
	id := CellID(len(t.cells))
	switch {
	case len(t.cells) < d.cfg.MaxCells:
		t.cells = append(t.cells, cell{})
	case len(t.free) > 0:
		id, t.free = t.free[0], t.free[1:]
		C.sp_cell_reuse(d.c, C.uint16_t(id))
	default:
		return 0, fmt.Errorf("pipeline: tunnel %q: %w, %d of them", name, ErrNoCell, d.cfg.MaxCells)
	}
	t.cells[id] = cell{name: name, open: true}
	t.byName[name] = id
	return id, nil
}

// CloseCell ends a tunnel: what waited for it is dropped, and after a grace period its cell may become another tunnel's. No
// SA may be left in it and no filter may lead to it any more.
func (d *Dataplane) CloseCell(id CellID) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.checkCell(id); err != nil {
		return err
	}
	c := &d.cells.cells[id]
	switch {
	case d.policy.cells[id]:
		return fmt.Errorf("pipeline: tunnel %q: filters of policy %q lead to it: publish a policy without it first", c.name, d.policy.spd.Policy)
	case d.prepared != nil && d.prepared.next.cells[id]:
		return fmt.Errorf("pipeline: tunnel %q: filters of the prepared policy %q lead to it", c.name, d.prepared.next.spd.Policy)
	case len(d.sad.outboundOf(id)) > 0:
		return fmt.Errorf("pipeline: tunnel %q has outbound SA %#08x: remove it first", c.name, d.sad.outboundOf(id)[0].child.SPI)
	}
	for spi, sa := range d.sad.inbound {
		if sa.child.Cell == id {
			return fmt.Errorf("pipeline: tunnel %q has inbound SA %#08x: remove it first", c.name, spi)
		}
	}
	d.setCellState(id, CellClosed)
	delete(d.cells.byName, c.name)
	delete(d.sad.places, id)
	delete(d.sad.shunned, id)
	*c = cell{}
	d.retire(func() error {
		d.cells.free = append(d.cells.free, id)
		return nil
	})
	return nil
}

// SetCellState says what happens to the cell's traffic while it has no outbound SA. Only CellHold keeps what was held.
func (d *Dataplane) SetCellState(id CellID, state CellState) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.checkCell(id); err != nil {
		return err
	}
	d.setCellState(id, state)
	return nil
}

func (d *Dataplane) setCellState(id CellID, state CellState) {
	changed := d.cells.cells[id].state != state
	d.cells.cells[id].state = state
	C.sp_cell_set_state(d.c, C.uint16_t(id), C.uint8_t(state)) // same order as enum sp_cell_state
	if changed && d.soft.cells[id] > 0 {
		C.sp_generation_bump(d.c) // what passes in clear only while the cell waits for an SA
	}
	switch state {
	case CellClosed:
		d.discard(d.slow.held.take(id), dropCellClosed)
	case CellFailed:
		d.discard(d.slow.held.take(id), dropNegotiationFailed)
	}
}

func (d *Dataplane) checkCell(id CellID) error {
	if d.c == nil {
		return errClosed
	}
	if int(id) >= len(d.cells.cells) || !d.cells.cells[id].open {
		return fmt.Errorf("pipeline: cell %d is not open: call OpenCell first", id)
	}
	return nil
}

// cellName is the tunnel's name, empty for a cell that is nobody's.
func (d *Dataplane) cellName(id CellID) string {
	if int(id) < len(d.cells.cells) {
		return d.cells.cells[id].name
	}
	return ""
}
