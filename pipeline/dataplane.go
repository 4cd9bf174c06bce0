package pipeline

/*
#cgo pkg-config: libdpdk
#cgo CFLAGS: -O3 -Wall -Wextra -Werror -DALLOW_EXPERIMENTAL_API
#include "fastpath.h"
*/
import "C"

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"sync"
	"time"
	"unsafe"

	"sallyport/crypto/cryptodev"
	"sallyport/pmd/ethdev"
	"sallyport/pmd/mempool"
	"sallyport/policy"
)

// Sizes of rings and counters that no one has had a reason to change.
const (
	maxFilters      = 1 << 17 // filter counters
	injectEntries   = 1 << 12 // all that waits comes back at once when a policy is published
	maxHold         = injectEntries / 2
	handoverEntries = 1 << 10
	errorTextLen    = 256
)

// MbufPrivateSize is the private area in bytes that the mbuf pool must have (mempool.OptPrivateDataSize).
const MbufPrivateSize = C.SP_MBUF_PRIVATE_SIZE

// DataRoom is the data room in bytes that the mbufs need when the largest MTU of all ports is mtu: buffers are never
// chained. Behind the frame there is room for ESP's padding and ICV, so that a packet grows where it lies.
func DataRoom(mtu int) uint16 {
	return max(ethdev.DataRoom(mtu), uint16(min(mempool.Headroom+etherHeaderLen+mtu+growth, 65535)))
}

// growth is the bytes behind a frame that ESP and a crypto device may need.
const growth = C.SP_GROWTH

// CryptoRoom is what a packet has around it when it arrives, in the longest frame of a port and behind its tag too, and what one has that was put together.
func CryptoRoom() cryptodev.Room {
	return cryptodev.Room{Front: mempool.Headroom, Behind: growth - etherTagLen}
}

// LargeDataRoom is the data room in bytes of Config.LargePool's mbufs when the largest MTU of all ports is mtu: that of the
// longest packet that fragments of such links make, as far as DPDK has room for it.
func LargeDataRoom(mtu int) uint16 {
	return uint16(min(mempool.Headroom+etherHeaderLen+C.SP_FRAGMENTS_MAX_IN*mtu+growth, 65535))
}

// Dataplane is the Go side of the fast path: it fills the tables that workers read and serves what they punt. Its methods
// may be called by any goroutine; no worker ever waits for one.
type Dataplane struct {
	cfg     Config
	portIDs []C.uint16_t   // the workers' ids, by index into cfg.Ports
	ports   map[uint16]int // and the reverse

	// mu guards all below and is the one lock that fastpath.h asks control threads to hold.
	mu sync.Mutex
	// alive is held while a snapshot is built without mu.
	alive      sync.RWMutex
	c          *C.struct_sp_dataplane
	secret     [2]C.uint64_t // the workers'; it never changes
	graves     graveyard
	policy     published
	filters    *filterSlots
	prepared   *Prepared // the snapshot that waits for its end, nil for none
	cells      cellTable
	sad        sad
	soft       softTable
	devices    []queueDevice
	lostPorts  map[uint16]*lostPort // by DPDK id: whose NIC does no ESP any more
	probes     sync.WaitGroup       // of those
	drivers    drivers
	background sync.WaitGroup         // errands and closings
	pauses     map[ethdev.Port]uint64 // that the other end of its link had asked for when a port was last blocked
	slow       slowPath
	running    sync.WaitGroup
	started    bool
	bursting   []bool // workers inside RunBurst
}

// New allocates every table and ring. Ports must have been configured with cfg.Workers queues each way. Until Apply all
// traffic is dropped.
func New(cfg Config) (*Dataplane, error) {
	cfg.FragmentMemory = cmp.Or(cfg.FragmentMemory, DefaultFragmentMemory)
	cfg.FragmentTimeout = cmp.Or(cfg.FragmentTimeout, DefaultFragmentTimeout)
	cfg.MaxSoft = cmp.Or(cfg.MaxSoft, DefaultMaxSoft)
	cfg.HoldPerSelector = cmp.Or(cfg.HoldPerSelector, DefaultHoldPerSelector)
	cfg.HoldTotal = cmp.Or(cfg.HoldTotal, DefaultHoldTotal)
	cfg.PuntQueue = cmp.Or(cfg.PuntQueue, DefaultPuntQueue)
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	spis, err := newSPIAllocator(cfg.MaxSAs, rand.Reader)
	if err != nil {
		return nil, err
	}
	c, devices := cfg.toC(), cfg.queueDevices()
	for i := range devices {
		c.crypto_devices[i] = devices[i].id
	}
	if c.n_crypto_devices = C.uint32_t(len(devices)); len(devices) > 0 {
		c.crypto_descriptors = C.uint32_t(cfg.Crypto.Descriptors())
	}
	c.secret = newSecret()
	text := make([]byte, errorTextLen)
	handle := C.sp_dataplane_create(&c, (*C.char)(unsafe.Pointer(&text[0])), errorTextLen)
	if handle == nil {
		return nil, fmt.Errorf("pipeline: %s", cString(text))
	}
	d := &Dataplane{
		cfg:       cfg,
		portIDs:   cfg.portIDs(),
		ports:     map[uint16]int{},
		c:         handle,
		secret:    c.secret,
		filters:   newFilterSlots(maxFilters),
		cells:     cellTable{byName: map[string]CellID{}},
		sad:       newSAD(spis, &cfg),
		soft:      newSoftTable(cfg.MaxSoft),
		slow:      newSlowPath(&cfg),
		devices:   devices,
		lostPorts: map[uint16]*lostPort{},
		pauses:    map[ethdev.Port]uint64{},
		bursting:  make([]bool, cfg.Workers),
	}
	d.policy.own, _ = cfg.addressesOf(&Snapshot{})
	for i, id := range d.portIDs {
		d.ports[uint16(id)] = i
	}
	return d, nil
}

