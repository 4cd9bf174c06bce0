package pipeline

/*
#include <stdlib.h>
#include <rte_cryptodev.h>
#include "fastpath.h"
*/
import "C"

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"runtime"
	"slices"
	"syscall"
	"unsafe"

	"sallyport/crypto/cryptodev"
	"sallyport/policy"
)

// sad is what Go knows of the SAs: the cold half. The hot half is in DPDK memory, one struct for each SA.
type sad struct {
	spis     *spiAllocator
	inbound  map[uint32]*inboundSA
	outbound map[CellID]*outboundSA
	owned    []int // inbound SAs of each worker
	subjects subjects
	paths    paths
}

// association is what both directions have.
type association struct {
	child   ChildSA // without keys
	subject uint32  // of its drops in the workers' tally
	session *cryptodev.Session
	soft    bool // Handler.Expire was called
	hard    bool
}

type inboundSA struct {
	association
	c     *C.struct_sp_sa_in
	owner int
}

type outboundSA struct {
	association
	c         *C.struct_sp_sa_out
	adjacency uint16
	path      pathMTU
}

func newSAD(spis *spiAllocator, workers int) sad {
	return sad{spis: spis, inbound: map[uint32]*inboundSA{}, outbound: map[CellID]*outboundSA{}, owned: make([]int, workers), subjects: subjects{next: maxFilters}, paths: newPaths()}
}

// adjacencies is the set of next hops that outbound SAs use.
func (s *sad) adjacencies() map[uint16]bool {
	used := map[uint16]bool{}
	for _, sa := range s.outbound {
		used[sa.adjacency] = true
	}
	return used
}

// AllocateSPI reserves an inbound SPI and its slot in the SAD.
func (d *Dataplane) AllocateSPI() (uint32, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.sad.spis.allocate()
}

// ReserveSPI takes an inbound SPI that somebody else has chosen, for a manual SA. Its low bits, as many as Config.MaxSAs
// needs, are its slot in the SAD, which it must have alone.
func (d *Dataplane) ReserveSPI(spi uint32) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.reclaim()
	return d.sad.spis.reserve(spi)
}

// ReleaseSPI gives back an SPI for which no SA was installed; RemoveInbound does so for the others.
func (d *Dataplane) ReleaseSPI(spi uint32) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.sad.inbound[spi] == nil {
		d.sad.spis.release(spi)
	}
}

// InstallInbound makes packets with the SA's SPI acceptable. Its SPI comes from AllocateSPI.
func (d *Dataplane) InstallInbound(child ChildSA) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.checkChild(&child); err != nil {
		return err
	}
	if !d.sad.spis.used[child.SPI] || d.sad.inbound[child.SPI] != nil {
		return fmt.Errorf("pipeline: inbound SA %#08x: its SPI is installed already, or not reserved", child.SPI)
	}
	sa := &inboundSA{association: association{child: child}, owner: d.sad.leastOwner()}
	if err := d.newSession(&sa.association, false); err != nil {
		return err
	}
	err := d.withConfig(&sa.association, false, func(config *C.struct_sp_sa_config, text *C.char) int32 {
		config.owner = C.uint8_t(sa.owner)
		if sa.c = C.sp_sa_in_create(d.c, config, text, errorTextLen); sa.c == nil {
			return -1
		}
		return int32(C.sp_sa_in_publish(d.c, sa.c))
	})
	if err != nil {
		if sa.c != nil {
			C.sp_sa_in_free(sa.c)
		}
		return errors.Join(err, d.endSession(&sa.association))
	}
	d.sad.inbound[child.SPI] = sa
	d.sad.owned[sa.owner]++
	return nil
}

// leastOwner is the worker with the fewest inbound SAs.
func (s *sad) leastOwner() int {
	return slices.Index(s.owned, slices.Min(s.owned))
}

