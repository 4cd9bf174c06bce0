#include "port.h"

#include <errno.h>
#include <rte_dev.h>
#include <rte_errno.h>
#include <rte_eth_ring.h>

int
sp_port_configure(uint16_t port, uint16_t rx_queues, uint16_t tx_queues, const struct sp_port_conf *conf)
{
	struct rte_eth_conf eth = {
		.rxmode = {.offloads = conf->rx_offloads, .mtu = conf->mtu},
		.txmode = {.offloads = conf->tx_offloads},
	};

	if (conf->rss != 0) {
		eth.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
		eth.rx_adv_conf.rss_conf.rss_hf = conf->rss;
	}
	return rte_eth_dev_configure(port, rx_queues, tx_queues, &eth);
}

// The driver's own thresholds, with the offloads the port was configured with.
int
sp_port_rx_queue(uint16_t port, uint16_t queue, uint16_t descriptors, int socket, struct rte_mempool *pool)
{
	return rte_eth_rx_queue_setup(port, queue, descriptors, (unsigned int)socket, NULL, pool);
}

int
sp_port_tx_queue(uint16_t port, uint16_t queue, uint16_t descriptors, int socket)
{
	return rte_eth_tx_queue_setup(port, queue, descriptors, (unsigned int)socket, NULL);
}

int
sp_port_link(uint16_t port, struct sp_port_link *link)
{
	struct rte_eth_link eth = {0};
	int result = rte_eth_link_get_nowait(port, &eth);

	link->speed_mbps = eth.link_speed;
	link->full_duplex = eth.link_duplex == RTE_ETH_LINK_FULL_DUPLEX;
	link->up = eth.link_status == RTE_ETH_LINK_UP;
	return result;
}

int
sp_port_socket(uint16_t port)
{
	return rte_eth_dev_socket_id(port);
}

int
sp_port_from_rings(const char *name, void **rx, unsigned int rx_count, void **tx, unsigned int tx_count, unsigned int socket)
{
	rte_errno = 0;
	int port = rte_eth_from_rings(name, (struct rte_ring **)rx, rx_count, (struct rte_ring **)tx, tx_count, socket);

	if (port >= 0)
		return port;
	return rte_errno != 0 ? -rte_errno : -EIO;
}

int
sp_port_close(uint16_t port)
{
	struct rte_eth_dev_info info;
	int result = rte_eth_dev_info_get(port, &info);

	if (result != 0)
		return result;
	result = rte_eth_dev_close(port);
	if (result != 0)
		return result;
	return rte_dev_remove(info.device);
}

unsigned int
sp_port_rx_burst(uint16_t port, uint16_t queue, void **mbufs, uint16_t n)
{
	return rte_eth_rx_burst(port, queue, (struct rte_mbuf **)mbufs, n);
}

unsigned int
sp_port_tx_burst(uint16_t port, uint16_t queue, void **mbufs, uint16_t n)
{
	return rte_eth_tx_burst(port, queue, (struct rte_mbuf **)mbufs, n);
}
