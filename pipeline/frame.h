/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SP_FRAME_H
#define SP_FRAME_H

/* The frame of a packet in a tunnel by ESP with AES-GCM: its lengths, what speaks against it, and all of it but the encryption. For outbound.c, a packet at a time. */

#include "esp.h"
#include "mbuf.h"
#include "outer.h"
#include "stages.h"

/* What of an inner header goes outside: DSCP and ECN (RFC 6040 4.1, normal mode) and DF, as the first word of an IPv4 header. Routers may not fragment IPv6 (RFC 8200 4.5). */
static __rte_always_inline uint64_t sp_frame_copied(const uint8_t *inner, int ipv6)
{
	const uint64_t df = (uint64_t)RTE_BE16(SP_IPV4_DF) << 48;

	return ipv6 ? df | (uint64_t)sp_ipv6_traffic_class(inner) << 8 : sp_load64(inner) & (df | 0xff00);
}

/* Link layer, outer IPv4, UDP, ESP and IV in front of the inner packet, `cipher` bytes of ciphertext to be (RFC 4301 5.1.2.1, RFC 4303 2). */
static __rte_always_inline void sp_frame_headers(const struct sp_sa_out *sa, const struct sp_adjacency *next, const uint8_t *inner, uint8_t *outer, uint32_t total,
					      uint64_t sequence, int ipv6)
{
	uint64_t first = sp_frame_copied(inner, ipv6) | (uint64_t)rte_cpu_to_be_16((uint16_t)total) << 16 | 0x45;
	/* to the source; destination, then the SPI or the UDP ports */
	uint64_t middle = __atomic_load_n(&sa->front[0], __ATOMIC_RELAXED), second = __atomic_load_n(&sa->front[1], __ATOMIC_RELAXED);
	uint64_t sequence_be = rte_cpu_to_be_64(sequence);
	uint8_t *esp = outer + SP_IPV4_LENGTH;
	uint64_t checksum;

	if (unlikely(first >> 48 == 0)) /* RFC 6864 4: an ID means something only where the packet may be fragmented */
		first |= (uint64_t)(uint16_t)(sequence_be >> 48) << 32;
	checksum = (uint16_t)~sp_fold(first + (uint16_t)(middle >> 16) + (uint32_t)second);
	memcpy(outer - SP_L2_LENGTH, next->l2, SP_L2_LENGTH);
	sp_store64(outer, first);
	sp_store64(outer + 8, (middle & ~SP_FRONT_SUM) | checksum << 16);
	sp_store64(outer + 16, second);
	if (unlikely(sa->udp)) {
		sp_store64(esp + 4, sp_load64(sa->header + 24) | rte_cpu_to_be_16((uint16_t)(total - SP_IPV4_LENGTH)));
		esp += SP_UDP_LENGTH;
	}
	/* the IV repeats the number */
	sp_store32(esp + 4, (uint32_t)(sequence_be >> 32));
	sp_store64(esp + 8, sequence_be);
}

/* The traffic class where an IPv6 header has it, in its first two bytes as loaded: that of the inner header (RFC 6040 4.1, normal mode; RFC 2983 3). */
static __rte_always_inline uint32_t sp_frame_class(const uint8_t *inner, int ipv6)
{
	return ipv6 ? sp_load16(inner) & 0xf00f : inner[1] >> 4 | (inner[1] & 0xfu) << 12;
}

/* As sp_frame_headers, with the outer IPv6 header of which `header` has what no packet changes, and the SPI behind it. The flow label is 0 (RFC 6437 3). */
static __rte_always_inline void sp_frame_headers6(const uint8_t *header, const struct sp_adjacency *next, const uint8_t *inner, uint8_t *outer, uint32_t total,
					       uint64_t sequence, int ipv6)
{
	uint64_t sequence_be = rte_cpu_to_be_64(sequence);
	uint8_t *esp = outer + SP_IPV6_LENGTH;

	memcpy(outer - SP_L2_LENGTH, next->l2, SP_L2_LENGTH);
	sp_store64(outer, 0x60 | sp_frame_class(inner, ipv6) | (uint64_t)rte_cpu_to_be_16((uint16_t)(total - SP_IPV6_LENGTH)) << 32 |
				  (uint64_t)sp_load16(header + SP_IPV6_NEXT_HEADER) << 48);
	memcpy(outer + 8, header + 8, 2 * SP_IPV6_ADDRESS);
	sp_store64(esp, sp_load32(header + SP_IPV6_LENGTH) | sequence_be >> 32 << 32);
	sp_store64(esp + 8, sequence_be);
}

/* What exceeds the trailer lands where the ICV will be. */
static __rte_always_inline void sp_frame_trailer(uint8_t *trailer, uint32_t pad, int ipv6)
{
	sp_store64(trailer, sp_esp_trailer[pad] ^ (ipv6 ? sp_esp_ipv6(pad) : 0));
}

/* Lengths of a packet in an SA with AES-GCM, in bytes. */
struct sp_lengths {
	uint32_t header, icv; /* what goes in front of the packet, the link layer's not counted, and behind it */
	uint32_t cipher;      /* packet, padding and trailer */
	uint32_t total;       /* of the outer packet */
};

static __rte_always_inline struct sp_lengths sp_lengths_of(const struct sp_packet *p, uint32_t header, uint32_t icv)
{
	const uint32_t block_mask = 3, cipher = (p->length + 2u + block_mask) & ~block_mask;

	return (struct sp_lengths){.header = header, .icv = icv, .cipher = cipher, .total = header + cipher + icv};
}

/* Whether nothing speaks against a packet. */
static __rte_always_inline int sp_may_enter(const struct sp_sa_out *sa, struct sp_packet *p, const struct sp_lengths *l, uint32_t mtu, int transit, int ipv6)
{
	const uint32_t hops = ipv6 ? SP_IPV6_HOP_LIMIT : SP_IPV4_TTL;

	return sp_selected_out(sa, p, ipv6) && (p->l3[hops] > 1 || !transit) && l->total <= mtu && sp_mbuf_before(p->mbuf, p->l3) >= SP_L2_LENGTH + l->header &&
	       sp_mbuf_after(p->mbuf, p->l3) >= l->cipher + l->icv;
}

/* Makes a packet the frame that it leaves in, still to be encrypted. */
static __rte_always_inline void sp_frame(const struct sp_sa_out *sa, const struct sp_adjacency *next, const uint8_t *header6, const struct sp_packet *p, const struct sp_lengths *l,
				      uint64_t sequence, int transit, int ipv6)
{
	uint8_t *inner = p->l3, *outer = inner - l->header;

	sp_mbuf_bounds(p->mbuf, outer - SP_L2_LENGTH, SP_L2_LENGTH + l->total);
	sp_set_mark_sa(p->mbuf, sa->subject);
	if (ipv6)
		inner[SP_IPV6_HOP_LIMIT] -= (uint8_t)transit;
	else if (likely(transit))
		sp_ipv4_decrement_ttl(inner);
	if (header6 != NULL)
		sp_frame_headers6(header6, next, inner, outer, l->total, sequence, ipv6);
	else
		sp_frame_headers(sa, next, inner, outer, l->total, sequence, ipv6);
	sp_frame_trailer(inner + p->length, l->cipher - p->length - 2, ipv6);
}

#endif
