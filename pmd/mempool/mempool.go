// Package mempool creates the pools of packet buffers (rte_mempool of rte_mbuf) that ports and the data plane share.
//
// Memory comes from DPDK, so the EAL must run (package eal). A pool is safe for concurrent use by DPDK threads; creating and
// freeing one is the business of start and stop.
package mempool

/*
#cgo pkg-config: libdpdk
#cgo CFLAGS: -Wall -Wextra -Werror
#include <stdlib.h>
#include <rte_errno.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>

// rte_errno belongs to the thread, and the goroutine may move to another one between two calls: take both in one crossing.
static struct rte_mempool *sp_mbuf_pool_create(const char *name, unsigned int n, unsigned int cache, uint16_t private_size,
	uint16_t data_room, int socket, int *error)
{
	struct rte_mempool *pool = rte_pktmbuf_pool_create(name, n, cache, private_size, data_room, socket);

	*error = pool == NULL ? rte_errno : 0;
	return pool;
}
*/
import "C"

import (
	"errors"
	"fmt"
	"syscall"
	"unsafe"
)

const (
	// Headroom is the space in bytes that DPDK keeps free before the frame in each mbuf (RTE_PKTMBUF_HEADROOM).
	Headroom = C.RTE_PKTMBUF_HEADROOM
	// MaxCacheSize is the largest per-thread cache in objects (RTE_MEMPOOL_CACHE_MAX_SIZE).
	MaxCacheSize = C.RTE_MEMPOOL_CACHE_MAX_SIZE
	// SocketAny lets DPDK choose the NUMA socket (SOCKET_ID_ANY).
	SocketAny = C.SOCKET_ID_ANY
	// maxName is the longest pool name in bytes: RTE_MEMPOOL_NAMESIZE without the final zero.
	maxName = C.RTE_MEMPOOL_NAMESIZE - 1
)

// Mempool is a pool of mbufs. The zero value is not usable; CreateMbufPool makes one.
type Mempool struct {
	pool     *C.struct_rte_mempool
	name     string
	size     uint32
	dataRoom uint16
}

type options struct {
	cacheSize   uint32
	socket      int
	privateSize uint16
}

// Option changes how a pool is created.
type Option func(*options)

// OptCacheSize sets how many objects each DPDK thread may keep for itself, up to MaxCacheSize and two thirds of the pool.
// The default is none.
func OptCacheSize(objects uint32) Option { return func(o *options) { o.cacheSize = objects } }

// OptSocket sets the NUMA socket whose memory is used. The default is SocketAny.
func OptSocket(socket int) Option { return func(o *options) { o.socket = socket } }

// OptPrivateDataSize sets the bytes of application data kept in each mbuf between its header and its data; a multiple of 8.
func OptPrivateDataSize(bytes uint16) Option { return func(o *options) { o.privateSize = bytes } }

// CreateMbufPool creates a pool of n mbufs with dataRoom bytes each, Headroom included. A power of two minus one is the n
// that wastes the least memory.
func CreateMbufPool(name string, n uint32, dataRoom uint16, opts ...Option) (*Mempool, error) {
	conf := options{socket: SocketAny}
	for _, opt := range opts {
		opt(&conf)
	}
	if err := conf.validate(name, n, dataRoom); err != nil {
		return nil, fmt.Errorf("mbuf pool %q: %w", name, err)
	}
	cname := C.CString(name)
	defer C.free(unsafe.Pointer(cname))
	var code C.int
	pool := C.sp_mbuf_pool_create(cname, C.uint(n), C.uint(conf.cacheSize), C.uint16_t(conf.privateSize),
		C.uint16_t(dataRoom), C.int(conf.socket), &code)
	if pool == nil {
		return nil, fmt.Errorf("mbuf pool %q: %d buffers of %d bytes on socket %d: %w (%s)", name, n, dataRoom, conf.socket,
			syscall.Errno(code), advice(syscall.Errno(code)))
	}
	return &Mempool{pool: pool, name: name, size: n, dataRoom: dataRoom}, nil
}

func (o *options) validate(name string, n uint32, dataRoom uint16) error {
	switch {
	case name == "" || len(name) > maxName:
		return fmt.Errorf("the name has %d bytes, expected 1 to %d", len(name), maxName)
	case n == 0:
		return errors.New("0 buffers, expected at least 1")
	case dataRoom <= Headroom:
		return fmt.Errorf("data room of %d bytes, expected more than the %d bytes of headroom", dataRoom, Headroom)
	case o.cacheSize > MaxCacheSize || uint64(o.cacheSize)*3 > uint64(n)*2:
		return fmt.Errorf("cache of %d, expected at most %d and two thirds of the %d buffers", o.cacheSize, MaxCacheSize, n)
	case o.privateSize%C.RTE_MBUF_PRIV_ALIGN != 0:
		return fmt.Errorf("private size of %d bytes, expected a multiple of %d", o.privateSize, C.RTE_MBUF_PRIV_ALIGN)
	}
	return nil
}

// advice tells the operator what to do about a refusal of rte_mempool_create.
func advice(code syscall.Errno) string {
	switch code {
	case syscall.ENOMEM:
		return "raise dataplane.memory_mb or ask for fewer or smaller buffers"
	case syscall.EEXIST:
		return "a pool of this name exists already"
	}
	return "see the DPDK log lines before this one"
}

// Pointer is the struct rte_mempool * for C code.
func (m *Mempool) Pointer() unsafe.Pointer { return unsafe.Pointer(m.pool) }

// Name is the name the pool was created with.
func (m *Mempool) Name() string { return m.name }

// Size is the number of mbufs in the pool, in use or not.
func (m *Mempool) Size() uint32 { return m.size }

// DataRoom is the size in bytes of each mbuf's data buffer, Headroom included.
func (m *Mempool) DataRoom() uint16 { return m.dataRoom }

// InUse counts the mbufs taken from the pool. It walks the per-thread caches: for statistics and tests, not for each packet.
func (m *Mempool) InUse() uint32 { return uint32(C.rte_mempool_in_use_count(m.pool)) }

// Available counts the mbufs left in the pool and its caches.
func (m *Mempool) Available() uint32 { return uint32(C.rte_mempool_avail_count(m.pool)) }

// Free gives the memory back. No mbuf of the pool may be in use and no port may still have it. A second call does nothing.
func (m *Mempool) Free() {
	C.rte_mempool_free(m.pool)
	m.pool = nil
}