// Close stops the workers and frees everything but the ports, the mbuf pool and the crypto devices.
func (d *Dataplane) Close() error {
	d.Stop()
	d.alive.Lock()
	defer d.alive.Unlock()
	d.endErrands()
	d.background.Wait()
	d.probes.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.c == nil {
		return nil
	}
	if slices.Contains(d.bursting, true) {
		d.drivers.ending = false
		return errors.New("pipeline: Close while a worker is inside RunBurst: end that first")
	}
	C.sp_dataplane_stop(d.c)
	for worker := range d.cfg.Workers {
		C.sp_worker_loop(d.c, C.uint32_t(worker)) // stopped: it only takes back what crypto devices hold
	}
	if d.prepared != nil {
		d.prepared.discard()
	}
	d.watchDevices()
	d.slow.freeAll()
	d.removeAllSAs()
	C.sp_synchronise(d.c)
	d.graves.bury(math.MaxInt, func(uint64) bool { return true })
	d.awaitLeaving()
	d.giveAllBack()
	C.sp_dataplane_destroy(d.c)
	d.c = nil
	return d.graves.failed
}

// RunBurst is one turn of a worker's loop on the calling thread: for tests and for machines with a single core. It returns
// the number of packets taken from any input. One caller at a time for each worker, and none while Start has it running.
func (d *Dataplane) RunBurst(worker int) (n int, err error) {
	if err := d.enterBurst(worker); err != nil {
		return 0, err
	}
	n = int(C.sp_worker_once(d.c, C.uint32_t(worker)))
	d.mu.Lock()
	d.bursting[worker] = false
	d.mu.Unlock()
	return n, nil
}

func (d *Dataplane) enterBurst(worker int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case worker < 0 || worker >= d.cfg.Workers:
		return fmt.Errorf("pipeline: worker %d: want 0 to %d", worker, d.cfg.Workers-1)
	case d.c == nil:
		return errClosed
	case d.started:
		return fmt.Errorf("pipeline: worker %d: its loop runs; call Stop before RunBurst", worker)
	case d.bursting[worker]:
		return fmt.Errorf("pipeline: worker %d: RunBurst is entered twice", worker)
	}
	d.bursting[worker] = true
	return nil
}

var errClosed = errors.New("pipeline: the data plane is closed")

// Generation counts what made every memo of the flow caches void: policies, and changes of an SA's selectors.
func (d *Dataplane) Generation() uint32 {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.c == nil {
		return 0
	}
	return uint32(C.sp_generation(d.c))
}

