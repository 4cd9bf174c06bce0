package cryptodev

/*
#include <stdlib.h>
#include <rte_cryptodev.h>
#include <rte_dev.h>
*/
import "C"

import (
	"errors"
	"fmt"
	"strings"
	"unsafe"
)

// A device of the driver crypto_scheduler stands for several others, its members: crypto_scheduler0,worker=crypto_openssl1,worker=crypto_openssl2,mode=round-robin.
// DPDK wants them to be there before it is. A session on it is one on each member too.

// schedulerDriver says of its devices what is true of any member, cpu-crypto too, and has no function for that.
const schedulerDriver = "crypto_scheduler"

// openMembers creates the virtual devices that a scheduler's arguments name.
func (d *device) openMembers(arguments string, options Options) error {
	for argument := range strings.SplitSeq(arguments, ",") {
		name, found := strings.CutPrefix(argument, "worker=")
		if !found {
			continue
		}
		member := &device{name: name}
		if err := member.create(options); err != nil {
			return errors.Join(fmt.Errorf("%s: %w", d.name, err), d.removeMembers())
		}
		d.members = append(d.members, member)
	}
	return nil
}

// create makes a virtual device, if there is none of its name.
func (d *device) create(options Options) error {
	name, arguments := C.CString(d.name), C.CString(fmt.Sprintf("max_nb_queue_pairs=%d", options.QueuePairs))
	defer C.free(unsafe.Pointer(name))
	defer C.free(unsafe.Pointer(arguments))
	if C.rte_cryptodev_get_dev_id(name) < 0 {
		if ret := C.rte_eal_hotplug_add(vdevBus, name, arguments); ret < 0 {
			return fmt.Errorf("%s: creating it: %w; is its driver installed and the name right?", d.name, errno(ret))
		}
		d.created = true
	}
	id := C.rte_cryptodev_get_dev_id(name)
	if id < 0 {
		return errors.Join(fmt.Errorf("%s: not a crypto device", d.name), d.remove())
	}
	d.id = uint8(id)
	return nil
}

// memberSize is the octets of a session on the member whose are largest.
func (d *device) memberSize() (size uint32) {
	for _, member := range d.members {
		size = max(size, uint32(C.rte_cryptodev_sym_get_private_session_size(C.uint8_t(member.id))))
	}
	return size
}

func (d *device) removeMembers() error {
	var errs []error
	for _, member := range d.members {
		errs = append(errs, member.remove())
	}
	d.members = nil
	return errors.Join(errs...)
}
