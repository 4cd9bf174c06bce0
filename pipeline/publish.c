/* SPDX-License-Identifier: Apache-2.0 */

/* Snapshots of policy, routes and own addresses: built here by the control thread, immutable once published. */

#include <stdio.h>
#include <stdlib.h>

#include <rte_errno.h>
#include <rte_fib.h>
#include <rte_malloc.h>
#include <rte_rib.h>

#include "acl.h"
#include "dataplane.h"

static int build_filters(struct sp_dataplane *dp, struct sp_snapshot *s, const struct sp_snapshot_config *config, char *error, size_t size)
{
	if (sp_acl_build(dp, SP_IPV4, &config->rules, config->n_entries, &s->acl, error, size) != 0)
		return -1;
	return sp_acl_build(dp, SP_IPV6, &config->rules6, config->n_entries, &s->acl6, error, size);
}

/* A prefix that is there already would be overwritten without a word. */
static int add_route(const struct sp_dataplane *dp, struct rte_fib *fib, const struct sp_route *route, uint32_t index)
{
	if (route->bits > RTE_FIB_MAXDEPTH || route->port >= SP_MAX_PORTS || !dp->ports[route->port].present)
		return -EINVAL;
	if (rte_rib_lookup_exact(rte_fib_get_rib(fib), route->prefix, route->bits) != NULL)
		return -EEXIST;
	return rte_fib_add(fib, route->prefix, route->bits, index);
}

/*
 * Routes are asked on flow-cache misses only, so of the library's two forms the tree serves: it takes some dozen bytes a route, where tables by the first 24 bits take 32 MB for each
 * of two snapshots and are written anew with every policy.
 */
static int build_routes(struct sp_dataplane *dp, struct sp_snapshot *s, const struct sp_snapshot_config *config, char *error, size_t size)
{
	char name[32];
	struct rte_fib_conf conf = {.type = RTE_FIB_DUMMY, .max_routes = (int)config->n_routes, .default_nh = config->n_routes};

	s->n_routes = config->n_routes;
	if (config->n_routes == 0)
		return 0;
	sp_object_name(dp, name);
	s->fib = rte_fib_create(name, dp->socket, &conf);
	if (s->fib == NULL) {
		sp_fail(error, size, "table for %u routes: %s", config->n_routes, rte_strerror(rte_errno));
		return -1;
	}
	for (uint32_t i = 0; i < config->n_routes; i++) {
		const struct sp_route *route = &config->routes[i];

		if (add_route(dp, s->fib, route, i) != 0) {
			sp_fail(error, size, "route %u of %u (%08x/%u, port %u): prefix given twice, no such port, or no memory", i, config->n_routes, route->prefix,
				route->bits, route->port);
			return -1;
		}
	}
	memcpy(s->routes, config->routes, config->n_routes * sizeof(*s->routes));
	return 0;
}

static int compare_addresses(const void *a, const void *b)
{
	const struct sp_own_address *x = a, *y = b;

	return x->address < y->address ? -1 : x->address > y->address;
}

/* Of a subnet that has none (RFC 3021) the limited one: whoever asks has met that before. 0.0.0.0, which anybody may send to, must not look like one. */
static uint32_t broadcast_of(const struct sp_own_address *a)
{
	return a->bits >= 31 ? UINT32_MAX : a->address | UINT32_MAX >> a->bits;
}

static int build_addresses(struct sp_dataplane *dp, struct sp_snapshot *s, const struct sp_snapshot_config *config, char *error, size_t size)
{
	struct sp_own_address *sorted;

	s->n_own = config->n_addresses;
	for (uint32_t i = 0; i < SP_MAX_PORTS; i++)
		s->port[i].role = dp->ports[i].role | (config->ports_without_ike >> i & 1 ? SP_KEY_NO_IKE : 0);
	if (config->n_addresses == 0)
		return 0;
	sorted = calloc(config->n_addresses, sizeof(*sorted));
	if (sorted == NULL) {
		sp_fail(error, size, "%u own addresses: no memory", config->n_addresses);
		return -1;
	}
	memcpy(sorted, config->addresses, config->n_addresses * sizeof(*sorted));
	qsort(sorted, config->n_addresses, sizeof(*sorted), compare_addresses);
	for (uint32_t i = 0; i < config->n_addresses; i++) {
		const struct sp_own_address *a = &sorted[i];
		struct sp_port_addresses *port;

		if (a->bits > 32 || a->port >= SP_MAX_PORTS || !dp->ports[a->port].present || s->port[a->port].n == SP_PORT_ADDRESSES) {
			sp_fail(error, size, "own address %08x/%u: no port %u, or more than %u addresses on it", a->address, a->bits, a->port, SP_PORT_ADDRESSES);
			free(sorted);
			return -1;
		}
		port = &s->port[a->port];
		port->address[port->n++] = a->address;
		s->own[i] = (struct sp_own){.address = a->address, .broadcast = broadcast_of(a), .port = a->port};
	}
	free(sorted);
	return 0;
}

