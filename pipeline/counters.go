package pipeline

/*
#include "fastpath.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"sallyport/crypto"
	"sallyport/crypto/cryptodev"
	"sallyport/policy"
)

// slowDrop is why Go dropped a packet that a worker had handed over to wait. The reasons of the workers are C's own.
type slowDrop uint8

const (
	dropNeighbourSilent   slowDrop = iota // no answer to ARP or to a solicitation
	dropNeighbourFull                     // no room to wait for a neighbour
	dropHoldFull                          // no room to wait for an SA
	dropHoldTimeout                       // waited too long for an SA
	dropCellClosed                        // the tunnel was closed meanwhile
	dropNegotiationFailed                 // IKE gave up meanwhile (S-024)
	dropReleaseFull                       // no room in the ring back to the worker
	dropEarlyTimeout                      // came before its SA, and waited too long for it
	dropNoInboundSA                       // came before its SA, which does not come about
	slowDropCount
)

var slowDropNames = [slowDropCount]string{
	"neighbour_silent", "neighbour_full", "hold_full", "hold_timeout", "tunnel_closed", "blocked_negotiation_failed", "release_full",
	"early_timeout", "no_inbound_sa",
}

// dropNames are the names of the workers' drop reasons, in C's order.
var dropNames = sync.OnceValue(func() []string {
	var names []string
	for i := C.uint32_t(0); ; i++ {
		name := C.sp_drop_reason_name(i)
		if name == nil {
			return names
		}
		names = append(names, C.GoString(name))
	}
})

// DropReasons lists every reason for which the data plane drops a packet: those of the workers, then those that only the
// slow path has.
func DropReasons() []string {
	names := slices.Clone(dropNames())
	for _, name := range slowDropNames {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// LocalPort is the name of the pseudo-port that packets of the gateway itself come from.
const LocalPort = "local"

// Counters is everything the data plane counts, each part read at a slightly different moment.
type Counters struct {
	Ports   []PortCounters // as in Config.Ports, then LocalPort
	Filters []FilterCounters
	SAs     []SACounters
	// Unattributed is drops that would have counted at a filter or an SA if the workers had had room for more counts.
	Unattributed map[string]uint64
	// OffloadSkippedSoft is soft SAs ever added: none was offered to a crypto device or a port (S-101).
	OffloadSkippedSoft uint64
	// Punts is what waited for the slow path or found no room to, by class.
	Punts []PuntCounters
	// Devices is the crypto devices that workers use by enqueue and dequeue.
	Devices []DeviceCounters
	// LostPorts is the ports whose NICs do no ESP any more.
	LostPorts []PortLoss
	// Lost is packets of the gateway itself that found no buffer or no room in a ring.
	Lost uint64
}

// PortCounters counts packets by the port they came in by, except Transmitted. A packet that came in was forwarded,
// delivered to Go for good, or dropped for one reason, or it waits. A fragment is a packet until it is merged, and so is each
// one that a packet was split into.
type PortCounters struct {
	Name                          string
	Received, ReceivedBytes       uint64
	Forwarded, ForwardedBytes     uint64
	Delivered                     uint64
	Waiting                       uint64            // for a neighbour or an SA of either direction, at this moment
	Reassembling                  uint64            // fragments that wait for the others of their packet, at this moment
	Merged                        uint64            // fragments that became part of a packet, but for one of each packet
	Split                         uint64            // fragments that packets were cut into, but for one of each packet
	HandedOver                    uint64            // ESP and AH that came by the queue of another worker than their SA's
	Early, EarlyPassed            uint64            // ESP and AH that came before their SA and waited for it; of these, what went on when it came
	Transmitted, TransmittedBytes uint64            // as the out-port
	Drops                         map[string]uint64 // by reason; reasons that did not occur are left out
}

// FilterCounters counts what a filter of the active policy decided. Exemptions have a Name and no rule.
type FilterCounters struct {
	ID    uint32
	Entry policy.Entry // the zero value for an exemption and for the default action, whose ID is 0
	Name  string       // of an exemption, or "default action"
	FilterHits
	Drops map[string]uint64 // of what it decided, by reason; reasons that did not occur are left out
}

// SACounters describes an SA and counts what it carried: inner packets and their bytes.
type SACounters struct {
	Cell          CellID
	Tunnel        string
	SPI           uint32
	Outbound      bool
	Worker        int             // whose SA it is (RFC 9611), as in Flow: that alone sends by it and takes what comes by it; -1: no single one's
	Protocol      crypto.Protocol // ProtocolESP or ProtocolAH
	Transport     bool
	Encapsulation Encapsulation
	Around        crypto.Suite // of the AH around ESP; zero for none
	AroundSPI     uint32       // of the same
	Suite         crypto.Suite
	ESN           bool
	Device        string // crypto device
	Class         cryptodev.Class
	Whole         bool                   // the device does all of ESP, not the crypto alone
	PassedOver    []cryptodev.PassedOver // crypto devices that would have been preferred
	Local, Remote netip.AddrPort
	UDPEncap      bool
	Selectors     []policy.Selector
	ReplayWindow  int
	PathMTU       int      // outbound: bytes of the largest outer packet that the path takes, as far as ICMP has told; 0: it has not
	Soft, Hard    Lifetime // Packets and Bytes are what is used of them
	Packets       uint64
	Bytes         uint64
	Dummies       uint64        // outbound: packets among these that meant nothing (RFC 4303 section 2.6)
	Sequence      uint64        // outbound: last used; inbound: highest seen
	Idle          time.Duration // since the last packet; 0 when there was none yet
	Memory        int           // bytes of DPDK memory beside the crypto session
	Inline        SAInline      // what its port's NIC does of it
	Wanted        Place         // where an operator wants its work done
	Stays         bool          // inbound: an operator has left it to the order again, by which the next SA goes; this one stays where it was wanted
	// Drops is packets that came in by the SA and were not accepted, or should have left by it and did not, by reason; reasons
	// that did not occur are left out.
	Drops map[string]uint64
}

// Counters reads all counters.
func (d *Dataplane) Counters() Counters {
	d.mu.Lock()
	defer d.mu.Unlock()
	var c Counters
	if d.c == nil {
		return c
	}
	drops := d.drops() // before the ports, which count each of them too: so that they never have less
	for i := range d.cfg.Ports {
		c.Ports = append(c.Ports, d.portCounters(d.cfg.Ports[i].Name, d.cPort(i), i))
	}
	c.Ports = append(c.Ports, d.portCounters(LocalPort, C.SP_PORT_LOCAL, len(d.cfg.Ports)))
	c.Filters = d.filterCounters(drops)
	c.SAs = d.saCounters(drops)
	c.Unattributed = d.unattributed()
	c.OffloadSkippedSoft = d.soft.skipped
	c.Punts = d.punts()
	c.Devices, c.LostPorts = d.deviceCounters(), d.portLosses()
	c.Lost = d.slow.lost
	return c
}

// SACounters reads the counters of the SAs only.
func (d *Dataplane) SACounters() []SACounters {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.c == nil {
		return nil
	}
	return d.saCounters(d.drops())
}

// LastInbound is when the inbound SA with this SPI last accepted a packet, the zero time if never.
func (d *Dataplane) LastInbound(spi uint32) time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	sa := d.sad.inbound[spi]
	if d.c == nil || sa == nil {
		return time.Time{}
	}
	var c C.struct_sp_sa_counters
	C.sp_sa_in_counters(sa.c, &c)
	return lastUse(&c)
}

// LastOutbound is when what sends beside the inbound SA with this SPI last sent a packet, the zero time if never.
func (d *Dataplane) LastOutbound(spi uint32) time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	in := d.sad.inbound[spi]
	if d.c == nil || in == nil {
		return time.Time{}
	}
	sa := d.sad.outbound[outboundPlace{in.child.Cell, in.child.Worker}]
	if sa == nil {
		return time.Time{}
	}
	var c C.struct_sp_sa_counters
	C.sp_sa_out_counters(sa.c, &c)
	return lastUse(&c)
}

// Conserved checks that no packet came from nowhere or went missing, and that filters and SAs have dropped nothing that no
// port has. It holds at rest: a packet inside a worker, a ring or a crypto device counts as received only.
func (c *Counters) Conserved() error {
	var errs []error
	for i := range c.Ports {
		p := &c.Ports[i]
		dropped := uint64(0)
		for _, n := range p.Drops {
			dropped += n
		}
		if sum := p.Forwarded + p.Delivered + dropped + p.Waiting + p.Reassembling + p.Merged; p.Received+p.Split != sum {
			errs = append(errs, fmt.Errorf("pipeline: port %s: received %d + split %d, but forwarded %d + delivered %d + dropped %d + waiting %d + reassembling %d + merged %d = %d",
				p.Name, p.Received, p.Split, p.Forwarded, p.Delivered, dropped, p.Waiting, p.Reassembling, p.Merged, sum))
		}
	}
	errs = append(errs, c.dropsAgree()...)
	return errors.Join(errs...)
}

// dropsAgree checks that every drop that a filter or an SA counts was counted at a port for the same reason. The converse
// need not be: many a packet has neither, and filters and SAs may be gone.
func (c *Counters) dropsAgree() (errs []error) {
	ports, filters, sas := map[string]uint64{}, map[string]uint64{}, map[string]uint64{}
	add := func(to, drops map[string]uint64) {
		for reason, n := range drops {
			to[reason] += n
		}
	}
	for i := range c.Ports {
		add(ports, c.Ports[i].Drops)
	}
	for i := range c.Filters {
		add(filters, c.Filters[i].Drops)
	}
	for i := range c.SAs {
		add(sas, c.SAs[i].Drops)
	}
	for what, drops := range map[string]map[string]uint64{"filters": filters, "SAs": sas} {
		for reason, n := range drops {
			if n > ports[reason] {
				errs = append(errs, fmt.Errorf("pipeline: %s dropped %d packets for %s, all ports together %d", what, n, reason, ports[reason]))
			}
		}
	}
	return errs
}

func (d *Dataplane) portCounters(name string, port C.uint16_t, row int) PortCounters {
	var c C.struct_sp_port_counters
	C.sp_port_counters_read(d.c, port, &c)
	p := PortCounters{
		Name:     name,
		Received: uint64(c.received), ReceivedBytes: uint64(c.received_bytes),
		Forwarded: uint64(c.forwarded), ForwardedBytes: uint64(c.forwarded_bytes),
		Delivered:   uint64(c.delivered),
		Waiting:     uint64(c.held) - uint64(c.released),
		Transmitted: uint64(c.transmitted), TransmittedBytes: uint64(c.transmitted_bytes),
		Reassembling: uint64(c.reassembling), Merged: uint64(c.merged), Split: uint64(c.split), HandedOver: uint64(c.handed_over),
		Drops: map[string]uint64{},
	}
	for i, reason := range dropNames() {
		if n := uint64(c.drops[i]); n > 0 {
			p.Drops[reason] = n
		}
	}
	p.Early, p.EarlyPassed = d.slow.earlyCounts[row].kept, d.slow.earlyCounts[row].passed
	for i, reason := range slowDropNames {
		if n := d.slow.discards[row][i]; n > 0 {
			p.Drops[reason] += n // a worker may have the same reason
			p.Waiting -= n
		}
	}
	return p
}

// slotCounter reads slots, all of them as of now in what was dropped.
func (d *Dataplane) slotCounter() func(slot uint32) slotCount { return d.slotsWith(d.drops()) }

func (d *Dataplane) slotsWith(drops map[uint32]dropCounts) func(slot uint32) slotCount {
	return func(slot uint32) slotCount {
		return slotCount{d.slotHits(slot), drops[slot]}
	}
}

func (d *Dataplane) slotHits(slot uint32) FilterHits {
	var c C.struct_sp_filter_counters
	C.sp_filter_counters_read(d.c, C.uint32_t(slot), &c)
	return d.slow.decided[slot].plus(FilterHits{Packets: uint64(c.packets), Bytes: uint64(c.bytes)})
}

func (d *Dataplane) filterCounters(drops map[uint32]dropCounts) []FilterCounters {
	read := d.slotsWith(drops)
	byDefault := read(defaultActionSlot)
	list := []FilterCounters{{Name: "default action", FilterHits: byDefault.FilterHits, Drops: byDefault.drops}}
	if d.policy.spd == nil {
		return list
	}
	for i := range d.policy.spd.Exemptions {
		e := &d.policy.spd.Exemptions[i]
		c := d.filters.count(e.ID, read)
		f := FilterCounters{ID: e.ID, Name: e.Name, FilterHits: c.FilterHits, Drops: c.drops}
		if sent := d.slow.exempted[e.ID]; sent != nil {
			f.Packets += sent.Packets
			f.Bytes += sent.Bytes
		}
		list = append(list, f)
	}
	soft := d.softCounts(read)
	for i := range d.policy.spd.Entries {
		e := &d.policy.spd.Entries[i]
		c := d.filters.count(e.ID, read).plus(soft[e.ID])
		list = append(list, FilterCounters{ID: e.ID, Entry: *e, FilterHits: c.FilterHits, Drops: c.drops})
	}
	return list
}

func (d *Dataplane) saCounters(drops map[uint32]dropCounts) []SACounters {
	var list []SACounters
	var c C.struct_sp_sa_counters
	now, hz := C.sp_tsc(), C.sp_tsc_hz()
	for _, sa := range d.sad.inbound {
		C.sp_sa_in_counters(sa.c, &c)
		s := d.describe(&sa.association, &c, now, hz)
		s.Memory = int(C.sp_sa_in_size(C.uint16_t(sa.child.ReplayWindow), C.uint32_t(len(selectorsOf(sa.child.Selectors, 4))), C.uint32_t(len(selectorsOf(sa.child.Selectors, 6)))))
		s.Drops, s.Wanted, s.Stays = drops[sa.subject], d.sad.placeOf(sa.child.Cell, false), sa.stays
		list = append(list, s)
	}
	for _, sa := range d.sad.outbound {
		C.sp_sa_out_counters(sa.c, &c)
		s := d.describe(&sa.association, &c, now, hz)
		s.Outbound, s.ReplayWindow, s.Drops, s.PathMTU = true, 0, drops[sa.subject], sa.path.mtu
		s.Wanted = d.sad.placeOf(sa.child.Cell, true)
		s.Memory = int(C.sp_sa_out_size(C.uint32_t(len(selectorsOf(sa.child.Selectors, 4))), C.uint32_t(len(selectorsOf(sa.child.Selectors, 6))), C.int(flag(sa.child.isAH() || sa.child.AH != nil))))
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b SACounters) int {
		if a.Cell != b.Cell {
			return int(a.Cell) - int(b.Cell)
		}
		return int(int64(a.SPI) - int64(b.SPI))
	})
	return list
}

func (d *Dataplane) describe(sa *association, c *C.struct_sp_sa_counters, now, hz C.uint64_t) SACounters {
	child := &sa.child
	s := SACounters{
		Cell: child.Cell, Tunnel: d.cellName(child.Cell), SPI: child.SPI, Worker: child.Worker - 1,
		Protocol: child.Protocol, Transport: child.Transport, Encapsulation: child.Encapsulation, Suite: child.Suite, ESN: child.ESN, Device: sa.session.DeviceName(),
		Class: sa.session.Class, Whole: sa.session.Whole, PassedOver: sa.session.PassedOver,
		Local: child.Local, Remote: child.Remote, UDPEncap: child.UDPEncap,
		Selectors: slices.Clone(child.Selectors), ReplayWindow: child.ReplayWindow,
		Soft: child.Soft, Hard: child.Hard,
		Inline:  sa.inline.describe(c),
		Packets: uint64(c.packets), Bytes: uint64(c.bytes), Dummies: uint64(c.dummies), Sequence: uint64(c.sequence),
	}
	if child.Protocol != crypto.ProtocolAH {
		s.Protocol = crypto.ProtocolESP // which 0 means too
	}
	if child.AH != nil {
		s.Around, s.AroundSPI = child.AH.Suite, child.AH.SPI
	}
	s.Idle = idleFor(c, now, hz)
	return s
}

// lastUse is when an SA had its last packet, the zero time if it had none.
func lastUse(c *C.struct_sp_sa_counters) time.Time {
	if c.packets == 0 {
		return time.Time{}
	}
	return time.Now().Add(-idleFor(c, C.sp_tsc(), C.sp_tsc_hz()))
}

// idleFor is how long ago an SA had its last packet, 0 if it had none.
func idleFor(c *C.struct_sp_sa_counters, now, hz C.uint64_t) time.Duration {
	if c.last_use == 0 || now <= c.last_use {
		return 0
	}
	return time.Duration(float64(now-c.last_use) / float64(hz) * float64(time.Second))
}
