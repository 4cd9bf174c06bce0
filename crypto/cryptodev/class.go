package cryptodev

import (
	"cmp"
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
	Whole  bool // the device was to do all of ESP
	Reason string
}

// way is how a session can come about: by a device, which does the crypto or the whole of ESP, or by libIPSec_MB in its place.
type way struct {
	dev     *device
	class   Class
	library bool
	whole   bool
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

// byQueues lists what a device can do for an SA by its queue pairs. Outbound it is best that it does all of ESP. Inbound it would have the replay window, which nobody can
// read back, so that nobody could go on with the SA: crypto alone is better. An SA that nothing is known of but its suite gets no more than that.
func (d *device) byQueues(sa *ESP) []way {
	list := []way{{dev: d, class: d.queued()}}
	whole := way{dev: d, class: d.queued(), whole: true}
	switch {
	case d.security == nil || sa.SPI == 0:
		return list
	case sa.Outbound:
		return slices.Insert(list, 0, whole)
	}
	return append(list, whole)
}

// ways lists how an SA of ESP can be done, the best first. Where no order of classes was given, devices come in their order, each by what it does best. Else it is that of
// the classes, and of the devices within each; the queue pairs of a device are not asked after its own cpu-crypto, which would have had the same reason to refuse.
func (p *Pool) ways(sa *ESP, viaDevice bool) []way {
	var all []way
	for _, dev := range p.devices {
		queued := dev.byQueues(sa)
		cpu := way{dev: dev, class: ClassCPU, library: !viaDevice && p.libraryInstead(dev, sa.Suite)}
		switch hasCPU := cpu.library || dev.cpu && isGCM(sa.Suite); {
		case !hasCPU:
			all = append(all, queued...)
		case p.classes == nil || p.rank(cpu.class) < p.rank(dev.queued()):
			all = append(all, cpu)
		default:
			all = append(append(all, queued...), cpu)
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
	if d.security != nil && (p.classes == nil || slices.Contains(p.classes, d.queued())) {
		return true
	}
	return slices.ContainsFunc(crypto.Suites(), func(s crypto.Suite) bool {
		return d.lacks(s, false) == "" && slices.ContainsFunc(p.ways(&ESP{Suite: s}, false), func(w way) bool { return w.dev == d && w.class != ClassCPU })
	})
}

// Way is where the work of an SA could be done, and why it cannot: nothing if it can.
type Way struct {
	Device  string
	Class   Class
	Whole   bool // the device does all of ESP, not the crypto alone
	Refusal string
}

// Ways lists the ways that NewSession would try for an SA, the best first.
func (p *Pool) Ways(sa *ESP) []Way {
	p.mu.Lock()
	defer p.mu.Unlock()
	if sa.Suite.AH() {
		return []Way{{Device: libraryName, Class: ClassCPU, Refusal: p.refusesAH()}}
	}
	var list []Way
	for _, w := range p.ways(sa, false) {
		listed := Way{Device: w.name(), Class: w.class, Whole: w.whole}
		if !w.library {
			listed.Refusal = w.refuses(sa)
		}
		list = append(list, listed)
	}
	return list
}

// refuses says why a device cannot do its work for an SA, or nothing if it can.
func (w way) refuses(sa *ESP) string {
	var refusal string
	switch {
	case !w.whole:
		refusal = w.dev.lacks(sa.Suite, sa.ESN)
	case w.dev.lost.declared:
		return w.dev.lost.why
	default:
		_, refusal = w.dev.security.Find(LookasideProtocol, sa)
	}
	if refusal == "" && w.class != ClassCPU { // which takes no packets, but their text
		refusal = w.dev.cramped(sa)
	}
	return cmp.Or(refusal, w.dev.full())
}
