/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Stage 4, on a flow-cache miss: what the compiled policy says, and where the packet goes. The order of the checks is part of the policy: an address that cannot be
 * a source is dropped whatever a filter permits, then come the exemptions, and only then do filters speak.
 */

#include <rte_fib.h>
#include <rte_hash.h>

#include "acl.h"
#include "classify.h"

#define ICMP_UNREACHABLE 3
#define ICMP_FRAGMENTATION_NEEDED 4 /* its code (RFC 792) */

static int own_address(const struct sp_snapshot *s, uint32_t address)
{
	uint32_t low = 0, high = s->n_own;

	while (low < high) {
		uint32_t middle = (low + high) / 2;

		if (s->own[middle].address < address)
			low = middle + 1;
		else
			high = middle;
	}
	return low < s->n_own && s->own[low].address == address;
}

/* SP_TO_SUBNET, SP_TO_OTHER_SUBNET, or SP_TO_ELSEWHERE when the address is no subnet's broadcast address (S-104). */
static enum sp_destination subnet_broadcast(const struct sp_snapshot *s, uint32_t address, uint16_t in_port)
{
	enum sp_destination found = SP_TO_ELSEWHERE;

	for (uint32_t i = 0; i < s->n_own; i++) {
		if (s->own[i].broadcast != address)
			continue;
		if (s->own[i].port == in_port)
			return SP_TO_SUBNET;
		found = SP_TO_OTHER_SUBNET;
	}
	return found;
}

/* 0/8 and 127/8 (RFC 1122 3.2.1.3) */
static int never_routed(uint32_t address)
{
	return address >> 24 == 0 || address >> 24 == 127;
}

static int bad_source(const struct sp_snapshot *s, uint32_t address)
{
	return never_routed(address) || address >= 0xe0000000 || own_address(s, address) || subnet_broadcast(s, address, SP_PORT_LOCAL) != SP_TO_ELSEWHERE;
}

/* What came out of a tunnel came from no attached subnet. */
static enum sp_destination destination_of(const struct sp_snapshot *s, const struct sp_packet *p)
{
	uint32_t address = p->key.destination;
	enum sp_destination broadcast;

	if (address >> 28 == 0xe)
		return SP_TO_MULTICAST;
	if (address == UINT32_MAX)
		return SP_TO_ALL;
	broadcast = subnet_broadcast(s, address, p->key.in_cell == SP_NO_CELL ? p->mbuf->port : SP_PORT_LOCAL);
	if (broadcast != SP_TO_ELSEWHERE)
		return broadcast;
	return own_address(s, address) ? SP_TO_OWN : SP_TO_ELSEWHERE;
}

/* SP_PASS, or why no filter is asked about such addresses. */
static uint8_t check_addresses(const struct sp_snapshot *s, const struct sp_flow_key *k, enum sp_destination to)
{
	if (k->role != SP_ROLE_LOCAL && bad_source(s, k->source))
		return SP_DROP_BAD_SOURCE;
	if (to >= SP_TO_MULTICAST && k->protocol == SP_PROTOCOL_TCP) /* S-106 */
		return SP_DROP_TCP_MULTICAST;
	if (to == SP_TO_OTHER_SUBNET) /* S-107 */
		return SP_DROP_DIRECTED_BROADCAST;
	if (to < SP_TO_MULTICAST && (never_routed(k->destination) || k->destination >= 0xf0000000))
		return SP_DROP_BAD_DESTINATION;
	return SP_PASS;
}

const struct sp_exemption *sp_exempt(const struct sp_snapshot *s, enum sp_ip ip, enum sp_target target, const struct sp_ports_key *k)
{
	for (const struct sp_exemption *x = s->exemptions; x < s->exemptions + s->n_exemptions; x++) {
		if (x->target != target || !(x->versions >> ip & 1) || (x->protocol != 0 && x->protocol != k->protocol))
			continue;
		if (k->source_port < x->source_port_first || k->source_port > x->source_port_last || k->destination_port < x->destination_port_first ||
		    k->destination_port > x->destination_port_last)
			continue;
		if (x->ike && k->role & SP_KEY_NO_IKE)
			continue;
		return x;
	}
	return NULL;
}

/*
 * Word of a router that a packet of ours was too big for its link (RFC 1191 4). No filter is asked, as none is about IKE; what it says is believed only by Go, where the quoted
 * packet is one that an SA may have sent (RFC 4301 8.2.1).
 */
