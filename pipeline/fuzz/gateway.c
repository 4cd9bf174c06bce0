/* SPDX-License-Identifier: Apache-2.0 */

#define _GNU_SOURCE /* CPU affinity */

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <rte_cryptodev.h>
#include <rte_eal.h>
#include <rte_eth_ring.h>

#include "../ipv4.h"
#include "gateway.h"

#define POOL_MBUFS 1023
#define RING_ENTRIES 512
#define MAX_FILTERS 64
#define FRAGMENT_MEMORY (128 << 10) /* some 20 fragments of each kind */
#define ADJACENCY_LAN 0
#define ADJACENCY_WAN 1
#define ADJACENCY_LAN6 2
#define ADJACENCY_WAN6 3

struct gateway ours, peer;
struct rte_mempool *pool;

static struct rte_mempool *sessions;
static uint8_t device_gcm, device_mb, device_openssl;
static struct IMB_MGR *library;

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
	struct rte_cryptodev_config config = {.socket_id = 0, .nb_queue_pairs = 1};
	struct rte_cryptodev_qp_conf queue = {.nb_descriptors = 256};

	CHECK(id >= 0, "%s missing", name);
	CHECK(rte_cryptodev_configure((uint8_t)id, &config) == 0, "%s", name);
	queue.mp_session = sessions;
	CHECK(rte_cryptodev_queue_pair_setup((uint8_t)id, 0, &queue, 0) == 0, "%s", name);
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
	library = alloc_mb_mgr(0);
	CHECK(library != NULL, "libIPSec_MB");
	init_mb_mgr_auto(library, NULL);
	device_gcm = start_device("crypto_aesni_gcm0");
	device_mb = start_device("crypto_aesni_mb0");
	device_openssl = start_device("crypto_openssl0");
}

/* ---- tunnels ---- */

static int is_cbc(enum tunnel t)
{
	return t == TUNNEL_CBC_SHA1 || t == TUNNEL_CBC_SHA256 || t == TUNNEL_CBC_SHA256_ESN;
}

static int is_esn(enum tunnel t)
{
	return t == TUNNEL_GCM_ESN || t == TUNNEL_CBC_SHA256_ESN;
}

static int is_direct(enum tunnel t)
{
	return t == TUNNEL_GCM || t == TUNNEL_GCM_ESN || t == TUNNEL_GCM_SHORT;
}

static uint8_t device_of(enum tunnel t)
{
	if (is_cbc(t))
		return device_mb;
	return t == TUNNEL_GCM_ASYNC ? device_openssl : device_gcm;
}

static void *aead_session(enum tunnel t, uint8_t *key, int encrypt)
{
	struct rte_crypto_sym_xform aead = {.type = RTE_CRYPTO_SYM_XFORM_AEAD};

	aead.aead.op = encrypt ? RTE_CRYPTO_AEAD_OP_ENCRYPT : RTE_CRYPTO_AEAD_OP_DECRYPT;
	aead.aead.algo = RTE_CRYPTO_AEAD_AES_GCM;
	aead.aead.key.data = key;
	aead.aead.key.length = 16;
	aead.aead.iv.offset = SP_IV_OFFSET;
	aead.aead.iv.length = 12;
	aead.aead.digest_length = 16;
	aead.aead.aad_length = is_esn(t) ? 12 : 8;
	return rte_cryptodev_sym_session_create(device_of(t), &aead, sessions);
}

/* Expanded keys, one a tunnel and sender, as many as there can be. */
static void *direct_session(const uint8_t *key)
{
	static struct gcm_key_data keys[TUNNELS * 4];
	static uint32_t used;

	IMB_AES128_GCM_PRE(library, key, &keys[used]);
	return &keys[used++];
}

