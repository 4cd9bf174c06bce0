package ethdev

/*
#include "port.h"
*/
import "C"

// Info is what a driver says of a port.
type Info struct {
	Driver         string // such as "net_af_packet"
	MaxRxQueues    uint16
	MaxTxQueues    uint16
	RxOffloads     uint64 // RxOffload bits the driver offers
	TxOffloads     uint64 // TxOffload bits the driver offers
	RSSTypes       uint64 // RTE_ETH_RSS_ hash types the driver offers
	RetaSize       uint16 // entries of the RSS redirection table
	MinMTU         uint16 // bytes
	MaxMTU         uint16 // bytes; 65535 when the driver does not say
	MaxFrame       uint32 // longest frame the driver claims to receive, in bytes
	MinRxBuffer    uint32 // smallest mbuf data buffer the driver takes, in bytes
	InterfaceIndex uint32 // index of the kernel interface below the port, 0 if none
}

// Info asks the driver.
func (p Port) Info() (Info, error) {
	var info C.struct_rte_eth_dev_info
	err := p.check("read the device information", func() C.int { return C.rte_eth_dev_info_get(C.uint16_t(p), &info) })
	if err != nil {
		return Info{}, err
	}
	return Info{
		Driver:         C.GoString(info.driver_name),
		MaxRxQueues:    uint16(info.max_rx_queues),
		MaxTxQueues:    uint16(info.max_tx_queues),
		RxOffloads:     uint64(info.rx_offload_capa),
		TxOffloads:     uint64(info.tx_offload_capa),
		RSSTypes:       uint64(info.flow_type_rss_offloads),
		RetaSize:       uint16(info.reta_size),
		MinMTU:         uint16(info.min_mtu),
		MaxMTU:         uint16(info.max_mtu),
		MaxFrame:       uint32(info.max_rx_pktlen),
		MinRxBuffer:    uint32(info.min_rx_bufsize),
		InterfaceIndex: uint32(info.if_index),
	}, nil
}

// Link is the state of a port's link.
type Link struct {
	Up         bool
	SpeedMbps  uint32 // 0 when not known
	FullDuplex bool
}

// LinkStatus asks the driver without waiting. Drivers over a kernel interface answer what they were made with; Device.Link knows
// better.
func (p Port) LinkStatus() (Link, error) {
	var link C.struct_sp_port_link
	err := p.check("read the link state", func() C.int { return C.sp_port_link(C.uint16_t(p), &link) })
	speed := uint32(link.speed_mbps)
	if speed == C.RTE_ETH_SPEED_NUM_UNKNOWN {
		speed = 0
	}
	return Link{Up: link.up != 0, SpeedMbps: speed, FullDuplex: link.full_duplex != 0}, err
}

// mtuLimit is the largest MTU in bytes that rte_eth_dev_configure lets pass for the driver: it takes the difference of the longest
// frame and the largest MTU for the frame's overhead if the driver says both, else header and frame check sequence.
func (i *Info) mtuLimit() int {
	overhead := uint32(C.RTE_ETHER_HDR_LEN + C.RTE_ETHER_CRC_LEN)
	if i.MaxMTU != C.UINT16_MAX && i.MaxFrame > uint32(i.MaxMTU) {
		overhead = i.MaxFrame - uint32(i.MaxMTU)
	}
	return int(min(uint32(i.MaxMTU), i.MaxFrame-overhead))
}
