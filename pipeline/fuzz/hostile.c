/* SPDX-License-Identifier: Apache-2.0 */

#include <stdio.h>
#include <stdlib.h>

#include <rte_ip.h>

#include "../ah.h"
#include "../crypt.h"
#include "../outer.h"
#include "gateway.h"
#include "hostile.h"
#include "wire.h"

/* Bits of a forged packet's shape; the lowest two are ECN. */
#define SHAPE_OPTIONS 0x04   /* an option or an extension header in front of ESP and AH */
#define SHAPE_MOVED 0x08     /* another address or port than before */
#define SHAPE_SUMMED 0x10    /* UDP with a checksum */
#define SHAPE_PADDED 0x20    /* AH padded to 8 bytes in IPv4 too */
#define SHAPE_FRAGMENTS 0x40
#define SHAPE_DAMAGED 0x80   /* in one byte, after all */

static void read_forgery(struct program *p, const struct sp_sa_out *sa, struct forgery *f)
{
	uint32_t block = sa->transform.block_mask + 1u;

	f->shape = take(p, 1);
	f->sequence = take(p, 1) + 1;
	f->length = RTE_ALIGN_CEIL(4 + 4 * (take(p, 2) % 300), block);
	f->pad = (uint8_t)take(p, 1);
	f->next_header = (uint8_t)take(p, 1);
	take_bytes(p, f->plain, f->length);
	if (sa->protocol == SP_SA_ESP) {
		f->plain[f->length - 2] = f->pad;
		f->plain[f->length - 1] = f->next_header;
	} else {
		f->length -= RTE_MIN(f->length, 4u * (f->pad & 1)); /* down to nothing */
	}
}

/* The IP header, and what may stand behind it; returns where that ends. */
static uint8_t *write_ip(const struct sp_sa_out *sa, const struct forgery *f, uint8_t *ip)
{
	static const uint8_t options[8] = {148, 4, 0, 0, 7, 3, 4, 0}, extension[8] = {0, 0, 1, 4, 9, 9, 9, 9};
	const int ipv6 = sa->outer == SP_IPV6;
	const uint32_t length = ipv6 ? SP_IPV6_LENGTH : SP_IPV4_LENGTH;
	uint8_t *end = ip + length;

	memcpy(ip, sa->header, length);
	if (f->shape & SHAPE_OPTIONS) {
		memcpy(end, ipv6 ? extension : options, 8);
		end[0] = ipv6 ? ip[SP_IPV6_NEXT_HEADER] : end[0];
		ip[SP_IPV6_NEXT_HEADER] = ipv6 ? SP_NEXT_DESTINATION : ip[SP_IPV6_NEXT_HEADER];
		end += 8;
	}
	if (f->shape & SHAPE_MOVED && !sa->transport)
		ip[ipv6 ? 23 : 15] ^= 0x40;
	ip[0] = ipv6 ? 0x60 : (uint8_t)(0x40 | (end - ip) / 4);
	ip[1] = (uint8_t)(f->shape & SP_ECN_MASK) << (ipv6 ? 4 : 0);
	return end;
}

static void write_length(uint8_t *ip, uint32_t total)
{
	if (sp_is_ipv6(ip)) {
		sp_store16(ip + 4, rte_cpu_to_be_16((uint16_t)(total - SP_IPV6_LENGTH)));
		return;
	}
	sp_store16(ip + 2, rte_cpu_to_be_16((uint16_t)total));
	checksum(ip);
}

/* The checksum of a datagram that ends with its packet. */
static void sum_udp(const uint8_t *ip, uint8_t *udp)
{
	sp_store16(udp + 6, 0);
	sp_store16(udp + 6, sp_is_ipv6(ip) ? rte_ipv6_udptcp_cksum((const struct rte_ipv6_hdr *)ip, udp) : rte_ipv4_udptcp_cksum((const struct rte_ipv4_hdr *)ip, udp));
}

/* Returns where AH ends. */
static uint8_t *write_ah(const struct sp_sa_out *sa, const struct forgery *f, uint8_t *at)
{
	const uint32_t extra = f->shape & SHAPE_PADDED && sa->ah->length % 8 != 0 ? 4 : 0;
	const int bundle = sa->protocol == SP_SA_ESP;

	sp_ah_write(sa->ah, at, f->sequence, bundle ? SP_PROTOCOL_ESP : f->next_header);
	memset(at + sa->ah->length, 0, extra);
	at[1] = (uint8_t)(at[1] + extra / 4);
	if (!bundle && f->pad & 2) /* length off */
		at[1] = f->pad;
	if (f->pad & 4) /* reserved, which receivers ignore */
		at[2] = f->pad;
	return at + sa->ah->length + extra;
}

/* From SPI to ICV; returns where it ends. */
static uint8_t *write_esp(const struct sp_sa_out *sa, const struct forgery *f, struct rte_mbuf *m, const uint8_t *frame, uint8_t *esp, int sealed)
{
	struct sp_crypt c = {
		.mbuf = m,
		.transform = &sa->transform,
		.start = esp,
		.payload = esp + SP_ESP_LENGTH + sa->transform.iv_length,
		.payload_length = f->length,
		.sequence = f->sequence,
	};

	c.icv = c.payload + f->length;
	sp_store32(esp, sa->transform.spi_be);
	sp_store32(esp + 4, rte_cpu_to_be_32(f->sequence));
	memcpy(c.payload, f->plain, f->length);
	sp_mbuf_bounds(m, frame, (uint32_t)(c.icv + sa->transform.icv_length - frame));
	if (sealed)
		CHECK(sp_crypt_seal(peer.dp->workers[0], &c, 1) == 0, "tunnel %u", f->tunnel);
	return c.icv + sa->transform.icv_length;
}