static void *cbc_session(enum tunnel t, uint8_t *key, int encrypt)
{
	struct rte_crypto_sym_xform cipher = {.type = RTE_CRYPTO_SYM_XFORM_CIPHER}, auth = {.type = RTE_CRYPTO_SYM_XFORM_AUTH};

	cipher.cipher.op = encrypt ? RTE_CRYPTO_CIPHER_OP_ENCRYPT : RTE_CRYPTO_CIPHER_OP_DECRYPT;
	cipher.cipher.algo = RTE_CRYPTO_CIPHER_AES_CBC;
	cipher.cipher.key.data = key;
	cipher.cipher.key.length = 16;
	cipher.cipher.iv.offset = SP_IV_OFFSET;
	cipher.cipher.iv.length = 16;
	auth.auth.op = encrypt ? RTE_CRYPTO_AUTH_OP_GENERATE : RTE_CRYPTO_AUTH_OP_VERIFY;
	auth.auth.algo = t == TUNNEL_CBC_SHA1 ? RTE_CRYPTO_AUTH_SHA1_HMAC : RTE_CRYPTO_AUTH_SHA256_HMAC;
	auth.auth.key.data = key;
	auth.auth.key.length = t == TUNNEL_CBC_SHA1 ? 20 : 32;
	auth.auth.digest_length = t == TUNNEL_CBC_SHA1 ? 12 : 16;
	cipher.next = encrypt ? &auth : NULL;
	auth.next = encrypt ? NULL : &cipher;
	return rte_cryptodev_sym_session_create(device_mb, encrypt ? &cipher : &auth, sessions);
}

/* The key of a direction: made of the tunnel and of who sends. */
static void *session(enum tunnel t, int encrypt, int from_us)
{
	uint8_t key[32];
	void *s;

	memset(key, (int)(0x10 * t + (from_us ? 1 : 2)), sizeof(key));
	if (is_direct(t))
		s = direct_session(key);
	else
		s = is_cbc(t) ? cbc_session(t, key, encrypt) : aead_session(t, key, encrypt);
	CHECK(s != NULL, "session of tunnel %d", t);
	return s;
}

/* What an SA of this gateway carries: its own hosts and, through the hub, those of all other tunnels. */
static const struct sp_selector *selector_of(const struct gateway *g, enum tunnel t, int outbound)
{
	static struct sp_selector s;
	uint32_t local_first = g == &ours ? 0x0a000000u : PEER_NET(t), local_last = g == &ours ? 0x0affffffu : PEER_NET(t) + 255;
	uint32_t remote_first = g == &ours ? PEER_NET(t) : 0x0a000000u, remote_last = g == &ours ? PEER_NET(t) + 255 : 0x0affffffu;

	s = (struct sp_selector){.source_port_last = UINT16_MAX, .destination_port_last = UINT16_MAX};
	s.source_first = outbound ? local_first : remote_first;
	s.source_last = outbound ? local_last : remote_last;
	s.destination_first = outbound ? remote_first : local_first;
	s.destination_last = outbound ? remote_last : local_last;
	return &s;
}

static const struct sp_selector6 *wide_selector(const struct sp_selector *s)
{
	static struct sp_selector6 wide;
	const uint64_t high = (uint64_t)WIDE_FIRST(s->source_first) << 32;

	wide = (struct sp_selector6){
		.source_first = {high, s->source_first},
		.source_last = {high, s->source_last},
		.destination_first = {high, s->destination_first},
		.destination_last = {high, s->destination_last},
		.source_port_last = UINT16_MAX,
		.destination_port_last = UINT16_MAX,
	};
	return &wide;
}

