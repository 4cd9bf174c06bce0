/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Beside stages 7 and 9: a NIC that does no ESP any more, although it has sessions. A port may refuse a packet for many a reason, and leave one as it came: the NIC is lost when it has
 * done nothing else for a time. Go is told, and moves what it did elsewhere.
 */

#include "inline.h"

/* The time counts from packet to packet and at most LOOK of it, so that a worker, or a machine, that was stopped for a while asks again before it gives up. */
#define LOST_MILLISECONDS 1000
#define LOOK_MILLISECONDS 250
#define LOST_PACKETS 8

static void count(struct sp_worker *w, struct sp_nic_silence *s, uint16_t port, uint32_t n, enum sp_nic_loss loss)
{
	const uint64_t millisecond = rte_get_tsc_hz() / 1000;

	if (s->packets == 0)
		s->silent = 0;
	else
		s->silent += RTE_MIN(w->now - s->looked, LOOK_MILLISECONDS * millisecond);
	s->looked = w->now;
	s->packets += n;
	if (s->packets < LOST_PACKETS || s->silent < LOST_MILLISECONDS * millisecond)
		return;
	s->packets = 0;
	__atomic_store_n(&w->dp->silent[port], (uint8_t)loss, __ATOMIC_RELAXED);
}

static void refused(struct sp_worker *w, uint16_t port, uint32_t n, enum sp_nic_loss loss)
{
	w->tx[port].refusing = 1;
	count(w, &w->refused[port], port, n, loss);
}

void sp_inline_refused(struct sp_worker *w, uint16_t port, uint32_t n)
{
	refused(w, port, n, SP_NIC_REFUSES);
}

/* What the NIC of a port has opened so far, whichever worker and VLAN it was for. */
static uint64_t opened(const struct sp_dataplane *dp, uint16_t device)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < dp->n_workers; i++)
		for (uint16_t port = 0; port < SP_MAX_PORTS; port++)
			if (dp->ports[port].device == device)
				n += __atomic_load_n(&dp->workers[i]->unopened[port].done, __ATOMIC_RELAXED);
	return n;
}

void sp_inline_unopened(struct sp_worker *w, uint16_t port, uint32_t n)
{
	struct sp_nic_silence *s = &w->unopened[port];
	const uint64_t done = opened(w->dp, w->dp->ports[port].device);

	if (done != s->met) /* for whomever: the NIC is there */
		s->packets = 0;
	s->met = done;
	count(w, s, port, n, SP_NIC_LEAVES);
}

static int is_secured(const struct rte_mbuf *m)
{
	return (m->ol_flags & RTE_MBUF_F_TX_SEC_OFFLOAD) != 0;
}

uint32_t sp_inline_first(const struct sp_tx_buffer *tx)
{
	uint32_t i = 0;

	while (i < tx->n && !is_secured(tx->mbufs[i]))
		i++;
	return i;
}

/* The next place in a port's queue (0): RTE_ETH_TX_DESC_FULL if there is none, below 0 where the driver does not tell. */
static int next_place(const struct sp_worker *w, uint16_t port)
{
	return rte_eth_tx_descriptor_status(w->dp->ports[port].device, w->id, 0);
}

/*
 * A ring without room says nothing of ESP: the link is down, or its other end asks for a pause. Of a driver that does not tell Go knows the link's state, and may know of pauses.
 */
void sp_inline_sent(struct sp_worker *w, uint16_t port, uint32_t first, uint32_t sent)
{
	struct sp_tx_buffer *tx = &w->tx[port];
	const int next = sent < tx->n ? next_place(w, port) : RTE_ETH_TX_DESC_DONE;

	if (first < sent || next == RTE_ETH_TX_DESC_FULL) {
		tx->refusing = 0;
		w->refused[port].packets = 0;
	} else if (sent < tx->n && is_secured(tx->mbufs[sent])) {
		refused(w, port, tx->n - sent, next < 0 ? SP_NIC_BLOCKED : SP_NIC_REFUSES);
	}
}

uint8_t sp_nic_take_loss(struct sp_dataplane *dp, uint16_t port)
{
	return __atomic_exchange_n(&dp->silent[port], SP_NIC_WORKS, __ATOMIC_RELAXED);
}