// InstallOutbound makes the SA the one that its cell sends with, and sends what was held for it. A former SA of the cell
// is retired: a rekey is this one call.
func (d *Dataplane) InstallOutbound(child ChildSA) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.checkChild(&child); err != nil {
		return err
	}
	sa := &outboundSA{association: association{child: child}, adjacency: C.SP_NO_ADJACENCY}
	if i, ok := d.nextHopIndex(child.Remote.Addr()); ok {
		sa.adjacency = i
	}
	if err := d.newSession(&sa.association, true); err != nil {
		return err
	}
	err := d.withConfig(&sa.association, true, func(config *C.struct_sp_sa_config, text *C.char) int32 {
		config.adjacency, config.first_sequence = C.uint16_t(sa.adjacency), C.uint64_t(max(child.FirstSequence, 1))
		if sa.c = C.sp_sa_out_create(d.c, config, text, errorTextLen); sa.c == nil {
			return -1
		}
		return 0
	})
	if err != nil {
		return errors.Join(err, d.endSession(&sa.association))
	}
	former := d.sad.outbound[child.Cell]
	d.sad.paths.add(sa, former)
	C.sp_cell_publish(d.c, C.uint16_t(child.Cell), sa.c)
	d.sad.outbound[child.Cell] = sa
	if former == nil || !slices.Equal(former.child.Selectors, child.Selectors) {
		C.sp_generation_bump(d.c) // a memo may say selector_mismatch
	}
	d.retireOutbound(former)
	d.release(d.slow.held.take(child.Cell))
	return nil
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
	C.sp_sa_in_retire(d.c, C.uint32_t(spi))
	delete(d.sad.inbound, spi)
	d.sad.owned[sa.owner]--
	d.retire(func() error {
		C.sp_sa_in_free(sa.c)
		d.sad.spis.release(spi)
		return d.endSession(&sa.association)
	})
}

// RemoveOutbound takes the SA out of its cell, whose state then decides. When a rekey has put another SA there already,
// there is nothing to do.
func (d *Dataplane) RemoveOutbound(cell CellID, spi uint32) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.checkCell(cell); err != nil {
		return err
	}
	d.removeOutbound(cell, spi)
	return nil
}

func (d *Dataplane) removeOutbound(cell CellID, spi uint32) {
	sa := d.sad.outbound[cell]
	if sa == nil || sa.child.SPI != spi {
		return
	}
	C.sp_cell_publish(d.c, C.uint16_t(cell), nil)
	delete(d.sad.outbound, cell)
	d.retireOutbound(sa)
}

func (d *Dataplane) retireOutbound(sa *outboundSA) {
	if sa == nil {
		return
	}
	d.sad.paths.remove(sa)
	d.retire(func() error {
		C.sp_sa_out_free(sa.c)
		return d.endSession(&sa.association)
	})
}

func (d *Dataplane) removeAllSAs() {
	for _, spi := range slices.Collect(maps.Keys(d.sad.inbound)) {
		d.removeInbound(spi)
	}
	for cell, sa := range maps.Clone(d.sad.outbound) {
		d.removeOutbound(cell, sa.child.SPI)
	}
}

func (d *Dataplane) checkChild(child *ChildSA) error {
	if err := d.checkCell(child.Cell); err != nil {
		return err
	}
	name := d.cellName(child.Cell)
	switch {
	case d.cfg.Crypto == nil:
		return fmt.Errorf("pipeline: SA %#08x of %s: the data plane has no crypto devices", child.SPI, name)
	case !child.Local.Addr().Is4() || !child.Remote.Addr().Is4():
		return fmt.Errorf("pipeline: SA %#08x of %s: outer addresses %s and %s: want IPv4", child.SPI, name, child.Local.Addr(), child.Remote.Addr())
	case len(child.Selectors) == 0:
		return fmt.Errorf("pipeline: SA %#08x of %s: no selector", child.SPI, name)
	case slices.ContainsFunc(child.Selectors, func(s policy.Selector) bool {
		return s.Local.Validate() != nil || s.Remote.Validate() != nil || s.Local.Is4() != s.Remote.Is4()
	}):
		return fmt.Errorf("pipeline: SA %#08x of %s: selectors %v: want address ranges, both of one IP version", child.SPI, name, child.Selectors)
	case child.ReplayWindow < 0 || child.ReplayWindow > C.SP_WINDOW_MAX:
		return fmt.Errorf("pipeline: SA %#08x of %s: replay window of %d packets, want up to %d", child.SPI, name, child.ReplayWindow, C.SP_WINDOW_MAX)
	}
	if child.ReplayWindow == 0 {
		child.ReplayWindow = DefaultReplayWindow
	}
	child.ReplayWindow = (child.ReplayWindow + 63) / 64 * 64
	if err := child.Encapsulation.validate(); err != nil {
		return fmt.Errorf("pipeline: SA %#08x of %s: %w", child.SPI, name, err)
	}
	return child.Suite.Validate()
}

