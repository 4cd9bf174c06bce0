/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SP_CLASSIFY_H
#define SP_CLASSIFY_H

/* What the classifiers of both IP versions share. */

#include "ipv6.h"

#define SP_PORT_IKE_NAT 4500 /* IKE shares it with ESP in UDP (RFC 3948 2) */

/* What a destination is to the gateway. */
enum sp_destination {
	SP_TO_ELSEWHERE,
	SP_TO_OWN,
	SP_TO_MULTICAST,
	SP_TO_ALL,          /* limited broadcast; IPv6 has neither this nor the following */
	SP_TO_SUBNET,       /* to all of the subnet that the packet came from */
	SP_TO_OTHER_SUBNET, /* to all of another attached subnet (RFC 2644) */
};

static inline void sp_verdict_drop(struct sp_packet *p, uint8_t reason)
{
	p->verdict.action = SP_ACTION_DROP;
	p->verdict.reason = reason;
}

/* classify.c: what the filter that a packet met says of it. Sets the verdict; returns whether it may be remembered. */
uint8_t sp_entry_verdict(const struct sp_dataplane *dp, const struct sp_snapshot *s, struct sp_packet *p, const struct sp_entry *e, enum sp_destination to);
/* classify6.c: as sp_route. */
uint8_t sp_route6(const struct sp_dataplane *dp, const struct sp_snapshot *s, struct sp_packet6 *p, int require_protected);

#endif
