// Package ethdev opens and runs DPDK Ethernet ports.
//
// Open takes a port from its configuration to packets: it understands device strings of virtual devices and PCI addresses
// (device.go), gives kernel-interface drivers the arguments their MTU needs (frames.go), hot-plugs the device (attach.go),
// and settles queues, RSS, checksum offloads, MTU and link (open.go, mtu.go, netif.go). Below it, Port has the rte_eth_dev_ functions one to one
// (port.go, info.go, stats.go), and FromRings the twin in memory for tests (rings.go).
//
// Ports are opened, changed and closed by one goroutine at a time; statistics and link state may be read by any.
package ethdev