static int is_too_big(const struct sp_snapshot *s, const struct sp_packet *p)
{
	const uint32_t header = sp_ipv4_header_length(p->l3);
	const uint8_t *icmp = p->l3 + header, *quoted = icmp + SP_ICMP_LENGTH;

	return p->key.protocol == SP_PROTOCOL_ICMP && p->length >= header + SP_ICMP_LENGTH + SP_IPV4_LENGTH && icmp[0] == ICMP_UNREACHABLE &&
	       icmp[1] == ICMP_FRAGMENTATION_NEEDED && own_address(s, rte_be_to_cpu_32(sp_load32(quoted + 12)));
}

/* What is exempt is delivered: an exemption never opens a way through the gateway (S-033). Returns 1 when the verdict stands. */
static int settle_exempt(const struct sp_snapshot *s, struct sp_packet *p, enum sp_destination to)
{
	const struct sp_flow_key *k = &p->key;
	const struct sp_ports_key ports = {.source_port = k->source_port, .destination_port = k->destination_port, .protocol = k->protocol, .role = k->role};
	enum sp_target target = to == SP_TO_OWN ? SP_TARGET_OWN : to == SP_TO_MULTICAST ? SP_TARGET_MULTICAST : SP_TARGET_BROADCAST;
	const struct sp_exemption *x = sp_exempt(s, SP_IPV4, target, &ports);

	if (x == NULL)
		return 0;
	p->verdict.filter = x->counter;
	if (x->ike)
		p->verdict.action = k->destination_port == SP_PORT_IKE_NAT ? SP_ACTION_INBOUND : SP_ACTION_IKE;
	else
		p->verdict.action = to == SP_TO_OWN ? SP_ACTION_LOCAL : SP_ACTION_GROUP;
	return 1;
}

/*
 * Checks before the filters. Returns 1 when the verdict stands. ESP and AH for us are taken apart before any filter speaks. What would be exempt in clear is a packet like
 * any other inside a tunnel (S-035).
 */
static int settle_without_filter(const struct sp_dataplane *dp, const struct sp_snapshot *s, struct sp_packet *p, enum sp_destination to)
{
	const uint64_t addresses[4] = {p->words[0]};
	const struct sp_flow_key *k = &p->key;
	uint8_t reason = check_addresses(s, k, to);

	if (reason != SP_PASS) {
		sp_verdict_drop(p, reason);
		return 1;
	}
	if (sp_settle_protected(dp, p, to, addresses))
		return 1;
	if (to == SP_TO_ELSEWHERE || k->in_cell != SP_NO_CELL || k->role == SP_ROLE_LOCAL)
		return 0;
	if (to == SP_TO_OWN && is_too_big(s, p)) {
		p->verdict.action = SP_ACTION_LOCAL;
		return 1;
	}
	return settle_exempt(s, p, to) || sp_settle_udp(dp, p, to);
}

/*
 * Which of a subnet's two kinds of broadcast address it is depends on the port, and memos know only its role; of ICMP to us the type decides, and memos do not know that
 * either.
 */
static int may_remember(const struct sp_packet *p, enum sp_destination to)
{
	return to < SP_TO_SUBNET && !(to == SP_TO_OWN && p->key.protocol == SP_PROTOCOL_ICMP);
}

/* Next hop of a packet; returns whether the decision may be remembered. */
uint8_t sp_route(const struct sp_dataplane *dp, const struct sp_snapshot *s, struct sp_packet *p, int require_protected)
{
	const struct sp_route *route;
	struct sp_neighbour_key key;
	uint64_t index = s->n_routes;
	void *data;

	if (s->fib != NULL)
		rte_fib_lookup_bulk(s->fib, &p->key.destination, &index, 1);
	if (index == s->n_routes) {
		sp_verdict_drop(p, SP_DROP_NO_ROUTE);
		return 1;
	}
	route = &s->routes[index];
	if (require_protected && dp->ports[route->port].role != SP_ROLE_PROTECTED) {
		sp_verdict_drop(p, SP_DROP_CLEAR_TO_UNPROTECTED);
		return 1;
	}
	p->verdict.action = SP_ACTION_FORWARD;
	p->out_port = route->port;
	p->next_hop = route->next_hop ? route->next_hop : p->key.destination;
	key = (struct sp_neighbour_key){.port = route->port, .next_hop = p->next_hop};
	if (rte_hash_lookup_data(dp->neighbours, &key, &data) < 0) {
		p->verdict.adjacency = SP_NO_ADJACENCY;
		return 0; /* Go will add it: ask again then */
	}
	p->verdict.adjacency = (uint16_t)(uintptr_t)data;
	return 1;
}

