/* SPDX-License-Identifier: Apache-2.0 */

#include "../ipv6.h"
#include "frames.h"
#include "gateway.h"

uint32_t take(struct program *p, uint32_t bytes)
{
	uint32_t v = 0;

	while (bytes-- > 0)
		v = v << 8 | (p->next < p->end ? *p->next++ : 0);
	return v;
}

/* Copies what is there, zeros for the rest. */
void take_bytes(struct program *p, uint8_t *out, uint32_t n)
{
	uint32_t present = RTE_MIN(n, (uint32_t)(p->end - p->next));

	memcpy(out, p->next, present);
	memset(out + present, 0, n - present);
	p->next += present;
}

void ethernet(uint8_t *frame, const uint8_t *mac)
{
	memcpy(frame, mac, 6);
	memset(frame + 6, 2, 6);
	sp_store16(frame + 12, RTE_BE16(0x0800));
}

void checksum(uint8_t *l3)
{
	sp_store16(l3 + 10, 0);
	sp_store16(l3 + 10, (uint16_t)~sp_fold(sp_ipv4_sum(l3, l3[0] & 15)));
}

#define TCP_MAX 60 /* bytes of header, with options */

/* A sound IPv4 packet between two hosts, its details from the program. */
void build(struct program *p, struct frame *f, const uint8_t *mac, uint32_t source, uint32_t destination)
{
	static const uint8_t protocols[] = {SP_PROTOCOL_UDP, SP_PROTOCOL_TCP, 1, SP_PROTOCOL_SCTP, SP_PROTOCOL_IPV6, SP_PROTOCOL_ESP, SP_PROTOCOL_UDPLITE, 89};
	uint8_t *l3 = f->bytes + SP_L2_LENGTH;
	uint32_t shape = take(p, 2), total = 20 + take(p, 2) % 1600;

	ethernet(f->bytes, mac);
	memset(l3, 0, total);
	l3[0] = 0x45;
	l3[1] = (uint8_t)(shape >> 8);
	sp_store16(l3 + 2, rte_cpu_to_be_16((uint16_t)total));
	sp_store16(l3 + 6, shape & 8 ? RTE_BE16(SP_IPV4_DF) : 0);
	l3[8] = shape & 16 ? (uint8_t)(shape >> 5 & 3) : 64;
	l3[9] = protocols[shape & 7];
	sp_store32(l3 + 12, rte_cpu_to_be_32(source));
	sp_store32(l3 + 16, rte_cpu_to_be_32(destination));
	take_bytes(p, l3 + 20, RTE_MIN(total - 20, shape & 128 ? TCP_MAX : 8u));
	checksum(l3);
	f->length = SP_L2_LENGTH + total;
}

/* The same packet between the IPv6 addresses of its hosts, with as many extension headers as `extensions` has bits; an error or an echo becomes ICMPv6. */
void make_wide(struct frame *f, uint32_t extensions)
{
	static const uint8_t kinds[] = {0, 60, 43, 60, 44}; /* in the order in which they may stand */
	uint8_t *l3 = f->bytes + SP_L2_LENGTH, *next = l3 + 6, *end;
	uint8_t header[SP_IPV4_LENGTH], payload[FRAME_MAX];
	uint32_t length = f->length - SP_L2_LENGTH - SP_IPV4_LENGTH;

	memcpy(header, l3, sizeof(header));
	memcpy(payload, l3 + SP_IPV4_LENGTH, length);
	memset(l3, 0, SP_IPV6_LENGTH);
	l3[0] = (uint8_t)(0x60 | header[1] >> 4);
	l3[1] = (uint8_t)(header[1] << 4);
	l3[SP_IPV6_HOP_LIMIT] = header[SP_IPV4_TTL];
	widen(l3 + 8, rte_be_to_cpu_32(sp_load32(header + 12)));
	widen(l3 + 24, rte_be_to_cpu_32(sp_load32(header + 16)));
	end = l3 + SP_IPV6_LENGTH;
	for (uint32_t i = 0; i < RTE_DIM(kinds); i++) {
		if (!(extensions >> i & 1))
			continue;
		*next = kinds[i];
		memset(end, 0, 8);
		next = end;
		end += 8;
	}
	*next = header[9] == 1 ? SP_PROTOCOL_ICMPV6 : header[9];
	memcpy(end, payload, length);
	f->length = (uint32_t)(end - f->bytes) + length;
	sp_store16(l3 + 4, rte_cpu_to_be_16((uint16_t)(f->length - SP_L2_LENGTH - SP_IPV6_LENGTH)));
	sp_store16(f->bytes + 12, RTE_BE16(0x86dd));
}

