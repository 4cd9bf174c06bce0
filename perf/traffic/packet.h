/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRAFFIC_PACKET_H
#define TRAFFIC_PACKET_H

/* The test packet, written and read (packet.c), and protected (esp.c). */

#include "traffic.h"

#define ETHER 14
#define ETHER_MULTICAST_IPV6 0x3333 /* how its addresses begin (RFC 2464, section 7) */
#define ETHER_TYPE_IPV4 0x0800
#define ETHER_TYPE_ARP 0x0806
#define ETHER_TYPE_VLAN 0x8100
#define ETHER_TYPE_IPV6 0x86dd
#define VLAN_TAG 4
#define VLAN_MASK 0x0fff
#define IPV4_LENGTH 20
#define IPV6_LENGTH 40
#define UDP_LENGTH 8
#define ESP_LENGTH 8
#define NEXT_IPV4 4
#define NEXT_IPV6 41
#define NEXT_ICMP 1
#define NEXT_UDP 17
#define NEXT_FRAGMENT 44
#define NEXT_ESP 50
#define NEXT_ICMP6 58

static inline uint16_t load16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static inline void store16(uint8_t *p, uint32_t value)
{
	p[0] = (uint8_t)(value >> 8);
	p[1] = (uint8_t)value;
}

/* A time stamp and a number in 40 bits: times that differ by less than 4 minutes, numbers by less than 2^39. */
#define TRAFFIC_BITS 40
#define TRAFFIC_MASK ((1ULL << TRAFFIC_BITS) - 1)

/* What a payload says. */
struct traffic_mark {
	uint64_t sequence, stamp; /* low 40 bits */
	uint32_t stream, trial, flow;
};

/* An IP packet taken apart. */
struct traffic_ip {
	const uint8_t *addresses; /* source and destination */
	const uint8_t *payload;
	uint32_t address_length, length; /* length of the payload */
	uint8_t next, fragment;
};

enum traffic_sort {
	TRAFFIC_TEST, /* a packet of ours, sound */
	TRAFFIC_MANGLED,
	TRAFFIC_FOREIGN,
};

/* Writes an IP packet of the flow with the length; ip has room for it. */
void traffic_write(const struct traffic_stream *s, const struct traffic_fill *fill, uint32_t flow, uint32_t length, const struct traffic_mark *mark, uint8_t *ip);

/* Takes apart at most length octets. */
enum traffic_sort traffic_parse(const uint8_t *packet, uint32_t length, struct traffic_ip *ip);

/* Reads a datagram of UDP that was taken apart. listen_be is the port that ours go to. */
enum traffic_sort traffic_read(const struct traffic_ip *ip, const struct traffic_fill *fill, uint16_t listen_be, struct traffic_mark *mark);

struct rte_mbuf;

/* Encrypts packets of IP, each by its SA, and puts outer headers but that of Ethernet in front. Returns a mask of those that could not be. */
uint32_t traffic_seal(struct traffic_crypto *crypto, struct traffic_sa **sas, struct rte_mbuf **mbufs, uint32_t n);

/* A packet of ESP from its SPI on; after traffic_open, the packet inside. */
struct traffic_esp {
	struct traffic_sa *sa;
	uint8_t *start;
	uint64_t sequence; /* with ESN: what it is taken for */
	uint32_t length;
	uint8_t next;
	uint8_t forged, malformed;
};

/* Decrypts in place. */
void traffic_open(struct traffic_crypto *crypto, struct traffic_esp *packets, uint32_t n);

struct traffic_sa *traffic_find(const struct traffic_sas *sas, uint32_t spi_be);

#endif
