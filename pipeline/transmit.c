/* SPDX-License-Identifier: Apache-2.0 */

/* Last stage: next hop, link-layer header, transmit queue. Packets gather per port and leave once a turn. */

#include "fragment.h"
#include "mbuf.h"
#include "vlan.h"

/* A packet in transit, in more than one frame. */
static void send_fragments(struct sp_worker *w, const struct sp_packet *p, const struct sp_adjacency *next, const struct sp_cut *cut)
{
	if (sp_is_ipv6(p->l3))
		p->l3[SP_IPV6_HOP_LIMIT]--;
	else
		sp_ipv4_decrement_ttl(p->l3);
	sp_fragment_and_send(w, next, p->mbuf, cut);
}

/* Disposes of a packet that cannot leave as it is. */
static __rte_noinline void reject(struct sp_worker *w, const struct sp_packet *p, const struct sp_adjacency *next)
{
	struct sp_cut cut;

	if (p->key.role == SP_ROLE_LOCAL) {
		if (sp_may_fragment_own(p, next->mtu, &cut))
			sp_fragment_and_send(w, next, p->mbuf, &cut);
		else
			sp_drop(w, p->mbuf, SP_DROP_MTU_EXCEEDED);
	} else if (*sp_hops_left(p->l3) <= 1)
		sp_punt_dropped(w, p, SP_PUNT_TTL_EXPIRED, 0);
	else if (!sp_may_fragment(w, p, next->mtu, &cut))
		sp_punt_dropped(w, p, SP_PUNT_TOO_BIG, next->mtu);
	else
		send_fragments(w, p, next, &cut);
}

/* Compiled once for each IP version. */
static __rte_always_inline void forward(struct sp_worker *w, struct sp_packet **packets, uint32_t n, int ipv6)
{
	const struct sp_adjacency *next = NULL;
	struct sp_tx_buffer *tx = NULL;
	uint16_t adjacency = SP_NO_ADJACENCY, in_port = packets[0]->mbuf->port;
	const int transit = packets[0]->key.role != SP_ROLE_LOCAL; /* one in-port, so one role */

	for (uint32_t i = 0; i < n; i++) {
		struct sp_packet *p = packets[i];
		uint32_t length = SP_L2_LENGTH + (uint32_t)p->length;

		if (unlikely(p->verdict.adjacency != adjacency)) {
			adjacency = p->verdict.adjacency;
			next = sp_adjacency_get(w, adjacency);
			if (next != NULL)
				tx = sp_tx_reserve(w, next->port, in_port, n - i);
		}
		if (unlikely(next == NULL)) {
			sp_punt_held(w, p, SP_PUNT_NEIGHBOUR);
			continue;
		}
		if (unlikely((p->l3[ipv6 ? SP_IPV6_HOP_LIMIT : SP_IPV4_TTL] <= 1 && transit) || p->length > next->mtu)) {
			reject(w, p, next);
			adjacency = SP_NO_ADJACENCY; /* fragments may have taken the room that was reserved */
			next = NULL;
			continue;
		}
		if (ipv6)
			p->l3[SP_IPV6_HOP_LIMIT] -= (uint8_t)transit;
		else if (likely(transit))
			sp_ipv4_decrement_ttl(p->l3);
		sp_mbuf_bounds(p->mbuf, p->l3 - SP_L2_LENGTH, length);
		memcpy(p->l3 - SP_L2_LENGTH, next->l2, SP_L2_LENGTH);
		sp_tx_append(tx, p->mbuf, length);
	}
}

/* Packets that leave in clear, because a filter permitted them or because they came out of their tunnel. All have one in-port and one IP version. */
void sp_forward(struct sp_worker *w, struct sp_packet **packets, uint32_t n)
{
	SP_ENTER(w, TRANSMIT);
	if (likely(!sp_is_ipv6(packets[0]->l3)))
		forward(w, packets, n, 0);
	else
		forward(w, packets, n, 1);
}

void sp_transmit_run(struct sp_worker *w, uint16_t port, struct rte_mbuf **mbufs, uint32_t n, uint64_t bytes)
{
	struct sp_tx_buffer *tx;

	if (unlikely(n == 0))
		return;
	tx = sp_tx_reserve(w, port, mbufs[0]->port, n);
	memcpy(tx->mbufs + tx->n, mbufs, n * sizeof(*mbufs));
	tx->n += n;
	tx->bytes += bytes;
}

void sp_transmit_esp(struct sp_worker *w, const struct sp_sa_out *sa, struct rte_mbuf **mbufs, uint32_t n)
{
	/* looked up again: with asynchronous crypto time has passed */
	const struct sp_adjacency *next = sp_adjacency_get(w, __atomic_load_n(&sa->adjacency, __ATOMIC_RELAXED));
	const uint32_t mtu = next == NULL ? 0 : sp_sa_out_mtu(sa, next);
	struct sp_cut cut;
	uint32_t good = 0;
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < n; i++) {
		struct rte_mbuf *m = mbufs[i];

		if (unlikely(next == NULL)) {
			sp_drop(w, m, SP_DROP_NO_NEIGHBOUR);
			continue;
		}
		if (unlikely(m->data_len > mtu + SP_L2_LENGTH) && sp_may_fragment_outer(sa, m, mtu, &cut)) {
			sp_fragment_and_send(w, next, m, &cut);
			continue;
		}
		if (unlikely(m->data_len > next->mtu + SP_L2_LENGTH)) {
			sp_drop(w, m, SP_DROP_MTU_EXCEEDED);
			continue;
		}
		memcpy(rte_pktmbuf_mtod(m, uint8_t *), next->l2, SP_L2_LENGTH);
		bytes += m->data_len;
		mbufs[good++] = m;
	}
	if (likely(good > 0))
		sp_transmit_run(w, next->port, mbufs, good, bytes);
}

void sp_tx_flush_port(struct sp_worker *w, uint16_t port)
{
	struct sp_tx_buffer *tx = &w->tx[port];
	struct sp_port_counters *in = &w->counters[tx->in_port], *out = &w->counters[port];
	const struct sp_port *to = &w->dp->ports[port];
	uint32_t sent = 0, first = UINT32_MAX;

#ifdef SP_POISON
	for (uint32_t i = 0; i < tx->n; i++)
		sp_mbuf_unpoison(tx->mbufs[i]);
#endif
	if (unlikely(to->vlan != 0))
		sp_tag(w, to->vlan, tx);
	if (unlikely(tx->refusing))
		first = sp_inline_first(tx);
	/* a driver may take less than it could for reasons of its own (a doorbell, a ring's edge): ask until it takes nothing */
	while (sent < tx->n) {
		uint32_t taken = rte_eth_tx_burst(to->device, w->id, tx->mbufs + sent, (uint16_t)(tx->n - sent));

		if (taken == 0)
			break;
		sent += taken;
	}
	if (unlikely(sent < tx->n || tx->refusing))
		sp_inline_sent(w, port, first, sent);
	for (uint32_t i = sent; i < tx->n; i++) {
		tx->bytes -= tx->mbufs[i]->pkt_len;
		sp_drop(w, tx->mbufs[i], SP_DROP_TX_FULL);
	}
	in->forwarded += sent;
	in->forwarded_bytes += tx->bytes;
	out->transmitted += sent;
	out->transmitted_bytes += tx->bytes;
	tx->n = 0;
	tx->bytes = 0;
}

void sp_tx_flush(struct sp_worker *w)
{
	for (uint32_t i = 0; i < w->n_ports; i++)
		if (w->tx[w->ports[i]].n > 0)
			sp_tx_flush_port(w, w->ports[i]);
}
