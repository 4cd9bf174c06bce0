/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SP_MSS_H
#define SP_MSS_H

/* The maximum segment size that the two ends of a TCP connection announce in their SYNs, lowered to what fits a tunnel. */

#include "ipv6.h"

#define SP_TCP_LENGTH 20

/* mss.c: lowers each MSS option of a SYN to mss. The TCP header and what follows it are `length` bytes; whatever they are, nothing beyond them is touched. */
void sp_mss_lower(uint8_t *tcp, uint32_t length, uint16_t mss);

/* The segment that fits a packet of at most `largest` bytes, options aside (RFC 6691 2); 0 when none does. */
static inline uint16_t sp_mss_of(uint16_t largest, int ipv6)
{
	uint32_t headers = (ipv6 ? SP_IPV6_LENGTH : SP_IPV4_LENGTH) + SP_TCP_LENGTH;

	return largest > headers ? (uint16_t)(largest - headers) : 0;
}

/* Lowers what a packet announces, if it is a SYN; mss 0 leaves all as it is. A fragment that we made has a TCP header only if it is the first. */
static inline void sp_mss_clamp(const struct sp_packet *p, uint16_t mss)
{
	uint32_t l4;

	if (p->key.protocol != SP_PROTOCOL_TCP || mss == 0 || (!sp_is_ipv6(p->l3) && sp_load16(p->l3 + 6) & RTE_BE16(SP_IPV4_OFFSET)))
		return;
	l4 = sp_is_ipv6(p->l3) ? ((const struct sp_packet6 *)p)->l4 : sp_ipv4_header_length(p->l3);
	if (l4 < p->length) /* extension headers of IPv6 may be longer than a first fragment of ours */
		sp_mss_lower(p->l3 + l4, p->length - l4, mss);
}

/* What a SYN may announce on its way out by an SA, 0: what it likes. The other end then sends no more, and would have to put it into packets of the same size. */
static inline uint16_t sp_mss_out(const struct sp_sa_out *sa, uint16_t mtu, int ipv6)
{
	return sa->encapsulation.mss_automatic ? sp_mss_of(sp_sa_out_largest_inner(sa, mtu), ipv6) : sa->encapsulation.mss;
}

/* Whether there is a limit for SYNs that come in by an SA. */
static inline int sp_sa_in_clamps(const struct sp_sa_in *sa)
{
	return sa->mss_automatic || sa->mss != 0;
}

/* mss.c: the same of a SYN that came in by an SA: what it announces is sent by the SA that its cell sends with. */
uint16_t sp_mss_in(const struct sp_worker *w, const struct sp_sa_in *sa, int ipv6);

#endif
