/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Stage 2 for IPv6 (RFC 8200): the fixed header, then extension headers up to the one that filters speak of, each read behind a comparison with the bytes that are there. sp_ingest
 * puts such frames aside and they come here as a burst of their own. The common packet takes sp_header6_plain of parse6.h; whatever that declines is looked at again from the start, in
 * full, for the reason.
 */

#include "fragment.h"
#include "mbuf.h"
#include "parse6.h"

#define ROUTING_SOURCE_ROUTE 0 /* RFC 5095: deprecated */
#define ROUTING_MOBILE 2       /* RFC 6275 6.4: names another destination than the header */

#define OPTION_PAD1 0
#define OPTION_JUMBO 0xc2 /* RFC 2675 */

#define FRAGMENT_FIELD 0xfff9 /* offset and more-fragments bit */

#define EXTENSIONS_MAX 8 /* headers in a chain; RFC 8200 4.1 names seven, one twice */

#define ND_SOLICITATION 135
#define ND_ADVERTISEMENT 136
#define ND_HOP_LIMIT 255 /* RFC 4861 7.1: no router let it through */

#define MAC_BITS_UNUSED 16 /* of the 8 bytes loaded for 6 */

/* Options of a hop-by-hop or destination header: lengths that fit, and none that changes where the packet ends. */
static uint8_t check_options(const uint8_t *option, const uint8_t *end)
{
	while (option < end) {
		if (*option == OPTION_PAD1) {
			option++;
			continue;
		}
		if (*option == OPTION_JUMBO)
			return SP_DROP_IPV6_JUMBO;
		if (end - option < 2 || option[1] > end - option - 2)
			return SP_DROP_IPV6_OPTIONS;
		option += 2 + option[1];
	}
	return SP_PASS;
}

/* The contents of an extension header of `length` bytes: SP_PASS or the reason to drop. */
static uint8_t check_extension(uint8_t kind, const uint8_t *header, uint32_t length)
{
	if (kind != SP_NEXT_ROUTING)
		return check_options(header + 2, header + length);
	/* with segments left the packet goes elsewhere than to the destination that filters see */
	if (header[2] == ROUTING_SOURCE_ROUTE || header[2] == ROUTING_MOBILE || header[3] != 0)
		return SP_DROP_IPV6_ROUTING;
	return SP_PASS;
}

/* The extension header of kind `next` at `header`, of which `available` bytes are there: SP_PASS and its length, or the reason to drop. A fragment that is the whole packet is no fragment (RFC 6946). */
static uint8_t step_over(uint8_t next, const uint8_t *header, uint32_t available, uint32_t *length)
{
	if (available < 8)
		return SP_DROP_IPV6_EXTENSION;
	if (next == SP_NEXT_FRAGMENT) {
		*length = 8;
		return sp_load16(header + 2) & RTE_BE16(FRAGMENT_FIELD) ? SP_FRAGMENT : SP_PASS;
	}
	*length = 8 + 8u * header[1];
	return *length > available ? SP_DROP_IPV6_EXTENSION : check_extension(next, header, *length);
}

/*
 * Walks the chain of a packet of `total` bytes; leaves in *next the protocol that it leads to, in *at where that begins, and in *fragmented whether a fragment header is in it. A chain that
 * leads to a fragment of a packet ends there.
 */
static uint8_t walk_extensions(const uint8_t *l3, uint32_t total, uint8_t *next, uint32_t *at, uint8_t *fragmented)
{
	*fragmented = 0;
	for (uint32_t n = 0; sp_header6_leads_on(*next); n++) {
		const uint8_t *header = l3 + *at;
		uint32_t length;
		uint8_t reason;

		if (n == EXTENSIONS_MAX)
			return SP_DROP_IPV6_CHAIN;
		/* hop-by-hop options stand first or nowhere, a fragment header stands once (RFC 8200 4.1) */
		if ((*next == SP_NEXT_HOP_BY_HOP && n > 0) || (*next == SP_NEXT_FRAGMENT && *fragmented))
			return SP_DROP_IPV6_EXTENSION;
		*fragmented |= *next == SP_NEXT_FRAGMENT;
		reason = step_over(*next, header, total - *at, &length);
		if (reason != SP_PASS)
			return reason;
		*next = header[0];
		*at += length;
	}
	return SP_PASS;
}

