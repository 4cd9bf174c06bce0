package pipeline

/*
#include "fastpath.h"
*/
import "C"

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"syscall"
	"time"
	"unsafe"

	"sallyport/crypto"
	"sallyport/crypto/cryptodev"
)

// sad is what Go knows of the SAs: the cold half. The hot half is in DPDK memory, one struct for each SA.
type sad struct {
	spis     *spiAllocator
	inbound  map[uint32]*inboundSA
	around   map[uint32]*inboundSA // by the SPI of the AH of inbound bundles
	outbound map[outboundPlace]*outboundSA
	owned    []int // inbound SAs of each worker
	inUDP    int   // inbound SAs of ESP in UDP
	subjects subjects
	paths    paths
	dummies  dummies
	moving   []relocation         // SAs whose work has moved, until their former halves are free
	places   map[CellID][2]Place  // inbound and outbound: where operators want the work done
	leaving  []*leaving           // sessions that may have packets in transmit queues still
	lost     []event              // to tell of SAs that have to be others, and of devices that are gone
	shunned  map[CellID]time.Time // until then inbound SAs have no session of inline protocol
}

// association is what both directions have.
type association struct {
	child   ChildSA       // without keys
	subject uint32        // of its drops in the workers' tally
	key     crypto.Secret // of ESP by itself, for a session elsewhere; wiped when the SA is gone
	session *cryptodev.Session
	ah      *cryptodev.Session // of the AH around the ESP of a bundle
	soft    bool               // Handler.Expire was called
	inline  inlineSession      // of a port, beside session
	moving  bool               // or its next sessions are being opened
	again   bool               // somebody wanted it elsewhere meanwhile
	gone    bool               // out of the tables
	toward  int                // place in Config.Ports of the port that led to the peer when that was last looked at, noPort for none
}

type inboundSA struct {
	association
	stays  bool  // where an operator wanted it before he left it to the order
	before Place // where it was before it went to a NIC
	comes  bool  // its NIC is being asked for the session that workers know of already
	c      *C.struct_sp_sa_in
	outer  *C.struct_sp_sa_in // the AH SA of a bundle
	owner  int
}

type outboundSA struct {
	association
	c         *C.struct_sp_sa_out
	adjacency uint16
	peer      netip.Addr // of child.Remote before it moved: in transport mode packets have it still
	path      pathMTU
	dummy     dummyTurn
}

func newSAD(spis *spiAllocator, cfg *Config) sad {
	return sad{spis: spis, inbound: map[uint32]*inboundSA{}, around: map[uint32]*inboundSA{}, outbound: map[outboundPlace]*outboundSA{}, owned: make([]int, cfg.Workers), subjects: subjects{next: cfg.counters()}, paths: newPaths(), dummies: newDummies(), places: map[CellID][2]Place{}, shunned: map[CellID]time.Time{}}
}

// outboundPlace is where an outbound SA is found: by the worker that alone sends by it, counted from 1, or by all others of the
// cell.
type outboundPlace struct {
	cell   CellID
	worker int
}

// outboundOf lists the outbound SAs of a cell.
func (s *sad) outboundOf(cell CellID) (list []*outboundSA) {
	for worker := range len(s.owned) + 1 {
		if sa := s.outbound[outboundPlace{cell, worker}]; sa != nil {
			list = append(list, sa)
		}
	}
	return list
}

// outboundSPI is the outbound SA of a cell with this SPI, nil for none.
func (s *sad) outboundSPI(cell CellID, spi uint32) *outboundSA {
	for _, sa := range s.outboundOf(cell) {
		if sa.child.SPI == spi {
			return sa
		}
	}
	return nil
}

// sends reports whether a worker has an SA for what belongs to a cell.
func (s *sad) sends(cell CellID, worker int) bool {
	return s.outbound[outboundPlace{cell, 0}] != nil || s.outbound[outboundPlace{cell, worker + 1}] != nil
}

// find is an installed SA, nil for none.
func (s *sad) find(cell CellID, spi uint32, outbound bool) *association {
	if outbound {
		if sa := s.outboundSPI(cell, spi); sa != nil {
			return &sa.association
		}
		return nil
	}
	if sa := s.inbound[spi]; sa != nil && sa.child.Cell == cell {
		return &sa.association
	}
	return nil
}

// adjacencies is the set of next hops that outbound SAs use.
func (s *sad) adjacencies() map[uint16]bool {
	used := map[uint16]bool{}
	for _, sa := range s.outbound {
		used[sa.adjacency] = true
	}
	return used
}

