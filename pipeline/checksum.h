/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SP_CHECKSUM_H
#define SP_CHECKSUM_H

/* Checksums of what IP carries, which cover a pseudo-header with the packet's addresses (RFC 768, RFC 9293 3.1, RFC 4443 2.3, RFC 8200 8.1). */

#include <rte_ip.h>

#include "ipv6.h"
#include "mss.h"

#define SP_TCP_CHECKSUM 16 /* bytes of the headers */
#define SP_UDP_CHECKSUM 6
#define SP_ICMPV6_CHECKSUM 2

/* One's complement sum of the `length` bytes of a protocol at `upper` and of their pseudo-header: 0xffff where the checksum in them is right. */
static inline uint16_t sp_upper_sum(const uint8_t *l3, uint8_t protocol, const uint8_t *upper, uint32_t length)
{
	uint64_t pseudo = (uint64_t)rte_cpu_to_be_16(protocol) + rte_cpu_to_be_16((uint16_t)length);

	pseudo += sp_is_ipv6(l3) ? rte_raw_cksum(l3 + 8, 32) : rte_raw_cksum(l3 + 12, 8);
	return sp_fold(pseudo + rte_raw_cksum(upper, length));
}

/* What belongs into a checksum field that is zero. In UDP zero means that there is none. */
static inline uint16_t sp_upper_checksum(const uint8_t *l3, uint8_t protocol, const uint8_t *upper, uint32_t length)
{
	uint16_t checksum = (uint16_t)~sp_upper_sum(l3, protocol, upper, length);

	return checksum == 0 && protocol == SP_PROTOCOL_UDP ? UINT16_MAX : checksum;
}

/*
 * Makes the checksum of a parsed packet right whose addresses are not those that it was computed with: a NAT has changed them outside of ESP in transport mode. What comes from
 * the SA is authentic as a whole, so nothing is lost by computing it anew (RFC 3948 3.1.2 b). Protocols with another checksum of the kind are left alone, and so is UDP without one.
 */
static inline void sp_repair_checksum(const struct sp_packet *p)
{
	const uint32_t at = sp_is_ipv6(p->l3) ? ((const struct sp_packet6 *)p)->l4 : sp_ipv4_header_length(p->l3), room = p->length - at;
	uint8_t *upper = p->l3 + at;
	uint32_t length = room, field;

	if (p->key.protocol == SP_PROTOCOL_TCP && room >= SP_TCP_LENGTH) {
		field = SP_TCP_CHECKSUM;
	} else if (p->key.protocol == SP_PROTOCOL_UDP && room >= SP_UDP_LENGTH) {
		field = SP_UDP_CHECKSUM;
		length = rte_be_to_cpu_16(sp_load16(upper + 4));
		if (length < SP_UDP_LENGTH || length > room || sp_load16(upper + field) == 0)
			return;
	} else if (p->key.protocol == SP_PROTOCOL_ICMPV6 && sp_is_ipv6(p->l3) && room >= SP_ICMP_LENGTH) {
		field = SP_ICMPV6_CHECKSUM;
	} else {
		return;
	}
	sp_store16(upper + field, 0);
	sp_store16(upper + field, sp_upper_checksum(p->l3, p->key.protocol, upper, length));
}

#endif
