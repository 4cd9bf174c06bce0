/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SP_FIELDS_H
#define SP_FIELDS_H

/*
 * The fields that a tunnel's outer header takes from the inner one or from the configuration, and those that an outer header gives back (RFC 4301 5.1.2). What an SA's
 * configuration says is turned into masks when the SA is made, so that a packet meets no branch for it.
 */

#include "ipv6.h"

#define SP_OUTER_TTL 64 /* where nothing else is configured */

/* Of an outbound SA. */
struct sp_fields {
	uint16_t df_mask_be; /* of the inner header's flags as they stand in memory: what is copied */
	uint16_t df_set_be;  /* and what is set whatever they are */
	uint8_t tos_mask;    /* of the inner TOS or traffic class: what is copied */
	uint8_t tos_set;
	uint8_t ttl;         /* or hop limit */
};

/* A DSCP that is copied is the uniform model of RFC 2983 3, a fixed one its pipe model. Without ECN routers see a packet that cannot carry marks (RFC 6040 4.1). */
static inline struct sp_fields sp_fields_of(const struct sp_encapsulation *e)
{
	const int copy = e->dscp == SP_DSCP_COPY;

	return (struct sp_fields){
		.df_mask_be = e->df == SP_DF_COPY ? RTE_BE16(SP_IPV4_DF) : 0,
		.df_set_be = e->df == SP_DF_SET ? RTE_BE16(SP_IPV4_DF) : 0,
		.tos_mask = (uint8_t)((copy ? 0xfc : 0) | (e->ecn_off ? 0 : SP_ECN_MASK)),
		.tos_set = copy ? 0 : (uint8_t)(e->dscp << 2),
		.ttl = e->ttl,
	};
}

/* Whether DSCP and ECN are as inside. */
static inline int sp_fields_copied(const struct sp_fields *f)
{
	return f->tos_mask == 0xff;
}

/* Whether an outer IPv4 header is what outbound.c writes by itself. */
static inline int sp_fields_plain(const struct sp_fields *f)
{
	return f->df_mask_be != 0 && sp_fields_copied(f) && f->ttl == SP_OUTER_TTL;
}

/* TOS of IPv4 or traffic class of IPv6: DSCP and ECN together. */
static inline uint8_t sp_tos(const uint8_t *l3)
{
	return sp_is_ipv6(l3) ? sp_ipv6_traffic_class(l3) : l3[1];
}

/* TOS or traffic class of the outer header of a packet (RFC 2983, RFC 6040 4.1). */
static inline uint8_t sp_fields_tos(const struct sp_fields *f, const uint8_t *inner)
{
	return (uint8_t)((sp_tos(inner) & f->tos_mask) | f->tos_set);
}

/* Flags and fragment offset of an outer IPv4 header, as they stand in memory: DF or nothing. An IPv6 packet counts as one with DF: no router may fragment it (RFC 8200 4.5). */
static inline uint16_t sp_fields_df_be(const struct sp_fields *f, const uint8_t *inner)
{
	uint16_t flags = sp_is_ipv6(inner) ? RTE_BE16(SP_IPV4_DF) : sp_load16(inner + 6);

	return (uint16_t)((flags & f->df_mask_be) | f->df_set_be);
}

/* ---- decapsulation: DSCP and TTL of the inner header stay (RFC 2983 3.2 pipe model, RFC 4301 5.1.2.1) ---- */

#define SP_ECN_LOST 0xff

/*
 * RFC 6040 4.2, figure 4: what becomes of the inner ECN field, by inner and outer one in the order of their code points: not-ECT, ECT(1), ECT(0), CE. It holds
 * whichever mode the sender is in. A mark on what cannot carry one means congestion that its sender would not hear of: the packet is lost instead.
 */
static const uint8_t sp_ecn_inside[4][4] = {
	{0, 0, 0, SP_ECN_LOST},
	{1, 1, 1, 3},
	{2, 1, 2, 3},
	{3, 3, 3, 3},
};

#define SP_ECN_TELLS 1 /* bit of the outer ECN field without which the inner one stays as it is, in every row of the table */

static inline void sp_set_ecn(uint8_t *l3, uint8_t ecn)
{
	uint16_t before = sp_load16(l3);

	if (sp_is_ipv6(l3)) {
		l3[1] = (uint8_t)((l3[1] & ~(SP_ECN_MASK << 4)) | ecn << 4);
		return;
	}
	l3[1] = (uint8_t)((l3[1] & ~SP_ECN_MASK) | ecn);
	sp_ipv4_checksum_adjust(l3, before, sp_load16(l3));
}

/* Carries what an outer header says of congestion into the inner one, of either version: SP_PASS or the reason to drop. */
static inline uint8_t sp_decapsulate_ecn(uint8_t *inner, uint8_t outer_tos)
{
	uint8_t before = sp_tos(inner) & SP_ECN_MASK, after = sp_ecn_inside[before][outer_tos & SP_ECN_MASK];

	if (after == SP_ECN_LOST)
		return SP_DROP_ECN;
	if (after != before)
		sp_set_ecn(inner, after);
	return SP_PASS;
}

#endif