uint8_t sp_parse_ipv6(struct sp_packet6 *packet, struct rte_mbuf *m, uint8_t *l3, uint32_t available, uint64_t origin)
{
	uint32_t total, at = SP_IPV6_LENGTH, ports = 0;
	uint8_t next, reason;

	if (available < SP_IPV6_LENGTH)
		return SP_DROP_TRUNCATED;
	if (l3[0] >> 4 != 6)
		return SP_DROP_IP_VERSION;
	total = SP_IPV6_LENGTH + rte_be_to_cpu_16(sp_load16(l3 + 4));
	if (total > available)
		return SP_DROP_IPV6_LENGTH;
	next = l3[6];
	if (total == SP_IPV6_LENGTH && next == SP_NEXT_HOP_BY_HOP) /* the length stands in an option (RFC 2675 3) */
		return SP_DROP_IPV6_JUMBO;
	reason = walk_extensions(l3, total, &next, &at, &packet->fragmented);
	if (reason != SP_PASS)
		return reason;
	if (sp_has_ports(next)) {
		if (total - at < 4)
			return total == at ? SP_DROP_NO_PAYLOAD : SP_DROP_L4_TRUNCATED;
		ports = sp_load32(l3 + at);
	}
	sp_packet6_fill(packet, m, l3, total, at, next, ports, origin);
	return SP_PASS;
}

/* ---- frames ---- */

/* Whether a destination is one of the port's own addresses or the solicited-node group of one (RFC 4291 2.7.1). */
static int for_neighbour_discovery(const struct sp_snapshot *s, uint16_t port, const uint8_t *destination)
{
	static const uint8_t solicited[13] = {0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff};
	const uint32_t same_from = memcmp(destination, solicited, sizeof(solicited)) == 0 ? sizeof(solicited) : 0;

	for (uint32_t i = 0; i < s->n_local6; i++)
		if (s->local6[i].port == port && memcmp(s->local6[i].address + same_from, destination + same_from, SP_IPV6_ADDRESS - same_from) == 0)
			return 1;
	return 0;
}

/* Address resolution is as much a part of the link as ARP is: no filter is asked. Anything else of ICMPv6 is a packet like others, and so is what came in fragments (RFC 6980 5). */
static int is_neighbour_discovery(const struct sp_worker *w, const struct sp_packet6 *p)
{
	const uint8_t *l3 = p->p.l3, *icmp = l3 + p->l4;

	return p->p.key.protocol == SP_PROTOCOL_ICMPV6 && !p->fragmented && l3[7] == ND_HOP_LIMIT && p->p.length - p->l4 >= 4 &&
	       (icmp[0] == ND_SOLICITATION || icmp[0] == ND_ADVERTISEMENT) && for_neighbour_discovery(w->snapshot, p->p.mbuf->port, p->destination);
}

/* Any frame: 1 with the packet parsed, or disposes of it and returns 0. */
static __rte_noinline int unusual_frame(struct sp_worker *w, const struct sp_port *port, struct rte_mbuf *m, struct sp_packet6 *packet)
{
	uint8_t *frame = rte_pktmbuf_mtod(m, uint8_t *);
	const uint64_t origin = sp_key_origin(w->snapshot->port[m->port].role, SP_NO_CELL), station = sp_load64(frame) << MAC_BITS_UNUSED;
	uint8_t reason = sp_parse_ipv6(packet, m, frame + SP_L2_LENGTH, m->data_len - SP_L2_LENGTH, origin);

	/* a link-layer group is for packets to a group */
	if ((reason == SP_PASS || reason == SP_FRAGMENT) && station != port->mac && !sp_ipv6_multicast(frame + SP_L2_LENGTH + 24))
		reason = SP_DROP_LINK_BROADCAST;
	if (reason == SP_FRAGMENT)
		reason = sp_reassemble6(w, packet, m, frame + SP_L2_LENGTH, origin);
	if (reason == SP_TAKEN)
		return 0;
	if (reason != SP_PASS) {
		sp_drop(w, m, reason);
		return 0;
	}
	if (is_neighbour_discovery(w, packet)) {
		sp_link_discovery(w, packet);
		return 0;
	}
	return 1;
}

