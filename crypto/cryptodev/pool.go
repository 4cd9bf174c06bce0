package cryptodev

/*
#cgo pkg-config: libdpdk
#cgo CFLAGS: -O3 -Wall -Wextra -Werror -DALLOW_EXPERIMENTAL_API

#include <stdlib.h>
#include <rte_cryptodev.h>
#include <rte_dev.h>
#include "device.h"
#include "session.h"
*/
import "C"

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"sallyport/crypto"
)

// DefaultDevices are the software devices that Open creates when it is given none,
// in order of preference.
func DefaultDevices() []string {
	return []string{"crypto_aesni_gcm0", "crypto_aesni_mb0", "crypto_openssl0"}
}

// DefaultDescriptors is the length of a queue pair. A worker has at most a few bursts
// in flight, and a software device works them off while they are dequeued.
const DefaultDescriptors = 1024

// SocketAny lets DPDK choose the NUMA node.
const SocketAny = C.SOCKET_ID_ANY

// Options says what Open sets up.
type Options struct {
	// Devices names the crypto devices in order of preference: virtual ones with
	// their arguments, as in "crypto_aesni_mb0,socket_id=0", and PCI devices that the
	// EAL has probed, by address. Each named device must open. Empty means those of
	// DefaultDevices that this machine has.
	Devices []string
	// QueuePairs is how many workers there are: worker n uses queue pair n.
	QueuePairs int
	// Sessions is how many sessions can exist at once, two for each SA pair.
	Sessions int
	// Descriptors is how many operations a queue pair has room for, a power of two; 0:
	// DefaultDescriptors. Users keep one less in it: a ring of n has room for n - 1.
	Descriptors int
	// Socket is the NUMA node of queues and sessions, SocketAny where it is of no
	// account.
	Socket int
	// Room is what packets have around them that come to a queue pair, before anything of ESP is put there.
	Room Room
	// Classes is where sessions go, the best first; what is not in it gets none. Nil: the order of
	// Devices decides alone.
	Classes []Class
}

// device is an open crypto device.
type device struct {
	name     string
	driver   string
	id       uint8
	created  bool // by us, so ours to remove
	started  bool
	cpu      bool
	chaining bool
	hardware bool   // of its own, not the CPU's
	size     uint32 // of its part of a session, octets
	room     Room   // of Options
	live     atomic.Int64
	lost     loss
	members  []*device // of a scheduler
	security *Security // of a device that does all of ESP and may be asked to; else nil

	busy  sync.Mutex // while it is asked for a session or its end, or to stop, which may take its time; before Pool.mu
	stuck []*Session // of security, which the device did not take back
}

// Pool is a set of running crypto devices and the memory their sessions come from.
// Its methods may be called from any goroutine. Nobody waits for a device that stops but who asks that one, and nobody for one that makes a session but who has one made or freed.
type Pool struct {
	mu         sync.Mutex
	devices    []*device
	missing    []DeviceInfo // default devices that this machine does not have, and why libIPSec_MB is not called directly
	library    *library     // nil if it is missing
	memory     memory
	queuePairs int
	queueLen   int
	socket     int
	capacity   int
	live       int
	classes    []Class
}

// memory is that of the sessions of all devices. Of one that has failed the driver may have left keys in what was given back last: whoever takes of it, or gives back, does so alone.
type memory struct {
	mu       sync.Mutex // after device.busy
	sessions *C.struct_rte_mempool
}

// ErrSessions means that every session the pool was opened for is in use.
var ErrSessions = errors.New("no crypto session left")

// vdevBus is the bus of virtual devices. It is never freed.
var vdevBus = C.CString("vdev")

// poolNumber keeps the names of session pools apart within the process.
var poolNumber atomic.Uint32

// Open creates, configures and starts the devices.
func Open(options Options) (*Pool, error) {
	if options.QueuePairs < 1 || options.QueuePairs > 1<<16-1 || options.Sessions < 1 {
		return nil, fmt.Errorf("crypto devices: %d queue pairs and %d sessions asked, at least 1 of each is needed",
			options.QueuePairs, options.Sessions)
	}
	if options.Descriptors = cmp.Or(options.Descriptors, DefaultDescriptors); options.Descriptors < 2 || options.Descriptors > 1<<15 || options.Descriptors&(options.Descriptors-1) != 0 {
		return nil, fmt.Errorf("crypto devices: queues of %d operations, want a power of two, 2 to %d", options.Descriptors, 1<<15)
	}
	if C.spcrypto_eal_running() == 0 {
		return nil, errors.New("crypto devices: the EAL is not running, start it first")
	}
	pool := &Pool{queuePairs: options.QueuePairs, queueLen: options.Descriptors, socket: options.Socket, capacity: options.Sessions, classes: options.Classes}
	if err := pool.open(options); err != nil {
		return nil, errors.Join(fmt.Errorf("crypto devices: %w", err), pool.Close())
	}
	return pool, nil
}

