package pipeline

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"sallyport/policy"
)

// SoftSA lets the traffic of one filter between two addresses pass in clear (S-046).
type SoftSA struct {
	Entry, Mirror uint32 // policy.Entry.ID of the outbound (Protect) and of the inbound (Require) entry
	Local, Remote netip.Addr
}

// SoftCounters is a soft SA and what passed in clear by it.
type SoftCounters struct {
	SoftSA
	Out, In FilterHits
}

// DefaultMaxSoft is how many soft SAs there can be where a Config does not say.
const DefaultMaxSoft = 4096

// ErrSoftFull says that there are as many soft SAs as there can be.
var ErrSoftFull = errors.New("pipeline: no room for more soft SAs")

// softTable is the soft SAs there are, which the workers' table will follow. It is guarded by Dataplane.mu.
type softTable struct {
	limit int
	sas   map[SoftSA]*softSA
}

type softSA struct {
	SoftSA
	cell CellID
}

func newSoftTable(limit int) softTable { return softTable{limit: limit, sas: map[SoftSA]*softSA{}} }

// AddSoft lets traffic pass in clear: all of them or, with an error, none. Those that are there already stay as they are.
func (d *Dataplane) AddSoft(sas []SoftSA) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.c == nil {
		return errClosed
	}
	var fresh []*softSA
	for _, s := range sas {
		cell, err := d.admitSoft(s)
		if err != nil {
			return err
		}
		if d.soft.sas[s] == nil && !slices.ContainsFunc(fresh, func(f *softSA) bool { return f.SoftSA == s }) {
			fresh = append(fresh, &softSA{SoftSA: s, cell: cell})
		}
	}
	if len(d.soft.sas)+len(fresh) > d.soft.limit {
		return fmt.Errorf("%w: %d of at most %d, and %d more", ErrSoftFull, len(d.soft.sas), d.soft.limit, len(fresh))
	}
	for _, s := range fresh {
		d.soft.sas[s.SoftSA] = s
	}
	return nil
}

// admitSoft checks a soft SA against the policy in force, and finds its cell.
func (d *Dataplane) admitSoft(s SoftSA) (CellID, error) {
	out, in := d.entry(s.Entry), d.entry(s.Mirror)
	switch {
	case out == nil || out.Verdict != policy.VerdictProtect || !out.Fallback:
		return 0, fmt.Errorf("pipeline: soft SA of filter %d: want one of the policy in force that protects and has fallback", s.Entry)
	case in == nil || in.Verdict != policy.VerdictRequire || !in.Fallback || in.Tunnel != out.Tunnel:
		return 0, fmt.Errorf("pipeline: soft SA of filter %d: filter %d is not its mirror image", s.Entry, s.Mirror)
	case !out.Source.Contains(s.Local) || !out.Destination.Contains(s.Remote) || !in.Source.Contains(s.Remote) || !in.Destination.Contains(s.Local):
		return 0, fmt.Errorf("pipeline: soft SA between %s and %s: filter %q does not hold these addresses", s.Local, s.Remote, out.FilterName)
	}
	id, ok := d.cells.byName[out.Tunnel]
	if !ok {
		return 0, fmt.Errorf("pipeline: soft SA of tunnel %q, which is closed", out.Tunnel)
	}
	return id, nil
}

// entry is a filter of the policy in force, nil if it has no such one.
func (d *Dataplane) entry(id uint32) *policy.Entry {
	s, known := d.filters.byID[id]
	if !known || !s.active {
		return nil
	}
	return d.policy.bySlot[s.slot].entry
}

// RemoveSoft ends soft SAs at once. Unknown ones are ignored.
func (d *Dataplane) RemoveSoft(sas []SoftSA) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range sas {
		delete(d.soft.sas, s)
	}
}

// SoftCounters lists the soft SAs, in no order.
func (d *Dataplane) SoftCounters() []SoftCounters {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := make([]SoftCounters, 0, len(d.soft.sas))
	for s := range d.soft.sas {
		all = append(all, SoftCounters{SoftSA: s})
	}
	return all
}