/* The own addresses of a port. */
struct own {
	const struct sp_own_address6 *address;
	uint32_t n;
};

static __rte_always_inline int own_address(const struct own *own, const uint8_t *address)
{
	for (uint32_t i = 0; i < own->n; i++)
		if (sp_ipv6_same(own->address[i].address, address))
			return 1;
	return 0;
}

/* The common frame: for this station, no header behind the fixed one. */
static __rte_always_inline int plain_frame(const struct rte_mbuf *m, const uint8_t *frame, uint64_t mac, struct sp_header6 *h)
{
	return m->data_len >= SP_L2_LENGTH + SP_IPV6_LENGTH && sp_load64(frame) << MAC_BITS_UNUSED == mac &&
	       sp_header6_plain(h, frame + SP_L2_LENGTH, m->data_len - SP_L2_LENGTH);
}

/* As of IPv4: ESP for the port that it arrived on needs no policy decision before it is decrypted. Returns 0 for anything else. */
static __rte_always_inline int plain_esp(struct rte_mbuf *m, uint8_t *l3, const struct sp_header6 *h, const struct own *own, struct sp_esp *esp)
{
	if (sp_header6_next(h) != SP_PROTOCOL_ESP || h->total < SP_IPV6_LENGTH + SP_ESP_LENGTH || !own_address(own, l3 + 24))
		return 0;
	esp->mbuf = m;
	esp->esp = l3 + SP_IPV6_LENGTH;
	esp->length = h->total - SP_IPV6_LENGTH;
	esp->headers = SP_IPV6_LENGTH;
	esp->outer_tos = sp_header6_class(h);
	esp->form = SP_FORM_ESP;
	return 1;
}

/* Nothing here speaks IPv6: neither a filter nor an address of ours. */
static __rte_noinline void drop_all(struct sp_worker *w, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		sp_drop(w, w->aside[i], SP_DROP_IPV6);
}

void sp_ingest6(struct sp_worker *w, const struct sp_port *port)
{
	const struct sp_port_addresses *of_port = &w->snapshot->port[w->aside[0]->port];
	const struct own own = {.address = w->snapshot->local6 + of_port->first6, .n = of_port->n6};
	const uint64_t origin = sp_key_origin(of_port->role, SP_NO_CELL);
	struct sp_packet6 packets[SP_BURST], *packet = packets;
	struct sp_esp inbound[SP_BURST], *esp = inbound;
	const uint32_t n = w->n_aside;

	w->n_aside = 0;
	if (unlikely(!w->snapshot->ipv6)) {
		drop_all(w, n);
		return;
	}
	for (uint32_t i = 0; i < n; i++) {
		struct rte_mbuf *m = w->aside[i];
		uint8_t *frame = rte_pktmbuf_mtod(m, uint8_t *);
		struct sp_header6 h;

		if (likely(plain_frame(m, frame, port->mac, &h))) {
			if (plain_esp(m, frame + SP_L2_LENGTH, &h, &own, esp)) {
				esp++;
				continue;
			}
			/* of ICMPv6 some is the link's */
			if (likely(sp_header6_next(&h) != SP_PROTOCOL_ICMPV6 && sp_packet6_plain(packet, m, frame + SP_L2_LENGTH, &h, origin))) {
				packet++;
				continue;
			}
		}
		if (!unusual_frame(w, port, m, packet))
			continue;
		if (packet->p.key.protocol == SP_PROTOCOL_ESP && own_address(&own, packet->destination))
			esp += sp_demux_esp(w, &packet->p, esp);
		else
			packet++;
	}
	if (esp != inbound)
		sp_inbound(w, inbound, (uint32_t)(esp - inbound));
	if (packet != packets)
		sp_process6(w, packets, (uint32_t)(packet - packets));
}
