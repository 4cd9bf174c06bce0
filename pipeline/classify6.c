/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Stage 4 for IPv6, on a flow-cache miss: the same policy model as classify.c, with IPv6's own addresses, filters and routes. What a filter's verdict means is decided there, for
 * both versions.
 */

#include <rte_fib6.h>
#include <rte_hash.h>

#include "acl.h"
#include "classify.h"
#include "ipv6.h"

#define ICMPV6_TOO_BIG 2

static enum sp_destination destination_of(const struct sp_snapshot *s, const uint8_t *address)
{
	if (sp_ipv6_multicast(address))
		return SP_TO_MULTICAST;
	return sp_ipv6_own(s, address) ? SP_TO_OWN : SP_TO_ELSEWHERE;
}

/* SP_PASS, or why no filter is asked about such addresses (RFC 4291 2.5, 2.7). */
static uint8_t check_addresses(const struct sp_snapshot *s, const struct sp_packet6 *p, enum sp_destination to)
{
	const uint8_t *source = p->source, *destination = p->destination;

	if (p->p.key.role != SP_ROLE_LOCAL && (sp_ipv6_never_routed(source) || sp_ipv6_multicast(source) || sp_ipv6_own(s, source)))
		return SP_DROP_BAD_SOURCE;
	if (to == SP_TO_MULTICAST) /* S-106 */
		return p->p.key.protocol == SP_PROTOCOL_TCP ? SP_DROP_TCP_MULTICAST : SP_PASS;
	if (sp_ipv6_never_routed(destination))
		return SP_DROP_BAD_DESTINATION;
	if (to == SP_TO_ELSEWHERE && (sp_ipv6_link_local(source) || sp_ipv6_link_local(destination)))
		return SP_DROP_LINK_LOCAL;
	return SP_PASS;
}

/* What is exempt is delivered: an exemption never opens a way through the gateway (S-033). */
static int settle_exempt(const struct sp_snapshot *s, struct sp_packet6 *p, enum sp_destination to)
{
	const struct sp_flow_key *k = &p->p.key;
	const struct sp_ports_key ports = {.source_port = k->source_port, .destination_port = k->destination_port, .protocol = k->protocol, .role = k->role};
	const struct sp_exemption *x = sp_exempt(s, SP_IPV6, to == SP_TO_OWN ? SP_TARGET_OWN : SP_TARGET_MULTICAST, &ports);

	if (x == NULL)
		return 0;
	p->p.verdict.filter = x->counter;
	if (x->ike)
		p->p.verdict.action = k->destination_port == SP_PORT_IKE_NAT ? SP_ACTION_INBOUND : SP_ACTION_IKE;
	else
		p->p.verdict.action = to == SP_TO_OWN ? SP_ACTION_LOCAL : SP_ACTION_GROUP;
	return 1;
}

/* As is_too_big of classify.c (RFC 4443 3.2). */
static int is_too_big(const struct sp_snapshot *s, const struct sp_packet6 *p)
{
	const uint8_t *icmp = p->p.l3 + p->l4;

	return p->p.key.protocol == SP_PROTOCOL_ICMPV6 && p->p.length >= p->l4 + SP_ICMP_LENGTH + SP_IPV6_LENGTH && icmp[0] == ICMPV6_TOO_BIG &&
	       sp_ipv6_own(s, icmp + SP_ICMP_LENGTH + 8);
}

/* Checks before the filters. Returns 1 when the verdict stands. */
static int settle_without_filter(const struct sp_dataplane *dp, const struct sp_snapshot *s, struct sp_packet6 *p, enum sp_destination to)
{
	uint8_t reason = check_addresses(s, p, to);

	if (reason != SP_PASS) {
		sp_verdict_drop(&p->p, reason);
		return 1;
	}
	if (sp_settle_protected(dp, &p->p, to, p->addresses))
		return 1;
	if (to == SP_TO_ELSEWHERE || p->p.key.in_cell != SP_NO_CELL || p->p.key.role == SP_ROLE_LOCAL)
		return 0;
	if (to == SP_TO_OWN && is_too_big(s, p)) {
		p->p.verdict.action = SP_ACTION_LOCAL;
		return 1;
	}
	return settle_exempt(s, p, to) || sp_settle_udp(dp, &p->p, to);
}

