/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SP_PARSE_H
#define SP_PARSE_H

/* The IPv4 header of the common packet: no options, no fragment. Loaded as words and taken apart in registers; used for received and for decrypted packets. */

#include <nmmintrin.h>

#include "ipv4.h"
#include "stages.h"

#define SP_ETHER_TYPE_IPV4 RTE_BE16(0x0800)
#define SP_ETHER_TYPE_IPV6 RTE_BE16(0x86dd)
#define SP_MAC_BITS_UNUSED 16 /* of the 8 bytes loaded for 6 */

/* The fixed header as loaded. */
struct sp_header {
	uint64_t second;      /* TTL, protocol, checksum, source */
	uint32_t destination;
	uint32_t total;       /* length of the packet, host order */
	uint8_t tos;
};

static __rte_always_inline uint8_t sp_header_protocol(const struct sp_header *h)
{
	return (uint8_t)(h->second >> 8);
}

/* Of a flow's key: where in the cache its memo is. */
static __rte_always_inline uint32_t sp_flow_hash(uint64_t low, uint64_t high)
{
	return (uint32_t)_mm_crc32_u64(_mm_crc32_u64(0, low), high);
}

/* Asks for the memo of a packet's flow. */
static __rte_always_inline void sp_flow_fetch(const struct sp_worker *w, const struct sp_packet *p)
{
	rte_prefetch0(&w->flows[(p->hash & w->flow_mask) * 2]);
}

/* ports as loaded, 0 if there are none */
static __rte_always_inline void sp_packet_fill(struct sp_packet *packet, struct rte_mbuf *m, uint8_t *l3, const struct sp_header *h, uint32_t ports,
					       uint64_t origin)
{
	uint64_t low = rte_be_to_cpu_32((uint32_t)(h->second >> 32)) | (uint64_t)rte_be_to_cpu_32(h->destination) << 32, high;

	ports = rte_be_to_cpu_32(ports);
	high = (ports >> 16 | ports << 16) | (h->second & 0xff00) << 24 | origin;
	/* volatile: gcc would gather the two words in a vector register first, at four times the instructions */
	*(volatile uint64_t *)&packet->words[0] = low;
	*(volatile uint64_t *)&packet->words[1] = high;
	packet->hash = sp_flow_hash(low, high);
	packet->mbuf = m;
	packet->l3 = l3;
	packet->length = (uint16_t)h->total;
}

/*
 * Returns 0 for whatever is not plain and right: sp_parse_ipv4 then knows the reason. Of the header at l3 `available` bytes are there, at least SP_IPV4_LENGTH;
 * verified: its checksum is known to be right.
 */
static __rte_always_inline int sp_header_plain(struct sp_header *h, const uint8_t *l3, uint32_t available, int verified)
{
	const uint64_t shape_mask = (uint64_t)RTE_BE16(SP_IPV4_FRAGMENT) << 48 | 0xff;
	uint64_t first = sp_load64(l3), sum; /* version, IHL, TOS, total length, ID, fragment */

	h->second = sp_load64(l3 + 8);
	h->destination = sp_load32(l3 + 16);
	h->total = rte_be_to_cpu_16((uint16_t)(first >> 16));
	h->tos = (uint8_t)(first >> 8);
	if (unlikely((first & shape_mask) != 0x45))
		return 0;
	if (unlikely(h->total - SP_IPV4_LENGTH > available - SP_IPV4_LENGTH)) /* also when below SP_IPV4_LENGTH */
		return 0;
	sum = (uint32_t)first + (first >> 32) + (uint32_t)h->second + (h->second >> 32) + h->destination;
	return likely(sp_fold(sum) == 0xffff) || verified;
}

/* The common frame: one segment, for the station with the address `mac`, an IPv4 header without options, not a fragment. */
static __rte_always_inline int sp_frame_plain(const struct rte_mbuf *m, const uint8_t *frame, uint64_t mac, int verified, struct sp_header *h)
{
	return m->nb_segs == 1 && m->data_len >= SP_L2_LENGTH + SP_IPV4_LENGTH && sp_load64(frame) << SP_MAC_BITS_UNUSED == mac &&
	       sp_load16(frame + 12) == SP_ETHER_TYPE_IPV4 && sp_header_plain(h, frame + SP_L2_LENGTH, m->data_len - SP_L2_LENGTH, verified);
}

/* The rest of a plain packet; 0 if its ports are cut off. */
static __rte_always_inline int sp_packet_plain(struct sp_packet *packet, struct rte_mbuf *m, uint8_t *l3, const struct sp_header *h, uint64_t origin)
{
	uint32_t ports = 0;

	if (likely(sp_has_ports(sp_header_protocol(h)))) {
		if (unlikely(h->total < SP_IPV4_LENGTH + 4))
			return 0;
		ports = sp_load32(l3 + SP_IPV4_LENGTH);
	}
	sp_packet_fill(packet, m, l3, h, ports, origin);
	return 1;
}

#endif
