/* SPDX-License-Identifier: Apache-2.0 */

/* Last stage: next hop, link-layer header, transmit queue. Packets gather per port and leave once a turn. */

#include "ipv4.h"
#include "mbuf.h"
#include "stages.h"

/* Stores 16 bytes in front of the IP header: the last two are the header's first, so the header is written, or rewritten, afterwards. */
static __rte_always_inline void store_l2(uint8_t *l3, const struct sp_adjacency *next)
{
	uint16_t first = sp_load16(l3);

	memcpy(l3 - SP_L2_LENGTH, next->l2, sizeof(next->l2));
	sp_store16(l3, first);
}

/* A packet that leaves in clear, because a filter permitted it or because it came out of its tunnel. */
static void forward_one(struct sp_worker *w, struct sp_packet *p)
{
	const struct sp_adjacency *next = sp_adjacency_get(w, p->adjacency);

	if (unlikely(next == NULL)) {
		sp_punt_held(w, p, SP_PUNT_NEIGHBOUR);
		return;
	}
	if (likely(p->key.role != SP_ROLE_LOCAL)) {
		if (unlikely(p->l3[8] <= 1)) {
			sp_punt_dropped(w, p, SP_PUNT_TTL_EXPIRED, 0);
			return;
		}
		if (unlikely(p->length > next->mtu)) {
			sp_punt_dropped(w, p, SP_PUNT_TOO_BIG, next->mtu);
			return;
		}
		sp_ipv4_decrement_ttl(p->l3);
	} else if (unlikely(p->length > next->mtu)) {
		sp_drop(w, p->mbuf, SP_DROP_MTU_EXCEEDED);
		return;
	}
	sp_mbuf_bounds(p->mbuf, p->l3 - SP_L2_LENGTH, SP_L2_LENGTH + (uint32_t)p->length);
	store_l2(p->l3, next);
	sp_transmit(w, next->port, p->mbuf);
}

void sp_forward(struct sp_worker *w, struct sp_packet **packets, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		forward_one(w, packets[i]);
}

void sp_transmit_esp(struct sp_worker *w, const struct sp_sa_out *sa, struct rte_mbuf **mbufs, uint32_t n)
{
	/* looked up again: with asynchronous crypto time has passed */
	const struct sp_adjacency *next = sp_adjacency_get(w, __atomic_load_n(&sa->adjacency, __ATOMIC_RELAXED));

	for (uint32_t i = 0; i < n; i++) {
		if (unlikely(next == NULL)) {
			sp_drop(w, mbufs[i], SP_DROP_NO_NEIGHBOUR);
			continue;
		}
		if (unlikely(mbufs[i]->data_len > next->mtu + SP_L2_LENGTH)) {
			sp_drop(w, mbufs[i], SP_DROP_MTU_EXCEEDED);
			continue;
		}
		store_l2(rte_pktmbuf_mtod_offset(mbufs[i], uint8_t *, SP_L2_LENGTH), next);
		sp_transmit(w, next->port, mbufs[i]);
	}
}

/* Credits the in-ports of packets that were sent. */
static void count_forwarded(struct sp_worker *w, const struct sp_tx_buffer *tx, uint16_t port, uint32_t sent)
{
	struct sp_port_counters *out = &w->counters[port];
	uint64_t total = 0;
	uint32_t start = 0;

	while (start < sent) {
		uint16_t in_port = tx->in_port[start];
		uint64_t bytes = 0;
		uint32_t end = start;

		while (end < sent && tx->in_port[end] == in_port)
			bytes += tx->length[end++];
		w->counters[in_port].forwarded += end - start;
		w->counters[in_port].forwarded_bytes += bytes;
		total += bytes;
		start = end;
	}
	out->transmitted += sent;
	out->transmitted_bytes += total;
}

void sp_tx_flush_port(struct sp_worker *w, uint16_t port)
{
	struct sp_tx_buffer *tx = &w->tx[port];
	uint32_t sent = 0;

#ifdef SP_POISON
	for (uint32_t i = 0; i < tx->n; i++)
		sp_mbuf_unpoison(tx->mbufs[i]);
#endif
	/* a driver may take less than it could for reasons of its own (a doorbell, a ring's edge): ask until it takes nothing */
	while (sent < tx->n) {
		uint32_t taken = rte_eth_tx_burst(port, w->id, tx->mbufs + sent, (uint16_t)(tx->n - sent));

		if (taken == 0)
			break;
		sent += taken;
	}
	count_forwarded(w, tx, port, sent);
	for (uint32_t i = sent; i < tx->n; i++) {
		w->counters[tx->in_port[i]].drops[SP_DROP_TX_FULL]++;
		rte_pktmbuf_free(tx->mbufs[i]);
	}
	tx->n = 0;
}

void sp_tx_flush(struct sp_worker *w)
{
	for (uint32_t i = 0; i < w->n_ports; i++)
		if (w->tx[w->ports[i]].n > 0)
			sp_tx_flush_port(w, w->ports[i]);
}
