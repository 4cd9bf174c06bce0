/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Between a device and its ports, where it has more than one: tags come off before a frame is parsed and go on before it is sent. What carries no port's tag is dropped
 * and counted at the untagged port, or, of a device without one, at the port that the configuration names first.
 */

#include "vlan.h"

#include <rte_ether.h>

#include "ipv4.h"
#include "mbuf.h"

#define VLAN_MASK 0x0fff /* of a tag: the rest is priority (IEEE 802.1Q 9.6) */

int sp_tagged(const struct rte_mbuf *m)
{
	return m->data_len >= SP_L2_LENGTH + SP_TAG_LENGTH && sp_load16(rte_pktmbuf_mtod_offset(m, uint8_t *, SP_L2_LENGTH - 2)) == SP_ETHER_TYPE_VLAN;
}

static void untag(struct rte_mbuf *m)
{
	rte_vlan_strip(m);
	sp_mbuf_poison(m);
}

int sp_untag_priority(struct rte_mbuf *m)
{
	if (!sp_tagged(m) || sp_load16(rte_pktmbuf_mtod_offset(m, uint8_t *, SP_L2_LENGTH)) & RTE_BE16(VLAN_MASK))
		return 0;
	untag(m);
	return 1;
}

/* Takes the tag off, unless the device has. Returns the frame's VLAN, 0 for none. */
static uint16_t take_tag(struct rte_mbuf *m)
{
	if (!(m->ol_flags & RTE_MBUF_F_RX_VLAN_STRIPPED)) {
		if (!sp_tagged(m))
			return 0;
		untag(m);
	}
	return m->vlan_tci & VLAN_MASK;
}

/* A frame for none of the device's ports. */
static void refuse(struct sp_worker *w, struct rte_mbuf *m)
{
	w->counters[m->port].received++;
	w->counters[m->port].received_bytes += m->pkt_len;
	sp_clear_marks(m);
	sp_drop(w, m, SP_DROP_UNKNOWN_VLAN);
}

/* Gives each frame its port; returns how many have one, at the front and in their order. */
static uint32_t sort_out(struct sp_worker *w, const struct sp_trunk *trunk, struct rte_mbuf **mbufs, uint32_t n)
{
	uint32_t good = 0;

	for (uint32_t i = 0; i < n; i++) {
		struct rte_mbuf *m = mbufs[i];
		uint8_t port = trunk->port[take_tag(m)];

		m->port = port == SP_NO_PORT ? trunk->other : port;
		if (m->ol_flags & RTE_MBUF_F_RX_VLAN_STRIPPED) /* the tag was on the wire, whoever took it off */
			w->counters[m->port].received_bytes += SP_TAG_LENGTH;
		if (likely(port != SP_NO_PORT))
			mbufs[good++] = m;
		else
			refuse(w, m);
	}
	return good;
}

void sp_ingest_trunk(struct sp_worker *w, uint16_t device, struct rte_mbuf **mbufs, uint32_t n)
{
	uint32_t left = sort_out(w, w->dp->trunks[device], mbufs, n);

	while (left > 0) {
		struct rte_mbuf *burst[SP_BURST];
		uint16_t port = mbufs[0]->port;
		uint32_t same = 0, others = 0;

		for (uint32_t i = 0; i < left; i++) {
			if (mbufs[i]->port == port)
				burst[same++] = mbufs[i];
			else
				mbufs[others++] = mbufs[i];
		}
		sp_ingest(w, port, burst, same, 1);
		left = others;
	}
}

void sp_tag(struct sp_worker *w, uint16_t vlan, struct sp_tx_buffer *tx)
{
	uint32_t good = 0;

	for (uint32_t i = 0; i < tx->n; i++) {
		struct rte_mbuf *m = tx->mbufs[i];
		uint32_t length = m->pkt_len;

		m->vlan_tci = vlan;
		if (unlikely(rte_vlan_insert(&m) != 0)) {
			tx->bytes -= length;
			sp_drop(w, m, SP_DROP_NO_ROOM);
			continue;
		}
		tx->bytes += SP_TAG_LENGTH;
		tx->mbufs[good++] = m;
	}
	tx->n = good;
}