struct sp_sa_config tunnel_config(const struct gateway *g, enum tunnel t, int outbound)
{
	const struct gateway *other = g == &ours ? &peer : &ours;
	struct sp_sa_config c = {
		.session = outbound ? g->encrypt[t] : g->decrypt[t],
		.selectors = selector_of(g, t, outbound),
		.selectors6 = wide_selector(selector_of(g, t, outbound)),
		.n_selectors = 1,
		.n_selectors6 = 1,
		.first_sequence = t == TUNNEL_LAST ? UINT32_MAX - 20 : 1,
		.spi = outbound ? other->spi[t] : g->spi[t],
		.salt_be = 0x01020304,
		.source_port = 4500,
		.destination_port = 4500,
		.cell = (uint16_t)t,
		.adjacency = ADJACENCY_WAN,
		.window = 1024,
		.device = device_of(t),
		.iv_length = 8,
		.icv_length = 16,
		.block = 4,
		.udp = t == TUNNEL_GCM_UDP,
		.esn = (uint8_t)is_esn(t),
		.subject = MAX_FILTERS + 2 * (uint32_t)t + (uint32_t)outbound,
		.follow = 1,
		.soft_packets = 1000,
		.soft_bytes = 100000,
	};

	sp_store32(c.source, rte_cpu_to_be_32(g->wan));
	sp_store32(c.destination, rte_cpu_to_be_32(g->remote));
	c.encapsulation = (struct sp_encapsulation){.dscp = SP_DSCP_COPY, .ttl = 64};
	if (t == TUNNEL_GCM_SHORT)
		c.icv_length = 8;
	c.kind = t == TUNNEL_GCM_ASYNC ? SP_SA_AEAD_ASYNC : SP_SA_AEAD_CPU;
	if (is_direct(t)) {
		c.kind = SP_SA_AEAD_DIRECT;
		c.gcm = (void *)(outbound ? library->gcm128_enc : library->gcm128_dec);
	}
	if (is_cbc(t)) {
		c.kind = SP_SA_CHAIN_ASYNC;
		c.cipher = SP_CIPHER_CBC;
		c.iv_length = 16;
		c.block = 16;
		c.icv_length = t == TUNNEL_CBC_SHA1 ? 12 : 16;
	}
	return c;
}

uint32_t peer_encrypt(enum tunnel t, uint8_t *esp, const uint8_t *plain, uint32_t length)
{
	struct sp_sa_config c = tunnel_config(&peer, t, 1);
	struct gcm_context_data context;
	uint8_t iv[12], *payload = esp + SP_ESP_LENGTH + c.iv_length;

	memcpy(iv, &c.salt_be, sizeof(c.salt_be));
	memcpy(iv + sizeof(c.salt_be), esp + SP_ESP_LENGTH, c.iv_length);
	library->gcm128_enc(c.session, &context, payload, plain, length, iv, esp, SP_ESP_LENGTH, payload + length, c.icv_length);
	return SP_ESP_LENGTH + (uint32_t)c.iv_length + length + c.icv_length;
}

static void install(struct gateway *g, enum tunnel t)
{
	struct sp_sa_config in = tunnel_config(g, t, 0), out;
	char error[256] = "";
	struct sp_sa_in *sa_in = sp_sa_in_create(g->dp, &in, error, sizeof(error));
	struct sp_sa_out *sa_out;

	CHECK(sa_in != NULL, "%s", error);
	sp_sa_in_free(sp_sa_in_retire(g->dp, g->spi[t]));
	CHECK(sp_sa_in_publish(g->dp, sa_in) == 0, "SPI %08x", g->spi[t]);
	out = tunnel_config(g, t, 1);
	sa_out = sp_sa_out_create(g->dp, &out, error, sizeof(error));
	CHECK(sa_out != NULL, "%s", error);
	sp_sa_out_free(sp_cell_publish(g->dp, (uint16_t)t, sa_out));
}