// AllocateSPI reserves an inbound SPI and its slot in the SAD. Packets that come with it wait from now on, for a time, for
// InstallInbound.
func (d *Dataplane) AllocateSPI() (uint32, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.c == nil {
		return 0, errClosed
	}
	spi, err := d.sad.spis.allocate()
	if err != nil {
		return 0, err
	}
	C.sp_early_expect(d.c, C.uint32_t(spi))
	return spi, nil
}

// ReserveSPI takes an inbound SPI that somebody else has chosen, for a manual SA. Its low bits, as many as Config.MaxSAs
// needs, are its slot in the SAD, which it must have alone.
func (d *Dataplane) ReserveSPI(spi uint32) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.c == nil {
		return errClosed
	}
	d.reclaim()
	if err := d.sad.spis.reserve(spi); err != nil {
		return err
	}
	C.sp_early_expect(d.c, C.uint32_t(spi))
	return nil
}

// ReleaseSPI gives back an SPI for which no SA was installed, and drops what waited for that; RemoveInbound does so for the
// others.
func (d *Dataplane) ReleaseSPI(spi uint32) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.c == nil || d.sad.having(spi) != nil {
		return
	}
	C.sp_early_forget(d.c, C.uint32_t(spi))
	d.dropEarly(spi, d.slow.early.take(spi), dropNoInboundSA)
	d.sad.spis.release(spi)
}

// having is the inbound SA that has the SPI, its AH included; nil for none.
func (s *sad) having(spi uint32) *inboundSA {
	if sa := s.inbound[spi]; sa != nil {
		return sa
	}
	return s.around[spi]
}

// InstallInbound makes packets with the SA's SPI acceptable, also those that came before. Its SPI comes from AllocateSPI.
func (d *Dataplane) InstallInbound(child ChildSA) error {
	d.alive.RLock()
	defer d.alive.RUnlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.checkChild(&child); err != nil {
		return err
	}
	if err := d.sad.awaits(&child); err != nil {
		return err
	}
	sa, wish := &inboundSA{association: association{child: child}}, d.sad.placeOf(child.Cell, false)
	if err := d.newSessions(&sa.association, false); err != nil {
		return err
	}
	if err := d.sad.awaits(&child); err != nil {
		sa.freeSessions(d, nil)
		return err
	}
	spis := child.spis()
	if sa.owner = d.sad.leastOwner(); child.Worker > 0 {
		sa.owner = child.Worker - 1
	}
	if err := d.withConfig(&sa.association, false, func(config *C.struct_sp_sa_config, text *C.char) int32 { return d.createInbound(sa, config, text) }); err != nil {
		sa.discard(d, nil)
		return err
	}
	d.endSoftOf(child.Cell)
	d.sad.inbound[child.SPI] = sa
	if child.AH != nil {
		d.sad.around[child.AH.SPI] = sa
	}
	d.sad.owned[sa.owner]++
	d.publishUDP(&child, 1)
	if err := d.publishTransit(&child); err != nil {
		d.removeInbound(child.SPI)
		return err
	}
	for _, spi := range spis {
		d.passEarly(spi, sa.owner, d.slow.early.take(spi))
	}
	if d.lookAgain(sa, nil); d.sad.placeOf(child.Cell, false) != wish {
		d.sendInbound(sa)
	}
	return nil
}

// awaits refuses an inbound SA whose SPIs are not there for it.
func (s *sad) awaits(child *ChildSA) error {
	for _, spi := range child.spis() {
		if !s.spis.used[spi] || s.having(spi) != nil {
			return fmt.Errorf("pipeline: inbound SA %#08x: its SPI is installed already, or not reserved", spi)
		}
	}
	return nil
}

// publishTransit tells the workers between which addresses ESP and AH is the gateway's although it is for a host behind it,
// after an SA has come or gone.
func (d *Dataplane) publishTransit(changed *ChildSA) error {
	if !changed.Transport {
		return nil
	}
	var pairs []C.struct_sp_pair
	for _, sa := range d.sad.inbound {
		if sa.child.Transport {
			pairs = append(pairs, pairToC(sa.child.Remote.Addr(), sa.child.Local.Addr()))
		}
	}
	if rc := C.sp_transit_set(d.c, unsafe.SliceData(pairs), C.uint32_t(len(pairs))); rc != 0 {
		return fmt.Errorf("pipeline: addresses of SAs in transport mode: %w", errno(rc))
	}
	C.sp_generation_bump(d.c)
	return nil
}

