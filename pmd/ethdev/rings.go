package ethdev

/*
#include "port.h"
#include <stdlib.h>
*/
import "C"

import (
	"errors"
	"fmt"
	"syscall"
	"unsafe"

	"sallyport/pmd/eal"
	"sallyport/pmd/ring"
)

// FromRings makes a port in memory: what is put into the ring rx[i] is received on Rx queue i, and what is sent on Tx queue i
// appears in tx[i]. It is the twin of a real port for tests. Setup configures and starts it. The rings stay the caller's and
// are freed after the port is closed.
func FromRings(name string, rx, tx []*ring.Ring) (Port, error) {
	if len(rx) == 0 || len(tx) == 0 {
		return 0, errors.New("port from rings: expected at least one ring for each direction")
	}
	cname := C.CString(name)
	defer C.free(unsafe.Pointer(cname))
	rxRings, txRings := pointers(rx), pointers(tx)
	var port Port
	err := eal.Explain(func() error {
		result := C.sp_port_from_rings(cname, &rxRings[0], C.uint(len(rx)), &txRings[0], C.uint(len(tx)), 0)
		if result < 0 {
			return fmt.Errorf("port from rings %q: %w", name, syscall.Errno(-result))
		}
		port = Port(result)
		return nil
	})
	return port, err
}

func pointers(rings []*ring.Ring) []unsafe.Pointer {
	list := make([]unsafe.Pointer, len(rings))
	for i, r := range rings {
		list[i] = r.Pointer()
	}
	return list
}