func (p *Pool) open(options Options) error {
	names, optional := options.Devices, false
	if len(names) == 0 {
		names, optional = DefaultDevices(), true
	}
	var size uint32
	var each int // of the memory of sessions that one takes
	for _, name := range names {
		dev, err := openDevice(name, options, p.deviceOf)
		if err != nil {
			if !optional {
				return err
			}
			p.missing = append(p.missing, DeviceInfo{Name: name, Missing: err.Error()})
			continue
		}
		p.devices = append(p.devices, dev)
		size, each = max(size, dev.size), max(each, 1+len(dev.members))
	}
	if len(p.devices) == 0 {
		return fmt.Errorf("none of %s is on this machine: %s", strings.Join(names, ", "), p.missing[0].Missing)
	}
	if err := p.createSessionPool(size, each, options.Socket); err != nil {
		return err
	}
	if err := p.openSecurity(options.Socket); err != nil {
		return err
	}
	if err := p.openLibrary(options.Socket); err != nil {
		return err
	}
	for _, dev := range p.devices {
		ret := C.spcrypto_start(C.uint8_t(dev.id), C.uint16_t(options.QueuePairs), C.uint32_t(options.Descriptors),
			C.int(options.Socket), p.memory.sessions)
		if ret < 0 {
			return fmt.Errorf("%s: start with %d queue pairs of %d: %w", dev.name, options.QueuePairs, options.Descriptors, errno(ret))
		}
		dev.started = true
	}
	return nil
}

// openDevice finds or creates a device and configures it. A device that it created
// does not outlive a failure.
func openDevice(spec string, options Options, open func(id uint8) *device) (*device, error) {
	name, arguments, _ := strings.Cut(spec, ",")
	cName := C.CString(name)
	defer C.free(unsafe.Pointer(cName))

	dev := &device{name: name, room: options.Room}
	if err := dev.openMembers(arguments, options); err != nil {
		return nil, err
	}
	id := C.spcrypto_find(cName)
	if id < 0 && C.spcrypto_is_pci(cName) != 0 {
		err := fmt.Errorf("%s: no driver has made a crypto device of it; expected the address of one that is bound to vfio-pci, and that a driver of DPDK knows, found %s", name,
			cmp.Or(strings.Join(found(), ", "), "none"))
		return nil, errors.Join(err, dev.removeMembers())
	}
	if id < 0 {
		// The driver's own default of 8 queue pairs would cap the workers.
		arguments = strings.TrimPrefix(fmt.Sprintf("%s,max_nb_queue_pairs=%d", arguments, options.QueuePairs), ",")
		cArguments := C.CString(arguments)
		defer C.free(unsafe.Pointer(cArguments))
		if ret := C.rte_eal_hotplug_add(vdevBus, cName, cArguments); ret < 0 {
			err := fmt.Errorf("%s: creating it with %q: %w; is its driver installed and the name right?", name, arguments, errno(ret))
			return nil, errors.Join(err, dev.remove())
		}
		dev.created = true
		id = C.rte_cryptodev_get_dev_id(cName)
	}
	if id < 0 {
		return nil, errors.Join(fmt.Errorf("%s: not a crypto device", name), dev.remove())
	}
	dev.id = uint8(id)
	if there := open(dev.id); there != nil {
		return nil, errors.Join(fmt.Errorf("%s: expected each device once, it is %s", name, there.name), dev.remove())
	}

	var about C.struct_spcrypto_device
	ret := C.spcrypto_configure(C.uint8_t(id), C.uint16_t(options.QueuePairs), C.int(options.Socket), &about)
	if ret < 0 {
		err := fmt.Errorf("%s: configuring %d queue pairs, it has %d: %w", name, options.QueuePairs, about.max_queue_pairs, errno(ret))
		return nil, errors.Join(err, dev.remove())
	}
	dev.driver = C.GoString(about.driver)
	dev.cpu, dev.chaining, dev.hardware = about.cpu != 0 && dev.driver != schedulerDriver, about.chaining != 0, about.hardware != 0
	dev.size = max(uint32(about.session_size), dev.memberSize())
	return dev, nil
}

// found lists the crypto devices that there are, as their drivers name them.
func found() (names []string) {
	for id := range C.RTE_CRYPTO_MAX_DEVS {
		if name := C.rte_cryptodev_name_get(C.uint8_t(id)); name != nil {
			names = append(names, C.GoString(name))
		}
	}
	return names
}

