package offload

import (
	"fmt"
	"slices"
	"strings"

	"sallyport/crypto/cryptodev"
)

// Class is a word of dataplane.offload.
type Class string

// Classes of ways.
const (
	Inline    Class = "inline"    // in the port
	Lookaside Class = "lookaside" // in a crypto device, by its queue pairs
	CPU       Class = "cpu"
)

// ParseOrder reads the order of classes of the configuration. None is nil: the default.
func ParseOrder(words []string) ([]Class, error) {
	var order []Class
	for _, word := range words {
		c := Class(word)
		switch {
		case c != Inline && c != Lookaside && c != CPU:
			return nil, fmt.Errorf("expected inline, lookaside or cpu, found %q", word)
		case slices.Contains(order, c):
			return nil, fmt.Errorf("expected each at most once, found %s twice", word)
		}
		order = append(order, c)
	}
	if slices.Contains(order, Inline) && !slices.Contains(order, CPU) {
		return nil, fmt.Errorf("expected cpu too, found %s: what a port leaves undone is the CPU's", strings.Join(words, ", "))
	}
	return order, nil
}

// steps are what a planner goes through: inline, or a class of crypto devices. By default devices that are software come last: the CPU is quicker than they
// are on the same CPU. Who names lookaside means all devices.
func steps(order []Class) []step {
	if order == nil {
		return []step{{inline: true}, {crypto: cryptodev.ClassHardware}, {crypto: cryptodev.ClassCPU}, {crypto: cryptodev.ClassSoftware}}
	}
	var list []step
	for _, c := range order {
		switch c {
		case Inline:
			list = append(list, step{inline: true})
		case Lookaside:
			list = append(list, step{crypto: cryptodev.ClassHardware}, step{crypto: cryptodev.ClassSoftware})
		case CPU:
			list = append(list, step{crypto: cryptodev.ClassCPU})
		}
	}
	return list
}

type step struct {
	inline bool
	crypto cryptodev.Class
}

// CryptoClasses is the order for cryptodev.Open.
func CryptoClasses(order []Class) []cryptodev.Class {
	var list []cryptodev.Class
	for _, s := range steps(order) {
		if !s.inline {
			list = append(list, s.crypto)
		}
	}
	return list
}