// publishUDP tells the workers whether ESP in UDP is the gateway's, after so many SAs have come.
func (d *Dataplane) publishUDP(changed *ChildSA, come int) {
	if !changed.UDPEncap {
		return
	}
	before := d.sad.inUDP > 0
	d.sad.inUDP += come
	if after := d.sad.inUDP > 0; after != before {
		C.sp_esp_in_udp(d.c, C.int(flag(after)))
		C.sp_generation_bump(d.c)
	}
}

// createInbound makes the SA, or the two of a bundle, and publishes what is inside before what leads to it.
func (d *Dataplane) createInbound(sa *inboundSA, config *C.struct_sp_sa_config, text *C.char) int32 {
	config.owner = C.uint8_t(sa.owner)
	if sa.c = C.sp_sa_in_create(d.c, config, text, errorTextLen); sa.c == nil {
		return -1
	}
	if config.ah != nil {
		config.ah.owner = config.owner
		if sa.outer = C.sp_sa_in_create(d.c, config.ah, text, errorTextLen); sa.outer == nil {
			return -1
		}
	}
	rc := C.sp_sa_in_publish(d.c, sa.c)
	if rc == 0 && sa.outer != nil {
		if rc = C.sp_sa_in_publish(d.c, sa.outer); rc != 0 {
			C.sp_sa_in_retire(d.c, C.uint32_t(sa.child.SPI))
			C.sp_synchronise(d.c)
		}
	}
	return int32(rc)
}

// leastOwner is the worker with the fewest inbound SAs.
func (s *sad) leastOwner() int {
	return slices.Index(s.owned, slices.Min(s.owned))
}

// InstallOutbound makes the SA the one that its cell sends with, and sends what was held for it. A former SA of the cell
// is retired: a rekey is this one call. With ChildSA.Worker the SA is that worker's alone: it takes nobody else's place.
func (d *Dataplane) InstallOutbound(child ChildSA) error {
	d.alive.RLock()
	defer d.alive.RUnlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.checkChild(&child); err != nil {
		return err
	}
	sa, wish := &outboundSA{association: association{child: child}, adjacency: C.SP_NO_ADJACENCY, peer: child.Remote.Addr()}, d.sad.placeOf(child.Cell, true)
	if err := d.newSessions(&sa.association, true); err != nil {
		return err
	}
	if i, ok := d.nextHopIndex(child.Remote.Addr()); ok {
		sa.adjacency = i
	}
	c, err := d.createOutbound(&sa.association, sa.adjacency)
	if err != nil {
		sa.freeSessions(d, nil)
		return err
	}
	sa.c = c
	place := outboundPlace{child.Cell, child.Worker}
	former := d.sad.outbound[place]
	d.sad.paths.add(sa, former)
	d.publishOutbound(place, sa.c)
	d.endSoftOf(child.Cell)
	d.sad.outbound[place] = sa
	d.sad.dummies.add(sa)
	if former == nil || !slices.Equal(former.child.Selectors, child.Selectors) {
		C.sp_generation_bump(d.c) // a memo may say selector_mismatch
	}
	_ = d.meet(child.Remote.Addr()) // without room it goes on as a stranger's
	d.retireOutbound(former)
	d.release(d.slow.held.take(child.Cell))
	if d.lookAgain(nil, sa); d.sad.placeOf(child.Cell, true) != wish {
		d.sendOutbound(sa)
	}
	return nil
}

// createOutbound makes an SA of its sessions, which nobody sends by yet.
func (d *Dataplane) createOutbound(sa *association, adjacency uint16) (c *C.struct_sp_sa_out, err error) {
	err = d.withConfig(sa, true, func(config *C.struct_sp_sa_config, text *C.char) int32 {
		config.owner = C.SP_ANY_WORKER
		if sa.child.Worker > 0 {
			config.owner = C.uint8_t(sa.child.Worker - 1)
		}
		config.adjacency, config.first_sequence = C.uint16_t(adjacency), C.uint64_t(max(sa.child.FirstSequence, 1))
		if c = C.sp_sa_out_create(d.c, config, text, errorTextLen); c == nil {
			return -1
		}
		return 0
	})
	return c, err
}

