/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Beside stage 2: ARP (RFC 826) and neighbour discovery (RFC 4861), which go to Go without any filter. A link is full of such messages that are nobody's business here, and
 * anybody on it can make a flood of them: what asks for another station's address, or answers what was never asked, ends here, so that what is left is worth its place.
 */

#include <rte_hash.h>

#include "ipv6.h"

#define ARP_LENGTH 28
#define ARP_ETHERNET_IPV4 RTE_BE64(0x0001080006040000) /* hardware, protocol and their address lengths; the operation follows */
#define ARP_OPERATION 6
#define ARP_SENDER_MAC 8
#define ARP_SENDER 14
#define ARP_TARGET 24
#define ARP_REQUEST RTE_BE16(1)
#define ARP_REPLY RTE_BE16(2)

#define MAC_LENGTH 6

#define ND_LENGTH 24 /* of a solicitation or an advertisement without options */
#define ND_CODE 1
#define ND_TARGET 8
#define ND_SOLICITATION 135

static int own_address(const struct sp_worker *w, uint16_t port, uint32_t address)
{
	const struct sp_port_addresses *own = &w->snapshot->port[port];

	for (uint32_t i = 0; i < own->n; i++)
		if (own->address[i] == address)
			return 1;
	return 0;
}

static int own_address6(const struct sp_worker *w, uint16_t port, const uint8_t *address)
{
	const struct sp_snapshot *s = w->snapshot;
	const struct sp_port_addresses *own = &s->port[port];

	for (uint32_t i = 0; i < own->n6; i++)
		if (sp_ipv6_same(s->local6[own->first6 + i].address, address))
			return 1;
	return 0;
}

/* Whether the slow path may have asked for a neighbour: it has an index from the first question on, as long as it is known or asked for. */
static int asked(const struct sp_worker *w, uint16_t port, uint32_t address)
{
	const struct sp_neighbour_key key = {.port = port, .next_hop = address};

	return rte_hash_lookup(w->dp->neighbours, &key) >= 0;
}

static int asked6(const struct sp_worker *w, uint16_t port, const uint8_t *address)
{
	struct sp_neighbour_key6 key = {.port = port};

	memcpy(key.next_hop, address, sizeof(key.next_hop));
	return rte_hash_lookup(w->dp->neighbours6, &key) >= 0;
}

static uint8_t check_arp(const struct sp_worker *w, const struct rte_mbuf *m)
{
	const uint8_t *frame = rte_pktmbuf_mtod(m, const uint8_t *), *arp = frame + SP_L2_LENGTH;
	uint32_t sender, target;
	uint16_t operation;

	if (m->data_len < SP_L2_LENGTH + ARP_LENGTH)
		return SP_DROP_ARP_ND_INVALID;
	operation = sp_load16(arp + ARP_OPERATION);
	if ((sp_load64(arp) & ~RTE_BE64(0xffff)) != ARP_ETHERNET_IPV4 || (operation != ARP_REQUEST && operation != ARP_REPLY) ||
	    memcmp(arp + ARP_SENDER_MAC, frame + MAC_LENGTH, MAC_LENGTH) != 0)
		return SP_DROP_ARP_ND_INVALID;
	sender = rte_be_to_cpu_32(sp_load32(arp + ARP_SENDER));
	target = rte_be_to_cpu_32(sp_load32(arp + ARP_TARGET));
	if (own_address(w, m->port, sender)) /* another station uses it, or our own frame came back */
		return SP_DROP_BAD_SOURCE;
	if (!own_address(w, m->port, target))
		return SP_DROP_ARP_ND_OTHER;
	return operation == ARP_REQUEST || asked(w, m->port, sender) ? SP_PASS : SP_DROP_ARP_ND_UNASKED;
}

void sp_link_arp(struct sp_worker *w, struct rte_mbuf *m)
{
	const uint8_t reason = check_arp(w, m);

	if (reason == SP_PASS)
		sp_punt_frame(w, m, SP_PUNT_ARP, SP_COUNTER_NONE);
	else
		sp_drop(w, m, reason);
}

static uint8_t check_discovery(const struct sp_worker *w, const struct sp_packet6 *p)
{
	const uint16_t port = p->p.mbuf->port;
	const uint8_t *message = p->p.l3 + p->l4, *target = message + ND_TARGET;

	if (p->p.length - p->l4 < ND_LENGTH || message[ND_CODE] != 0 || sp_ipv6_multicast(target))
		return SP_DROP_ARP_ND_INVALID;
	if (own_address6(w, port, p->source))
		return SP_DROP_BAD_SOURCE;
	if (message[0] == ND_SOLICITATION) /* solicited-node groups are for all addresses with the same end */
		return own_address6(w, port, target) ? SP_PASS : SP_DROP_ARP_ND_OTHER;
	return asked6(w, port, target) ? SP_PASS : SP_DROP_ARP_ND_UNASKED;
}

void sp_link_discovery(struct sp_worker *w, const struct sp_packet6 *p)
{
	const uint8_t reason = check_discovery(w, p);

	if (reason == SP_PASS)
		sp_punt_frame(w, p->p.mbuf, SP_PUNT_ND, SP_COUNTER_NONE);
	else
		sp_drop(w, p->p.mbuf, reason);
}
