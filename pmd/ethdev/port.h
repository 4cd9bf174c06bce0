// The calls into ethdev whose structures have bit-fields or anonymous parts that Go cannot see, and the inline burst functions.
// Each returns 0 (or a count) or -errno.
#ifndef SALLYPORT_PMD_ETHDEV_PORT_H
#define SALLYPORT_PMD_ETHDEV_PORT_H

#include <stdint.h>
#include <rte_ethdev.h>

struct sp_port_conf {
	uint64_t rx_offloads; // RTE_ETH_RX_OFFLOAD_
	uint64_t tx_offloads; // RTE_ETH_TX_OFFLOAD_
	uint64_t rss;         // RTE_ETH_RSS_ hash types, 0 for no RSS
	uint16_t mtu;         // bytes, 0 for the driver's default
};

struct sp_port_link {
	uint32_t speed_mbps;
	uint8_t full_duplex;
	uint8_t up;
};

int sp_port_configure(uint16_t port, uint16_t rx_queues, uint16_t tx_queues, const struct sp_port_conf *conf);
int sp_port_rx_queue(uint16_t port, uint16_t queue, uint16_t descriptors, int socket, struct rte_mempool *pool);
int sp_port_tx_queue(uint16_t port, uint16_t queue, uint16_t descriptors, int socket);
int sp_port_link(uint16_t port, struct sp_port_link *link);
int sp_port_socket(uint16_t port);

// Makes a port whose queues are the given rings; the port's number.
int sp_port_from_rings(const char *name, void **rx, unsigned int rx_count, void **tx, unsigned int tx_count, unsigned int socket);

// Closes the port and removes its device, so that the name is free again.
int sp_port_close(uint16_t port);

unsigned int sp_port_rx_burst(uint16_t port, uint16_t queue, void **mbufs, uint16_t n);
unsigned int sp_port_tx_burst(uint16_t port, uint16_t queue, void **mbufs, uint16_t n);

#endif
