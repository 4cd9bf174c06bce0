/* SPDX-License-Identifier: Apache-2.0 */

/* Creation and end of a data plane. */

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <rte_cycles.h>
#include <rte_errno.h>
#include <rte_hash.h>
#include <rte_jhash.h>
#include <rte_malloc.h>
#include <rte_mbuf_dyn.h>

#include "fragment.h"
#include "vlan.h"

void *sp_fail(char *error, size_t size, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(error, size, format, arguments);
	va_end(arguments);
	return NULL;
}

void sp_object_name(struct sp_dataplane *dp, char name[32])
{
	snprintf(name, 32, "sp%08x_%u", (uint32_t)(uintptr_t)dp, __atomic_fetch_add(&dp->serial, 1, __ATOMIC_RELAXED));
}

/* ---- creation ---- */

/* A table that workers read while it changes. */
static struct rte_hash *create_hash(struct sp_dataplane *dp, uint32_t entries, uint32_t key_length)
{
	char name[32];
	struct rte_hash_parameters parameters = {
		.name = name,
		.entries = RTE_MAX(entries, 8u), /* one bucket at least */
		.key_len = key_length,
		.hash_func = rte_jhash,
		.hash_func_init_val = (uint32_t)rte_rand(), /* peers choose addresses, but not their buckets */
		.socket_id = dp->socket,
		.extra_flag = RTE_HASH_EXTRA_FLAGS_RW_CONCURRENCY_LF | RTE_HASH_EXTRA_FLAGS_EXT_TABLE,
	};
	struct rte_hash_rcu_config rcu = {.v = dp->rcu, .mode = RTE_HASH_QSBR_MODE_DQ};
	struct rte_hash *hash;

	sp_object_name(dp, name);
	hash = rte_hash_create(&parameters);
	if (hash != NULL && rte_hash_rcu_qsbr_add(hash, &rcu) != 0) {
		rte_hash_free(hash);
		return NULL;
	}
	return hash;
}

static int power_of_two(uint32_t n)
{
	return n != 0 && (n & (n - 1)) == 0;
}

static int config_valid(const struct sp_config *c, char *error, size_t size)
{
	if (c->n_ports == 0 || c->n_ports > SP_MAX_PORTS || c->n_workers == 0 || c->n_workers > SP_MAX_WORKERS ||
	    c->n_crypto_devices > SP_MAX_CRYPTO_DEVICES) {
		sp_fail(error, size, "%u ports (1 to %u), %u workers (1 to %u), %u crypto devices (up to %u)", c->n_ports, SP_MAX_PORTS, c->n_workers, SP_MAX_WORKERS,
			c->n_crypto_devices, SP_MAX_CRYPTO_DEVICES);
		return 0;
	}
	if (c->n_crypto_devices > 0 && (c->crypto_descriptors < 2 || c->crypto_descriptors > UINT16_MAX)) {
		sp_fail(error, size, "%u descriptors of a crypto device's queue, want 2 to %u", c->crypto_descriptors, UINT16_MAX);
		return 0;
	}
	if (!power_of_two(c->flow_entries) || c->flow_entries < 2 || !power_of_two(c->max_sas) || c->punt_entries == 0 || !power_of_two(c->inject_entries) ||
	    !power_of_two(c->handover_entries) || !power_of_two(c->tally_entries) || c->tally_entries < 4) {
		sp_fail(error, size, "flow_entries %u, max_sas %u, ring sizes %u, %u, tally_entries %u: want powers of two; %u punt entries: want more than 0", c->flow_entries,
			c->max_sas, c->inject_entries, c->handover_entries, c->tally_entries, c->punt_entries);
		return 0;
	}
	if (c->max_cells == 0 || c->max_cells >= SP_NO_CELL || c->max_adjacencies == 0 || c->max_adjacencies >= SP_NO_ADJACENCY || c->max_filters <= SP_COUNTER_DEFAULT) {
		sp_fail(error, size, "%u cells, %u adjacencies (1 to 65534 each), %u filter counters (at least 2)", c->max_cells, c->max_adjacencies, c->max_filters);
		return 0;
	}
	if (c->max_filters > SP_SUBJECTS / 2 || c->max_soft > SP_SUBJECTS / 2 / SP_SOFT_COUNTERS) {
		sp_fail(error, size, "%u filter counters (up to %u), %u soft SAs (up to %u)", c->max_filters, SP_SUBJECTS / 2, c->max_soft, SP_SUBJECTS / 2 / SP_SOFT_COUNTERS);
		return 0;
	}
	if (c->pool == NULL || rte_pktmbuf_priv_size(c->pool) < SP_MBUF_PRIVATE_SIZE || (c->large_pool != NULL && rte_pktmbuf_priv_size(c->large_pool) < SP_MBUF_PRIVATE_SIZE)) {
		sp_fail(error, size, "mbuf pool: want a private area of at least %u bytes per mbuf", SP_MBUF_PRIVATE_SIZE);
		return 0;
	}
	return 1;
}

