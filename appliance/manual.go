package appliance

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"time"

	"sallyport/appliance/api"
	"sallyport/appliance/config"
	"sallyport/pipeline"
)

// manualBook has the SAs whose keys an operator gave: what the configuration in
// force wants, and what of that is installed.
//
//	wanted ──install──> up ──adopt without it, or with another of its name──> removed
//	  ^ └─ its SPI is not free yet: down, tried again after manualRetry
//	  └─── the data plane refuses it: down, until a configuration has another
//	up ──its last sequence number is sent──> down, until a configuration has another key
//
// It belongs to the goroutine of the engine.
type manualBook struct {
	plane plane
	cells *cellBook
	log   *slog.Logger
	sas   map[string]*manualSA // by tunnel
	// spent has the last sequence number that may have been sent by a key, by the
	// key's digest: another SA with that key goes on behind it, because in counter
	// modes no number may come twice under one key (RFC 4106 section 3.1).
	spent map[keyDigest]uint64
}

type keyDigest [sha256.Size]byte

// manualRetry is after what time an SPI that was not free is asked for again. An
// SA that was removed keeps it until no worker can be using it.
const manualRetry = 50 * time.Millisecond

type manualSA struct {
	config.ManualTunnel
	cell   *cell // nil while it is down
	sends  keyDigest
	reason error // it is down
	waits  bool  // for its SPI
}

func newManualBook(p plane, cells *cellBook, log *slog.Logger) manualBook {
	return manualBook{plane: p, cells: cells, log: log, sas: map[string]*manualSA{}, spent: map[keyDigest]uint64{}}
}

// adopt makes the SAs those that are wanted. What is the same stays; their cells are claimed.
func (b *manualBook) adopt(wanted []config.ManualTunnel) (failed error) {
	next := make(map[string]config.ManualTunnel, len(wanted))
	for _, t := range wanted {
		next[t.Rule] = t
	}
	for tunnel, sa := range b.sas {
		if is, stays := next[tunnel]; stays && sameManual(sa.ManualTunnel, is) {
			sa.ManualTunnel = is // the keys of the other are about to be wiped
			continue
		}
		failed = errors.Join(failed, b.remove(sa))
		delete(b.sas, tunnel)
	}
	for _, t := range wanted {
		if b.sas[t.Rule] == nil {
			b.sas[t.Rule] = &manualSA{ManualTunnel: t}
			b.bringUp(b.sas[t.Rule])
		}
	}
	return failed
}

func sameManual(a, b config.ManualTunnel) bool {
	return a.SA.Equal(b.SA) && slices.Equal(a.Selectors, b.Selectors)
}

// waiting reports whether an SA waits for its SPI.
func (b *manualBook) waiting() bool {
	for _, sa := range b.sas {
		if sa.waits {
			return true
		}
	}
	return false
}

// retry tries those once more that wait for their SPI.
func (b *manualBook) retry() {
	for _, tunnel := range slices.Sorted(maps.Keys(b.sas)) {
		if sa := b.sas[tunnel]; sa.waits {
			b.bringUp(sa)
		}
	}
}

// bringUp installs an SA, or notes why it is down.
func (b *manualBook) bringUp(sa *manualSA) {
	waited := sa.waits
	sa.reason = b.install(sa)
	sa.waits = errors.Is(sa.reason, pipeline.ErrSPITaken)
	switch {
	case sa.reason == nil:
		b.log.Info("manual SA is up", "sa", sa.SA.Name, "rule", sa.Rule, "spi_in", spiText(sa.SA.SPIIn), "spi_out", spiText(sa.SA.SPIOut), "suite", sa.SA.Suite.String())
	case !sa.waits:
		b.log.Error("manual SA is down: what its rule protects is dropped", "sa", sa.SA.Name, "rule", sa.Rule, "error", sa.reason)
	case !waited: // once is enough
		b.log.Warn("manual SA waits for its SPI, which a former SA still has: what its rule protects is dropped meanwhile", "sa", sa.SA.Name, "rule", sa.Rule, "error", sa.reason)
	}
}

func (b *manualBook) install(sa *manualSA) error {
	c := b.cells.cells[sa.Rule]
	if c == nil {
		return fmt.Errorf("tunnel %q has no cell", sa.Rule)
	}
	outbound, err := b.goesOn(sa, c.id)
	if err != nil {
		return err
	}
	if err := b.reserve(sa.SA); err != nil {
		return err
	}
	if err := b.plane.InstallInbound(sa.child(c.id, true)); err != nil {
		b.release(sa.SA)
		return err
	}
	b.cells.installed(c)
	if err := b.plane.InstallOutbound(outbound); err != nil {
		return errors.Join(err, b.plane.RemoveInbound(sa.SA.SPIIn), b.cells.removed(c))
	}
	b.cells.installed(c)
	sa.cell = c
	return nil
}

// goesOn is the outbound SA, whose numbers follow those that its key has seen.
func (b *manualBook) goesOn(sa *manualSA, cell pipeline.CellID) (pipeline.ChildSA, error) {
	outbound := sa.child(cell, false)
	sa.sends = sha256.Sum256(outbound.Keymat.Bytes())
	outbound.FirstSequence = max(outbound.FirstSequence, b.spent[sa.sends]+1)
	if !outbound.ESN && outbound.FirstSequence > math.MaxUint32 {
		return outbound, errSpent(sa)
	}
	return outbound, nil
}

