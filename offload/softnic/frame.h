/* Where ESP is in a frame. */
#ifndef SALLYPORT_SOFTNIC_FRAME_H
#define SALLYPORT_SOFTNIC_FRAME_H

#include <stdint.h>
#include <string.h>

#include <rte_byteorder.h>

#define SP_NIC_IPV4 20 /* octets of the header without options */
#define SP_NIC_IPV6 40
#define SP_NIC_UDP 8
#define SP_NIC_PORT_NATT 4500

#define SP_NIC_PROTOCOL_IPV4 4
#define SP_NIC_PROTOCOL_UDP 17
#define SP_NIC_PROTOCOL_IPV6 41
#define SP_NIC_PROTOCOL_ESP 50
#define SP_NIC_PROTOCOL_NONE 59

#define SP_NIC_TYPE_IPV4 0x0800
#define SP_NIC_TYPE_IPV6 0x86dd

static inline uint16_t sp_nic_get16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static inline void sp_nic_put16(uint8_t *at, uint16_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

#define SP_NIC_ETHERNET 14
#define SP_NIC_TAG 4

/* Length of the Ethernet header with up to two VLAN tags, 0 if that is not all there. *type says what follows. */
static inline uint32_t sp_nic_l2(const uint8_t *frame, uint32_t length, uint16_t *type)
{
	uint32_t at = SP_NIC_ETHERNET;

	for (int tags = 0; tags < 3; tags++, at += SP_NIC_TAG) {
		if (length < at)
			return 0;
		*type = sp_nic_get16(frame + at - 2);
		if (*type != 0x8100 && *type != 0x88a8)
			return at;
	}
	return 0;
}

/* An IP packet at a place in a frame: the lengths of its header and of the whole, which is in the frame. */
struct sp_nic_ip {
	uint32_t header, total;
	uint8_t ipv6, protocol, fragment;
};

/* Reads the header of an IP packet with `length` octets behind its start. Extension headers of IPv6 are left to the program. Returns 0 if there is none. */
static inline int sp_nic_read_ip(const uint8_t *ip, uint32_t length, struct sp_nic_ip *out)
{
	if (length < SP_NIC_IPV4)
		return 0;
	out->ipv6 = ip[0] >> 4 == 6;
	if (out->ipv6) {
		if (length < SP_NIC_IPV6)
			return 0;
		out->header = SP_NIC_IPV6;
		out->total = SP_NIC_IPV6 + sp_nic_get16(ip + 4);
		out->protocol = ip[6];
		out->fragment = 0;
		return out->total <= length;
	}
	out->header = 4u * (ip[0] & 15);
	out->total = sp_nic_get16(ip + 2);
	out->protocol = ip[9];
	out->fragment = (sp_nic_get16(ip + 6) & 0x3fff) != 0;
	return ip[0] >> 4 == 4 && out->header >= SP_NIC_IPV4 && out->total >= out->header && out->total <= length;
}

/* Offsets from the frame's start. */
struct sp_nic_esp {
	uint32_t l3, esp, end; /* end: behind the ICV */
	struct sp_nic_ip ip;
	uint8_t udp;
};

/* Finds ESP, in UDP of port 4500 too. Returns 0 for all else, and for fragments. */
static inline int sp_nic_find_esp(const uint8_t *frame, uint32_t length, struct sp_nic_esp *out)
{
	uint16_t type;
	uint32_t udp;

	out->l3 = sp_nic_l2(frame, length, &type);
	if (out->l3 == 0 || (type != SP_NIC_TYPE_IPV4 && type != SP_NIC_TYPE_IPV6) || !sp_nic_read_ip(frame + out->l3, length - out->l3, &out->ip))
		return 0;
	if (out->ip.ipv6 != (type == SP_NIC_TYPE_IPV6) || out->ip.fragment)
		return 0;
	out->esp = out->l3 + out->ip.header;
	out->end = out->l3 + out->ip.total;
	out->udp = out->ip.protocol == SP_NIC_PROTOCOL_UDP;
	if (!out->udp)
		return out->ip.protocol == SP_NIC_PROTOCOL_ESP && out->end - out->esp >= 8;
	udp = out->esp;
	out->esp += SP_NIC_UDP;
	if (out->end < out->esp + 8)
		return 0;
	if (sp_nic_get16(frame + udp) != SP_NIC_PORT_NATT && sp_nic_get16(frame + udp + 2) != SP_NIC_PORT_NATT)
		return 0;
	if (sp_nic_get16(frame + udp + 4) < SP_NIC_UDP + 8 || udp + sp_nic_get16(frame + udp + 4) > out->end)
		return 0;
	out->end = udp + sp_nic_get16(frame + udp + 4);
	/* four zero octets where the SPI would be: IKE (RFC 3948 section 2.2) */
	return (frame[out->esp] | frame[out->esp + 1] | frame[out->esp + 2] | frame[out->esp + 3]) != 0;
}

/* Adds up an Internet checksum (RFC 1071), not folded. */
static inline uint32_t sp_nic_sum(const uint8_t *at, uint32_t length, uint32_t sum)
{
	for (uint32_t i = 0; i + 1 < length; i += 2)
		sum += sp_nic_get16(at + i);
	return length & 1 ? sum + ((uint32_t)at[length - 1] << 8) : sum;
}

static inline uint16_t sp_nic_checksum(uint32_t sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static inline void sp_nic_ipv4_checksum(uint8_t *ip)
{
	sp_nic_put16(ip + 10, 0);
	sp_nic_put16(ip + 10, sp_nic_checksum(sp_nic_sum(ip, 4u * (ip[0] & 15), 0)));
}

/* Of a UDP datagram over IPv6, where none is not allowed (RFC 8200 section 8.1). */
static inline void sp_nic_udp6_checksum(const uint8_t *ip, uint8_t *udp)
{
	const uint32_t length = sp_nic_get16(udp + 4);
	uint16_t checksum;

	sp_nic_put16(udp + 6, 0);
	checksum = sp_nic_checksum(sp_nic_sum(udp, length, sp_nic_sum(ip + 8, 32, length + SP_NIC_PROTOCOL_UDP)));
	sp_nic_put16(udp + 6, checksum != 0 ? checksum : 0xffff);
}

/* TOS of IPv4 or traffic class of IPv6. */
static inline uint8_t sp_nic_tos(const uint8_t *ip)
{
	return ip[0] >> 4 == 6 ? (uint8_t)(ip[0] << 4 | ip[1] >> 4) : ip[1];
}

static inline void sp_nic_set_tos(uint8_t *ip, uint8_t tos)
{
	if (ip[0] >> 4 == 6) {
		ip[0] = (uint8_t)(0x60 | tos >> 4);
		ip[1] = (uint8_t)(tos << 4 | (ip[1] & 15));
		return;
	}
	ip[1] = tos;
	sp_nic_ipv4_checksum(ip);
}

#endif
