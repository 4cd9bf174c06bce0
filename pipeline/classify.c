/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Stage 4, on a flow-cache miss: what the compiled policy says, and where the packet goes. The order of the checks is part of the policy: an address that cannot be
 * a source is dropped whatever a filter permits, and only then do filters speak.
 */

#include <rte_hash.h>
#include <rte_rib.h>

#include "acl.h"
#include "ipv4.h"
#include "stages.h"

#define IKE_PORT 500
#define IKE_NAT_PORT 4500

static void verdict_drop(struct sp_packet *p, uint8_t reason)
{
	p->verdict.action = SP_ACTION_DROP;
	p->verdict.reason = reason;
}

/* Index of an own address, or -1. */
static int local_index(const struct sp_snapshot *s, uint32_t address)
{
	uint32_t low = 0, high = s->n_local;

	while (low < high) {
		uint32_t middle = (low + high) / 2;

		if (s->local[middle] < address)
			low = middle + 1;
		else
			high = middle;
	}
	return low < s->n_local && s->local[low] == address ? (int)low : -1;
}

static int directed_broadcast(const struct sp_snapshot *s, uint32_t address)
{
	for (uint32_t i = 0; i < s->n_local; i++)
		if (s->broadcast[i] == address)
			return 1;
	return 0;
}

/* 0/8 and 127/8 (RFC 1122 3.2.1.3) */
static int never_routed(uint32_t address)
{
	return address >> 24 == 0 || address >> 24 == 127;
}

static int bad_source(const struct sp_snapshot *s, uint32_t address)
{
	return never_routed(address) || address >= 0xe0000000 || local_index(s, address) >= 0 || directed_broadcast(s, address);
}

static uint8_t bad_destination(const struct sp_snapshot *s, const struct sp_flow_key *k)
{
	int multicast = k->destination >> 28 == 0xe;

	if (multicast || k->destination == UINT32_MAX || directed_broadcast(s, k->destination)) {
		if (k->protocol == SP_PROTOCOL_TCP)
			return SP_DROP_TCP_MULTICAST;
		return multicast ? SP_DROP_MULTICAST : SP_DROP_BROADCAST;
	}
	if (never_routed(k->destination) || k->destination >= 0xf0000000)
		return SP_DROP_BAD_DESTINATION;
	return SP_PASS;
}

/* IKE to an own address passes whatever the filters say, while the policy needs it (S-031, S-033, S-034). */
static int ike_exempt(const struct sp_snapshot *s, const struct sp_flow_key *k)
{
	return s->needs_ike && k->protocol == SP_PROTOCOL_UDP &&
	       ((k->source_port == IKE_PORT && k->destination_port == IKE_PORT) || k->destination_port == IKE_NAT_PORT);
}

/*
 * Checks before the filters. Returns 1 when the verdict stands. ESP for us is decrypted before any filter speaks, but only once: inside a tunnel it is a packet
 * like any other.
 */
static int settle_without_filter(struct sp_worker *w, struct sp_packet *p, int *local)
{
	const struct sp_snapshot *s = w->snapshot;
	const struct sp_flow_key *k = &p->key;
	int clear = k->in_cell == SP_NO_CELL;
	uint8_t reason;

	*local = 0;
	if (k->role != SP_ROLE_LOCAL && bad_source(s, k->source)) {
		verdict_drop(p, SP_DROP_BAD_SOURCE);
		return 1;
	}
	reason = bad_destination(s, k);
	if (reason != SP_PASS) {
		verdict_drop(p, reason);
		return 1;
	}
	*local = local_index(s, k->destination) >= 0;
	if (!*local || !clear || k->role == SP_ROLE_LOCAL)
		return 0;
	if (k->protocol == SP_PROTOCOL_ESP) {
		p->verdict.action = SP_ACTION_INBOUND;
		return 1;
	}
	if (ike_exempt(s, k)) {
		p->verdict.filter = s->ike_counter;
		p->verdict.action = k->destination_port == IKE_NAT_PORT ? SP_ACTION_INBOUND : SP_ACTION_IKE;
		return 1;
	}
	return 0;
}

/* Next hop of a packet; returns whether the decision may be remembered. */
uint8_t sp_route(struct sp_worker *w, struct sp_packet *p, int require_protected)
{
	const struct sp_snapshot *s = w->snapshot;
	struct rte_rib_node *node = s->rib ? rte_rib_lookup(s->rib, p->key.destination) : NULL;
	const struct sp_route *route;
	struct sp_neighbour_key key;
	uint64_t index;
	void *data;

	if (node == NULL || rte_rib_get_nh(node, &index) != 0) {
		verdict_drop(p, SP_DROP_NO_ROUTE);
		return 1;
	}
	route = &s->routes[index];
	if (require_protected && w->dp->ports[route->port].role != SP_ROLE_PROTECTED) {
		verdict_drop(p, SP_DROP_CLEAR_TO_UNPROTECTED);
		return 1;
	}
	p->verdict.action = SP_ACTION_FORWARD;
	p->out_port = route->port;
	p->next_hop = route->next_hop ? route->next_hop : p->key.destination;
	key = (struct sp_neighbour_key){.port = route->port, .next_hop = p->next_hop};
	if (rte_hash_lookup_data(w->dp->neighbours, &key, &data) < 0) {
		p->verdict.adjacency = SP_NO_ADJACENCY;
		return 0; /* Go will add it: ask again then */
	}
	p->verdict.adjacency = (uint16_t)(uintptr_t)data;
	return 1;
}

