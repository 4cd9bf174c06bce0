/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SP_PARSE6_H
#define SP_PARSE6_H

/* The IPv6 header of the common packet: no extension header behind it. As parse.h of IPv4; used for received and for decrypted packets. */

#include "ipv6.h"

/* The fixed header's first word: version, traffic class, flow label, payload length, next header and hop limit. */
struct sp_header6 {
	uint64_t first;
	uint32_t total; /* length of the packet, host order */
};

static __rte_always_inline uint8_t sp_header6_next(const struct sp_header6 *h)
{
	return (uint8_t)(h->first >> 48);
}

static __rte_always_inline uint8_t sp_header6_class(const struct sp_header6 *h)
{
	return (uint8_t)((h->first & 0xf) << 4 | (h->first >> 12 & 0xf));
}

/* The header behind the fixed one is one that the parser walks. */
static __rte_always_inline int sp_header6_leads_on(uint8_t next)
{
	return sp_ipv6_extension(next) || next == SP_NEXT_FRAGMENT;
}

/*
 * Returns 0 for whatever is not plain and right: sp_parse_ipv6 then knows the reason. Of the packet at l3 `available` bytes are there, at least SP_IPV6_LENGTH. A jumbogram is
 * not plain, because it begins with hop-by-hop options (RFC 2675 2).
 */
static __rte_always_inline int sp_header6_plain(struct sp_header6 *h, const uint8_t *l3, uint32_t available)
{
	h->first = sp_load64(l3);
	h->total = SP_IPV6_LENGTH + rte_be_to_cpu_16((uint16_t)(h->first >> 32));
	return (h->first & 0xf0) == 0x60 && h->total <= available && !sp_header6_leads_on(sp_header6_next(h));
}

/* A packet of `total` bytes whose headers lead to `protocol` at `l4`; ports as loaded, 0 if there are none. */
static __rte_always_inline void sp_packet6_fill(struct sp_packet6 *packet, struct rte_mbuf *m, uint8_t *l3, uint32_t total, uint32_t l4, uint8_t protocol, uint32_t ports,
						uint64_t origin)
{
	ports = rte_be_to_cpu_32(ports);
	memcpy(packet->addresses, l3 + 8, sizeof(packet->addresses));
	packet->p.words[0] = 0;
	packet->p.words[1] = (ports >> 16 | ports << 16) | (uint64_t)protocol << 32 | origin;
	packet->p.mbuf = m;
	packet->p.l3 = l3;
	packet->p.length = (uint16_t)total;
	packet->p.next_hop = 0;
	packet->l4 = (uint16_t)l4;
}

/* The rest of a plain packet; 0 if its ports are cut off. */
static __rte_always_inline int sp_packet6_plain(struct sp_packet6 *packet, struct rte_mbuf *m, uint8_t *l3, const struct sp_header6 *h, uint64_t origin)
{
	uint32_t ports = 0;

	if (likely(sp_has_ports(sp_header6_next(h)))) {
		if (unlikely(h->total < SP_IPV6_LENGTH + 4))
			return 0;
		ports = sp_load32(l3 + SP_IPV6_LENGTH);
	}
	packet->fragmented = 0;
	sp_packet6_fill(packet, m, l3, h->total, SP_IPV6_LENGTH, sp_header6_next(h), ports, origin);
	return 1;
}

#endif
