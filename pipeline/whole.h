/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SP_WHOLE_H
#define SP_WHOLE_H

/* Packets that somebody else makes ESP of as a whole, numbers included, or has made of ESP: a port's NIC (inline.c) or a crypto device (crypto_whole.c). */

#include "esp.h"
#include "ipv6.h"
#include "outer.h"

/* Bytes of the outer packet that is made of one of `length` bytes. */
static inline uint32_t sp_whole_total(const struct sp_sa_out *sa, uint32_t length)
{
	const uint32_t mask = sa->transform.block_mask;

	return sa->header_length + ((length + SP_ESP_TRAILER + mask) & ~mask) + sa->transform.icv_length;
}

/* Whether nothing speaks against a packet but its length; sp_outbound_reject disposes of it otherwise. A NIC may find a tag in front of it, and puts the header behind that. */
static inline int sp_whole_enters(const struct sp_sa_out *sa, struct sp_packet *p, int ipv6, uint32_t total)
{
	const int transit = p->key.role != SP_ROLE_LOCAL;

	return sp_selected_out(sa, p, ipv6) && (*sp_hops_left(p->l3) > 1 || !transit) && sp_mbuf_before(p->mbuf, p->l3) >= SP_L2_LENGTH + SP_TAG_LENGTH + (uint32_t)sa->header_length &&
	       sp_mbuf_after(p->mbuf, p->l3) >= total - sa->header_length;
}

/* What comes from elsewhere has passed a router: us. */
static inline void sp_whole_take_hop(const struct sp_packet *p, int ipv6)
{
	if (p->key.role == SP_ROLE_LOCAL)
		return;
	if (ipv6)
		p->l3[SP_IPV6_HOP_LIMIT]--;
	else
		sp_ipv4_decrement_ttl(p->l3);
}

/*
 * crypto_whole.c: the inner packets among those of one SA, SP_FORM_OPENED, checked and written to inner and to wide; returns how many to inner and adds the others to *n_wide. The rest is
 * left in packets, *n then.
 */
uint32_t sp_whole_unpack(struct sp_worker *w, struct sp_sa_in *sa, struct sp_esp *packets, uint32_t *n, struct sp_packet *inner, struct sp_packet6 *wide, uint32_t *n_wide);

#endif
