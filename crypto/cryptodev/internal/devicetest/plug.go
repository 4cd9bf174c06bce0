package devicetest

/*
#include <stdlib.h>
#include <rte_cryptodev.h>
#include <rte_dev.h>
*/
import "C"

import (
	"fmt"
	"syscall"
	"unsafe"
)

// Plug makes a virtual device as the EAL makes those of a bus: nobody else has, and it stays.
func Plug(name, arguments string) error {
	bus, device, with := C.CString("vdev"), C.CString(name), C.CString(arguments)
	for _, text := range []*C.char{bus, device, with} {
		defer C.free(unsafe.Pointer(text))
	}
	if ret := C.rte_eal_hotplug_add(bus, device, with); ret < 0 {
		return fmt.Errorf("%s: %w", name, syscall.Errno(-ret))
	}
	return nil
}

// NameOf is what its driver calls a crypto device.
func NameOf(id uint8) string { return C.GoString(C.rte_cryptodev_name_get(C.uint8_t(id))) }
