/* SPDX-License-Identifier: Apache-2.0 */

/* The policies, routes and addresses of the two gateways. */

#include <stdio.h>
#include <stdlib.h>

#include "../ipv6.h"
#include "gateway.h"

#define COUNTER_EXEMPT (MAX_FILTERS - 1)

struct policy {
	struct sp_rule rules[MAX_FILTERS], rules6[MAX_FILTERS];
	struct sp_entry entries[MAX_FILTERS];
	uint32_t n;
};

static uint32_t fallback_first; /* of our entries, those of CELL_HOLD: one for each direction */

static uint32_t host_bits(uint8_t prefix_length)
{
	return prefix_length == 32 ? 0 : UINT32_MAX >> prefix_length;
}

static void add(struct policy *p, uint8_t verdict, uint16_t cell, uint32_t source, uint8_t source_bits, uint32_t destination, uint8_t destination_bits, uint8_t protocol)
{
	p->entries[p->n] = (struct sp_entry){.counter = p->n + SP_COUNTER_DEFAULT + 1, .cell = cell, .verdict = verdict, .protocol = protocol};
	p->rules[p->n] = (struct sp_rule){
		.source_first = {source},
		.source_last = {source | host_bits(source_bits)},
		.destination_first = {destination},
		.destination_last = {destination | host_bits(destination_bits)},
		.protocol = protocol,
		.roles = SP_ROLE_PROTECTED | SP_ROLE_UNPROTECTED | SP_ROLE_LOCAL,
		.source_port_last = UINT16_MAX,
		.destination_port_last = UINT16_MAX,
		.entry = p->n,
	};
	p->n++;
}

static void our_policy(struct policy *p)
{
	add(p, SP_VERDICT_BLOCK, SP_NO_CELL, BLOCKED_HOST, 32, 0, 0, 0);
	add(p, SP_VERDICT_PERMIT, SP_NO_CELL, OUR_NET, 24, OUR_LAN, 32, 1);
	for (uint32_t t = 0; t < CELLS; t++) {
		if (t == CELL_HOLD)
			fallback_first = p->n;
		/* hub and spoke: whatever network of ours or of another tunnel it comes from */
		add(p, SP_VERDICT_PROTECT, (uint16_t)t, 0x0a000000, 8, PEER_NET(t), 24, 0);
		add(p, SP_VERDICT_REQUIRE, (uint16_t)t, PEER_NET(t), 24, OUR_NET, 24, 0);
	}
	p->entries[fallback_first].fallback = 1;
	p->entries[fallback_first + 1].fallback = 1;
	add(p, SP_VERDICT_PASSTHROUGH, TUNNEL_GCM, PEER_NET(NET_PASSTHROUGH), 24, OUR_NET, 24, 0);
	add(p, SP_VERDICT_STALE, SP_NO_CELL, 0x0a000000, 8, PEER_NET(NET_STALE), 24, 0);
	add(p, SP_VERDICT_STALE, SP_NO_CELL, PEER_NET(NET_STALE), 24, OUR_NET, 24, 0);
	/* groups: one permitted, one that nothing may be negotiated for, others as the exemptions say */
	add(p, SP_VERDICT_PERMIT, SP_NO_CELL, 0, 0, GROUP_NET(1), 8, 0);
	add(p, SP_VERDICT_PROTECT, CELL_HOLD, 0, 0, GROUP_NET(2), 8, 0);
	add(p, SP_VERDICT_PERMIT, SP_NO_CELL, OUR_NET, 24, CLEAR_NET, 24, 0);
	add(p, SP_VERDICT_PERMIT, SP_NO_CELL, CLEAR_NET, 24, OUR_NET, 24, 0);
	add(p, SP_VERDICT_PERMIT, SP_NO_CELL, OUR_WAN, 24, OUR_WAN, 32, 1);
}

/* Each filter is for one side alone: what comes out of one tunnel the peer does not send by another. */
static void peer_policy(struct policy *p)
{
	for (uint32_t t = 0; t < TUNNELS; t++) {
		add(p, SP_VERDICT_PROTECT, (uint16_t)t, PEER_NET(t), 24, 0x0a000000, 8, 0);
		p->rules[p->n - 1].roles = SP_ROLE_PROTECTED;
		add(p, SP_VERDICT_REQUIRE, (uint16_t)t, 0x0a000000, 8, PEER_NET(t), 24, 0);
		p->rules[p->n - 1].roles = SP_ROLE_UNPROTECTED;
	}
}

static void soft_way(int inbound, uint32_t source, uint32_t destination, uint32_t counter, int end)
{
	struct sp_soft_key key = {.addresses = {source | (uint64_t)destination << 32}, .filter = fallback_first + (uint32_t)inbound + SP_COUNTER_DEFAULT + 1};
	struct sp_filter_counters hits;
	uint64_t drops[SP_DROP_COUNT];

	for (uint32_t version = 0; version < 2; version++) {
		if (end)
			sp_soft_remove(ours.dp, &key);
		else
			CHECK(sp_soft_add(ours.dp, &key, counter) >= 0, "soft SA");
		widen((uint8_t *)key.addresses, source);
		widen((uint8_t *)key.addresses + SP_IPV6_ADDRESS, destination);
	}
	if (end)
		sp_soft_settle(ours.dp, counter, &hits, drops);
}

void soft_set(uint32_t n, uint32_t local, uint32_t remote, int end)
{
	soft_way(0, local, remote, MAX_FILTERS + 2 * n, end);
	soft_way(1, remote, local, MAX_FILTERS + 2 * n + 1, end);
	sp_generation_bump(ours.dp);
}

