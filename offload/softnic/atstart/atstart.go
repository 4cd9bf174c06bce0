package atstart

/*
#cgo pkg-config: libdpdk
#cgo CFLAGS: -O2 -Wall -Wextra -Werror -D_GNU_SOURCE
#include <errno.h>
#include <rte_ethdev.h>
*/
import "C"

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"

	"sallyport/offload/softnic"
	"sallyport/pmd/ethdev"
)

const environment = "SALLYPORT_SOFTNIC"

// attached are the NICs of ports that run.
var attached = struct {
	sync.Mutex
	nics map[uint16]*softnic.NIC
}{nics: map[uint16]*softnic.NIC{}}

// optionsOf reads what the value of the variable says of a port that has these names.
func optionsOf(value string, names ...string) (o softnic.Options, named bool, err error) {
	for _, item := range strings.Split(value, ",") {
		name, kind, _ := strings.Cut(item, "=")
		if kind != "" && kind != "crypto" && kind != "protocol" {
			return o, false, fmt.Errorf("%s: %q, expected a device or an interface, and perhaps =crypto or =protocol", environment, item)
		}
		for _, known := range names {
			if name != "" && name == known {
				o, named = softnic.Options{InlineCrypto: kind != "protocol", InlineProtocol: kind != "crypto"}, true
			}
		}
	}
	return o, named, nil
}

// start gives a port its NIC if it is named.
func start(port uint16) error {
	value := os.Getenv(environment)
	attached.Lock()
	defer attached.Unlock()
	if value == "" || attached.nics[port] != nil {
		return nil
	}
	name, err := ethdev.Port(port).Name()
	if err != nil {
		return err
	}
	info, err := ethdev.Port(port).Info()
	if err != nil {
		return err
	}
	names := []string{name}
	if below, err := net.InterfaceByIndex(int(info.InterfaceIndex)); err == nil {
		names = append(names, below.Name)
	}
	options, named, err := optionsOf(value, names...)
	if err != nil || !named {
		return err
	}
	rx, tx, err := queues(port)
	if err != nil {
		return err
	}
	if rx != tx {
		return fmt.Errorf("port %s has %d Rx and %d Tx queues, a software NIC needs as many", name, rx, tx)
	}
	nic, err := softnic.Attach(port, rx, options)
	if err != nil {
		return err
	}
	attached.nics[port] = nic
	return nil
}

func queues(port uint16) (rx, tx int, err error) {
	var info C.struct_rte_eth_dev_info
	if result := C.rte_eth_dev_info_get(C.uint16_t(port), &info); result != 0 {
		return 0, 0, syscall.Errno(-result)
	}
	return int(info.nb_rx_queues), int(info.nb_tx_queues), nil
}

// stop takes the NIC away and says what it has done.
func stop(port uint16) error {
	attached.Lock()
	defer attached.Unlock()
	nic := attached.nics[port]
	if nic == nil {
		return nil
	}
	name, err := ethdev.Port(port).Name()
	if err != nil {
		return err
	}
	counters, err := json.Marshal(map[string]any{"softnic": name, "counters": nic.Counters()})
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "%s\n", counters)
	delete(attached.nics, port)
	return nic.Detach()
}

// refusal is how DPDK's caller learns of an error: its number, and its text on the standard error.
func refusal(err error) C.int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, "software NIC:", err)
	return -C.EIO
}

//export sp_nic_starting
func sp_nic_starting(port C.uint16_t) C.int { return refusal(start(uint16(port))) }

//export sp_nic_closing
func sp_nic_closing(port C.uint16_t) C.int { return refusal(stop(uint16(port))) }
