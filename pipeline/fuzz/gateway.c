/* SPDX-License-Identifier: Apache-2.0 */

#define _GNU_SOURCE /* CPU affinity */

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <rte_cryptodev.h>
#include <rte_eal.h>
#include <rte_eth_ring.h>

#include "../ipv6.h"
#include "../lab.h"
#include "gateway.h"

#define DESCRIPTORS 8 /* of a crypto device, few: a burst finds it full */
#define POOL_MBUFS 1023
#define RING_ENTRIES 512
#define FRAGMENT_MEMORY (128 << 10) /* some 20 fragments of each kind */
#define LARGE_MBUFS 31
#define LARGE_BUFFER 12288 /* a packet of eight fragments */

struct gateway ours, peer;
struct rte_mempool *pool, *large_pool, *sessions;
uint8_t device_gcm, device_mb, device_openssl;

/* ---- EAL and devices ---- */

static void start_eal(void)
{
	char lcores[32], prefix[48];
	char *arguments[] = {"fuzz_fastpath", "--no-huge", "--no-shconf", "--no-pci", "--no-telemetry", "-m", "256", prefix, lcores, "--log-level=lib.*:warning",
			     "--vdev=crypto_aesni_gcm0", "--vdev=crypto_aesni_mb0", "--vdev=crypto_openssl0"};
	cpu_set_t before;
	int first = 0;

	CHECK(sched_getaffinity(0, sizeof(before), &before) == 0, "affinity of the process");
	while (!CPU_ISSET(first, &before))
		first++;
	snprintf(lcores, sizeof(lcores), "--lcores=0@%d", first);
	snprintf(prefix, sizeof(prefix), "--file-prefix=fuzz%d", getpid());
	CHECK(rte_eal_init((int)RTE_DIM(arguments), arguments) >= 0, "EAL: %s", rte_strerror(rte_errno));
	sched_setaffinity(0, sizeof(before), &before);
}

static uint8_t start_device(const char *name)
{
	int id = rte_cryptodev_get_dev_id(name);
	struct rte_cryptodev_config config = {.socket_id = 0, .nb_queue_pairs = WORKERS};
	struct rte_cryptodev_qp_conf queue = {.nb_descriptors = DESCRIPTORS};

	CHECK(id >= 0, "%s missing", name);
	CHECK(rte_cryptodev_configure((uint8_t)id, &config) == 0, "%s", name);
	queue.mp_session = sessions;
	for (uint16_t pair = 0; pair < WORKERS; pair++)
		CHECK(rte_cryptodev_queue_pair_setup((uint8_t)id, pair, &queue, 0) == 0, "%s", name);
	CHECK(rte_cryptodev_start((uint8_t)id) == 0, "%s", name);
	return (uint8_t)id;
}

static void start_devices(void)
{
	unsigned int largest = 0;

	for (uint8_t id = 0; id < rte_cryptodev_count(); id++)
		largest = RTE_MAX(largest, rte_cryptodev_sym_get_private_session_size(id));
	sessions = rte_cryptodev_sym_session_pool_create("sessions", 64, largest, 0, 0, 0);
	CHECK(sessions != NULL, "session pool");
	device_gcm = start_device("crypto_aesni_gcm0");
	device_mb = start_device("crypto_aesni_mb0");
	device_openssl = start_device("crypto_openssl0");
}

/* ---- next hops ---- */

void gateway_neighbours(struct gateway *g, int up)
{
	static const uint8_t l2[SP_L2_LENGTH] = {2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8, 8, 0};

	static const uint8_t l2_ipv6[SP_L2_LENGTH] = {2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8, 0x86, 0xdd};

	CHECK(sp_adjacency_set(g->dp, ADJACENCY_LAN6, g->port[PROTECTED], up ? l2_ipv6 : NULL) == 0, "adjacency");
	CHECK(sp_adjacency_set(g->dp, ADJACENCY_WAN6, g->port[UNPROTECTED], up ? l2_ipv6 : NULL) == 0, "adjacency");
	CHECK(sp_adjacency_set(g->dp, ADJACENCY_LAN, g->port[PROTECTED], up ? l2 : NULL) == 0, "adjacency");
	CHECK(sp_adjacency_set(g->dp, ADJACENCY_WAN, g->port[UNPROTECTED], up ? l2 : NULL) == 0, "adjacency");
}

/* ---- ports ---- */

static void create_port(struct gateway *g, enum side side, const char *name)
{
	struct rte_eth_conf config = {0};
	char ring[32];
	int port;

	for (uint32_t queue = 0; queue < g->workers; queue++) {
		snprintf(ring, sizeof(ring), "%s_rx%u", name, queue);
		g->rx[side][queue] = rte_ring_create(ring, RING_ENTRIES, 0, RING_F_SP_ENQ | RING_F_SC_DEQ);
		snprintf(ring, sizeof(ring), "%s_tx%u", name, queue);
		g->tx[side][queue] = rte_ring_create(ring, RING_ENTRIES, 0, RING_F_SP_ENQ | RING_F_SC_DEQ);
		CHECK(g->rx[side][queue] != NULL && g->tx[side][queue] != NULL, "rings of %s", name);
	}
	port = rte_eth_from_rings(name, g->rx[side], g->workers, g->tx[side], g->workers, 0);
	CHECK(port >= 0, "port %s", name);
	g->device[side] = (uint16_t)port;
	g->port[side] = (uint16_t)port;
	if (g == &ours && side == PROTECTED) {
		g->port[side] = SP_MAX_DEVICES;
		g->vlan[side] = VLAN;
	}
	CHECK(rte_eth_dev_configure(g->device[side], g->workers, g->workers, &config) == 0, "port %s", name);
	for (uint16_t queue = 0; queue < g->workers; queue++) {
		CHECK(rte_eth_rx_queue_setup(g->device[side], queue, 64, 0, NULL, pool) == 0, "port %s", name);
		CHECK(rte_eth_tx_queue_setup(g->device[side], queue, 64, 0, NULL) == 0, "port %s", name);
	}
	CHECK(rte_eth_dev_start(g->device[side]) == 0, "port %s", name);
}

