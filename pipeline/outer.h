/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SP_OUTER_H
#define SP_OUTER_H

/* What the general path writes in front of ESP and AH: outer headers of tunnels (RFC 4301 5.1.2), and in transport mode the packet's own header, which then leads to ESP or AH. */

#include "fields.h"

#define SP_IPV4_PROTOCOL 9    /* bytes of the headers */
#define SP_IPV6_NEXT_HEADER 6

/*
 * Where ESP and AH stand in an IPv6 packet whose headers have been parsed: behind what every router reads and the routing header, in front of what only the destination does
 * (RFC 4303 3.1.1). Returns the bytes before that place and in *names the offset of the byte that says what stands there.
 */
static inline uint32_t sp_ipv6_unprotected(const uint8_t *l3, uint32_t *names)
{
	uint32_t at = SP_IPV6_LENGTH, length = SP_IPV6_LENGTH, name = SP_IPV6_NEXT_HEADER;
	uint8_t next = l3[name];

	*names = name;
	while (next == SP_NEXT_HOP_BY_HOP || next == SP_NEXT_ROUTING || next == SP_NEXT_DESTINATION) {
		uint8_t kind = next;

		name = at;
		next = l3[at];
		at += 8 + 8u * l3[at + 1];
		if (kind == SP_NEXT_DESTINATION) /* in front of a routing header it is for each router named there */
			continue;
		length = at;
		*names = name;
	}
	return length;
}

/* Bytes of a parsed packet that stay in front of ESP or AH in transport mode. */
static inline uint32_t sp_unprotected(const uint8_t *l3)
{
	uint32_t names;

	return sp_is_ipv6(l3) ? sp_ipv6_unprotected(l3, &names) : sp_ipv4_header_length(l3);
}

static inline void sp_ipv4_set_checksum(uint8_t *l3)
{
	sp_store16(l3 + 10, 0);
	sp_store16(l3 + 10, (uint16_t)~sp_fold(sp_ipv4_sum(l3, sp_ipv4_header_length(l3) / 4)));
}

/*
 * Makes the IPv4 header, or the IPv6 header with the extension headers behind it, `headers` bytes together, lead to `protocol` in a packet of `total` bytes. Returns what it
 * led to before.
 */
static inline uint8_t sp_header_relabel(uint8_t *l3, uint32_t headers, uint32_t total, uint8_t protocol)
{
	uint32_t names = SP_IPV6_NEXT_HEADER, at = SP_IPV6_LENGTH, next;
	uint8_t before;

	if (!sp_is_ipv6(l3)) {
		before = l3[SP_IPV4_PROTOCOL];
		l3[SP_IPV4_PROTOCOL] = protocol;
		sp_store16(l3 + 2, rte_cpu_to_be_16((uint16_t)total));
		sp_ipv4_set_checksum(l3);
		return before;
	}
	while (at < headers) {
		next = at + sp_ipv6_extension_length(l3[names], l3 + at);
		names = at;
		at = next;
	}
	before = l3[names];
	l3[names] = protocol;
	sp_store16(l3 + 4, rte_cpu_to_be_16((uint16_t)(total - SP_IPV6_LENGTH)));
	return before;
}

/*
 * Whether a packet may become one that is too long for the path, and is cut then (RFC 4301 8.1). IPv6 has no smaller packets than SP_IPV6_MINIMUM to ask for (RFC 2473 7.1). In
 * transport mode the header is the packet's own. What no router may cut and came in fragments never goes through a tunnel whole: it would be too long for a link behind it.
 */
static inline int sp_cut_after(const struct sp_worker *w, const struct sp_sa_out *sa, const struct sp_fields *f, const struct sp_packet *p)
{
	const int ipv6 = sp_is_ipv6(p->l3), fixed = ipv6 || sp_load16(p->l3 + 6) & RTE_BE16(SP_IPV4_DF);
	const int least = ipv6 && p->length <= SP_IPV6_MINIMUM;

	if (sa->transport)
		return least || !fixed;
	if (fixed && p->mbuf->ol_flags & w->dp->reassembled_flag)
		return 0;
	return least || (sa->encapsulation.fragment_after && sp_fields_df_be(f, p->l3) == 0);
}

/* Bytes 8 to 15 of an outer IPv4 header. In the checksum's place stands the sum of what no packet changes: the first 8 bytes are the packet's own, and the other end may change. */
static inline uint64_t sp_front_of(const uint8_t *ip)
{
	return (sp_load64(ip + 8) & ~SP_FRONT_SUM) | (uint64_t)sp_fold((uint64_t)(sp_load32(ip + 8) & 0xffff) + sp_load32(ip + 12)) << 16;
}