static void *allocate(const struct sp_dataplane *dp, size_t n, size_t size)
{
	return rte_zmalloc_socket("sp_dataplane", n * size, RTE_CACHE_LINE_SIZE, dp->socket);
}

/* An untagged port has its device's id. */
static int port_id_valid(const struct sp_port_config *port)
{
	if (port->device >= SP_MAX_DEVICES || port->vlan >= SP_VLAN_END)
		return 0;
	return port->vlan == 0 ? port->port == port->device : port->port >= SP_MAX_DEVICES && port->port < SP_MAX_PORTS;
}

static int has_vlans(const struct sp_config *c, uint16_t device)
{
	for (uint32_t i = 0; i < c->n_ports; i++)
		if (c->ports[i].device == device && c->ports[i].vlan != 0)
			return 1;
	return 0;
}

static struct sp_trunk *create_trunk(struct sp_dataplane *dp)
{
	struct sp_trunk *trunk = allocate(dp, 1, sizeof(*trunk));

	if (trunk == NULL)
		return NULL;
	memset(trunk->port, SP_NO_PORT, sizeof(trunk->port));
	trunk->other = SP_NO_PORT;
	return trunk;
}

/* Tables of tags for the devices whose frames have some. */
static int create_trunks(struct sp_dataplane *dp, const struct sp_config *c, char *error, size_t size)
{
	for (const struct sp_port_config *port = c->ports; port < c->ports + c->n_ports; port++) {
		struct sp_trunk *trunk = dp->trunks[port->device];

		if (!has_vlans(c, port->device))
			continue;
		if (trunk == NULL)
			trunk = dp->trunks[port->device] = create_trunk(dp);
		if (trunk == NULL) {
			sp_fail(error, size, "VLANs of DPDK port %u: no DPDK memory for %zu bytes", port->device, sizeof(*trunk));
			return -1;
		}
		if (trunk->port[port->vlan] != SP_NO_PORT) {
			sp_fail(error, size, "VLAN %u of DPDK port %u is named twice", port->vlan, port->device);
			return -1;
		}
		trunk->port[port->vlan] = (uint8_t)port->port;
		if (trunk->other == SP_NO_PORT || port->vlan == 0)
			trunk->other = port->port;
	}
	return 0;
}

static int create_ports(struct sp_dataplane *dp, const struct sp_config *c, char *error, size_t size)
{
	for (uint32_t i = 0; i < c->n_ports; i++) {
		const struct sp_port_config *from = &c->ports[i];
		struct sp_port *port;

		if (!port_id_valid(from) || dp->ports[from->port].present || !rte_eth_dev_is_valid_port(from->device)) {
			sp_fail(error, size, "port %u of the configuration: DPDK port %u does not exist, or id %u is named twice or not right for VLAN %u", i, from->device,
				from->port, from->vlan);
			return -1;
		}
		if (from->role != SP_ROLE_PROTECTED && from->role != SP_ROLE_UNPROTECTED) {
			sp_fail(error, size, "port %u: role %u, want protected (%u) or unprotected (%u)", from->port, from->role, SP_ROLE_PROTECTED,
				SP_ROLE_UNPROTECTED);
			return -1;
		}
		port = &dp->ports[from->port];
		memcpy((uint8_t *)&port->mac + 2, from->mac, sizeof(from->mac));
		port->mtu = from->mtu;
		port->device = from->device;
		port->vlan = from->vlan;
		port->role = from->role;
		port->rx_checksum = from->rx_checksum;
		port->secured = c->secured;
		port->present = 1;
	}
	return create_trunks(dp, c, error, size);
}