void write_packet(const struct sp_sa_out *sa, const struct forgery *f, struct rte_mbuf *m, int sealed)
{
	uint8_t *frame = (uint8_t *)m->buf_addr + RTE_PKTMBUF_HEADROOM, *ip = frame + SP_L2_LENGTH;
	uint8_t *at, *udp, *end;

	sp_mbuf_unpoison(m);
	at = write_ip(sa, f, ip);
	if (sa->ah != NULL)
		at = write_ah(sa, f, at);
	udp = at;
	if (sa->udp)
		at += SP_UDP_LENGTH;
	if (sa->protocol == SP_SA_ESP) {
		end = write_esp(sa, f, m, frame, at, sealed);
		sp_mbuf_unpoison(m);
	} else {
		memcpy(at, f->plain, f->length);
		end = at + f->length;
	}
	write_length(ip, (uint32_t)(end - ip));
	if (sa->udp) {
		memcpy(udp, sa->header + (sa->outer == SP_IPV6 ? SP_IPV6_LENGTH : SP_IPV4_LENGTH), 4);
		udp[1] = (uint8_t)(udp[1] + (f->shape & SHAPE_MOVED ? 1 : 0));
		sp_store16(udp + 4, rte_cpu_to_be_16((uint16_t)(end - udp)));
		sp_store16(udp + 6, 0);
		if (f->shape & SHAPE_SUMMED)
			sum_udp(ip, udp);
	}
	sp_mbuf_bounds(m, frame, (uint32_t)(end - frame));
	if (sa->ah != NULL) {
		struct sp_crypt c = {.mbuf = m, .transform = &sa->ah->transform, .sequence = f->sequence};

		CHECK(sp_ah_seal(peer.dp->workers[0], &c, 1) == 0, "AH of tunnel %u", f->tunnel);
	}
	sp_mbuf_unpoison(m);
}

void op_forge(struct program *p)
{
	static struct forgery f;
	static struct frame frame;
	const struct sp_sa_out *sa;
	struct rte_mbuf *m;

	f.tunnel = take(p, 1) % TUNNELS;
	sa = sp_cell_current(peer.dp, (uint16_t)f.tunnel);
	if (sa->protocol == SP_SA_ESP && sp_kind_async(sa->transform.kind))
		return;
	read_forgery(p, sa, &f);
	m = rte_pktmbuf_alloc(pool);
	CHECK(m != NULL, "mbuf pool empty: leak");
	write_packet(sa, &f, m, arrival.left != LEFT_IN_PLACE);
	frame.length = m->data_len;
	memcpy(frame.bytes, rte_pktmbuf_mtod(m, void *), frame.length);
	rte_pktmbuf_free(m);
	if (arrival.left == LEFT_BARE) {
		frame.length = SP_L2_LENGTH + f.length;
		memcpy(frame.bytes + SP_L2_LENGTH, f.plain, f.length);
	}
	ethernet(frame.bytes, ours.mac[UNPROTECTED]);
	if (arrival.left == LEFT_BARE ? f.next_header == SP_PROTOCOL_IPV6 : sa->outer == SP_IPV6)
		sp_store16(frame.bytes + 12, RTE_BE16(0x86dd));
	if (f.shape & SHAPE_DAMAGED)
		frame.bytes[SP_L2_LENGTH + take(p, 2) % RTE_MAX(frame.length - SP_L2_LENGTH, 1u)] ^= (uint8_t)(take(p, 1) | 1);
	if (f.shape & SHAPE_FRAGMENTS)
		receive_fragments(p, UNPROTECTED, &frame);
	else
		receive(&ours, UNPROTECTED, &frame, RTE_PKTMBUF_HEADROOM);
}

void op_udp(struct program *p)
{
	static struct frame f;
	uint32_t how = take(p, 1), length = take(p, 1);
	uint8_t *ip = f.bytes + SP_L2_LENGTH, *udp = ip + SP_IPV4_LENGTH;

	ethernet(f.bytes, ours.mac[UNPROTECTED]);
	memset(ip, 0, SP_IPV4_LENGTH);
	ip[0] = 0x45;
	ip[SP_IPV4_TTL] = 64;
	ip[SP_IPV4_PROTOCOL] = SP_PROTOCOL_UDP;
	sp_store32(ip + 12, RTE_BE32(PEER_WAN));
	sp_store32(ip + 16, RTE_BE32(OUR_WAN));
	sp_store16(udp, how & 8 ? RTE_BE16(1024) : RTE_BE16(4500));
	sp_store16(udp + 2, RTE_BE16(4500));
	sp_store16(udp + 4, rte_cpu_to_be_16((uint16_t)(SP_UDP_LENGTH + length + (how & 16 ? take(p, 1) : 0)))); /* more than is there */
	take_bytes(p, udp + SP_UDP_LENGTH, length);
	f.length = SP_L2_LENGTH + SP_IPV4_LENGTH + SP_UDP_LENGTH + length;
	write_length(ip, f.length - SP_L2_LENGTH);
	if (how & 1)
		make_wide(&f, 0);
	udp = f.bytes + f.length - length - SP_UDP_LENGTH;
	sp_store16(udp + 6, 0);
	if (how & 2 && !(how & 16))
		sum_udp(ip, udp);
	if (how & 4)
		udp[7] ^= 1;
	if (how & 64)
		receive_fragments(p, UNPROTECTED, &f);
	else
		receive(&ours, UNPROTECTED, &f, RTE_PKTMBUF_HEADROOM);
}
