/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SP_IPV6_H
#define SP_IPV6_H

/* IPv6 packets (RFC 8200) on their way through the stages. Addresses stay as they stand in the packet, 16 bytes in network order. */

#include <rte_ip.h>

#include "ipv4.h"
#include "stages.h"

#define SP_IPV6_ADDRESS 16
#define SP_IPV6_HOP_LIMIT 7 /* byte of the header */

#define SP_PROTOCOL_ICMPV6 58

#define SP_NEXT_HOP_BY_HOP 0
#define SP_NEXT_ROUTING 43
#define SP_NEXT_FRAGMENT 44
#define SP_NEXT_DESTINATION 60

/* One IPv6 packet between parse and its verdict: what the stages of both versions use stands first, with a key whose addresses are zero. */
struct sp_packet6 {
	struct sp_packet p;
	union {
		struct {
			uint8_t source[SP_IPV6_ADDRESS], destination[SP_IPV6_ADDRESS];
		};
		uint64_t addresses[4];
	};
	uint16_t l4; /* bytes from the fixed header to what the extension headers lead to */
	uint8_t fragmented; /* it has a fragment header, or was put together from fragments */
} __rte_cache_aligned;
_Static_assert(offsetof(struct sp_packet6, p) == 0, "an sp_packet6 is an sp_packet to the stages of both versions");
_Static_assert(sizeof(struct sp_packet6) == 2 * RTE_CACHE_LINE_SIZE, "sp_packet6 is two cache lines");

static inline struct sp_packet6 *sp_packet6(struct sp_packet *p)
{
	return (struct sp_packet6 *)p;
}

/* Of a header that has been parsed. */
static inline int sp_is_ipv6(const uint8_t *l3)
{
	return l3[0] >> 4 == 6;
}

/* Bytes of a packet whose header has been parsed. */
static inline uint32_t sp_ip_length(const uint8_t *l3)
{
	return sp_is_ipv6(l3) ? SP_IPV6_LENGTH + rte_be_to_cpu_16(sp_load16(l3 + 4)) : rte_be_to_cpu_16(sp_load16(l3 + 2));
}

/* TTL or hop limit. */
static inline const uint8_t *sp_hops_left(const uint8_t *l3)
{
	return l3 + (sp_is_ipv6(l3) ? SP_IPV6_HOP_LIMIT : SP_IPV4_TTL);
}

/* Of the headers that the parser walks, those that say their own length. */
static inline int sp_ipv6_extension(uint8_t next)
{
	return next == SP_NEXT_HOP_BY_HOP || next == SP_NEXT_ROUTING || next == SP_NEXT_DESTINATION;
}

/* Bytes of a header that the parser has walked, a fragment header included, whose second byte is no length (RFC 8200 4.5). */
static inline uint32_t sp_ipv6_extension_length(uint8_t kind, const uint8_t *header)
{
	return kind == SP_NEXT_FRAGMENT ? 8 : 8 + 8u * header[1];
}

static inline uint8_t sp_ipv6_traffic_class(const uint8_t *l3)
{
	return (uint8_t)(l3[0] << 4 | l3[1] >> 4);
}

static inline int sp_ipv6_multicast(const uint8_t *address)
{
	return address[0] == 0xff;
}

/* fe80::/10 (RFC 4291 2.5.6) */
static inline int sp_ipv6_link_local(const uint8_t *address)
{
	return address[0] == 0xfe && (address[1] & 0xc0) == 0x80;
}

/*
 * Addresses that are on no wire: unspecified, loopback and the deprecated IPv4-compatible ones, all in ::/96, and the IPv4-mapped ::ffff:0:0/96, which would name an IPv4 host
 * past the filters for IPv4 (RFC 4291 2.5.2, 2.5.3, 2.5.5).
 */
static inline int sp_ipv6_never_routed(const uint8_t *address)
{
	uint32_t third = sp_load32(address + 8);

	return sp_load64(address) == 0 && (third == 0 || third == RTE_BE32(0xffff));
}

static inline int sp_ipv6_same(const uint8_t *a, const uint8_t *b)
{
	return ((sp_load64(a) ^ sp_load64(b)) | (sp_load64(a + 8) ^ sp_load64(b + 8))) == 0;
}

/* A gateway has a handful of addresses, and a flow asks once. */
static inline int sp_ipv6_own(const struct sp_snapshot *s, const uint8_t *address)
{
	for (uint32_t i = 0; i < s->n_local6; i++)
		if (sp_ipv6_same(s->local6[i].address, address))
			return 1;
	return 0;
}

/* ---- stages of their own ---- */

/* parse_ipv6.c: IPv6 frames that sp_ingest has put aside, all of one port. */
void sp_ingest6(struct sp_worker *w, const struct sp_port *port);
/* parse_ipv6.c: as sp_parse_ipv4. */
uint8_t sp_parse_ipv6(struct sp_packet6 *packet, struct rte_mbuf *m, uint8_t *l3, uint32_t available, uint64_t origin);

/* flow_cache6.c, classify6.c: as sp_flow_verdicts and sp_classify_misses. */
void sp_flow_verdicts6(struct sp_worker *w, struct sp_packet6 *packets, uint32_t n);
void sp_classify_misses6(const struct sp_dataplane *dp, const struct sp_snapshot *s, struct sp_packet6 **misses, uint8_t *memo, uint32_t n);

/* worker.c: as sp_process. */
void sp_process6(struct sp_worker *w, struct sp_packet6 *packets, uint32_t n);

/* inbound6.c: IPv6 packets that came out of an SA, their trailers and sequence numbers in order, made ready for the classifier; returns how many are. */
uint32_t sp_inbound6(struct sp_worker *w, struct sp_sa_in *sa, struct sp_esp *packets, uint32_t n, struct sp_packet6 *inner);

/* inbound6.c: whether any of n selectors holds the packet's addresses, protocol and ports. */
int sp_selected6(const struct sp_selector6 *selectors, uint32_t n, const struct sp_packet6 *p);

/* Whether an outbound SA may carry a packet of this version. */
static __rte_always_inline int sp_selected_out(const struct sp_sa_out *sa, struct sp_packet *p, int ipv6)
{
	return ipv6 ? sp_selected6(sp_sa_out_selectors6(sa), sa->n_selectors6, sp_packet6(p)) : sp_selected(sa->selectors, sa->n_selectors, p);
}

#endif
