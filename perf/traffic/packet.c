/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The test packet. Behind UDP it has 18 octets and a fill that is the same for all:
 *
 *	 0  magic              2
 *	 2  trial, stream      4 bits each
 *	 3  flow               3
 *	 6  sequence number    5, of 64 bits the low 40
 *	11  TSC when sent      5, the low 40 bits
 *	16  check              2, CRC-32C of what is before it and of the length, folded
 *
 * Smallest frames have room for no more. The fill is compared octet by octet, so that nothing can be mangled and not be seen.
 */

#include "packet.h"

#include <string.h>

#include <nmmintrin.h>
#include <rte_ip.h>

#define MAGIC 0x5370ULL
#define TTL 64

void traffic_fill_make(struct traffic_fill *fill)
{
	uint64_t state = 0x9e3779b97f4a7c15ULL;

	for (uint32_t i = 0; i < TRAFFIC_FILL; i++) {
		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
		fill->octets[i] = (uint8_t)(state >> 32);
	}
	for (uint32_t n = 0; n <= TRAFFIC_FILL; n++)
		fill->sums[n] = rte_raw_cksum(fill->octets, n);
}

static uint16_t check(uint64_t first, uint64_t second, uint32_t length)
{
	uint32_t crc = (uint32_t)_mm_crc32_u64(_mm_crc32_u64(length, first), second);

	return (uint16_t)(crc >> 16 ^ crc);
}

static void write_mark(uint8_t *payload, uint32_t length, const struct traffic_mark *m)
{
	uint64_t sequence = m->sequence & TRAFFIC_MASK;
	uint64_t first = MAGIC << 48 | (uint64_t)(m->trial & 15) << 44 | (uint64_t)(m->stream & 15) << 40 | (uint64_t)(m->flow & 0xffffff) << 16 | sequence >> 24;
	uint64_t second = sequence << TRAFFIC_BITS | (m->stamp & TRAFFIC_MASK);
	uint64_t first_be = rte_cpu_to_be_64(first), second_be = rte_cpu_to_be_64(second);

	memcpy(payload, &first_be, 8);
	memcpy(payload + 8, &second_be, 8);
	store16(payload + 16, check(first, second, length));
}

static int read_mark(const uint8_t *payload, uint32_t length, struct traffic_mark *m)
{
	uint64_t first, second;

	memcpy(&first, payload, 8);
	memcpy(&second, payload + 8, 8);
	first = rte_be_to_cpu_64(first);
	second = rte_be_to_cpu_64(second);
	m->trial = first >> 44 & 15;
	m->stream = first >> 40 & 15;
	m->flow = first >> 16 & 0xffffff;
	m->sequence = (first & 0xffff) << 24 | second >> TRAFFIC_BITS;
	m->stamp = second & TRAFFIC_MASK;
	return first >> 48 == MAGIC && load16(payload + 16) == check(first, second, length);
}

/* The sum of a datagram with its pseudo-header (RFC 768, RFC 8200 section 8.1), whose payload has the fill behind the mark. */
static uint16_t datagram_sum(const uint8_t *addresses, uint32_t address_length, const uint8_t *udp, uint32_t length, const struct traffic_fill *fill)
{
	uint32_t sum = __rte_raw_cksum(addresses, (size_t)address_length * 2, 0);

	sum = __rte_raw_cksum(udp, UDP_LENGTH + TRAFFIC_HEADER, sum);
	sum += rte_cpu_to_be_16(NEXT_UDP) + (uint32_t)rte_cpu_to_be_16((uint16_t)length) + fill->sums[length - UDP_LENGTH - TRAFFIC_HEADER];
	return __rte_raw_cksum_reduce(sum);
}

static uint8_t *write_ipv4(const struct traffic_flow *f, uint32_t length, uint8_t *ip)
{
	uint16_t sum;

	memset(ip, 0, IPV4_LENGTH);
	ip[0] = 0x45;
	store16(ip + 2, length);
	ip[6] = 0x40; /* do not fragment */
	ip[8] = TTL;
	ip[9] = NEXT_UDP;
	memcpy(ip + 12, f->source, 4);
	memcpy(ip + 16, f->destination, 4);
	sum = (uint16_t)~rte_raw_cksum(ip, IPV4_LENGTH);
	memcpy(ip + 10, &sum, 2);
	return ip + IPV4_LENGTH;
}

static uint8_t *write_ipv6(const struct traffic_flow *f, uint32_t length, uint8_t *ip)
{
	memset(ip, 0, 8);
	ip[0] = 0x60;
	store16(ip + 4, length - IPV6_LENGTH);
	ip[6] = NEXT_UDP;
	ip[7] = TTL;
	memcpy(ip + 8, f->source, 16);
	memcpy(ip + 24, f->destination, 16);
	return ip + IPV6_LENGTH;
}