/* Groups end here: the gateway is one of them, and forwards to none. */
static uint8_t deliver_or_route(const struct sp_dataplane *dp, const struct sp_snapshot *s, struct sp_packet *p, enum sp_destination to, int require_protected)
{
	if (p->key.role == SP_ROLE_LOCAL) {
		sp_verdict_drop(p, SP_DROP_REPLY_UNPROTECTED);
		return 1;
	}
	if (to == SP_TO_ELSEWHERE)
		return sp_is_ipv6(p->l3) ? sp_route6(dp, s, sp_packet6(p), require_protected) : sp_route(dp, s, p, require_protected);
	p->verdict.action = to == SP_TO_OWN ? SP_ACTION_LOCAL : SP_ACTION_GROUP;
	return 1;
}

/* No filter matched. */
static uint8_t default_verdict(const struct sp_dataplane *dp, const struct sp_snapshot *s, struct sp_packet *p, enum sp_destination to)
{
	p->verdict.filter = SP_COUNTER_DEFAULT;
	if (p->key.protocol == SP_PROTOCOL_IPV6) {
		sp_verdict_drop(p, SP_DROP_PROTOCOL_41);
		return 1;
	}
	if (s->default_verdict == SP_VERDICT_PERMIT)
		return deliver_or_route(dp, s, p, to, 0);
	sp_verdict_drop(p, SP_DROP_NO_FILTER);
	return 1;
}

/*
 * The counter slot of the soft SA that a packet may pass by, SP_COUNTER_NONE without one. It is asked for only where a tunnel is waited for and none is up (S-051): whatever else
 * the table says, a peer that speaks IPsec gets no clear text, nor one whose tunnel is down or failed.
 */
static uint32_t soft_counter(const struct sp_dataplane *dp, const struct sp_packet *p, const struct sp_entry *e)
{
	struct sp_soft_key key = {.addresses = {p->words[0]}, .filter = e->counter};
	const struct sp_cell *cell = &dp->cells[e->cell];
	void *counter;

	if (!e->fallback || sp_cell_up(cell) || sp_without_sa(cell) != SP_PASS)
		return SP_COUNTER_NONE;
	if (sp_is_ipv6(p->l3))
		memcpy(key.addresses, ((const struct sp_packet6 *)p)->addresses, sizeof(key.addresses));
	return rte_hash_lookup_data(dp->soft, &key, &counter) < 0 ? SP_COUNTER_NONE : (uint32_t)(uintptr_t)counter;
}

/*
 * In clear by a soft SA, of the gateway's own packets too: a host that asked it something in clear is answered. What another tunnel brought never leaves in clear: who sent it wanted
 * it protected, and knows nothing of a leave that the last hop of its way has. Returns 0, and nothing done, without a soft SA.
 */
static int soft_outbound(const struct sp_dataplane *dp, const struct sp_snapshot *s, struct sp_packet *p, const struct sp_entry *e, enum sp_destination to, uint8_t *memo)
{
	uint32_t counter = to == SP_TO_ELSEWHERE ? soft_counter(dp, p, e) : SP_COUNTER_NONE;

	if (counter == SP_COUNTER_NONE)
		return 0;
	if (p->key.in_cell != SP_NO_CELL) {
		sp_verdict_drop(p, SP_DROP_CLEAR_TO_UNPROTECTED);
		*memo = 1;
		return 1;
	}
	p->verdict.filter = counter;
	*memo = sp_is_ipv6(p->l3) ? sp_route6(dp, s, sp_packet6(p), 0) : sp_route(dp, s, p, 0);
	return 1;
}

/* Our side's traffic goes into its tunnel; from the other side it is spoofed, or a loop through the same tunnel. */
static uint8_t protect(const struct sp_dataplane *dp, const struct sp_snapshot *s, struct sp_packet *p, const struct sp_entry *e, enum sp_destination to)
{
	const struct sp_flow_key *k = &p->key;
	uint8_t memo;

	if (k->in_cell == SP_NO_CELL ? (k->role & ~SP_KEY_NO_IKE) == SP_ROLE_UNPROTECTED : k->in_cell == e->cell) {
		sp_verdict_drop(p, SP_DROP_PROTECT_FROM_UNPROTECTED);
		return 1;
	}
	if (soft_outbound(dp, s, p, e, to, &memo))
		return memo;
	p->verdict.action = SP_ACTION_OUTBOUND;
	p->verdict.cell = e->cell;
	return 1;
}

/* In clear while the tunnel may still come up (S-026): not once it is up, nor after its negotiation failed (S-024) or where none may begin. */
static void pass_through(const struct sp_dataplane *dp, const struct sp_snapshot *s, struct sp_packet *p, const struct sp_cell *cell, enum sp_destination to)
{
	uint8_t reason = sp_without_sa(cell);

	if (sp_cell_up(cell) || reason == SP_DROP_NO_OUTBOUND_SA)
		sp_verdict_drop(p, SP_DROP_CLEAR_ON_PROTECTED);
	else if (reason != SP_PASS)
		sp_verdict_drop(p, reason);
	else
		deliver_or_route(dp, s, p, to, 1);
}