/* The bit of ol_flags is the process's, not this data plane's: another one gets the same. */
static int create_mark(const struct rte_mbuf_dynflag *mark, uint64_t *flag, char *error, size_t size)
{
	int bit = rte_mbuf_dynflag_register(mark);

	if (bit < 0) {
		sp_fail(error, size, "a flag of packet buffers, %s: %s", mark->name, rte_strerror(rte_errno));
		return -1;
	}
	*flag = RTE_BIT64((uint32_t)bit);
	return 0;
}

static int create_marks(struct sp_dataplane *dp, char *error, size_t size)
{
	static const struct rte_mbuf_dynflag reassembled = {.name = "sallyport_reassembled"}, outer = {.name = "sallyport_outer_reassembled"};

	if (create_mark(&reassembled, &dp->reassembled_flag, error, size) != 0)
		return -1;
	return create_mark(&outer, &dp->outer_reassembled_flag, error, size);
}

static struct rte_ring *create_ring(struct sp_dataplane *dp, uint32_t entries, unsigned int flags)
{
	char name[32];

	sp_object_name(dp, name);
	return rte_ring_create(name, entries, dp->socket, flags | RING_F_EXACT_SZ);
}

/* The pointers of a cpu-crypto call that never change. */
static void wire_vector(struct sp_cpu_vector *v)
{
	for (uint32_t i = 0; i < SP_BURST; i++) {
		v->sgl[i].vec = &v->data[i];
		v->sgl[i].num = 1;
		v->iv[i].va = v->iv_bytes[i];
	}
}

/* Polls a device, once however many ports it has. */
static void add_source(struct sp_worker *w, uint16_t device)
{
	for (uint32_t i = 0; i < w->n_sources; i++)
		if (w->sources[i] == device)
			return;
	w->sources[w->n_sources++] = device;
}

/* The worker's manager of libIPSec_MB's jobs. Where the library cannot be used there is none, and SAs that need it are refused. */
static int create_jobs(const struct sp_dataplane *dp, struct sp_worker *w)
{
	IMB_MGR *manager = allocate(dp, 1, imb_get_mb_mgr_size());

	if (manager == NULL)
		return -1;
	if (imb_set_pointers_mb_mgr(manager, 0, 1) != NULL) {
		init_mb_mgr_auto(manager, NULL);
		if (imb_get_errno(manager) == 0 && (manager->features & IMB_FEATURE_SELF_TEST_PASS) != 0) {
			w->job.manager = manager;
			return 0;
		}
	}
	rte_free(manager);
	return 0;
}

static void free_jobs(IMB_MGR *manager)
{
	if (manager == NULL)
		return;
	/* its lanes may keep states of hashes that began with a key */
	explicit_bzero(manager, imb_get_mb_mgr_size());
	rte_free(manager);
}

static int create_punt_queues(struct sp_dataplane *dp, struct sp_worker *w, const struct sp_config *c)
{
	for (uint32_t i = 0; i < SP_CLASS_COUNT; i++) {
		struct sp_punt_queue *q = &w->punt[i];

		q->shared = sp_punt_shared(i);
		q->ring = create_ring(dp, c->punt_entries, RING_F_SP_ENQ | RING_F_SC_DEQ);
		if (q->ring == NULL)
			return -1;
	}
	return 0;
}