// validate finds what the C side would refuse or, worse, take.
func (cfg *Config) validate() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf("pipeline: "+format, args...)) }
	between := func(what string, n, first, last int) {
		if n < first || n > last {
			wrong("%s: %d, want %d to %d", what, n, first, last)
		}
	}
	powerOfTwo := func(what string, n, last int) {
		between(what, n, 2, last)
		if n > 0 && n&(n-1) != 0 {
			wrong("%s: %d, want a power of two", what, n)
		}
	}
	between("ports", len(cfg.Ports), 1, C.SP_MAX_PORTS)
	between("workers", cfg.Workers, 1, C.SP_MAX_WORKERS)
	powerOfTwo("flow entries", cfg.FlowEntries, 1<<28)
	powerOfTwo("inbound SAs", cfg.MaxSAs, 1<<24)
	between("cells", cfg.MaxCells, 1, C.SP_NO_CELL-1)
	between("packets in a queue to the slow path", cfg.PuntQueue, 1, 1<<16)
	between("adjacencies", cfg.MaxAdjacencies, 1, C.SP_NO_ADJACENCY-1)
	between("soft SAs", cfg.MaxSoft, 1, 1<<20)
	between("packets of a selector that wait for an SA", cfg.HoldPerSelector, 1, maxHold)
	between("packets that wait for an SA", cfg.HoldTotal, 1, maxHold)
	if cfg.Pool == nil {
		wrong("no mbuf pool")
	}
	if cfg.FragmentMemory < 0 || cfg.FragmentTimeout < 0 {
		wrong("%d bytes for fragments that wait for %s: want neither below 0", cfg.FragmentMemory, cfg.FragmentTimeout)
	}
	for i := range cfg.Ports {
		if err := cfg.Ports[i].validate(); err != nil {
			errs = append(errs, err)
		}
	}
	if err := cfg.validVLANs(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (p *PortSpec) validate() error {
	switch {
	case len(p.MAC) != 6:
		return fmt.Errorf("pipeline: port %s: MAC address of %d bytes, want 6", p.Name, len(p.MAC))
	case p.Role != policy.PortsLAN && p.Role != policy.PortsWAN:
		return fmt.Errorf("pipeline: port %s: role %s, want lan or wan", p.Name, p.Role)
	case p.MTU < 68 || p.MTU > 65535: // RFC 791 section 3.2
		return fmt.Errorf("pipeline: port %s: MTU %d, want 68 to 65535", p.Name, p.MTU)
	}
	return p.validAddresses(p.Addresses)
}

// validAddresses checks the own addresses of a port. What IPv6 itself assigns to an interface, a link-local address, the
// gateway has no use for.
func (p *PortSpec) validAddresses(own []netip.Prefix) error {
	if len(own) > C.SP_PORT_ADDRESSES {
		return fmt.Errorf("pipeline: port %s: %d addresses, at most %d", p.Name, len(own), C.SP_PORT_ADDRESSES)
	}
	for _, a := range own {
		switch {
		case !a.IsValid() || a.Addr().Is4In6() || a.Addr().Is6() && !a.Addr().IsGlobalUnicast():
			return fmt.Errorf("pipeline: port %s: address %s, want IPv4 or IPv6 unicast of more than link-local scope, with a prefix length", p.Name, a)
		case a.Addr().Is6() && p.MTU < ipv6MinMTU:
			return fmt.Errorf("pipeline: port %s: IPv6 address %s with an MTU of %d, want at least %d (RFC 8200 section 5)", p.Name, a, p.MTU, ipv6MinMTU)
		}
	}
	return nil
}

// role is the C bit of the port's role.
func (p *PortSpec) role() uint8 {
	if p.Role == policy.PortsLAN {
		return C.SP_ROLE_PROTECTED
	}
	return C.SP_ROLE_UNPROTECTED
}

func (cfg *Config) toC() C.struct_sp_config {
	c := C.struct_sp_config{
		n_ports:          C.uint32_t(len(cfg.Ports)),
		n_workers:        C.uint32_t(cfg.Workers),
		flow_entries:     C.uint32_t(cfg.FlowEntries),
		max_sas:          C.uint32_t(cfg.MaxSAs),
		max_cells:        C.uint32_t(cfg.MaxCells),
		max_adjacencies:  C.uint32_t(cfg.MaxAdjacencies),
		max_filters:      maxFilters,
		max_soft:         C.uint32_t(cfg.MaxSoft),
		punt_entries:     C.uint32_t(cfg.puntQueue()),
		inject_entries:   injectEntries,
		handover_entries: handoverEntries,
		early_limit:      C.uint32_t(cfg.earlyLimit()),
		tally_entries:    C.uint32_t(cfg.tallyEntries()),
		idle:             C.uint8_t(cfg.Idle), // same order as enum sp_idle
		socket:           C.int32_t(cfg.socket()),
		pool:             (*C.struct_rte_mempool)(cfg.Pool.Pointer()),
		fragment_memory:  C.uint64_t(cfg.FragmentMemory),
		fragment_timeout: cycles(cfg.FragmentTimeout),
		secured:          flag(cfg.offered()),
	}
	if cfg.LargePool != nil {
		c.large_pool = (*C.struct_rte_mempool)(cfg.LargePool.Pointer())
	}
	for i, id := range cfg.portIDs() {
		p, to := &cfg.Ports[i], &c.ports[i]
		to.port, to.device, to.vlan = id, C.uint16_t(p.Port), C.uint16_t(p.VLAN)
		to.role, to.mtu = C.uint8_t(p.role()), C.uint16_t(p.MTU)
		if p.RxChecksum {
			to.rx_checksum = 1
		}
		for j, b := range p.MAC {
			to.mac[j] = C.uint8_t(b)
		}
	}
	return c
}

// cycles is a time in cycles of the time stamp counter.
func cycles(t time.Duration) C.uint64_t {
	return C.uint64_t(t.Seconds() * float64(C.sp_tsc_hz()))
}

// socket is the NUMA node of the first port: tables belong near the queues.
func (cfg *Config) socket() int { return cfg.Ports[0].Port.Socket() }

// ipv4Number is an IPv4 address in host byte order, as tables.h has it.
func ipv4Number(a netip.Addr) C.uint32_t {
	b := a.As4()
	return C.uint32_t(b[0])<<24 | C.uint32_t(b[1])<<16 | C.uint32_t(b[2])<<8 | C.uint32_t(b[3])
}

// ipv6Bytes is an IPv6 address as it stands in a packet, as tables.h has it.
func ipv6Bytes(a netip.Addr) (b [16]C.uint8_t) {
	for i, x := range a.As16() {
		b[i] = C.uint8_t(x)
	}
	return b
}

func ipv4Address(n C.uint32_t) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}

// cString is the text in a buffer that C filled.
func cString(b []byte) string {
	if i := slices.Index(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}
