/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The IPv6 part of a snapshot: routes and own addresses. Routes are asked on flow-cache misses only, as IPv4's are, so of rte_fib6's two forms the tree serves: it
 * takes a few dozen bytes a route, where a trie reserves tables of megabytes for a lookup that hardly ever happens.
 */

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include <rte_errno.h>
#include <rte_fib6.h>
#include <rte_malloc.h>
#include <rte_rib6.h>

#include "dataplane.h"

static void *copy(struct sp_dataplane *dp, const void *from, uint32_t n, size_t size)
{
	void *to = rte_zmalloc_socket("sp_snapshot", RTE_MAX(n, 1u) * size, RTE_CACHE_LINE_SIZE, dp->socket);

	if (to != NULL && n > 0)
		memcpy(to, from, n * size);
	return to;
}

static int add_route(const struct sp_dataplane *dp, struct rte_fib6 *fib, const struct sp_route6 *route, uint32_t index)
{
	if (route->bits > RTE_FIB6_MAXDEPTH || route->port >= SP_MAX_PORTS || !dp->ports[route->port].present)
		return -EINVAL;
	if (rte_rib6_lookup_exact(rte_fib6_get_rib(fib), route->prefix, route->bits) != NULL)
		return -EEXIST;
	return rte_fib6_add(fib, route->prefix, route->bits, index);
}

static int build_routes(struct sp_dataplane *dp, struct sp_snapshot *s, char *error, size_t size)
{
	char name[32], text[INET6_ADDRSTRLEN];
	struct rte_fib6_conf conf = {.type = RTE_FIB6_DUMMY, .max_routes = (int)s->n_routes6, .default_nh = s->n_routes6};

	if (s->n_routes6 == 0)
		return 0;
	sp_object_name(dp, name);
	s->fib6 = rte_fib6_create(name, dp->socket, &conf);
	if (s->fib6 == NULL) {
		sp_fail(error, size, "table for %u IPv6 routes: %s", s->n_routes6, rte_strerror(rte_errno));
		return -1;
	}
	for (uint32_t i = 0; i < s->n_routes6; i++) {
		const struct sp_route6 *route = &s->routes6[i];

		if (add_route(dp, s->fib6, route, i) != 0) {
			sp_fail(error, size, "route %u of %u (%s/%u, port %u): prefix given twice, no such port, or no memory", i, s->n_routes6,
				inet_ntop(AF_INET6, route->prefix, text, sizeof(text)), route->bits, route->port);
			return -1;
		}
	}
	return 0;
}

static int by_port(const void *a, const void *b)
{
	return ((const struct sp_own_address6 *)a)->port - ((const struct sp_own_address6 *)b)->port;
}

/* Each port gets its own addresses side by side: ESP asks for those of one port. */
static int build_addresses(const struct sp_dataplane *dp, struct sp_snapshot *s, char *error, size_t size)
{
	char text[INET6_ADDRSTRLEN];

	qsort(s->local6, s->n_local6, sizeof(*s->local6), by_port);
	for (uint32_t i = 0; i < s->n_local6; i++) {
		const struct sp_own_address6 *a = &s->local6[i];

		if (a->port >= SP_MAX_PORTS || !dp->ports[a->port].present) {
			sp_fail(error, size, "own address %s: no port %u", inet_ntop(AF_INET6, a->address, text, sizeof(text)), a->port);
			return -1;
		}
		if (s->port[a->port].n6++ == 0)
			s->port[a->port].first6 = i;
	}
	return 0;
}

int sp_snapshot_build6(struct sp_dataplane *dp, struct sp_snapshot *s, const struct sp_snapshot_config *config, char *error, size_t size)
{
	s->n_routes6 = config->n_routes6;
	s->n_local6 = config->n_addresses6;
	s->routes6 = copy(dp, config->routes6, config->n_routes6, sizeof(*s->routes6));
	s->local6 = copy(dp, config->addresses6, config->n_addresses6, sizeof(*s->local6));
	if (s->routes6 == NULL || s->local6 == NULL) {
		sp_fail(error, size, "%u IPv6 routes, %u own addresses: no DPDK memory", config->n_routes6, config->n_addresses6);
		return -1;
	}
	s->ipv6 = s->acl6 != NULL || s->n_local6 > 0;
	return build_routes(dp, s, error, size) != 0 ? -1 : build_addresses(dp, s, error, size);
}

void sp_snapshot_free6(struct sp_snapshot *s)
{
	rte_fib6_free(s->fib6);
	rte_free(s->routes6);
	rte_free(s->local6);
}