// RemoveInbound makes packets with the SPI unacceptable and gives the SPI back once no worker can be using the SA.
func (d *Dataplane) RemoveInbound(spi uint32) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.c == nil {
		return errClosed
	}
	if d.sad.inbound[spi] == nil {
		return fmt.Errorf("pipeline: no inbound SA %#08x to remove", spi)
	}
	d.removeInbound(spi)
	return nil
}

func (d *Dataplane) removeInbound(spi uint32) {
	sa := d.sad.inbound[spi]
	spis := sa.child.spis()
	for _, spi := range spis {
		C.sp_early_forget(d.c, C.uint32_t(spi))
		C.sp_sa_in_retire(d.c, C.uint32_t(spi))
	}
	delete(d.sad.inbound, spi)
	if sa.child.AH != nil {
		delete(d.sad.around, sa.child.AH.SPI)
	}
	d.publishUDP(&sa.child, -1)
	// with no memory for the change the pair stays: its packets find no SA and are dropped
	_ = d.publishTransit(&sa.child)
	d.sad.owned[sa.owner]--
	sa.gone = true
	former := d.endMove(sa, nil)
	d.retire(func() error {
		sa.discard(d, func() { // a NIC has forgotten the SPI by then
			for _, spi := range spis {
				d.sad.spis.release(spi)
			}
		})
		former()
		return nil
	})
}

// RemoveOutbound takes the SA out of its cell, whose state then decides. When a rekey has put another SA there already,
// there is nothing to do. No packet of the SA has a sequence number above last, nor will those have that workers still
// have in hand: an SA with the same keys may go on behind it.
func (d *Dataplane) RemoveOutbound(cell CellID, spi uint32) (last uint64, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.checkCell(cell); err != nil {
		return 0, err
	}
	return d.removeOutbound(cell, spi), nil
}

// inHand is more than the sequence numbers that workers can reserve of an SA between its leaving the cell and their next
// burst, which does not know it any more.
const inHand = 1 << 16

func (d *Dataplane) removeOutbound(cell CellID, spi uint32) (last uint64) {
	sa := d.sad.outboundSPI(cell, spi)
	if sa == nil {
		return 0
	}
	place := outboundPlace{cell, sa.child.Worker}
	d.publishOutbound(place, nil)
	delete(d.sad.outbound, place)
	var c C.struct_sp_sa_counters
	C.sp_sa_out_counters(sa.c, &c)
	d.retireOutbound(sa)
	return uint64(c.sequence) + inHand
}

func (d *Dataplane) publishOutbound(place outboundPlace, sa *C.struct_sp_sa_out) {
	if place.worker == 0 {
		C.sp_cell_publish(d.c, C.uint16_t(place.cell), sa)
	} else {
		C.sp_cell_publish_own(d.c, C.uint16_t(place.cell), C.uint32_t(place.worker-1), sa)
	}
}

func (d *Dataplane) retireOutbound(sa *outboundSA) {
	if sa == nil {
		return
	}
	d.sad.paths.remove(sa)
	d.sad.dummies.remove(sa)
	d.part(sa.child.Remote.Addr())
	sa.gone = true
	former := d.endMove(nil, sa)
	d.retire(func() error {
		d.leave(&sa.association, sa.c)
		C.sp_sa_out_free(sa.c)
		sa.freeSessions(d, nil)
		former()
		return nil
	})
}

func (d *Dataplane) removeAllSAs() {
	for _, spi := range slices.Collect(maps.Keys(d.sad.inbound)) {
		d.removeInbound(spi)
	}
	for place, sa := range maps.Clone(d.sad.outbound) {
		d.removeOutbound(place.cell, sa.child.SPI)
	}
}

// nextHopIndex is the adjacency on the way to an address.
func (d *Dataplane) nextHopIndex(address netip.Addr) (uint16, bool) {
	key, ok := nextHop(d.policy.routes, address)
	if !ok {
		return 0, false
	}
	i, err := d.adjacency(key)
	return i, err == nil
}

func (d *Dataplane) routeSA(sa *outboundSA) {
	i, ok := d.nextHopIndex(sa.child.Remote.Addr())
	if !ok {
		i = C.SP_NO_ADJACENCY
	}
	if i != sa.adjacency {
		d.sad.paths.forget(sa) // another path
	}
	sa.adjacency = i
	C.sp_sa_out_set_adjacency(sa.c, C.uint16_t(i))
	d.rerouteOutbound(sa)
}

func flag(on bool) C.uint8_t {
	if on {
		return 1
	}
	return 0
}

// errno turns the negative result of a C call into an error.
func errno(rc C.int) error { return syscall.Errno(-rc) }