static void create_gateway(struct gateway *g, const char *lan, const char *wan)
{
	struct sp_config c = {
		.n_ports = 2,
		.n_workers = g->workers,
		.flow_entries = 64, /* small, so that memos give way */
		.max_sas = 128,
		.max_cells = CELLS,
		.max_adjacencies = 8,
		.max_filters = MAX_FILTERS,
		.max_soft = MAX_SOFT,
		.punt_entries = 64,
		.inject_entries = 64,
		.handover_entries = 64,
		.early_limit = 24,
		.tally_entries = 64,
		.n_crypto_devices = 2,
		.crypto_devices = {device_mb, device_openssl},
		.crypto_descriptors = DESCRIPTORS,
		.pool = pool,
		.large_pool = large_pool,
		.fragment_memory = FRAGMENT_MEMORY,
		.fragment_timeout = FRAGMENT_TIMEOUT,
		.secured = (uint8_t)g->card,
	};
	uint8_t hop[16];
	char error[256] = "";

	create_port(g, PROTECTED, lan);
	create_port(g, UNPROTECTED, wan);
	for (uint32_t side = 0; side < SIDES; side++) {
		memcpy(g->mac[side], (uint8_t[6]){2, 0, 0, 0, (uint8_t)(g == &peer), (uint8_t)side}, 6);
		c.ports[side] = (struct sp_port_config){
			.port = g->port[side],
			.device = g->device[side],
			.vlan = g->vlan[side],
			.role = side == PROTECTED ? SP_ROLE_PROTECTED : SP_ROLE_UNPROTECTED,
			.mtu = MTU,
		};
		memcpy(c.ports[side].mac, g->mac[side], 6);
	}
	g->dp = sp_dataplane_create(&c, error, sizeof(error));
	CHECK(g->dp != NULL, "%s", error);
	if (g->card)
		sp_inline_expect(g->dp, g->device[UNPROTECTED]);
	sp_cell_set_state(g->dp, CELL_HOLD, SP_CELL_HOLD);
	CHECK(sp_neighbour_add(g->dp, g->port[PROTECTED], NEXT_LAN, ADJACENCY_LAN) >= 0, "neighbour");
	CHECK(sp_neighbour_add(g->dp, g->port[UNPROTECTED], g->remote, ADJACENCY_WAN) >= 0, "neighbour");
	widen(hop, NEXT_LAN);
	CHECK(sp_neighbour_add6(g->dp, g->port[PROTECTED], hop, ADJACENCY_LAN6) >= 0, "neighbour");
	widen(hop, g->remote);
	CHECK(sp_neighbour_add6(g->dp, g->port[UNPROTECTED], hop, ADJACENCY_WAN6) >= 0, "neighbour");
	CHECK(sp_peer_add(g->dp, hop) == 0, "peer");
	CHECK(sp_peer_add(g->dp, (uint8_t[16]){[10] = 0xff, 0xff, (uint8_t)(g->remote >> 24), (uint8_t)(g->remote >> 16), (uint8_t)(g->remote >> 8), (uint8_t)g->remote}) == 0, "peer");
	gateway_neighbours(g, 1);
	gateway_publish(g, 0);
}

/* ESP and AH between hosts that a gateway acts for (transport mode). */
static void set_transit(const struct gateway *g)
{
	const struct gateway *other = g == &ours ? &peer : &ours;
	struct sp_pair pairs[TUNNELS];
	uint32_t n = 0;

	for (enum tunnel t = 0; t < TUNNELS; t++) {
		struct sp_pair *pair = &pairs[n];
		uint32_t from = tunnel_end(other, t), to = tunnel_end(g, t);

		if (!tunnel_transport(t))
			continue;
		*pair = (struct sp_pair){.addresses = {from | (uint64_t)to << 32}, .ip = SP_IPV4};
		if (tunnel_wide(t)) {
			pair->ip = SP_IPV6;
			widen((uint8_t *)pair->addresses, from);
			widen((uint8_t *)pair->addresses + SP_IPV6_ADDRESS, to);
		}
		n++;
	}
	CHECK(sp_transit_set(g->dp, pairs, n) == 0, "transit");
}

void gateways_start(void)
{
	start_eal();
	start_devices();
	pool = rte_pktmbuf_pool_create("mbufs", POOL_MBUFS, 0, SP_MBUF_PRIVATE_SIZE, RTE_PKTMBUF_HEADROOM + BUFFER, 0);
	large_pool = rte_pktmbuf_pool_create("large", LARGE_MBUFS, 0, SP_MBUF_PRIVATE_SIZE, RTE_PKTMBUF_HEADROOM + LARGE_BUFFER, 0);
	CHECK(pool != NULL && large_pool != NULL, "mbuf pool");
	CHECK(sp_lab_userdata() == 0, "userdata of packets");
	ours.card = 1;
	ours.workers = WORKERS;
	peer.workers = 1;
	ours.wan = peer.remote = OUR_WAN;
	peer.wan = ours.remote = PEER_WAN;
	create_gateway(&ours, "lan_a", "wan_a");
	create_gateway(&peer, "lan_b", "wan_b");
	set_transit(&ours);
	set_transit(&peer);
	tunnels_start();
}