static uint8_t deliver_or_route(struct sp_worker *w, struct sp_packet *p, int local, int require_protected)
{
	if (p->key.role == SP_ROLE_LOCAL) {
		verdict_drop(p, SP_DROP_REPLY_UNPROTECTED);
		return 1;
	}
	if (!local)
		return sp_route(w, p, require_protected);
	p->verdict.action = SP_ACTION_LOCAL;
	return 1;
}

/* No filter matched. */
static uint8_t default_verdict(struct sp_worker *w, struct sp_packet *p, int local)
{
	p->verdict.filter = 0;
	if (p->key.protocol == SP_PROTOCOL_IPV6) {
		verdict_drop(p, SP_DROP_PROTOCOL_41);
		return 1;
	}
	if (w->snapshot->default_verdict == SP_VERDICT_PERMIT)
		return deliver_or_route(w, p, local, 0);
	verdict_drop(p, SP_DROP_NO_FILTER);
	return 1;
}

static uint8_t entry_verdict(struct sp_worker *w, struct sp_packet *p, const struct sp_entry *e, int local)
{
	const struct sp_flow_key *k = &p->key;
	int clear = k->in_cell == SP_NO_CELL;

	p->verdict.filter = e->counter;
	/* IPv6 inside IPv4 slips past IPv4 filters unless one names it (S-022) */
	if (k->protocol == SP_PROTOCOL_IPV6 && e->protocol != SP_PROTOCOL_IPV6) {
		verdict_drop(p, SP_DROP_PROTOCOL_41);
		return 1;
	}
	switch (e->verdict) {
	case SP_VERDICT_PERMIT:
		return deliver_or_route(w, p, local, 0);
	case SP_VERDICT_PROTECT:
		/* our side's selector from the other side: spoofed, or a loop through the same tunnel */
		if (clear ? k->role == SP_ROLE_UNPROTECTED : k->in_cell == e->cell) {
			verdict_drop(p, SP_DROP_PROTECT_FROM_UNPROTECTED);
			return 1;
		}
		p->verdict.action = SP_ACTION_OUTBOUND;
		p->verdict.cell = e->cell;
		return 1;
	case SP_VERDICT_REQUIRE:
		if (!clear && k->in_cell == e->cell)
			return deliver_or_route(w, p, local, 1);
		if (k->role == SP_ROLE_LOCAL)
			verdict_drop(p, SP_DROP_REPLY_UNPROTECTED);
		else
			verdict_drop(p, clear ? SP_DROP_CLEAR_ON_PROTECTED : SP_DROP_SELECTOR_MISMATCH);
		return 1;
	default:
		verdict_drop(p, SP_DROP_FILTER_BLOCK);
		return 1;
	}
}

/* Packets that filters decide, classified in one call. */
static void match_filters(const struct sp_snapshot *s, struct sp_packet **packets, uint32_t *result, uint32_t n)
{
	struct sp_acl_key keys[SP_BURST];

	for (uint32_t i = 0; i < n; i++) {
		const struct sp_flow_key *k = &packets[i]->key;

		keys[i] = (struct sp_acl_key){
			.protocol = k->protocol,
			.source_be = rte_cpu_to_be_32(k->source),
			.destination_be = rte_cpu_to_be_32(k->destination),
			.source_port_be = rte_cpu_to_be_16(k->source_port),
			.destination_port_be = rte_cpu_to_be_16(k->destination_port),
			.role_be = rte_cpu_to_be_32(k->role),
		};
	}
	sp_acl_match(s->acl, keys, result, n);
}

void sp_classify_misses(struct sp_worker *w, struct sp_packet **misses, uint8_t *memo, uint32_t n)
{
	const struct sp_snapshot *s = w->snapshot;
	struct sp_packet *open[SP_BURST];
	uint32_t place[SP_BURST], result[SP_BURST], n_open = 0;
	int local[SP_BURST];

	for (uint32_t i = 0; i < n; i++) {
		struct sp_packet *p = misses[i];

		p->verdict.filter = 0;
		p->verdict.cell = SP_NO_CELL;
		p->verdict.adjacency = SP_NO_ADJACENCY;
		p->verdict.reason = 0;
		memo[i] = 1;
		if (settle_without_filter(w, p, &local[n_open]))
			continue;
		place[n_open] = i;
		open[n_open++] = p;
	}
	if (n_open == 0)
		return;
	match_filters(s, open, result, n_open);
	for (uint32_t i = 0; i < n_open; i++) {
		if (result[i] == 0)
			memo[place[i]] = default_verdict(w, open[i], local[i]);
		else
			memo[place[i]] = entry_verdict(w, open[i], &s->entries[result[i] - 1], local[i]);
	}
}