#define EXEMPT(to, which, from_first, from_last, to_first, to_last) \
	{ .counter = COUNTER_EXEMPT, .target = SP_TARGET_##to, .protocol = which, .source_port_first = from_first, .source_port_last = from_last, \
	  .destination_port_first = to_first, .destination_port_last = to_last, .versions = 1 << SP_IPV4 | 1 << SP_IPV6, .ike = (to_first) == 500 || (to_first) == 4500 }

/* What level 0 exempts. */
static const struct sp_exemption exemptions[] = {
	EXEMPT(OWN, SP_PROTOCOL_UDP, 500, 500, 500, 500),
	EXEMPT(OWN, SP_PROTOCOL_UDP, 0, UINT16_MAX, 4500, 4500),
	EXEMPT(OWN, SP_PROTOCOL_UDP, 88, 88, 0, UINT16_MAX),
	EXEMPT(OWN, SP_PROTOCOL_TCP, 0, UINT16_MAX, 88, 88),
	EXEMPT(OWN, 46, 0, UINT16_MAX, 0, UINT16_MAX),
	EXEMPT(MULTICAST, 0, 0, UINT16_MAX, 0, UINT16_MAX),
	EXEMPT(BROADCAST, 0, 0, UINT16_MAX, 0, UINT16_MAX),
};

/* The same rules for the IPv6 addresses; one for any IPv4 address is one for any of IPv6. */
static void widen_rules(struct policy *p)
{
	for (uint32_t i = 0; i < p->n; i++) {
		const struct sp_rule *from = &p->rules[i];
		struct sp_rule *to = &p->rules6[i];
		uint32_t (*first[2])[4] = {&to->source_first, &to->destination_first}, (*last[2])[4] = {&to->source_last, &to->destination_last};

		*to = *from;
		for (uint32_t side = 0; side < 2; side++) {
			uint32_t low = (*first[side])[0], high = (*last[side])[0];
			int any = low == 0 && high == UINT32_MAX;

			memcpy(*first[side], (uint32_t[4]){any ? 0 : WIDE_FIRST(low), 0, 0, low}, sizeof(*first[side]));
			memcpy(*last[side], (uint32_t[4]){any ? UINT32_MAX : WIDE_FIRST(low), any ? UINT32_MAX : 0, any ? UINT32_MAX : 0, high}, sizeof(*last[side]));
		}
	}
}

void gateway_publish(struct gateway *g, uint32_t how)
{
	static struct policy p;
	char error[256] = "";
	struct sp_route routes[] = {
		{.prefix = 0x0a000000, .bits = 8, .port = g->port[PROTECTED], .next_hop = NEXT_LAN},
		{.prefix = 0xc0000200, .bits = 24, .port = g->port[UNPROTECTED]},
		{.prefix = 0, .bits = 0, .port = g->port[UNPROTECTED], .next_hop = g->remote},
		/* a way for decrypted packets to go astray: REQUIRE must not let them */
		{.prefix = OUR_NET | 200, .bits = 32, .port = g->port[UNPROTECTED], .next_hop = g->remote},
	};
	struct sp_own_address addresses[] = {
		{.address = g->wan, .port = g->port[UNPROTECTED], .bits = 24},
		{.address = g == &ours ? OUR_LAN : PEER_NET(0) | 1, .port = g->port[PROTECTED], .bits = 24},
	};
	struct sp_snapshot_config c = {
		.rules.rule = p.rules,
		.entries = p.entries,
		.routes = routes,
		.addresses = addresses,
		.n_routes = RTE_DIM(routes),
		.n_addresses = RTE_DIM(addresses),
		.default_verdict = SP_VERDICT_BLOCK,
		.exemptions = exemptions,
		.n_exemptions = how & WITHOUT_EXEMPTIONS ? 2 : RTE_DIM(exemptions), /* but for IKE's */
		.ports_without_ike = how & WITHOUT_IKE ? UINT32_C(1) << g->port[UNPROTECTED] : 0,
	};
	struct sp_route6 routes6[RTE_DIM(routes)] = {0};
	struct sp_own_address6 addresses6[RTE_DIM(addresses)];
	struct sp_snapshot *s;

	for (uint32_t i = 0; i < RTE_DIM(routes); i++) {
		routes6[i].port = routes[i].port;
		routes6[i].bits = routes[i].bits ? (uint8_t)(96 + routes[i].bits) : 0;
		if (routes[i].bits)
			widen(routes6[i].prefix, routes[i].prefix);
		if (routes[i].next_hop)
			widen(routes6[i].next_hop, routes[i].next_hop);
	}
	for (uint32_t i = 0; i < RTE_DIM(addresses); i++) {
		addresses6[i].port = addresses[i].port;
		widen(addresses6[i].address, addresses[i].address);
	}
	c.routes6 = routes6;
	c.n_routes6 = RTE_DIM(routes6);
	c.addresses6 = addresses6;
	c.n_addresses6 = RTE_DIM(addresses6);
	p.n = 0;
	if (g == &ours)
		our_policy(&p);
	else
		peer_policy(&p);
	c.rules.n = p.n;
	widen_rules(&p);
	c.rules6 = (struct sp_rules){.rule = p.rules6, .n = p.n};
	c.n_entries = p.n;
	s = sp_snapshot_build(g->dp, &c, error, sizeof(error));
	CHECK(s != NULL, "%s", error);
	sp_snapshot_free(sp_snapshot_publish(g->dp, s));
}
