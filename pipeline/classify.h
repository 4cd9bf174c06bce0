/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SP_CLASSIFY_H
#define SP_CLASSIFY_H

/* What the classifiers of both IP versions share. */

#include <stdlib.h>

#include "ipv6.h"

/* What a destination is to the gateway. */
enum sp_destination {
	SP_TO_ELSEWHERE,
	SP_TO_OWN,
	SP_TO_MULTICAST,
	SP_TO_ALL,          /* limited broadcast; IPv6 has neither this nor the following */
	SP_TO_SUBNET,       /* to all of the subnet that the packet came from */
	SP_TO_OTHER_SUBNET, /* to all of another attached subnet (RFC 2644) */
};

static inline void sp_verdict_drop(struct sp_packet *p, uint8_t reason)
{
	p->verdict.action = SP_ACTION_DROP;
	p->verdict.reason = reason;
}

/* Anybody can send ESP between other hosts, and each pair of them is a miss of the flow cache: there may be as many pairs as SAs, so they are searched by halves. */
static inline int sp_transit(const struct sp_dataplane *dp, enum sp_ip ip, const uint64_t addresses[4])
{
	const struct sp_transit *t = __atomic_load_n(&dp->transit, __ATOMIC_ACQUIRE);
	struct sp_pair pair = {.ip = (uint8_t)ip};

	if (t == NULL)
		return 0;
	memcpy(pair.addresses, addresses, sizeof(pair.addresses));
	return bsearch(&pair, t->pairs, t->n, sizeof(pair), sp_pair_compare) != NULL;
}

/* ESP and AH to an own address, or between the ends of an SA in transport mode: taken apart, but once only. Returns 1 when that settles the packet. */
static inline int sp_settle_protected(const struct sp_dataplane *dp, struct sp_packet *p, enum sp_destination to, const uint64_t addresses[4])
{
	if (p->key.protocol != SP_PROTOCOL_ESP && p->key.protocol != SP_PROTOCOL_AH)
		return 0;
	if (to != SP_TO_OWN && (p->key.in_cell != SP_NO_CELL || p->key.role == SP_ROLE_LOCAL || !sp_transit(dp, sp_is_ipv6(p->l3) ? SP_IPV6 : SP_IPV4, addresses)))
		return 0;
	if (p->key.in_cell != SP_NO_CELL || p->key.role == SP_ROLE_LOCAL)
		sp_verdict_drop(p, SP_DROP_NESTED);
	else
		p->verdict.action = SP_ACTION_INBOUND;
	return 1;
}

/*
 * As sp_settle_protected, of ESP in UDP that arrived in clear for an own address. Where IKE is exempt its port is too; an SA with keys of an operator's needs no IKE. A port
 * without IKE takes neither (S-041).
 */
static inline int sp_settle_udp(const struct sp_dataplane *dp, struct sp_packet *p, enum sp_destination to)
{
	const struct sp_flow_key *k = &p->key;

	if (to != SP_TO_OWN || k->protocol != SP_PROTOCOL_UDP || k->destination_port != SP_PORT_IKE_NAT || k->role & SP_KEY_NO_IKE ||
	    !__atomic_load_n(&dp->esp_in_udp, __ATOMIC_RELAXED))
		return 0;
	p->verdict.action = SP_ACTION_INBOUND;
	return 1;
}

/* classify.c: what the filter that a packet met says of it. Sets the verdict; returns whether it may be remembered. */
uint8_t sp_entry_verdict(const struct sp_dataplane *dp, const struct sp_snapshot *s, struct sp_packet *p, const struct sp_entry *e, enum sp_destination to);
/* classify6.c: as sp_route. */
uint8_t sp_route6(const struct sp_dataplane *dp, const struct sp_snapshot *s, struct sp_packet6 *p, int require_protected);

#endif
