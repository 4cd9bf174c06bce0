package pipeline

/*
#include "fastpath.h"
*/
import "C"

import (
	"encoding/binary"
	"fmt"
)

// adjacencyTable gives each neighbour an index into the data plane's adjacencies. A memo of a flow, and an SA, holds such
// an index, so it keeps its meaning until nothing can refer to it any more.
type adjacencyTable struct {
	index map[neighbourKey]uint16
	keys  []neighbourKey // by index
	free  []uint16
	// shares are the ports', as those of neighbours. An index that is no neighbour's any more counts until it is free: whose neighbours come and go
	// faster than grace periods pass uses up none but its own port's.
	shares portShares
}

// left is how many neighbours can still be added.
func (t *adjacencyTable) left(limit int) int { return len(t.free) + limit - len(t.keys) }

func (t *adjacencyTable) add(key neighbourKey) uint16 {
	i := uint16(len(t.keys))
	if n := len(t.free); n > 0 {
		i, t.free = t.free[n-1], t.free[:n-1]
		t.keys[i] = key
	} else {
		t.keys = append(t.keys, key)
	}
	t.index[key] = i
	t.shares.take(key.Port)
	return i
}

// give makes an index free that nothing refers to any more.
func (t *adjacencyTable) give(i uint16) {
	t.free = append(t.free, i)
	t.shares.give(t.keys[i].Port, 1)
}

// adjacency is the index of a neighbour, unresolved if it is new.
func (d *Dataplane) adjacency(key neighbourKey) (uint16, error) {
	t := &d.slow.adjacencies
	if i, ok := t.index[key]; ok {
		return i, nil
	}
	if !t.shares.room(key.Port) {
		d.reclaimAdjacencies()
	}
	if !t.shares.room(key.Port) {
		return 0, fmt.Errorf("pipeline: neighbour %s on port %s: its share of %d adjacencies is in use", key.Address, d.cfg.Ports[key.Port].Name, d.cfg.MaxAdjacencies)
	}
	i := t.add(key)
	rc := C.sp_adjacency_set(d.c, C.uint16_t(i), d.cPort(key.Port), nil)
	if rc == 0 {
		rc = d.addNeighbour(key, i)
	}
	if rc != 0 {
		delete(t.index, key)
		t.give(i)
		return 0, fmt.Errorf("pipeline: neighbour %s on port %s: %w", key.Address, d.cfg.Ports[key.Port].Name, errno(rc))
	}
	return i, nil
}

// addNeighbour tells workers the index of a neighbour, removeNeighbour that it has none.
func (d *Dataplane) addNeighbour(key neighbourKey, index uint16) C.int {
	if key.Address.Is4() {
		return C.sp_neighbour_add(d.c, d.cPort(key.Port), ipv4Number(key.Address), C.uint16_t(index))
	}
	address := ipv6Bytes(key.Address)
	return C.sp_neighbour_add6(d.c, d.cPort(key.Port), &address[0], C.uint16_t(index))
}

func (d *Dataplane) removeNeighbour(key neighbourKey) {
	if key.Address.Is4() {
		C.sp_neighbour_remove(d.c, d.cPort(key.Port), ipv4Number(key.Address))
		return
	}
	address := ipv6Bytes(key.Address)
	C.sp_neighbour_remove6(d.c, d.cPort(key.Port), &address[0])
}

// reclaimAdjacencies frees the indices of neighbours that nobody knows any more and no SA uses. Flows may hold a memo of
// them, and a worker may be acting on one: the memos end with a new generation and the acts with a grace period, after
// which the indices are free. Nobody waits for that: a packet that needs one before is dropped.
func (d *Dataplane) reclaimAdjacencies() {
	t := &d.slow.adjacencies
	used := d.sad.adjacencies()
	var indices []uint16
	for key, i := range t.index {
		if _, known := d.slow.neighbours.table[key]; known || used[i] {
			continue
		}
		d.removeNeighbour(key)
		indices = append(indices, i)
		delete(t.index, key)
	}
	if len(indices) == 0 {
		return
	}
	C.sp_generation_bump(d.c)
	d.retire(func() error {
		for _, i := range indices {
			t.give(i)
		}
		return nil
	})
}

// setAdjacency publishes a neighbour's address, or withdraws it when mac is nil.
func (d *Dataplane) setAdjacency(key neighbourKey, mac *macAddress) error {
	i, err := d.adjacency(key)
	if err != nil {
		return err
	}
	var l2 *C.uint8_t
	if mac != nil {
		var header [etherHeaderLen]byte
		copy(header[:], mac[:])
		copy(header[6:], d.cfg.Ports[key.Port].MAC)
		etherType := uint16(etherTypeIPv4)
		if key.Address.Is6() {
			etherType = etherTypeIPv6
		}
		binary.BigEndian.PutUint16(header[12:], etherType)
		l2 = (*C.uint8_t)(&header[0])
	}
	if rc := C.sp_adjacency_set(d.c, C.uint16_t(i), d.cPort(key.Port), l2); rc != 0 {
		return fmt.Errorf("pipeline: adjacency of %s: %w", key.Address, errno(rc))
	}
	return nil
}

// cPort is the workers' id of a port.
func (d *Dataplane) cPort(index int) C.uint16_t { return d.portIDs[index] }
