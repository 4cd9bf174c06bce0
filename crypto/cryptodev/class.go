package cryptodev

import (
	"fmt"
	"slices"

	"sallyport/crypto"
)

// Class is where the work of a session is done.
type Class uint8

const (
	ClassCPU      Class = iota + 1 // in the worker's own thread: libIPSec_MB itself, or cpu-crypto of a device
	ClassHardware                  // behind queue pairs of a device that has hardware (RTE_CRYPTODEV_FF_HW_ACCELERATED)
	ClassSoftware                  // behind queue pairs of a device that is software
)

// String names the class for messages.
func (c Class) String() string {
	switch c {
	case ClassCPU:
		return "cpu"
	case ClassHardware:
		return "hardware"
	case ClassSoftware:
		return "software"
	}
	return fmt.Sprintf("Class(%d)", uint8(c))
}

// PassedOver is a device that would have been preferred for a session, and why it did not get it.
type PassedOver struct {
	Device string
	Class  Class
	Reason string
}

// way is how a session can come about: by a device, or by libIPSec_MB in its place.
type way struct {
	dev     *device
	class   Class
	library bool
}

// name is that of the device, or of the library.
func (w way) name() string {
	if w.library {
		return libraryName
	}
	return w.dev.name
}

// queued is the class of the device's queue pairs.
func (d *device) queued() Class {
	if d.hardware {
		return ClassHardware
	}
	return ClassSoftware
}

// ways lists how a suite of ESP can be done, the best first. Where no order of classes was given, devices come in their order, each by what it does best. Else it is that of
// the classes, and of the devices within each; the queue pairs of a device are not asked after its own cpu-crypto, which would have had the same reason to refuse.
func (p *Pool) ways(s crypto.Suite, viaDevice bool) []way {
	var all []way
	for _, dev := range p.devices {
		queued := way{dev: dev, class: dev.queued()}
		cpu := way{dev: dev, class: ClassCPU, library: !viaDevice && p.libraryInstead(dev, s)}
		switch hasCPU := cpu.library || dev.cpu && isGCM(s); {
		case !hasCPU:
			all = append(all, queued)
		case p.classes == nil || p.rank(cpu.class) < p.rank(queued.class):
			all = append(all, cpu)
		default:
			all = append(all, queued, cpu)
		}
	}
	if p.classes == nil {
		return all
	}
	all = slices.DeleteFunc(all, func(w way) bool { return !slices.Contains(p.classes, w.class) })
	slices.SortStableFunc(all, func(a, b way) int { return p.rank(a.class) - p.rank(b.class) })
	return all
}

// rank is the place of a class in the order, behind all for one that is not in it.
func (p *Pool) rank(c Class) int {
	if i := slices.Index(p.classes, c); i >= 0 {
		return i
	}
	return len(p.classes)
}

// usesQueues reports whether sessions may come to the queue pairs of a device.
func (p *Pool) usesQueues(d *device) bool {
	return slices.ContainsFunc(crypto.Suites(), func(s crypto.Suite) bool {
		return d.refuses(s, false) == "" && slices.ContainsFunc(p.ways(s, false), func(w way) bool { return w.dev == d && w.class != ClassCPU })
	})
}

// Way is where a suite could be done, and why it cannot: nothing if it can.
type Way struct {
	Device  string
	Class   Class
	Refusal string
}

// Ways lists the ways that NewSession would try for a suite, the best first.
func (p *Pool) Ways(s crypto.Suite, esn bool) []Way {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.AH() {
		return []Way{{Device: libraryName, Class: ClassCPU, Refusal: p.refusesAH()}}
	}
	var list []Way
	for _, w := range p.ways(s, false) {
		listed := Way{Device: w.name(), Class: w.class}
		if !w.library {
			listed.Refusal = w.dev.refuses(s, esn)
		}
		list = append(list, listed)
	}
	return list
}