// newSession gives an SA what it holds beside its memory: keys in a crypto session, and a number for its drops.
func (d *Dataplane) newSession(sa *association, encrypt bool) (err error) {
	sa.session, err = d.cfg.Crypto.NewSession(sa.child.Suite, sa.child.Keymat, encrypt, cryptodev.WithESN(sa.child.ESN))
	if err != nil {
		return fmt.Errorf("pipeline: SA %#08x of %s: %w", sa.child.SPI, d.cellName(sa.child.Cell), err)
	}
	sa.subject = d.sad.subjects.take()
	return nil
}

// endSession takes back what newSession gave, when no worker can be using the SA.
func (d *Dataplane) endSession(sa *association) error {
	d.sad.subjects.give(sa.subject)
	return d.cfg.Crypto.Free(sa.session)
}

// withConfig lends create the C form of an SA. Afterwards the salt is wiped and the keys are forgotten: they live in the
// session only.
func (d *Dataplane) withConfig(sa *association, outbound bool, create func(*C.struct_sp_sa_config, *C.char) int32) error {
	child := &sa.child
	source, destination := child.Local, child.Remote
	if !outbound {
		source, destination = destination, source
	}
	selectors, selectors6 := selectorsToC(child.Selectors, outbound), selectors6ToC(child.Selectors, outbound)
	var pin runtime.Pinner
	defer pin.Unpin()
	config := C.struct_sp_sa_config{
		session:          sa.session.Handle,
		gcm:              sa.session.GCM,
		selectors:        pinned(&pin, selectors),
		selectors6:       pinned(&pin, selectors6),
		n_selectors:      C.uint32_t(len(selectors)),
		n_selectors6:     C.uint32_t(len(selectors6)),
		spi:              C.uint32_t(child.SPI),
		source:           outerAddress(source.Addr()),
		destination:      outerAddress(destination.Addr()),
		source_port:      C.uint16_t(source.Port()),
		destination_port: C.uint16_t(destination.Port()),
		cell:             C.uint16_t(child.Cell),
		window:           C.uint16_t(child.ReplayWindow),
		kind:             sessionKind(sa.session),
		device:           C.uint8_t(sa.session.Device),
		iv_length:        C.uint8_t(child.Suite.IVLen()),
		icv_length:       C.uint8_t(child.Suite.ICVLen()),
		block:            C.uint8_t(child.Suite.BlockSize()),
		udp:              flag(child.UDPEncap),
		esn:              flag(child.ESN),
		encapsulation:    child.Encapsulation.toC(),
		subject:          C.uint32_t(sa.subject),
	}
	salt := child.Keymat.Bytes()[child.Suite.KeyLen():][:child.Suite.SaltLen()]
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&config.salt_be)), 4), salt)
	text := make([]byte, errorTextLen)
	rc := create(&config, (*C.char)(unsafe.Pointer(&text[0])))
	config.salt_be = 0
	runtime.KeepAlive(&config)
	child.Keymat = ChildSA{}.Keymat
	child.Selectors = slices.Clone(child.Selectors)
	switch {
	case rc == 0:
		return nil
	case text[0] != 0:
		return fmt.Errorf("pipeline: SA %#08x of %s: %s", child.SPI, d.cellName(child.Cell), cString(text))
	}
	return fmt.Errorf("pipeline: SA %#08x of %s: %w", child.SPI, d.cellName(child.Cell), syscall.Errno(-rc))
}

// outerAddress is an address as it stands in a packet.
func outerAddress(a netip.Addr) (out [16]C.uint8_t) {
	for i, octet := range a.AsSlice() {
		out[i] = C.uint8_t(octet)
	}
	return out
}

func sessionKind(s *cryptodev.Session) C.uint8_t {
	switch {
	case s.Direct:
		return C.SP_SA_AEAD_DIRECT
	case s.CPU:
		return C.SP_SA_AEAD_CPU
	case s.Suite.AEAD():
		return C.SP_SA_AEAD_ASYNC
	}
	return C.SP_SA_CBC_ASYNC
}

