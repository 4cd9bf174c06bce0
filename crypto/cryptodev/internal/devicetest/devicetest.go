// Package devicetest looks into the memory of sessions of package cryptodev. It is for
// tests, which may not use cgo themselves.
package devicetest

/*
#cgo pkg-config: libdpdk
#cgo CFLAGS: -O2 -Wall -Wextra -Werror -DALLOW_EXPERIMENTAL_API

#include <rte_mempool.h>
*/
import "C"

import (
	"unsafe"

	"sallyport/crypto/cryptodev"
)

// SessionMemory is the memory of the session, for a look at what is in it. It stays
// readable after the session is freed, until its pool is closed.
func SessionMemory(s *cryptodev.Session) []byte {
	pool := C.rte_mempool_from_obj(s.Handle)
	return unsafe.Slice((*byte)(s.Handle), pool.elt_size)
}