void traffic_write(const struct traffic_stream *s, const struct traffic_fill *fill, uint32_t flow, uint32_t length, const struct traffic_mark *mark, uint8_t *ip)
{
	const struct traffic_flow *f = &s->flows[flow];
	const uint32_t address_length = s->ipv6 ? 16 : 4;
	uint8_t *udp = s->ipv6 ? write_ipv6(f, length, ip) : write_ipv4(f, length, ip);
	uint32_t rest = length - (uint32_t)(udp - ip);
	uint16_t sum;

	memcpy(udp, &f->source_port_be, 2);
	memcpy(udp + 2, &f->destination_port_be, 2);
	store16(udp + 4, rest);
	store16(udp + 6, 0);
	write_mark(udp + UDP_LENGTH, rest - UDP_LENGTH, mark);
	memcpy(udp + UDP_LENGTH + TRAFFIC_HEADER, fill->octets, rest - UDP_LENGTH - TRAFFIC_HEADER);
	sum = (uint16_t)~datagram_sum(udp - 2 * (size_t)address_length, address_length, udp, rest, fill);
	if (sum == 0)
		sum = 0xffff;
	memcpy(udp + 6, &sum, 2);
}

static enum traffic_sort parse_ipv4(const uint8_t *p, uint32_t length, struct traffic_ip *ip)
{
	uint32_t header, total;

	if (length < IPV4_LENGTH)
		return TRAFFIC_MANGLED;
	header = (uint32_t)(p[0] & 15) * 4;
	total = load16(p + 2);
	if (header < IPV4_LENGTH || total < header || total > length || rte_raw_cksum(p, header) != 0xffff)
		return TRAFFIC_MANGLED;
	ip->addresses = p + 12;
	ip->address_length = 4;
	ip->fragment = (load16(p + 6) & 0x3fff) != 0;
	ip->next = p[9];
	ip->payload = p + header;
	ip->length = total - header;
	return TRAFFIC_TEST;
}

static enum traffic_sort parse_ipv6(const uint8_t *p, uint32_t length, struct traffic_ip *ip)
{
	if (length < IPV6_LENGTH || load16(p + 4) > length - IPV6_LENGTH)
		return TRAFFIC_MANGLED;
	ip->addresses = p + 8;
	ip->address_length = 16;
	ip->next = p[6];
	ip->fragment = ip->next == NEXT_FRAGMENT;
	ip->payload = p + IPV6_LENGTH;
	ip->length = load16(p + 4);
	return TRAFFIC_TEST;
}

enum traffic_sort traffic_parse(const uint8_t *packet, uint32_t length, struct traffic_ip *ip)
{
	if (length == 0)
		return TRAFFIC_MANGLED;
	switch (packet[0] >> 4) {
	case 4:
		return parse_ipv4(packet, length, ip);
	case 6:
		return parse_ipv6(packet, length, ip);
	default:
		return TRAFFIC_MANGLED;
	}
}

/* What has our port or our magic was ours once. */
static int ours(const uint8_t *udp, uint32_t length, uint16_t listen_be)
{
	return memcmp(udp + 2, &listen_be, 2) == 0 || (length >= UDP_LENGTH + 2 && load16(udp + UDP_LENGTH) == MAGIC);
}

enum traffic_sort traffic_read(const struct traffic_ip *ip, const struct traffic_fill *fill, uint16_t listen_be, struct traffic_mark *mark)
{
	const uint8_t *udp = ip->payload;
	uint32_t rest;

	if (ip->next != NEXT_UDP || ip->length < UDP_LENGTH || !ours(udp, ip->length, listen_be))
		return TRAFFIC_FOREIGN;
	if (ip->length < UDP_LENGTH + TRAFFIC_HEADER || load16(udp + 4) != ip->length)
		return TRAFFIC_MANGLED;
	rest = ip->length - UDP_LENGTH - TRAFFIC_HEADER;
	if (rest > TRAFFIC_FILL || !read_mark(udp + UDP_LENGTH, ip->length - UDP_LENGTH, mark))
		return TRAFFIC_MANGLED;
	if (memcmp(udp + UDP_LENGTH + TRAFFIC_HEADER, fill->octets, rest) != 0)
		return TRAFFIC_MANGLED;
	/* A sum over all of it, its own field included, is all ones. */
	if (datagram_sum(ip->addresses, ip->address_length, udp, ip->length, fill) != 0xffff)
		return TRAFFIC_MANGLED;
	return TRAFFIC_TEST;
}
