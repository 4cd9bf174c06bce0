/* SPDX-License-Identifier: Apache-2.0 */

/*
 * AH by itself: the ICV is computed over a packet in which everything is zero that routers may change (RFC 4302 3.3.3.1 and appendix A), the ICV field included. What is made
 * zero is kept aside and put back.
 */

#include "ah.h"
#include "mbuf.h"
#include "outer.h"

#define OPTION_MAY_CHANGE 0x20 /* of an IPv6 option's type (RFC 8200 4.2) */

/* IPv4 options that no router changes: end, no-op, security, extended security, commercial security, router alert, multi-destination delivery (RFC 4302 appendix A1). */
static int immutable_option(uint8_t type)
{
	switch (type) {
	case 0:
	case 1:
	case 130:
	case 133:
	case 134:
	case 148:
	case 149:
		return 1;
	default:
		return 0;
	}
}

/* The packet has been parsed: the lengths of options fit. */
static void blank_ipv4(uint8_t *ip, uint32_t headers)
{
	uint8_t *option = ip + SP_IPV4_LENGTH, *end = ip + headers;

	ip[1] = 0;
	sp_store16(ip + 6, 0);
	ip[SP_IPV4_TTL] = 0;
	sp_store16(ip + 10, 0);
	while (option < end && *option != 0) {
		uint32_t length = *option == 1 ? 1 : option[1];

		if (!immutable_option(*option))
			memset(option, 0, length);
		option += length;
	}
}

static void blank_ipv6_options(uint8_t *option, const uint8_t *end)
{
	while (option < end) {
		if (*option == 0) { /* one byte of padding has no length */
			option++;
			continue;
		}
		if (*option & OPTION_MAY_CHANGE)
			memset(option + 2, 0, option[1]);
		option += 2 + option[1];
	}
}

/* The packet has been parsed: a routing header has come to its end, and is as its sender sent it. */
static void blank_ipv6(uint8_t *ip, uint32_t headers)
{
	uint8_t next = ip[SP_IPV6_NEXT_HEADER];

	sp_store32(ip, RTE_BE32(0x60000000));
	ip[SP_IPV6_HOP_LIMIT] = 0;
	for (uint32_t at = SP_IPV6_LENGTH; at < headers;) {
		uint32_t length = 8 + 8u * ip[at + 1];

		if (next != SP_NEXT_ROUTING)
			blank_ipv6_options(ip + at + 2, ip + at + length);
		next = ip[at];
		at += length;
	}
}

static void blank(uint8_t *ip, uint32_t headers)
{
	if (sp_is_ipv6(ip))
		blank_ipv6(ip, headers);
	else
		blank_ipv4(ip, headers);
}

void sp_ah_write(const struct sp_ah *ah, uint8_t *header, uint64_t sequence, uint8_t next_header)
{
	sp_clear_few(header, ah->length);
	header[0] = next_header;
	header[1] = (uint8_t)(ah->length / 4 - 2);
	sp_store32(header + 4, ah->transform.spi_be);
	sp_store32(header + 8, rte_cpu_to_be_32((uint32_t)sequence));
}

/* Bytes of a packet of ours in front of its AH. */
static uint32_t headers_before(const uint8_t *ip)
{
	uint32_t at = SP_IPV6_LENGTH;
	uint8_t next = ip[SP_IPV6_NEXT_HEADER];

	if (!sp_is_ipv6(ip))
		return sp_ipv4_header_length(ip);
	while (next != SP_PROTOCOL_AH) {
		next = ip[at];
		at += 8 + 8u * ip[at + 1];
	}
	return at;
}

/* The crypto stages authenticate everything from the IP header to the end of the packet. */
static struct sp_crypt whole_packet(const struct sp_transform *t, struct rte_mbuf *m, uint8_t *ip, uint32_t length, uint8_t *icv, uint64_t sequence)
{
	return (struct sp_crypt){
		.transform = t,
		.mbuf = m,
		.start = ip,
		.payload = ip + length,
		.payload_length = 0,
		.icv = icv,
		.sequence = sequence,
	};
}