/* What is not as it should be in a fragment. */
#define CUT_MORE 0x01
#define CUT_ODD 0x02      /* no multiple of 8 bytes */
#define CUT_OTHER 0x04    /* of another packet */
#define CUT_FAR 0x08      /* near the end of all offsets */
#define CUT_CE 0x10
#define CUT_BEHIND 0x20   /* IPv6: the first extension header stays in front */
#define CUT_RESERVED 0x40 /* IPv6: the byte that other extension headers have their length in is set */

static void cut_ipv4(struct frame *f, uint32_t header, uint32_t offset, uint32_t length, uint32_t how)
{
	uint8_t *l3 = f->bytes + SP_L2_LENGTH;

	l3[1] |= how & CUT_CE ? SP_ECN_CE : 0;
	sp_store16(l3 + 2, rte_cpu_to_be_16((uint16_t)(header + length)));
	sp_store16(l3 + 4, how & CUT_OTHER ? 1 : 2);
	sp_store16(l3 + 6, rte_cpu_to_be_16((uint16_t)(offset / 8 | (how & CUT_MORE ? SP_IPV4_MORE : 0))));
	checksum(l3);
}

static void cut_ipv6(struct frame *f, uint32_t header, uint32_t offset, uint32_t length, uint32_t how)
{
	uint8_t *l3 = f->bytes + SP_L2_LENGTH, *extension = l3 + header, *name = header > SP_IPV6_LENGTH ? l3 + SP_IPV6_LENGTH : l3 + 6;

	l3[1] |= how & CUT_CE ? SP_ECN_CE << 4 : 0;
	memset(extension, 0, 8);
	extension[0] = *name;
	extension[1] = how & CUT_RESERVED ? 0xff : 0;
	*name = 44;
	sp_store16(extension + 2, rte_cpu_to_be_16((uint16_t)(offset | (how & CUT_MORE))));
	extension[7] = how & CUT_OTHER ? 1 : 2;
	sp_store16(l3 + 4, rte_cpu_to_be_16((uint16_t)(header + 8 + length - SP_IPV6_LENGTH)));
}

void cut(struct program *p, const struct frame *whole, struct frame *f)
{
	const uint8_t *l3 = whole->bytes + SP_L2_LENGTH;
	const int ipv6 = sp_is_ipv6(l3);
	uint32_t offset = 8 * take(p, 1), length = 8 * take(p, 1), how = take(p, 1);
	uint32_t header = ipv6 ? SP_IPV6_LENGTH : sp_ipv4_header_length(l3), all;

	if (ipv6 && how & CUT_BEHIND && sp_ipv6_extension(l3[6]))
		header += 8 + 8u * l3[SP_IPV6_LENGTH + 1];
	header = RTE_MIN(header, whole->length - SP_L2_LENGTH);
	all = whole->length - SP_L2_LENGTH - header;
	length -= how & CUT_ODD ? RTE_MIN(length, 3u) : 0;
	length = RTE_MIN(length, all - RTE_MIN(all, offset));
	memcpy(f->bytes, whole->bytes, SP_L2_LENGTH + header);
	memcpy(f->bytes + SP_L2_LENGTH + header + (ipv6 ? 8 : 0), l3 + header + RTE_MIN(all, offset), length);
	f->length = SP_L2_LENGTH + header + (ipv6 ? 8 : 0) + length;
	offset = how & CUT_FAR ? offset | 0xff00 : offset;
	if (ipv6)
		cut_ipv6(f, header, offset, length, how);
	else
		cut_ipv4(f, header, offset, length, how);
}
