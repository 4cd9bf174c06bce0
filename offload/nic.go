package offload

/*
#cgo pkg-config: libdpdk
#cgo CFLAGS: -O2 -Wall -Wextra -Werror -DALLOW_EXPERIMENTAL_API

#include "rule.h"
*/
import "C"

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"syscall"
	"unsafe"

	"sallyport/crypto"
	"sallyport/crypto/cryptodev"
	"sallyport/pipeline"
)

// nic is what there is once for an Ethernet port, however many ports of the gateway are on it.
type nic struct {
	id       uint16
	missing  string // why nothing can be done with it
	security *cryptodev.Security
	driver   sync.Mutex // while its driver is asked, which may take its time; before Planner.mu
	stuck    int        // sessions that the driver did not take back
	lost     bool       // it does nothing any more: only Planner.Probe asks it for anything
}

// openNIC asks a port for what it can do, and takes memory for its sessions if it can do something.
func openNIC(id uint16, driver string, sessions, socket int) *nic {
	n := &nic{id: id}
	context := C.sp_offload_context(C.uint16_t(id))
	if context == nil {
		n.missing = driver + " does no IPsec"
		return n
	}
	n.security = cryptodev.NewSecurity(context)
	if !n.security.Offers(cryptodev.InlineCrypto, cryptodev.InlineProtocol) {
		n.missing = driver + " offers rte_security, and no ESP in it"
		return n
	}
	if err := n.security.Reserve(sessions, socket); err != nil {
		n.missing = fmt.Sprintf("the port has %v", err)
		return n
	}
	n.listen(true)
	return n
}

// listen has DPDK tell when the port is taken out of the machine.
func (n *nic) listen(on bool) { C.sp_offload_listen(C.uint16_t(n.id), C.int(truth(on))) }

func (n *nic) removed() bool { return C.sp_offload_removed(C.uint16_t(n.id)) != 0 }

// probe makes an outbound session that no packet uses, of what the port says it can do.
func (n *nic) probe() (*opened, error) {
	end := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 1}), 0) // RFC 5737
	for _, suite := range crypto.Suites() {
		sa := pipeline.InlineSA{Outbound: true, SPI: 256, Suite: suite, Local: end, Remote: end, Encapsulation: pipeline.Encapsulation{ECNOff: true, DSCP: new(uint8)}}
		need := needOf(&sa)
		for _, plan := range inlinePlans(true) {
			c, _ := n.entry(plan, &need)
			if c == nil {
				continue
			}
			key := make([]byte, suite.KeymatLen())
			_, _ = rand.Read(key)
			sa.Keymat = crypto.NewSecret(key)
			defer sa.Keymat.Wipe()
			return n.open(c, &need, &sa)
		}
	}
	return nil, errors.New("no outbound SA of any suite would do to ask with")
}

// close gives the memory back. Where a session is stuck it stays: the driver may still know the place.
func (n *nic) close() {
	if n.missing == "" {
		n.listen(false)
	}
	if n.security != nil && n.stuck == 0 {
		n.security.Close()
	}
}

// opened is a session of a port, with the rule that leads to it.
type opened struct {
	nic     *nic
	session unsafe.Pointer
	rule    *C.struct_rte_flow // inbound
	of      saKey

	metadata bool            // of the capability by which it was made
	before   map[Plan]string // why not what would have been better
	failed   error           // why it is of no use, and has to be closed
}

// open makes a session, and inbound its rule.
func (n *nic) open(c *cryptodev.Capability, need *need, sa *pipeline.InlineSA) (*opened, error) {
	if c.Action == cryptodev.InlineProtocol && !sa.Outbound && C.sp_offload_names_sas() == 0 {
		return nil, errors.New("the driver does not say which SA a packet came by")
	}
	session, err := n.security.Create(c, &need.ESP, sa.Keymat)
	if err != nil {
		return nil, err
	}
	o := &opened{nic: n, session: session}
	if sa.Outbound {
		return o, nil
	}
	rule := C.struct_sp_offload_rule{
		ipv6: truth(sa.Local.Addr().Is6()), udp: truth(sa.UDPEncap), spi: C.uint32_t(sa.SPI), destination: address(sa.Local), destination_port: C.uint16_t(sa.Local.Port()),
		vlan: C.uint16_t(sa.VLAN),
	}
	text := make([]byte, 256)
	if o.rule = C.sp_offload_rule(C.uint16_t(n.id), &rule, session, (*C.char)(unsafe.Pointer(&text[0])), C.size_t(len(text))); o.rule == nil {
		said := C.GoString((*C.char)(unsafe.Pointer(&text[0])))
		o.failed = fmt.Errorf("no rule for its packets: %s", said)
		if sa.VLAN != 0 {
			o.failed = fmt.Errorf("no rule for its packets of VLAN %d: %s", sa.VLAN, said)
		}
	}
	return o, nil
}

// close takes the rule away and then the session: a packet finds both or none. What a driver does not take back stays in o.
func (o *opened) close() error {
	var errs []error
	if o.rule != nil {
		if ret := C.sp_offload_unrule(C.uint16_t(o.nic.id), o.rule); ret < 0 {
			errs = append(errs, fmt.Errorf("port %d: taking the rule of a session away: %w", o.nic.id, errno(ret)))
		} else {
			o.rule = nil
		}
	}
	if o.session != nil {
		if err := o.nic.security.Destroy(o.session); err != nil {
			errs = append(errs, fmt.Errorf("port %d: %w", o.nic.id, err))
		} else {
			o.session = nil
		}
	}
	return errors.Join(errs...)
}

// forget clears a session that its driver never took back.
func (o *opened) forget() {
	if o.session != nil {
		o.nic.security.Forget(o.session)
	}
}

// address is that of a packet's header.
func address(a netip.AddrPort) (out [16]C.uint8_t) {
	for i, octet := range a.Addr().AsSlice() {
		out[i] = C.uint8_t(octet)
	}
	return out
}

func truth(b bool) C.uint8_t {
	if b {
		return 1
	}
	return 0
}

// errno turns a negative return value into the error it stands for.
func errno(ret C.int) error { return syscall.Errno(-ret) }
