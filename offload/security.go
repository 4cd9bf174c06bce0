package offload

/*
#cgo pkg-config: libdpdk
#cgo CFLAGS: -O2 -Wall -Wextra -Werror -DALLOW_EXPERIMENTAL_API

#include <errno.h>
#include <stdlib.h>
#include "security.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"syscall"
	"unsafe"

	"sallyport/crypto/cryptodev"
	"sallyport/pipeline"
)

// nic is what there is once for an Ethernet port, however many ports of the gateway are on it.
type nic struct {
	id           uint16
	missing      string // why nothing can be done with it
	capabilities []capability
	context      unsafe.Pointer // struct rte_security_ctx, the driver's
	sessions     *C.struct_rte_mempool
	stuck        int // sessions that the driver did not take back
}

// poolNumber keeps the names of pools apart within the process.
var poolNumber atomic.Uint32

// openNIC asks a port for what it can do, and takes memory for its sessions if it can do something.
func openNIC(id uint16, driver string, sessions, socket int) *nic {
	n := &nic{id: id, context: C.sp_offload_context(C.uint16_t(id))}
	if n.context == nil {
		n.missing = driver + " does no IPsec"
		return n
	}
	if n.readCapabilities(); len(n.capabilities) == 0 {
		n.missing = driver + " offers rte_security, and no ESP in it"
		return n
	}
	name := C.CString(fmt.Sprintf("offload_%d", poolNumber.Add(1)))
	defer C.free(unsafe.Pointer(name))
	var ret C.int
	if n.sessions = C.sp_offload_sessions(n.context, name, C.uint32_t(sessions), C.int(socket), &ret); n.sessions == nil {
		n.missing = fmt.Sprintf("no memory for %d sessions of this port: %v", sessions, errno(ret))
	}
	return n
}

func (n *nic) readCapabilities() {
	for place := 0; ; place++ {
		var c C.struct_sp_offload_capability
		switch C.sp_offload_capability(n.context, C.uint32_t(place), &c) {
		case -C.ENOENT:
			return
		case 0:
			read := capability{
				plan: InlineCrypto, outbound: c.outbound != 0, transport: c.transport != 0, esn: c.esn != 0, udp: c.udp != 0, copyDSCP: c.copy_dscp != 0,
				copyDF: c.copy_df != 0, ecn: c.ecn != 0, window: int(c.window), metadata: c.metadata != 0, suites: unsafe.Pointer(c.suites),
			}
			if c.protocol != 0 {
				read.plan = InlineProtocol
			}
			n.capabilities = append(n.capabilities, read)
		}
	}
}

// close gives the memory back. Where a session is stuck it stays: the driver may still know the place.
func (n *nic) close() {
	if n.sessions != nil && n.stuck == 0 {
		C.rte_mempool_free(n.sessions)
	}
	n.sessions = nil
}

// opened is a session of a port, with the rule that leads to it.
type opened struct {
	nic     *nic
	session unsafe.Pointer
	rule    *C.struct_rte_flow // inbound
	of      saKey
	before  map[Plan]string // why not what would have been better
	failed  error           // why it is of no use, and has to be closed
}

// open makes a session, and inbound its rule.
func (n *nic) open(c *capability, sa *pipeline.InlineSA) (*opened, error) {
	if c.plan == InlineProtocol && !sa.Outbound && C.sp_offload_names_sas() == 0 {
		return nil, errors.New("the driver does not say which SA a packet came by")
	}
	config := configOf(c, sa)
	defer func() { config.salt = [4]C.uint8_t{} }()
	o := &opened{nic: n}
	cryptodev.WithTransform(sa.Suite, sa.Keymat, sa.ESN, sa.Outbound, func(xform unsafe.Pointer) {
		o.session = C.sp_offload_create(n.context, n.sessions, &config, (*C.struct_rte_crypto_sym_xform)(xform))
	})
	if o.session == nil {
		if C.rte_mempool_avail_count(n.sessions) == 0 {
			return nil, errors.New("no room for another session")
		}
		return nil, errors.New("the driver refused the session though it says that it can")
	}
	if sa.Outbound {
		return o, nil
	}
	text := make([]byte, 256)
	if o.rule = C.sp_offload_rule(C.uint16_t(n.id), &config, o.session, (*C.char)(unsafe.Pointer(&text[0])), C.size_t(len(text))); o.rule == nil {
		said := C.GoString((*C.char)(unsafe.Pointer(&text[0])))
		o.failed = fmt.Errorf("no rule for its packets: %s", said)
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
		if ret := C.sp_offload_destroy(o.nic.context, o.session); ret < 0 {
			errs = append(errs, fmt.Errorf("port %d: taking a session away: %w", o.nic.id, errno(ret)))
		} else {
			o.session = nil
		}
	}
	return errors.Join(errs...)
}

// forget clears a session that its driver never took back.
func (o *opened) forget() {
	if o.session != nil {
		C.sp_offload_forget(o.nic.context, o.session)
	}
}

// configOf is what the C side has to know.
func configOf(c *capability, sa *pipeline.InlineSA) C.struct_sp_offload_sa {
	source, destination, wrap := sa.Local, sa.Remote, &sa.Encapsulation
	if !sa.Outbound {
		source, destination = destination, source
	}
	config := C.struct_sp_offload_sa{
		outbound: truth(sa.Outbound), transport: truth(sa.Transport), udp: truth(sa.UDPEncap), esn: truth(sa.ESN), ipv6: truth(sa.Local.Addr().Is6()),
		spi: C.uint32_t(sa.SPI), source: address(source), destination: address(destination),
		source_port: C.uint16_t(source.Port()), destination_port: C.uint16_t(destination.Port()), userdata: C.uint64_t(sa.Userdata),
	}
	for i, octet := range sa.Keymat.Bytes()[sa.Suite.KeyLen():][:sa.Suite.SaltLen()] {
		config.salt[i] = C.uint8_t(octet)
	}
	if sa.Outbound {
		config.sequence = C.uint64_t(max(sa.Sequence, 1))
	}
	if c.plan != InlineProtocol {
		return config
	}
	config.protocol = 1
	if !sa.Transport {
		config.ecn = truth(!wrap.ECNOff)
	}
	if !sa.Outbound {
		config.window = C.uint32_t(sa.ReplayWindow)
		return config
	}
	config.ttl = 64
	if wrap.TTL != 0 {
		config.ttl = C.uint8_t(wrap.TTL)
	}
	config.df, config.copy_df = truth(wrap.DF == pipeline.DFSet), truth(wrap.DF == pipeline.DFCopy)
	if config.copy_dscp = truth(wrap.DSCP == nil); wrap.DSCP != nil {
		config.dscp = C.uint8_t(*wrap.DSCP)
	}
	return config
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