static int copy_entries(struct sp_dataplane *dp, struct sp_snapshot *s, const struct sp_snapshot_config *config, char *error, size_t size)
{
	s->n_entries = config->n_entries;
	for (uint32_t i = 0; i < config->n_entries; i++) {
		const struct sp_entry *e = &config->entries[i];
		int tunnel = e->verdict == SP_VERDICT_PROTECT || e->verdict == SP_VERDICT_REQUIRE || e->verdict == SP_VERDICT_PASSTHROUGH;

		if (e->verdict > SP_VERDICT_STALE || e->counter >= dp->max_filters || (tunnel && e->cell >= dp->max_cells)) {
			sp_fail(error, size, "entry %u of %u: verdict %u, counter slot %u (of %u) or cell %u (of %u) out of bounds", i, config->n_entries, e->verdict,
				e->counter, dp->max_filters, e->cell, dp->max_cells);
			return -1;
		}
		s->entries[i] = *e;
	}
	return 0;
}

static int copy_exemptions(struct sp_dataplane *dp, struct sp_snapshot *s, const struct sp_snapshot_config *config, char *error, size_t size)
{
	s->n_exemptions = config->n_exemptions;
	for (uint32_t i = 0; i < config->n_exemptions; i++) {
		const struct sp_exemption *x = &config->exemptions[i];

		if (x->counter >= dp->max_filters || x->target > SP_TARGET_BROADCAST) {
			sp_fail(error, size, "exemption %u of %u: counter slot %u (of %u) or target %u out of bounds", i, config->n_exemptions, x->counter, dp->max_filters,
				x->target);
			return -1;
		}
		s->exemptions[i] = *x;
	}
	return 0;
}

static void *allocate(struct sp_dataplane *dp, size_t n, size_t size)
{
	return rte_zmalloc_socket("sp_snapshot", RTE_MAX(n, (size_t)1) * size, RTE_CACHE_LINE_SIZE, dp->socket);
}

struct sp_snapshot *sp_snapshot_build(struct sp_dataplane *dp, const struct sp_snapshot_config *config, char *error, size_t error_size)
{
	struct sp_snapshot *s = allocate(dp, 1, sizeof(*s));

	if (s == NULL)
		return sp_fail(error, error_size, "snapshot: no DPDK memory for %zu bytes", sizeof(*s));
	s->entries = allocate(dp, config->n_entries, sizeof(*s->entries));
	s->routes = allocate(dp, config->n_routes, sizeof(*s->routes));
	s->own = allocate(dp, config->n_addresses, sizeof(*s->own));
	s->exemptions = allocate(dp, config->n_exemptions, sizeof(*s->exemptions));
	s->default_verdict = config->default_verdict;
	if (s->entries == NULL || s->routes == NULL || s->own == NULL || s->exemptions == NULL) {
		sp_snapshot_free(s);
		return sp_fail(error, error_size, "snapshot of %u entries, %u routes, %u addresses, %u exemptions: no DPDK memory", config->n_entries, config->n_routes,
			       config->n_addresses, config->n_exemptions);
	}
	if (copy_entries(dp, s, config, error, error_size) != 0 || copy_exemptions(dp, s, config, error, error_size) != 0 ||
	    build_filters(dp, s, config, error, error_size) != 0 ||
	    build_routes(dp, s, config, error, error_size) != 0 || build_addresses(dp, s, config, error, error_size) != 0 ||
	    sp_snapshot_build6(dp, s, config, error, error_size) != 0) {
		sp_snapshot_free(s);
		return NULL;
	}
	return s;
}

void sp_snapshot_free(struct sp_snapshot *s)
{
	if (s == NULL)
		return;
	sp_acl_free(s->acl);
	sp_acl_free(s->acl6);
	rte_fib_free(s->fib);
	sp_snapshot_free6(s);
	rte_free(s->entries);
	rte_free(s->routes);
	rte_free(s->own);
	rte_free(s->exemptions);
	rte_free(s);
}

struct sp_snapshot *sp_snapshot_publish(struct sp_dataplane *dp, struct sp_snapshot *snapshot)
{
	struct sp_snapshot *former = __atomic_exchange_n(&dp->snapshot, snapshot, __ATOMIC_ACQ_REL);

	sp_generation_bump(dp);
	return former;
}

void sp_generation_bump(struct sp_dataplane *dp)
{
	__atomic_fetch_add(&dp->generation, 1, __ATOMIC_RELEASE);
}

uint32_t sp_generation(const struct sp_dataplane *dp)
{
	return __atomic_load_n(&dp->generation, __ATOMIC_ACQUIRE);
}
