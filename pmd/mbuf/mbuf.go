// Package mbuf moves frames between Go byte slices and DPDK packet buffers (rte_mbuf).
//
// It serves the slow path and tests: every frame is copied. An mbuf is an unsafe.Pointer to a struct rte_mbuf, the form in
// which rings carry it. Each function crosses into C once or twice, whatever the number of frames.
package mbuf

/*
#cgo pkg-config: libdpdk
#cgo CFLAGS: -Wall -Wextra -Werror
#include "mbuf.h"
*/
import "C"

import (
	"fmt"
	"slices"
	"syscall"
	"unsafe"

	"sallyport/pmd/mempool"
)

// FromBytes takes an mbuf from the pool and copies the frame into it. The caller owns the mbuf.
func FromBytes(pool *mempool.Mempool, frame []byte) (unsafe.Pointer, error) {
	mbufs, err := FromFrames(pool, [][]byte{frame})
	if err != nil {
		return nil, err
	}
	return mbufs[0], nil
}

// FromFrames is FromBytes for many frames: all of them or, with an error, none.
func FromFrames(pool *mempool.Mempool, frames [][]byte) ([]unsafe.Pointer, error) {
	if len(frames) == 0 {
		return nil, nil
	}
	lengths := make([]C.uint32_t, len(frames))
	longest := 0
	for i, frame := range frames {
		lengths[i] = C.uint32_t(len(frame))
		longest = max(longest, len(frame))
	}
	bytes := slices.Concat(frames...)
	mbufs := make([]unsafe.Pointer, len(frames))
	code := C.sp_mbuf_from_frames((*C.struct_rte_mempool)(pool.Pointer()), (*C.uint8_t)(unsafe.SliceData(bytes)),
		&lengths[0], C.uint(len(frames)), &mbufs[0])
	switch errno := syscall.Errno(-code); errno {
	case 0:
		return mbufs, nil
	case syscall.EMSGSIZE:
		return nil, fmt.Errorf("mbuf: a frame of %d bytes, expected at most %d in pool %q", longest,
			int(pool.DataRoom())-mempool.Headroom, pool.Name())
	default:
		return nil, fmt.Errorf("mbuf: %d buffers wanted, %d free in pool %q: %w", len(frames), pool.Available(), pool.Name(), errno)
	}
}

// Bytes copies an mbuf's frame out, all segments included. The mbuf stays with the caller.
func Bytes(mbuf unsafe.Pointer) []byte {
	return Frames([]unsafe.Pointer{mbuf})[0]
}

// Frames is Bytes for many mbufs. The slices share one allocation.
func Frames(mbufs []unsafe.Pointer) [][]byte {
	if len(mbufs) == 0 {
		return nil
	}
	lengths := make([]C.uint32_t, len(mbufs))
	sum := C.sp_mbuf_lengths(&mbufs[0], C.uint(len(mbufs)), &lengths[0])
	bytes := make([]byte, sum)
	C.sp_mbuf_copy_out(&mbufs[0], C.uint(len(mbufs)), (*C.uint8_t)(unsafe.SliceData(bytes)))
	frames := make([][]byte, len(mbufs))
	for i, length := range lengths {
		frames[i], bytes = bytes[:length:length], bytes[length:]
	}
	return frames
}

// Free gives an mbuf and its further segments back to their pools.
func Free(mbuf unsafe.Pointer) { FreeBulk([]unsafe.Pointer{mbuf}) }

// FreeBulk is Free for many mbufs; nil ones are passed over.
func FreeBulk(mbufs []unsafe.Pointer) {
	if len(mbufs) != 0 {
		C.sp_mbuf_free(&mbufs[0], C.uint(len(mbufs)))
	}
}