uint8_t sp_route6(const struct sp_dataplane *dp, const struct sp_snapshot *s, struct sp_packet6 *p, int require_protected)
{
	static const uint8_t on_link[SP_IPV6_ADDRESS];
	const struct sp_route6 *route;
	struct sp_neighbour_key6 key;
	uint64_t index = s->n_routes6;
	void *data;

	if (s->fib6 != NULL)
		rte_fib6_lookup_bulk(s->fib6, &p->destination, &index, 1);
	if (index == s->n_routes6) {
		sp_verdict_drop(&p->p, SP_DROP_NO_ROUTE);
		return 1;
	}
	route = &s->routes6[index];
	if (require_protected && dp->ports[route->port].role != SP_ROLE_PROTECTED) {
		sp_verdict_drop(&p->p, SP_DROP_CLEAR_TO_UNPROTECTED);
		return 1;
	}
	p->p.verdict.action = SP_ACTION_FORWARD;
	p->p.out_port = route->port;
	key = (struct sp_neighbour_key6){.port = route->port};
	memcpy(key.next_hop, sp_ipv6_same(route->next_hop, on_link) ? p->destination : route->next_hop, sizeof(key.next_hop));
	if (rte_hash_lookup_data(dp->neighbours6, &key, &data) < 0) {
		p->p.verdict.adjacency = SP_NO_ADJACENCY;
		return 0; /* Go will add it: ask again then */
	}
	p->p.verdict.adjacency = (uint16_t)(uintptr_t)data;
	return 1;
}

/* Packets that filters decide, classified in one call. */
static void match_filters(const struct sp_snapshot *s, struct sp_packet6 **packets, uint32_t *result, uint32_t n)
{
	struct sp_acl_key6 keys[SP_BURST];

	for (uint32_t i = 0; i < n; i++) {
		const struct sp_flow_key *k = &packets[i]->p.key;

		keys[i] = (struct sp_acl_key6){
			.protocol = k->protocol,
			.source_port_be = rte_cpu_to_be_16(k->source_port),
			.destination_port_be = rte_cpu_to_be_16(k->destination_port),
			.role = k->role & (uint8_t)~SP_KEY_NO_IKE,
		};
		memcpy(keys[i].source_be, packets[i]->source, sizeof(keys[i].source_be));
		memcpy(keys[i].destination_be, packets[i]->destination, sizeof(keys[i].destination_be));
	}
	sp_acl_match6(s->acl6, keys, result, n);
}

/* IPv6 that no filter names is dropped, whatever the default action for IPv4 is (S-022). */
static uint8_t filter_verdict(const struct sp_dataplane *dp, const struct sp_snapshot *s, struct sp_packet6 *p, uint32_t result, enum sp_destination to)
{
	if (result != 0)
		return sp_entry_verdict(dp, s, &p->p, &s->entries[result - 1], to);
	sp_verdict_drop(&p->p, SP_DROP_IPV6);
	return 1;
}

void sp_classify_misses6(const struct sp_dataplane *dp, const struct sp_snapshot *s, struct sp_packet6 **misses, uint8_t *memo, uint32_t n)
{
	struct sp_packet6 *open[SP_BURST];
	uint32_t place[SP_BURST], result[SP_BURST], n_open = 0;
	enum sp_destination to[SP_BURST];

	for (uint32_t i = 0; i < n; i++) {
		struct sp_packet6 *p = misses[i];

		p->p.verdict = (struct sp_decision){.cell = SP_NO_CELL, .adjacency = SP_NO_ADJACENCY};
		to[i] = destination_of(s, p->destination);
		memo[i] = to[i] != SP_TO_OWN || p->p.key.protocol != SP_PROTOCOL_ICMPV6; /* memos do not know the type, which decides */
		if (settle_without_filter(dp, s, p, to[i]))
			continue;
		place[n_open] = i;
		open[n_open++] = p;
	}
	if (n_open == 0)
		return;
	match_filters(s, open, result, n_open);
	for (uint32_t i = 0; i < n_open; i++)
		memo[place[i]] &= filter_verdict(dp, s, open[i], result[i], to[place[i]]);
}