/* The other side's traffic must have come by its tunnel. What passes without, until the tunnel is up (S-026), is never remembered: no memo can outlive that moment. */
static uint8_t require(const struct sp_dataplane *dp, const struct sp_snapshot *s, struct sp_packet *p, const struct sp_entry *e, enum sp_destination to)
{
	const struct sp_flow_key *k = &p->key;
	int clear = k->in_cell == SP_NO_CELL;
	uint32_t counter;

	if (!clear && k->in_cell == e->cell)
		return deliver_or_route(dp, s, p, to, 1);
	if (k->role == SP_ROLE_LOCAL) {
		sp_verdict_drop(p, SP_DROP_REPLY_UNPROTECTED);
		return 1;
	}
	counter = clear ? soft_counter(dp, p, e) : SP_COUNTER_NONE;
	if (counter != SP_COUNTER_NONE) {
		p->verdict.filter = counter;
		return deliver_or_route(dp, s, p, to, 1);
	}
	if (clear && e->verdict == SP_VERDICT_PASSTHROUGH) {
		pass_through(dp, s, p, &dp->cells[e->cell], to);
		return 0;
	}
	sp_verdict_drop(p, clear ? SP_DROP_CLEAR_ON_PROTECTED : SP_DROP_SELECTOR_MISMATCH);
	if (clear && e->verdict == SP_VERDICT_REQUIRE)
		p->verdict.cell = e->cell; /* who sends first may be asked for an SA (S-044) */
	return 1;
}

uint8_t sp_entry_verdict(const struct sp_dataplane *dp, const struct sp_snapshot *s, struct sp_packet *p, const struct sp_entry *e, enum sp_destination to)
{
	p->verdict.filter = e->counter;
	/* IPv6 inside IPv4 slips past IPv4 filters unless one names it (S-022) */
	if (p->key.protocol == SP_PROTOCOL_IPV6 && e->protocol != SP_PROTOCOL_IPV6) {
		sp_verdict_drop(p, SP_DROP_PROTOCOL_41);
		return 1;
	}
	switch (e->verdict) {
	case SP_VERDICT_PERMIT:
		return deliver_or_route(dp, s, p, to, 0);
	case SP_VERDICT_STALE:
		sp_verdict_drop(p, SP_DROP_STALE_ENDPOINT);
		return 1;
	case SP_VERDICT_PROTECT:
	case SP_VERDICT_REQUIRE:
	case SP_VERDICT_PASSTHROUGH:
		break;
	default:
		sp_verdict_drop(p, SP_DROP_FILTER_BLOCK);
		return 1;
	}
	if (to >= SP_TO_MULTICAST) { /* S-105 */
		sp_verdict_drop(p, to == SP_TO_MULTICAST ? SP_DROP_MULTICAST : SP_DROP_BROADCAST);
		if (e->fallback)
			p->verdict.cell = e->cell; /* what answers it must not lead to a soft SA (S-052) */
		return 1;
	}
	return e->verdict == SP_VERDICT_PROTECT ? protect(dp, s, p, e, to) : require(dp, s, p, e, to);
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
			.role = k->role & (uint8_t)~SP_KEY_NO_IKE,
		};
	}
	sp_acl_match(s->acl, keys, result, n);
}

void sp_classify_misses(const struct sp_dataplane *dp, const struct sp_snapshot *s, struct sp_packet **misses, uint8_t *memo, uint32_t n)
{
	struct sp_packet *open[SP_BURST];
	uint32_t place[SP_BURST], result[SP_BURST], n_open = 0;
	enum sp_destination to[SP_BURST];

	for (uint32_t i = 0; i < n; i++) {
		struct sp_packet *p = misses[i];

		p->verdict.filter = SP_COUNTER_NONE;
		p->verdict.cell = SP_NO_CELL;
		p->verdict.adjacency = SP_NO_ADJACENCY;
		p->verdict.reason = 0;
		to[i] = destination_of(s, p);
		memo[i] = may_remember(p, to[i]);
		if (settle_without_filter(dp, s, p, to[i]))
			continue;
		place[n_open] = i;
		open[n_open++] = p;
	}
	if (n_open == 0)
		return;
	match_filters(s, open, result, n_open);
	for (uint32_t i = 0; i < n_open; i++)
		rte_prefetch0(&s->entries[result[i] != 0 ? result[i] - 1 : 0]);
	for (uint32_t i = 0; i < n_open; i++) {
		uint32_t at = place[i];

		if (result[i] == 0)
			memo[at] &= default_verdict(dp, s, open[i], to[at]);
		else
			memo[at] &= sp_entry_verdict(dp, s, open[i], &s->entries[result[i] - 1], to[at]);
	}
}
