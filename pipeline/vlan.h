/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SP_VLAN_H
#define SP_VLAN_H

/* Several ports on one device, told apart by the tag of IEEE 802.1Q. Only vlan.c sees tags: the stages see untagged frames of a port. */

#include "stages.h"

#define SP_ETHER_TYPE_VLAN RTE_BE16(0x8100)
#define SP_ETHER_TYPE_QINQ RTE_BE16(0x88a8)
#define SP_VLAN_END 4095 /* reserved, as all beyond (IEEE 802.1Q 9.6) */

/* Frames as received from a device that several ports share, counted by port. */
void sp_ingest_trunk(struct sp_worker *w, uint16_t device, struct rte_mbuf **mbufs, uint32_t n);

/* Why a frame whose EtherType is not one of ours is dropped: it has a tag that is no port's, or is of another protocol. */
static inline uint8_t sp_ether_type_reason(uint16_t type)
{
	return type == SP_ETHER_TYPE_VLAN || type == SP_ETHER_TYPE_QINQ ? SP_DROP_UNKNOWN_VLAN : SP_DROP_ETHER_TYPE;
}

/* Whether a frame has a tag. */
int sp_tagged(const struct rte_mbuf *m);

/* Takes a tag off whose VLAN is 0, which belongs to the untagged port (IEEE 802.1Q 6.7); returns whether there was one. */
int sp_untag_priority(struct rte_mbuf *m);

/* Tags the frames of a transmit buffer. Those that have no room for a tag are dropped. */
void sp_tag(struct sp_worker *w, uint16_t vlan, struct sp_tx_buffer *tx);

#endif