// selectorsOf are the selectors of one IP version.
func selectorsOf(all []policy.Selector, version int) []policy.Selector {
	return slices.DeleteFunc(slices.Clone(all), func(s policy.Selector) bool { return s.Local.Is4() != (version == 4) })
}

// turned is the selector with the packet's source as the local side, for either direction of an SA.
func turned(s policy.Selector, outbound bool) policy.Selector {
	if !outbound {
		s.Local, s.LocalPort, s.Remote, s.RemotePort = s.Remote, s.RemotePort, s.Local, s.LocalPort
	}
	return s
}

// selectorsToC turns IPv4 selectors into those of the SA's own direction, selectors6ToC those of IPv6.
func selectorsToC(all []policy.Selector, outbound bool) []C.struct_sp_selector {
	var list []C.struct_sp_selector
	for _, s := range selectorsOf(all, 4) {
		s = turned(s, outbound)
		list = append(list, C.struct_sp_selector{
			source_first: ipv4Number(s.Local.First), source_last: ipv4Number(s.Local.Last),
			destination_first: ipv4Number(s.Remote.First), destination_last: ipv4Number(s.Remote.Last),
			source_port_first: C.uint16_t(s.LocalPort.First), source_port_last: C.uint16_t(s.LocalPort.Last),
			destination_port_first: C.uint16_t(s.RemotePort.First), destination_port_last: C.uint16_t(s.RemotePort.Last),
			protocol: C.uint8_t(s.Protocol),
		})
	}
	return list
}

func selectors6ToC(all []policy.Selector, outbound bool) []C.struct_sp_selector6 {
	var list []C.struct_sp_selector6
	for _, s := range selectorsOf(all, 6) {
		s = turned(s, outbound)
		list = append(list, C.struct_sp_selector6{
			source_first: ipv6Halves(s.Local.First), source_last: ipv6Halves(s.Local.Last),
			destination_first: ipv6Halves(s.Remote.First), destination_last: ipv6Halves(s.Remote.Last),
			source_port_first: C.uint16_t(s.LocalPort.First), source_port_last: C.uint16_t(s.LocalPort.Last),
			destination_port_first: C.uint16_t(s.RemotePort.First), destination_port_last: C.uint16_t(s.RemotePort.Last),
			protocol: C.uint8_t(s.Protocol),
		})
	}
	return list
}

func ipv6Halves(a netip.Addr) [2]C.uint64_t {
	b := a.As16()
	return [2]C.uint64_t{C.uint64_t(binary.BigEndian.Uint64(b[:8])), C.uint64_t(binary.BigEndian.Uint64(b[8:]))}
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

// routeSAs points the outbound SAs at their next hops anew, after the routes have changed.
func (d *Dataplane) routeSAs() {
	for _, sa := range d.sad.outbound {
		i, ok := d.nextHopIndex(sa.child.Remote.Addr())
		if !ok {
			i = C.SP_NO_ADJACENCY
		}
		if i != sa.adjacency {
			d.sad.paths.forget(sa) // another path
		}
		sa.adjacency = i
		C.sp_sa_out_set_adjacency(sa.c, C.uint16_t(i))
	}
}

// queueDevices lists the crypto devices that workers use by enqueue and dequeue: all but those that do nothing but AEAD
// in the worker's own thread, and libIPSec_MB, which is no device.
func (cfg *Config) queueDevices() []uint8 {
	if cfg.Crypto == nil {
		return nil
	}
	var ids []uint8
	for _, device := range cfg.Crypto.Describe() {
		if device.Direct {
			continue
		}
		queued := false
		for _, suite := range device.Suites {
			queued = queued || !device.CPU || !suite.AEAD()
		}
		name := C.CString(device.Name)
		id := C.rte_cryptodev_get_dev_id(name)
		C.free(unsafe.Pointer(name))
		if queued && id >= 0 && len(ids) < C.SP_MAX_CRYPTO_DEVICES {
			ids = append(ids, uint8(id))
		}
	}
	return ids
}

func flag(on bool) C.uint8_t {
	if on {
		return 1
	}
	return 0
}

// errno turns the negative result of a C call into an error.
func errno(rc C.int) error { return syscall.Errno(-rc) }
