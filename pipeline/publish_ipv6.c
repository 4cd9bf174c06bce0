/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The IPv6 part of a snapshot: routes and own addresses. Routes are asked on flow-cache misses only, as IPv4's are, so the tree of rte_rib6 serves: it takes a few dozen bytes a
 * route where rte_fib6 reserves tables of megabytes for a lookup that hardly ever happens, and it inserts a route without rewriting them.
 */

#include <arpa/inet.h>
#include <string.h>

#include <rte_errno.h>
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

static int build_routes(struct sp_dataplane *dp, struct sp_snapshot *s, char *error, size_t size)
{
	char name[32], text[INET6_ADDRSTRLEN];
	/* each prefix may add a node where it branches off another */
	struct rte_rib6_conf conf = {.max_nodes = (int)(2 * s->n_routes6 + 1)};

	if (s->n_routes6 == 0)
		return 0;
	sp_object_name(dp, name);
	s->rib6 = rte_rib6_create(name, dp->socket, &conf);
	if (s->rib6 == NULL) {
		sp_fail(error, size, "table for %u IPv6 routes: %s", s->n_routes6, rte_strerror(rte_errno));
		return -1;
	}
	for (uint32_t i = 0; i < s->n_routes6; i++) {
		const struct sp_route6 *route = &s->routes6[i];
		struct rte_rib6_node *node = NULL;

		if (route->bits <= 128 && route->port < SP_MAX_PORTS && dp->ports[route->port].present)
			node = rte_rib6_insert(s->rib6, route->prefix, route->bits);
		if (node == NULL || rte_rib6_set_nh(node, i) != 0) {
			sp_fail(error, size, "route %u of %u (%s/%u, port %u): prefix given twice, no such port, or no memory", i, s->n_routes6,
				inet_ntop(AF_INET6, route->prefix, text, sizeof(text)), route->bits, route->port);
			return -1;
		}
	}
	return 0;
}

static int check_addresses(const struct sp_dataplane *dp, const struct sp_snapshot *s, char *error, size_t size)
{
	char text[INET6_ADDRSTRLEN];

	for (uint32_t i = 0; i < s->n_local6; i++) {
		const struct sp_own_address6 *a = &s->local6[i];

		if (a->port >= SP_MAX_PORTS || !dp->ports[a->port].present) {
			sp_fail(error, size, "own address %s: no port %u", inet_ntop(AF_INET6, a->address, text, sizeof(text)), a->port);
			return -1;
		}
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
	return build_routes(dp, s, error, size) != 0 ? -1 : check_addresses(dp, s, error, size);
}

void sp_snapshot_free6(struct sp_snapshot *s)
{
	rte_rib6_free(s->rib6);
	rte_free(s->routes6);
	rte_free(s->local6);
}
