// Package ring binds rte_ring, the fixed-size queue of pointers between DPDK threads and Go.
//
// The pointers are objects of DPDK memory (mbufs), never Go memory. Bursts cross into C once for the whole slice.
package ring

/*
#cgo pkg-config: libdpdk
#cgo CFLAGS: -Wall -Wextra -Werror
#include <stdlib.h>
#include <rte_errno.h>
#include <rte_ring.h>

// rte_errno belongs to the thread, and the goroutine may move to another one between two calls: take both in one crossing.
static struct rte_ring *sp_ring_create(const char *name, unsigned int count, int socket, unsigned int flags, int *error)
{
	struct rte_ring *ring = rte_ring_create(name, count, socket, flags);

	*error = ring == NULL ? rte_errno : 0;
	return ring;
}

static unsigned int sp_ring_count(struct rte_ring *ring)
{
	return rte_ring_count(ring);
}

static unsigned int sp_ring_enqueue_burst(struct rte_ring *ring, void **objects, unsigned int n)
{
	return rte_ring_enqueue_burst(ring, objects, n, NULL);
}

static unsigned int sp_ring_dequeue_burst(struct rte_ring *ring, void **objects, unsigned int n)
{
	return rte_ring_dequeue_burst(ring, objects, n, NULL);
}
*/
import "C"

import (
	"fmt"
	"math/bits"
	"syscall"
	"unsafe"
)

const (
	// SocketAny lets DPDK choose the NUMA socket (SOCKET_ID_ANY).
	SocketAny = C.SOCKET_ID_ANY
	// maxName is the longest ring name in bytes: RTE_RING_NAMESIZE without the final zero.
	maxName = C.RTE_RING_NAMESIZE - 1
	// maxCount is the largest number of slots (RTE_RING_SZ_MASK), rounded down to a power of two.
	maxCount = (C.RTE_RING_SZ_MASK + 1) / 2
)

// Ring is a queue of pointers. The zero value is not usable; Create makes one.
type Ring struct {
	ring *C.struct_rte_ring
	name string
}

type options struct {
	flags  C.uint
	socket int
}

// Option changes how a ring is created.
type Option func(*options)

// OptSP promises that only one thread at a time enqueues.
func OptSP() Option { return func(o *options) { o.flags |= C.RING_F_SP_ENQ } }

// OptSC promises that only one thread at a time dequeues.
func OptSC() Option { return func(o *options) { o.flags |= C.RING_F_SC_DEQ } }

// OptSocket sets the NUMA socket whose memory is used. The default is SocketAny.
func OptSocket(socket int) Option { return func(o *options) { o.socket = socket } }

// Create makes a ring with count slots, a power of two; one slot stays empty, so it holds count-1 objects. Any number of
// threads may enqueue and dequeue unless OptSP or OptSC promise fewer.
func Create(name string, count uint32, opts ...Option) (*Ring, error) {
	conf := options{socket: SocketAny}
	for _, opt := range opts {
		opt(&conf)
	}
	if name == "" || len(name) > maxName {
		return nil, fmt.Errorf("ring %q: the name has %d bytes, expected 1 to %d", name, len(name), maxName)
	}
	if bits.OnesCount32(count) != 1 || count < 2 || count > maxCount {
		return nil, fmt.Errorf("ring %q: %d slots, expected a power of two from 2 to %d", name, count, maxCount)
	}
	cname := C.CString(name)
	defer C.free(unsafe.Pointer(cname))
	var code C.int
	ring := C.sp_ring_create(cname, C.uint(count), C.int(conf.socket), conf.flags, &code)
	if ring == nil {
		return nil, fmt.Errorf("ring %q: %d slots on socket %d: %w", name, count, conf.socket, syscall.Errno(code))
	}
	return &Ring{ring: ring, name: name}, nil
}

// Pointer is the struct rte_ring * for C code.
func (r *Ring) Pointer() unsafe.Pointer { return unsafe.Pointer(r.ring) }

// Name is the name the ring was created with.
func (r *Ring) Name() string { return r.name }

// Len counts the objects in the ring.
func (r *Ring) Len() int { return int(C.sp_ring_count(r.ring)) }

// EnqueueBurst puts in as many of the objects as there is room for, from the first on, and says how many that were. The rest
// stays with the caller.
func (r *Ring) EnqueueBurst(objects []unsafe.Pointer) int {
	if len(objects) == 0 {
		return 0
	}
	return int(C.sp_ring_enqueue_burst(r.ring, &objects[0], C.uint(len(objects))))
}

// DequeueBurst takes up to len(objects) objects, the oldest first, and says how many that were.
func (r *Ring) DequeueBurst(objects []unsafe.Pointer) int {
	if len(objects) == 0 {
		return 0
	}
	return int(C.sp_ring_dequeue_burst(r.ring, &objects[0], C.uint(len(objects))))
}

// Free gives the ring's memory back; objects still in it are not freed. A second call does nothing.
func (r *Ring) Free() {
	C.rte_ring_free(r.ring)
	r.ring = nil
}