void tunnel_reset(enum tunnel t)
{
	/* no worker runs between two turns: nothing to wait for before the former SAs go */
	install(&ours, t);
	install(&peer, t);
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

	snprintf(ring, sizeof(ring), "%s_rx", name);
	g->rx[side] = rte_ring_create(ring, RING_ENTRIES, 0, RING_F_SP_ENQ | RING_F_SC_DEQ);
	snprintf(ring, sizeof(ring), "%s_tx", name);
	g->tx[side] = rte_ring_create(ring, RING_ENTRIES, 0, RING_F_SP_ENQ | RING_F_SC_DEQ);
	CHECK(g->rx[side] != NULL && g->tx[side] != NULL, "rings of %s", name);
	port = rte_eth_from_rings(name, &g->rx[side], 1, &g->tx[side], 1, 0);
	CHECK(port >= 0, "port %s", name);
	g->device[side] = (uint16_t)port;
	g->port[side] = (uint16_t)port;
	if (g == &ours && side == PROTECTED) {
		g->port[side] = SP_MAX_DEVICES;
		g->vlan[side] = VLAN;
	}
	CHECK(rte_eth_dev_configure(g->device[side], 1, 1, &config) == 0, "port %s", name);
	CHECK(rte_eth_rx_queue_setup(g->device[side], 0, 64, 0, NULL, pool) == 0, "port %s", name);
	CHECK(rte_eth_tx_queue_setup(g->device[side], 0, 64, 0, NULL) == 0, "port %s", name);
	CHECK(rte_eth_dev_start(g->device[side]) == 0, "port %s", name);
}

static void create_gateway(struct gateway *g, const char *lan, const char *wan)
{
	struct sp_config c = {
		.n_ports = 2,
		.n_workers = 1,
		.flow_entries = 64, /* small, so that memos give way */
		.max_sas = 64,
		.max_cells = CELLS,
		.max_adjacencies = 8,
		.max_filters = MAX_FILTERS,
		.punt_entries = 64,
		.inject_entries = 64,
		.handover_entries = 64,
		.tally_entries = 64,
		.n_crypto_devices = 2,
		.crypto_devices = {device_mb, device_openssl},
		.pool = pool,
		.fragment_memory = FRAGMENT_MEMORY,
		.fragment_timeout = FRAGMENT_TIMEOUT,
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
	sp_cell_set_state(g->dp, CELL_HOLD, SP_CELL_HOLD);
	CHECK(sp_neighbour_add(g->dp, g->port[PROTECTED], NEXT_LAN, ADJACENCY_LAN) >= 0, "neighbour");
	CHECK(sp_neighbour_add(g->dp, g->port[UNPROTECTED], g->remote, ADJACENCY_WAN) >= 0, "neighbour");
	widen(hop, NEXT_LAN);
	CHECK(sp_neighbour_add6(g->dp, g->port[PROTECTED], hop, ADJACENCY_LAN6) >= 0, "neighbour");
	widen(hop, g->remote);
	CHECK(sp_neighbour_add6(g->dp, g->port[UNPROTECTED], hop, ADJACENCY_WAN6) >= 0, "neighbour");
	gateway_neighbours(g, 1);
	gateway_publish(g, 0);
}

void gateways_start(void)
{
	start_eal();
	start_devices();
	pool = rte_pktmbuf_pool_create("mbufs", POOL_MBUFS, 0, SP_MBUF_PRIVATE_SIZE, RTE_PKTMBUF_HEADROOM + 2048, 0);
	CHECK(pool != NULL, "mbuf pool");
	ours.wan = peer.remote = OUR_WAN;
	peer.wan = ours.remote = PEER_WAN;
	create_gateway(&ours, "lan_a", "wan_a");
	create_gateway(&peer, "lan_b", "wan_b");
	for (enum tunnel t = 0; t < TUNNELS; t++) {
		ours.spi[t] = 0x10000u + 64 * t + t;
		peer.spi[t] = 0x20000u + 64 * t + t + 20;
		ours.encrypt[t] = session(t, 1, 1);
		ours.decrypt[t] = session(t, 0, 0);
		peer.encrypt[t] = session(t, 1, 0);
		peer.decrypt[t] = session(t, 0, 1);
		tunnel_reset(t);
	}
}