func errSpent(sa *manualSA) error {
	return fmt.Errorf("key_out of %s has no sequence numbers left: give it another key", sa.SA.Name)
}

// spentBy notes that an outbound SA, if it is a manual one, has sent its last packet (S-080).
func (b *manualBook) spentBy(outbound outboundSA) {
	for _, sa := range b.sas {
		if sa.cell != nil && sa.cell.id == outbound.cell && sa.SA.SPIOut == outbound.spi && sa.reason == nil {
			sa.reason = errSpent(sa)
			b.log.Error("manual SA is spent: what its rule protects is dropped", "sa", sa.SA.Name, "rule", sa.Rule, "error", sa.reason)
		}
	}
}

// reserve takes all inbound SPIs of an SA, or none.
func (b *manualBook) reserve(sa *config.ManualSA) error {
	if err := b.plane.ReserveSPI(sa.SPIIn); err != nil {
		return err
	}
	if sa.AH == nil {
		return nil
	}
	if err := b.plane.ReserveSPI(sa.AH.SPIIn); err != nil {
		b.plane.ReleaseSPI(sa.SPIIn)
		return err
	}
	return nil
}

func (b *manualBook) release(sa *config.ManualSA) {
	b.plane.ReleaseSPI(sa.SPIIn)
	if sa.AH != nil {
		b.plane.ReleaseSPI(sa.AH.SPIIn)
	}
}

// remove takes an SA out of the data plane, which gives its SPIs back in time.
func (b *manualBook) remove(sa *manualSA) error {
	if sa.cell == nil {
		return nil
	}
	last, err := b.plane.RemoveOutbound(sa.cell.id, sa.SA.SPIOut)
	b.spent[sa.sends] = max(b.spent[sa.sends], last)
	return errors.Join(err, b.plane.RemoveInbound(sa.SA.SPIIn), b.cells.removed(sa.cell), b.cells.removed(sa.cell))
}

// child is one direction of an SA as the data plane wants it.
func (sa *manualSA) child(cell pipeline.CellID, inbound bool) pipeline.ChildSA {
	c := pipeline.ChildSA{
		Cell: cell, Protocol: sa.SA.Protocol, Transport: sa.SA.Transport, Suite: sa.SA.Suite, Local: sa.SA.Local, Remote: sa.SA.Remote, UDPEncap: sa.SA.UDP,
		Selectors: sa.Selectors, ReplayWindow: sa.SA.ReplayWindow, ESN: sa.SA.ESN, Encapsulation: encapsulation(sa.SA.Encapsulation), FirstSequence: sa.SA.Sequence,
	}
	c.SPI, c.Keymat = sa.SA.Direction(inbound)
	if sa.SA.AH != nil {
		c.AH = &pipeline.AHLayer{Suite: sa.SA.AH.Suite, ReplayWindow: sa.SA.ReplayWindow, ESN: sa.SA.ESN}
		c.AH.SPI, c.AH.Keymat = sa.SA.AH.Direction(inbound)
	}
	return c
}

// encapsulation is the form of the data plane.
func encapsulation(e config.Encapsulation) pipeline.Encapsulation {
	form := pipeline.Encapsulation{
		ECNOff: !e.ECN, TTL: e.TTL, FragmentAfter: e.FragmentAfter, MSSClamp: e.MSSClamp, TFCPad: e.TFCPad, DummyEvery: e.DummyInterval, NoPathMTU: !e.PathMTU,
	}
	switch e.DF {
	case "set":
		form.DF = pipeline.DFSet
	case "clear":
		form.DF = pipeline.DFClear
	}
	if e.DSCP >= 0 {
		point := uint8(e.DSCP)
		form.DSCP = &point
	}
	return form
}

// states is all manual SAs in the order of their rules.
func (b *manualBook) states() []api.ManualSA {
	list := []api.ManualSA{}
	for _, tunnel := range slices.Sorted(maps.Keys(b.sas)) {
		sa := b.sas[tunnel]
		state := api.ManualSA{Name: sa.SA.Name, Rule: tunnel, State: "up"}
		if sa.reason != nil {
			state.State, state.Why = "down", sa.reason.Error()
		}
		list = append(list, state)
	}
	return list
}

// endedManual adds to a change the manual SAs that end, which begin anew if the
// change has them still, and those that stay.
func endedManual(c *api.Change, before, after []config.ManualTunnel) {
	for _, was := range before {
		i := slices.IndexFunc(after, func(is config.ManualTunnel) bool { return is.Rule == was.Rule })
		switch {
		case i < 0:
			c.Ended = append(c.Ended, api.EndedSA{Peer: was.SA.Name, Child: was.Rule, Why: "no rule in force has it any more"})
		case !sameManual(was, after[i]):
			c.Ended = append(c.Ended, api.EndedSA{Peer: was.SA.Name, Child: was.Rule, Why: "it or its traffic changed, and it is replaced"})
		default:
			c.Kept = append(c.Kept, was.SA.Name+"/"+was.Rule)
		}
	}
}