/* What the outer headers of a run of packets have in common: an end may move meanwhile, and its addresses and port belong together. */
struct sp_outer {
	struct sp_fields fields;
	uint64_t front[2]; /* as the SA's */
	uint8_t header[sizeof(((struct sp_sa_out *)0)->header)];
	uint8_t ip; /* enum sp_ip */
};

/* The header of an SA that is not plain as it is now. */
static inline const uint8_t *sp_outer_header(const struct sp_sa_out *sa)
{
	const uint8_t *moved = __atomic_load_n(&sa->moved, __ATOMIC_ACQUIRE);

	return moved != NULL ? moved : sa->header;
}

static inline struct sp_outer sp_outer_of(const struct sp_sa_out *sa)
{
	const uint8_t *header = sp_outer_header(sa);
	struct sp_outer o = {.fields = sp_fields_of(&sa->encapsulation), .front = {__atomic_load_n(&sa->front[0], __ATOMIC_RELAXED)}, .ip = sa->outer};

	memcpy(o.header, header, sizeof(o.header));
	if (header != sa->header)
		o.front[0] = sp_front_of(header);
	if (sa->plain) /* its own dummy packets: what moves are two words */
		sp_store64(o.header + 16, __atomic_load_n(&sa->front[1], __ATOMIC_RELAXED));
	o.front[1] = sp_load64(o.header + 16);
	return o;
}

/*
 * The outer IPv4 header. Composed in whole words, because a wide load after narrow stores waits for them: the checksum here, and whoever reads the header next.
 */
static inline void sp_outer_write_ipv4(const struct sp_outer *o, uint8_t *outer, const uint8_t *inner, uint32_t total, uint64_t sequence)
{
	const uint16_t df_be = sp_fields_df_be(&o->fields, inner);
	const uint16_t id_be = df_be != 0 ? 0 : rte_cpu_to_be_16((uint16_t)sequence); /* RFC 6864 4: an ID means something only where the packet may be fragmented */
	uint64_t first = 0x45 | (uint64_t)sp_fields_tos(&o->fields, inner) << 8 | (uint64_t)rte_cpu_to_be_16((uint16_t)total) << 16 | (uint64_t)id_be << 32 | (uint64_t)df_be << 48;
	uint32_t destination = (uint32_t)o->front[1];
	uint64_t checksum = (uint16_t)~sp_fold(first + (uint16_t)(o->front[0] >> 16) + destination);

	sp_store64(outer, first);
	sp_store64(outer + 8, (o->front[0] & ~SP_FRONT_SUM) | checksum << 16);
	sp_store32(outer + 16, destination);
}

/* The outer header of a tunnel packet of `total` bytes around `inner`. */
static inline void sp_outer_write(const struct sp_outer *o, uint8_t *outer, const uint8_t *inner, uint32_t total, uint64_t sequence)
{
	uint8_t class;

	if (o->ip == SP_IPV4) {
		sp_outer_write_ipv4(o, outer, inner, total, sequence);
		return;
	}
	class = sp_fields_tos(&o->fields, inner);
	memcpy(outer, o->header, SP_IPV6_LENGTH);
	outer[0] = (uint8_t)(0x60 | class >> 4);
	outer[1] = (uint8_t)(class << 4);
	sp_store16(outer + 4, rte_cpu_to_be_16((uint16_t)(total - SP_IPV6_LENGTH)));
}

/* A packet in transport mode goes to where its peer is now, in UDP. IPv4 gets its checksum with the protocol. */
static inline void sp_outer_readdress(const struct sp_outer *o, uint8_t *l3)
{
	if (o->ip == SP_IPV6)
		memcpy(l3 + 24, o->header + 24, SP_IPV6_ADDRESS);
	else
		memcpy(l3 + 16, o->header + 16, 4);
}

/* The UDP header in front of ESP (RFC 3948 2.1): `length` bytes of datagram. IPv6 gets its checksum when the rest is there. */
static inline void sp_outer_udp(const struct sp_outer *o, uint8_t *udp, uint32_t length)
{
	memcpy(udp, o->header + (o->ip == SP_IPV6 ? SP_IPV6_LENGTH : SP_IPV4_LENGTH), 4);
	sp_store16(udp + 4, rte_cpu_to_be_16((uint16_t)length));
	sp_store16(udp + 6, 0);
}

#endif