static int create_worker(struct sp_dataplane *dp, const struct sp_config *c, uint16_t id, char *error, size_t size)
{
	struct sp_worker *w = allocate(dp, 1, sizeof(*w));

	if (w == NULL)
		goto no_memory;
	dp->workers[id] = w;
	w->dp = dp;
	w->id = id;
	w->flow_mask = c->flow_entries / 2 - 1;
	w->flow6_mask = dp->flow6_entries / 2 - 1;
	w->flows = allocate(dp, c->flow_entries, sizeof(*w->flows));
	w->flows6 = allocate(dp, dp->flow6_entries, sizeof(*w->flows6));
	w->filters = allocate(dp, dp->max_counters, sizeof(*w->filters));
	w->own = allocate(dp, dp->max_cells, sizeof(struct sp_sa_out *));
	w->tally = allocate(dp, 1, sp_tally_size(c->tally_entries));
	w->inject = create_ring(dp, c->inject_entries, RING_F_SP_ENQ | RING_F_SC_DEQ);
	w->handover = create_ring(dp, c->handover_entries, RING_F_SC_DEQ);
	if (w->flows == NULL || w->flows6 == NULL || w->filters == NULL || w->own == NULL || w->tally == NULL || w->inject == NULL || w->handover == NULL ||
	    create_punt_queues(dp, w, c) != 0 || create_jobs(dp, w) != 0)
		goto no_memory;
	sp_tally_init(w->tally, c->tally_entries);
	for (uint32_t i = 0; i < c->n_ports; i++) {
		w->ports[w->n_ports++] = c->ports[i].port;
		add_source(w, c->ports[i].device);
	}
	for (; w->n_devices < c->n_crypto_devices; w->n_devices++)
		if (sp_queue_create(dp, &w->devices[w->n_devices], c->crypto_devices[w->n_devices], c->crypto_descriptors) != 0)
			goto no_memory;
	wire_vector(&w->cpu);
	rte_rcu_qsbr_thread_register(dp->rcu, id);
	return sp_reassembly_create(w, c, error, size);

no_memory:
	sp_fail(error, size, "worker %u: no DPDK memory for %u flow entries, %u filter counters, %u drop counters and rings of %u (%u times), %u and %u", id, c->flow_entries, dp->max_counters,
		c->tally_entries, c->punt_entries, SP_CLASS_COUNT, c->inject_entries, c->handover_entries);
	return -1;
}

static int create_tables(struct sp_dataplane *dp, const struct sp_config *c, char *error, size_t size)
{
	static const struct sp_snapshot_config closed = {.default_verdict = SP_VERDICT_BLOCK};

	dp->sad_mask = c->max_sas - 1;
	dp->sad = allocate(dp, c->max_sas, sizeof(*dp->sad));
	dp->early = allocate(dp, c->max_sas, sizeof(*dp->early));
	dp->cells = allocate(dp, c->max_cells, sizeof(*dp->cells));
	dp->outbound = allocate(dp, c->max_cells, sizeof(struct sp_sa_out *));
	dp->adjacencies = allocate(dp, c->max_adjacencies, sizeof(*dp->adjacencies));
	dp->rcu = allocate(dp, 1, rte_rcu_qsbr_get_memsize(c->n_workers));
	if (dp->sad == NULL || dp->early == NULL || dp->cells == NULL || dp->outbound == NULL || dp->adjacencies == NULL || dp->rcu == NULL) {
		sp_fail(error, size, "tables for %u SAs, %u cells, %u adjacencies: no DPDK memory", c->max_sas, c->max_cells, c->max_adjacencies);
		return -1;
	}
	rte_rcu_qsbr_init(dp->rcu, c->n_workers);
	dp->neighbours = create_hash(dp, dp->max_adjacencies, sizeof(struct sp_neighbour_key));
	dp->neighbours6 = create_hash(dp, dp->max_adjacencies, sizeof(struct sp_neighbour_key6));
	dp->soft = create_hash(dp, SP_SOFT_COUNTERS * c->max_soft, sizeof(struct sp_soft_key));
	if (dp->neighbours == NULL || dp->neighbours6 == NULL || dp->soft == NULL) {
		sp_fail(error, size, "tables of %u neighbours and %u soft SAs: %s", dp->max_adjacencies, c->max_soft, rte_strerror(rte_errno));
		return -1;
	}
	dp->peers = create_hash(dp, 2 * dp->max_cells, SP_IPV6_ADDRESS); /* a peer that has moved has two addresses */
	if (dp->peers == NULL) {
		sp_fail(error, size, "table of %u addresses of peers: %s", 2 * dp->max_cells, rte_strerror(rte_errno));
		return -1;
	}
	dp->heard = allocate(dp, (uint32_t)rte_hash_max_key_id(dp->peers) + 1, sizeof(*dp->heard));
	if (dp->heard == NULL) {
		sp_fail(error, size, "%u addresses of peers: no DPDK memory", 2 * dp->max_cells);
		return -1;
	}
	/* until a policy is applied nothing passes */
	dp->snapshot = sp_snapshot_build(dp, &closed, error, size);
	dp->generation = 1;
	return dp->snapshot == NULL ? -1 : 0;
}