uint32_t sp_ah_seal(struct sp_worker *w, struct sp_crypt *packets, uint32_t n)
{
	uint8_t kept[SP_BURST][SP_AH_HEADERS_MAX];
	uint32_t headers[SP_BURST], failed;

	for (uint32_t i = 0; i < n; i++) {
		const struct sp_transform *t = packets[i].transform;
		struct rte_mbuf *m = packets[i].mbuf;
		uint8_t *ip = rte_pktmbuf_mtod_offset(m, uint8_t *, SP_L2_LENGTH);

		headers[i] = headers_before(ip);
		sp_copy_few(kept[i], ip, headers[i]);
		blank(ip, headers[i]);
		packets[i] = whole_packet(t, m, ip, m->data_len - SP_L2_LENGTH, ip + headers[i] + SP_AH_LENGTH + t->iv_length, packets[i].sequence);
	}
	failed = sp_crypt_seal(w, packets, n);
	for (uint32_t i = 0; i < n; i++)
		sp_copy_few(packets[i].start, kept[i], headers[i]);
	return failed;
}

/* Whether a fragment header of a whole packet (RFC 6946) is among the headers in front of AH. */
static int behind_fragment_header(const uint8_t *ip, uint32_t headers)
{
	uint8_t next = ip[SP_IPV6_NEXT_HEADER];

	for (uint32_t at = SP_IPV6_LENGTH; at < headers && next != SP_NEXT_FRAGMENT;) {
		uint32_t length = 8 + 8u * ip[at + 1];

		next = ip[at];
		at += length;
	}
	return next == SP_NEXT_FRAGMENT;
}

/*
 * The reserved bytes are ignored (RFC 4302 2.3). IPv4 peers may pad to 8 bytes as for IPv6. AH covers a packet as it is before fragmentation and after reassembly
 * (RFC 4302 3.3.4, 3.4.1): no sender has a fragment header in front of it.
 */
uint8_t sp_ah_check(const struct sp_sa_in *sa, const struct sp_esp *p)
{
	const uint8_t *header = p->esp - SP_AH_SPI;
	const uint8_t *ip = header - p->headers;
	const int ipv6 = sp_is_ipv6(ip);
	uint32_t length = 8 + 4u * header[1];

	if (p->headers > SP_AH_HEADERS_MAX || (ipv6 && behind_fragment_header(ip, p->headers)))
		return SP_DROP_AH_HEADERS;
	if (length != sp_ah_length(&sa->transform, ipv6) && length != sp_ah_length(&sa->transform, 1))
		return SP_DROP_AH_LENGTH;
	return length > p->length + SP_AH_SPI ? SP_DROP_AH_TRUNCATED : SP_PASS;
}

struct sp_opened sp_ah_open(struct sp_worker *w, struct sp_sa_in *const *sas, const struct sp_esp *packets, uint32_t n)
{
	uint8_t kept[SP_BURST][SP_AH_HEADERS_MAX], icv[SP_BURST][8 + SP_ICV_MAX];
	struct sp_opened opened = {0};
	struct sp_crypt crypts[SP_BURST];

	if (n == 0)
		return opened;
	for (uint32_t i = 0; i < n; i++) {
		const struct sp_transform *t = &sas[i]->transform;
		const uint32_t icv_length = (uint32_t)t->iv_length + t->icv_length;
		const struct sp_esp *p = &packets[i];
		uint8_t *ip = p->esp - SP_AH_SPI - p->headers, *received = ip + p->headers + SP_AH_LENGTH;

		sp_copy_few(kept[i], ip, p->headers);
		sp_copy_few(icv[i], received, icv_length);
		blank(ip, p->headers);
		sp_clear_few(received, icv_length);
		crypts[i] = whole_packet(t, p->mbuf, ip, p->headers + SP_AH_SPI + p->length, icv[i] + t->iv_length, p->sequence);
	}
	opened = sp_crypt_open(w, crypts, n);
	for (uint32_t i = 0; i < n; i++)
		sp_copy_few(crypts[i].start, kept[i], packets[i].headers);
	return opened;
}
