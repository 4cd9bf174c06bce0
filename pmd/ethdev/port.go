package ethdev

/*
#cgo pkg-config: libdpdk
#cgo LDFLAGS: -lrte_net_ring
#cgo CFLAGS: -Wall -Wextra -Werror
#include "port.h"
#include <stdlib.h>
*/
import "C"

import (
	"errors"
	"fmt"
	"net"
	"syscall"
	"unsafe"

	"sallyport/pmd/eal"
	"sallyport/pmd/mempool"
)

// Port is DPDK's number of an Ethernet port. Its methods are rte_eth_dev_ functions one to one.
type Port uint16

// maxQueues is DPDK's limit per port and direction.
const maxQueues = C.RTE_MAX_QUEUES_PER_PORT

// Rx offloads, for OptRxOffloads and Info.RxOffloads.
const (
	RxOffloadIPv4Checksum uint64 = C.RTE_ETH_RX_OFFLOAD_IPV4_CKSUM
	RxOffloadUDPChecksum  uint64 = C.RTE_ETH_RX_OFFLOAD_UDP_CKSUM
	RxOffloadTCPChecksum  uint64 = C.RTE_ETH_RX_OFFLOAD_TCP_CKSUM
	RxOffloadScatter      uint64 = C.RTE_ETH_RX_OFFLOAD_SCATTER
	RxOffloadSecurity     uint64 = C.RTE_ETH_RX_OFFLOAD_SECURITY
)

// Tx offloads, for OptTxOffloads and Info.TxOffloads.
const (
	TxOffloadIPv4Checksum uint64 = C.RTE_ETH_TX_OFFLOAD_IPV4_CKSUM
	TxOffloadMultiSegs    uint64 = C.RTE_ETH_TX_OFFLOAD_MULTI_SEGS
	TxOffloadSecurity     uint64 = C.RTE_ETH_TX_OFFLOAD_SECURITY
)

// RSSTypes are the hash types that spread flows by address and port, IPv4 and IPv6, and SAs by SPI, for OptRSS and Info.RSSTypes.
const RSSTypes uint64 = C.RTE_ETH_RSS_IP | C.RTE_ETH_RSS_TCP | C.RTE_ETH_RSS_UDP | C.RTE_ETH_RSS_ESP | C.RTE_ETH_RSS_AH

// Option changes how Configure sets a port up.
type Option func(*C.struct_sp_port_conf)

// OptRSS spreads received packets over the Rx queues by a hash of these types, which Info.RSSTypes must have.
func OptRSS(types uint64) Option { return func(c *C.struct_sp_port_conf) { c.rss = C.uint64_t(types) } }

// OptMTU sets the largest packet in bytes, Ethernet header not included. The default is the driver's, mostly 1500.
func OptMTU(bytes uint16) Option { return func(c *C.struct_sp_port_conf) { c.mtu = C.uint16_t(bytes) } }

// OptRxOffloads turns on Rx offloads, which Info.RxOffloads must have.
func OptRxOffloads(offloads uint64) Option {
	return func(c *C.struct_sp_port_conf) { c.rx_offloads |= C.uint64_t(offloads) }
}

// OptTxOffloads turns on Tx offloads, which Info.TxOffloads must have.
func OptTxOffloads(offloads uint64) Option {
	return func(c *C.struct_sp_port_conf) { c.tx_offloads |= C.uint64_t(offloads) }
}

// errorOf is the error of a negative result: -errno, or the plain -1 of some drivers.
func errorOf(result C.int) error {
	if result == -1 {
		return errors.New("the driver refused")
	}
	return syscall.Errno(-result)
}

// check turns the result of a DPDK call into an error that carries DPDK's own words.
func (p Port) check(what string, call func() C.int) error {
	return eal.Explain(func() error {
		if result := call(); result < 0 {
			return fmt.Errorf("port %d: %s: %w", p, what, errorOf(result))
		}
		return nil
	})
}

// Configure sets the number of queues and the options of a stopped port. It comes before RxqSetup and TxqSetup.
func (p Port) Configure(rxQueues, txQueues uint16, opts ...Option) error {
	var conf C.struct_sp_port_conf
	for _, opt := range opts {
		opt(&conf)
	}
	return p.check("configure", func() C.int {
		return C.sp_port_configure(C.uint16_t(p), C.uint16_t(rxQueues), C.uint16_t(txQueues), &conf)
	})
}

// AdjustDescriptors returns the numbers of descriptors nearest to the wanted ones that the driver can do.
func (p Port) AdjustDescriptors(rx, tx uint16) (adjustedRx, adjustedTx uint16, err error) {
	crx, ctx := C.uint16_t(rx), C.uint16_t(tx)
	err = p.check("adjust descriptors", func() C.int {
		return C.rte_eth_dev_adjust_nb_rx_tx_desc(C.uint16_t(p), &crx, &ctx)
	})
	return uint16(crx), uint16(ctx), err
}

