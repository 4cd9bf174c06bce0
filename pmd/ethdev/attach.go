package ethdev

/*
#include "port.h"
#include <stdlib.h>
#include <rte_dev.h>
*/
import "C"

import (
	"fmt"
	"sync"
	"unsafe"

	"sallyport/pmd/eal"
)

// attaching makes the choice of a free number and its use one step.
var attaching struct {
	sync.Mutex
	// failed has the names that no longer work: net_memif leaves a failed device behind, without a port.
	failed map[string]bool
}

// Attach makes the port of a device: a virtual one, which gets a number if its name has none ("net_null" becomes "net_null0"), or
// a PCI device, which eal.Config.AllowPCI must have. A device over a kernel interface finds it in the network namespace of the
// calling thread.
func Attach(devargs string) (Port, error) {
	d, err := parseDevice(devargs)
	if err != nil {
		return 0, err
	}
	return attach(d)
}

func attach(d device) (Port, error) {
	attaching.Lock()
	defer attaching.Unlock()
	if !d.numbered() {
		d.name = freeName(d.kind.driver)
	}
	port, found := PortByName(d.name)
	if found && d.kind == nil {
		return port, nil // the EAL took the allowed PCI devices when it started
	}
	if found {
		return 0, fmt.Errorf("device %s: port %d has this name already; leave the number out to get a free one", d, port)
	}
	err := eal.Explain(func() error {
		cdevice := C.CString(d.String())
		defer C.free(unsafe.Pointer(cdevice))
		if result := C.rte_dev_probe(cdevice); result < 0 {
			return fmt.Errorf("device %s: %w", d, errorOf(result))
		}
		return nil
	})
	if err != nil {
		if attaching.failed == nil {
			attaching.failed = map[string]bool{}
		}
		attaching.failed[d.name] = true
		return 0, err
	}
	if port, found = PortByName(d.name); !found {
		return 0, fmt.Errorf("device %s: no driver made a port of it; a PCI device must be listed as allowed and bound to vfio-pci", d)
	}
	return port, nil
}

// freeName puts the lowest usable number behind a driver's name.
func freeName(driver string) string {
	for number := 0; ; number++ {
		name := fmt.Sprintf("%s%d", driver, number)
		if _, taken := PortByName(name); !taken && !attaching.failed[name] {
			return name
		}
	}
}