struct sp_dataplane *sp_dataplane_create(const struct sp_config *c, char *error, size_t error_size)
{
	struct sp_dataplane *dp;

	if (!config_valid(c, error, error_size))
		return NULL;
	dp = rte_zmalloc_socket("sp_dataplane", sizeof(*dp), RTE_CACHE_LINE_SIZE, c->socket);
	if (dp == NULL)
		return sp_fail(error, error_size, "data plane: no DPDK memory for %zu bytes", sizeof(*dp));
	dp->socket = c->socket;
	dp->pool = c->pool;
	dp->large_pool = c->large_pool;
	memcpy(dp->secret, c->secret, sizeof(dp->secret));
	dp->n_workers = c->n_workers;
	dp->max_cells = c->max_cells;
	dp->max_adjacencies = c->max_adjacencies;
	dp->max_filters = c->max_filters;
	dp->max_counters = c->max_filters + SP_SOFT_COUNTERS * c->max_soft;
	dp->flow_entries = c->flow_entries;
	dp->flow6_entries = RTE_MAX(c->flow_entries / 2, 2u); /* as many bytes as IPv4's */
	dp->early_limit = c->early_limit;
	dp->idle = c->idle;
	dp->secured = c->secured;
	dp->tick = 1; /* cells have told of nothing yet */
	if (create_marks(dp, error, error_size) != 0 || create_ports(dp, c, error, error_size) != 0 || create_tables(dp, c, error, error_size) != 0) {
		sp_dataplane_destroy(dp);
		return NULL;
	}
	for (uint32_t i = 0; i < c->n_workers; i++) {
		if (create_worker(dp, c, (uint16_t)i, error, error_size) != 0) {
			sp_dataplane_destroy(dp);
			return NULL;
		}
	}
	return dp;
}

/* ---- end ---- */

static void free_ring(struct rte_ring *ring)
{
	void *m;

	if (ring == NULL)
		return;
	while (rte_ring_dequeue(ring, &m) == 0)
		rte_pktmbuf_free(m);
	rte_ring_free(ring);
}

static void destroy_worker(struct sp_worker *w)
{
	if (w == NULL)
		return;
	for (uint32_t i = 0; i < SP_CLASS_COUNT; i++)
		free_ring(w->punt[i].ring);
	free_ring(w->inject);
	free_ring(w->handover);
	sp_reassembly_destroy(w);
	rte_free(w->flows);
	rte_free(w->flows6);
	rte_free(w->filters);
	rte_free(w->tally);
	free_jobs(w->job.manager);
	for (uint32_t i = 0; i < SP_MAX_CRYPTO_DEVICES; i++)
		sp_queue_destroy(&w->devices[i]);
	for (uint32_t i = 0; w->own != NULL && i < w->dp->max_cells; i++)
		sp_sa_out_free(w->own[i]);
	rte_free(w->own);
	rte_free(w);
}

void sp_dataplane_destroy(struct sp_dataplane *dp)
{
	if (dp == NULL)
		return;
	for (uint32_t i = 0; i < dp->n_workers; i++)
		destroy_worker(dp->workers[i]);
	for (uint32_t i = 0; dp->sad != NULL && i <= dp->sad_mask; i++)
		sp_sa_in_free(dp->sad[i]);
	for (uint32_t i = 0; dp->cells != NULL && i < dp->max_cells; i++)
		sp_sa_out_free(dp->cells[i].sa);
	for (uint32_t i = 0; dp->adjacencies != NULL && i < dp->max_adjacencies; i++)
		rte_free(dp->adjacencies[i]);
	for (uint32_t i = 0; i < SP_MAX_DEVICES; i++)
		rte_free(dp->trunks[i]);
	sp_free_deferred(dp);
	sp_snapshot_free(dp->snapshot);
	rte_hash_free(dp->neighbours);
	rte_hash_free(dp->neighbours6);
	rte_hash_free(dp->soft);
	rte_hash_free(dp->peers);
	rte_free(dp->heard);
	rte_free(dp->rcu);
	rte_free(dp->transit);
	rte_free(dp->sad);
	rte_free(dp->early);
	rte_free(dp->cells);
	rte_free(dp->outbound);
	rte_free(dp->adjacencies);
	rte_free(dp);
}