// createSessionPool makes one pool for all devices, with elements for the largest:
// which device gets how many sessions is known only when they are made.
func (p *Pool) createSessionPool(size uint32, each, socket int) error {
	name := C.CString(fmt.Sprintf("crypto_sessions_%d", poolNumber.Add(1)))
	defer C.free(unsafe.Pointer(name))
	var ret C.int
	p.memory.sessions = C.spcrypto_session_pool(name, C.uint32_t(p.capacity*each), C.uint32_t(size), C.int(socket), &ret)
	if p.memory.sessions == nil {
		return fmt.Errorf("memory for %d sessions of %d octets: %w; give DPDK more memory or lower the number of SAs",
			p.capacity, size, errno(ret))
	}
	return nil
}

// Close stops and removes the devices. It refuses while sessions live, because a
// worker may be using them.
func (p *Pool) Close() error {
	devices, library, err := p.empty()
	if err != nil {
		return err
	}
	var errs []error
	for _, dev := range devices {
		errs = append(errs, p.stop(dev))
		dev.closeSecurity()
		errs = append(errs, dev.close(p.socket), dev.remove())
	}
	if library != nil {
		library.close()
	}
	C.rte_mempool_free(p.memory.sessions)
	p.memory.sessions = nil
	return errors.Join(errs...)
}

// empty takes the devices out of a pool without sessions: nobody gets one any more.
func (p *Pool) empty() ([]*device, *library, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if live := p.live - p.inLimbo(); live > 0 {
		return nil, nil, fmt.Errorf("crypto devices: %d sessions not freed, free them before closing", live)
	}
	devices, library := p.devices, p.library
	p.devices, p.library = nil, nil
	return devices, library, nil
}

// close ends what was started.
func (d *device) close(socket int) error {
	if !d.started {
		return nil
	}
	if ret := C.spcrypto_close(C.uint8_t(d.id), C.int(socket), truth(d.created)); ret < 0 {
		return fmt.Errorf("%s: close: %w", d.name, errno(ret))
	}
	return nil
}

// remove deletes a virtual device that openDevice created, and those that stand behind it. A scheduler that was never started stays: its driver does not survive
// to be removed then (22.11).
func (d *device) remove() error {
	if len(d.members) > 0 && !d.started {
		return nil
	}
	if !d.created {
		return d.removeMembers()
	}
	name := C.CString(d.name)
	defer C.free(unsafe.Pointer(name))
	if ret := C.rte_eal_hotplug_remove(vdevBus, name); ret < 0 {
		return fmt.Errorf("%s: removing it: %w", d.name, errno(ret))
	}
	C.spcrypto_forget_ring(C.uint8_t(d.id))
	return d.removeMembers()
}

// errno turns a negative return value into the error it stands for.
func errno(ret C.int) error { return syscall.Errno(-ret) }

// DeviceInfo is what an operator may want to know of a device.
type DeviceInfo struct {
	Name       string // of the configuration
	ID         uint8  // rte_cryptodev id, of no account if Direct or Missing
	Driver     string
	CPU        bool // offers cpu-crypto
	Direct     bool // no device, but libIPSec_MB itself
	Hardware   bool // has hardware of its own
	Queued     bool // sessions may come to its queue pairs
	QueuePairs int
	Sessions   int            // live on it
	Most       int            // sessions that it has room for, 0: it names no number
	Whole      bool           // does all of ESP
	Suites     []crypto.Suite // that it can do
	Refused    []Refusal
	Lost       string // why it gets no more sessions, "" for one that works
	Missing    string // why the device is not there
	Wrong      string // what is wrong with one that works all the same, "" for nothing
}

// Refusal says why a device does not do a suite.
type Refusal struct {
	Suite  crypto.Suite
	Reason string
}

// Describe lists libIPSec_MB, which is asked first, then the devices in order of preference,
// then what this machine does not have.
func (p *Pool) Describe() []DeviceInfo {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []DeviceInfo
	if p.library != nil {
		list = append(list, p.describeLibrary())
	}
	for _, dev := range p.devices {
		info := DeviceInfo{Name: dev.name, ID: dev.id, Driver: dev.driver, CPU: dev.cpu, Hardware: dev.hardware, Queued: p.usesQueues(dev), QueuePairs: p.queuePairs, Sessions: int(dev.live.Load()),
			Most: int(C.spcrypto_most_sessions(C.uint8_t(dev.id))), Whole: dev.security != nil, Lost: dev.lost.why}
		for _, s := range crypto.Suites() {
			if reason := dev.lacks(s, false); reason != "" {
				info.Refused = append(info.Refused, Refusal{s, reason})
			} else {
				info.Suites = append(info.Suites, s)
			}
		}
		list = append(list, info)
	}
	return append(list, p.missing...)
}