// RxqSetup sets up one Rx queue, whose packets come from the pool.
func (p Port) RxqSetup(queue, descriptors uint16, pool *mempool.Mempool) error {
	return p.check(fmt.Sprintf("set up Rx queue %d", queue), func() C.int {
		return C.sp_port_rx_queue(C.uint16_t(p), C.uint16_t(queue), C.uint16_t(descriptors), C.int(p.Socket()),
			(*C.struct_rte_mempool)(pool.Pointer()))
	})
}

// TxqSetup sets up one Tx queue.
func (p Port) TxqSetup(queue, descriptors uint16) error {
	return p.check(fmt.Sprintf("set up Tx queue %d", queue), func() C.int {
		return C.sp_port_tx_queue(C.uint16_t(p), C.uint16_t(queue), C.uint16_t(descriptors), C.int(p.Socket()))
	})
}

// Start lets packets flow.
func (p Port) Start() error {
	return p.check("start", func() C.int { return C.rte_eth_dev_start(C.uint16_t(p)) })
}

// Stop ends the flow; no thread may be in a burst function. A stopped port can be started again.
func (p Port) Stop() error {
	return p.check("stop", func() C.int { return C.rte_eth_dev_stop(C.uint16_t(p)) })
}

// Close closes a stopped port and removes its device. The number may then be given to another port.
func (p Port) Close() error {
	return p.check("close", func() C.int { return C.sp_port_close(C.uint16_t(p)) })
}

// MAC is the port's address.
func (p Port) MAC() (net.HardwareAddr, error) {
	var address C.struct_rte_ether_addr
	err := p.check("read the MAC address", func() C.int { return C.rte_eth_macaddr_get(C.uint16_t(p), &address) })
	return C.GoBytes(unsafe.Pointer(&address), C.RTE_ETHER_ADDR_LEN), err
}

// MTU is the largest packet the driver was told of, in bytes.
func (p Port) MTU() (uint16, error) {
	var mtu C.uint16_t
	err := p.check("read the MTU", func() C.int { return C.rte_eth_dev_get_mtu(C.uint16_t(p), &mtu) })
	return uint16(mtu), err
}

// SetMTU tells the driver of the largest packet. Drivers without an MTU answer with an error that is errors.ErrUnsupported.
func (p Port) SetMTU(bytes uint16) error {
	return p.check("set the MTU", func() C.int { return C.rte_eth_dev_set_mtu(C.uint16_t(p), C.uint16_t(bytes)) })
}

// SetPromiscuous sets whether frames to other MAC addresses are received.
func (p Port) SetPromiscuous(on bool) error {
	return p.check("set promiscuous mode", func() C.int {
		if on {
			return C.rte_eth_promiscuous_enable(C.uint16_t(p))
		}
		return C.rte_eth_promiscuous_disable(C.uint16_t(p))
	})
}

// Socket is the NUMA socket the device is at, or mempool.SocketAny.
func (p Port) Socket() int { return int(C.sp_port_socket(C.uint16_t(p))) }

// Name is the DPDK name of the port's device, such as "net_ring0" or "0000:00:05.0".
func (p Port) Name() (string, error) {
	var name [C.RTE_ETH_NAME_MAX_LEN]C.char
	err := p.check("read the name", func() C.int { return C.rte_eth_dev_get_name_by_port(C.uint16_t(p), &name[0]) })
	return C.GoString(&name[0]), err
}

// PortByName finds the port of a device.
func PortByName(name string) (port Port, found bool) {
	cname := C.CString(name)
	defer C.free(unsafe.Pointer(cname))
	var id C.uint16_t
	found = C.rte_eth_dev_get_port_by_name(cname, &id) == 0
	return Port(id), found
}

// Ports lists the numbers of all ports.
func Ports() []Port {
	var ports []Port
	for id := range C.uint16_t(C.RTE_MAX_ETHPORTS) {
		if C.rte_eth_dev_is_valid_port(id) == 1 {
			ports = append(ports, Port(id))
		}
	}
	return ports
}

// RxBurst takes up to len(mbufs) received packets. The queue must be set up and the port started: DPDK does not check.
func (p Port) RxBurst(queue uint16, mbufs []unsafe.Pointer) int {
	if len(mbufs) == 0 {
		return 0
	}
	return int(C.sp_port_rx_burst(C.uint16_t(p), C.uint16_t(queue), &mbufs[0], C.uint16_t(len(mbufs))))
}

// TxBurst hands over packets to send and says how many the driver took, from the first on. The rest stays with the caller.
func (p Port) TxBurst(queue uint16, mbufs []unsafe.Pointer) int {
	if len(mbufs) == 0 {
		return 0
	}
	return int(C.sp_port_tx_burst(C.uint16_t(p), C.uint16_t(queue), &mbufs[0], C.uint16_t(len(mbufs))))
}
