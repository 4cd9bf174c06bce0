// Package ethdev opens and runs DPDK Ethernet ports.
//
// Open takes a port from its configuration to packets: it understands device strings of virtual devices and PCI addresses
// (device.go), gives kernel-interface drivers the arguments their MTU needs (frames.go), hot-plugs the device (attach.go),
// and settles queues, RSS, checksum offloads, MTU and link (open.go, netif.go). Below it, Port has the rte_eth_dev_ functions one to one
// (port.go, info.go, stats.go), and FromRings the twin in memory for tests (rings.go).
//
// What to know of net_af_packet in DPDK 22.11: the kernel reassembles IPv4 fragments before it hands them over, because the driver
// puts its sockets into a fanout group with PACKET_FANOUT_FLAG_DEFRAG even when there is one queue. A reassembled packet longer than
// a ring's slot (2048 bytes for the MTU of 1500) arrives cut off, with the length of the whole in its IP header: a reader compares
// the two. Ports that must see fragments use another driver. Frames that the kernel's own stack sends on the interface arrive, too.
//
// Ports are opened, changed and closed by one goroutine at a time; statistics and link state may be read by any.
package ethdev
