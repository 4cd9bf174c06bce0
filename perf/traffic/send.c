/* SPDX-License-Identifier: Apache-2.0 */

/* The generator: packets when they are due, by the TSC. It waits for nobody: what a port does not take is kept, and offered again in the next turn. */

#include "loop.h"

#include <rte_cycles.h>
#include <rte_ethdev.h>
#include <rte_ring.h>

#include "packet.h"

/* What is to be sent now. */
struct batch {
	uint32_t flows[TRAFFIC_BURST], lengths[TRAFFIC_BURST];
	struct traffic_sa *sas[TRAFFIC_BURST];
	struct rte_mbuf *mbufs[TRAFFIC_BURST];
	uint32_t n;
};

/* Whether the tunnel of a flow is there, and its SA, which stays until the loop has gone round. */
static int is_there(const struct traffic_stream *s, uint32_t flow, struct traffic_sa **sa)
{
	uint32_t tunnel = s->flows[flow].tunnel;

	*sa = s->sas == NULL ? NULL : __atomic_load_n(&s->sas->of[tunnel], __ATOMIC_ACQUIRE);
	if (s->sas != NULL)
		return *sa != NULL;
	return s->open == NULL || __atomic_load_n(&s->open[tunnel], __ATOMIC_RELAXED) != 0;
}

/* The next packet takes its turn: its flow, its length, and when the one after it is due. */
static void take_turn(struct traffic_stream *s, struct batch *b)
{
	uint32_t length = s->lengths[s->length_at], flow = s->order[s->order_at];

	if (likely(is_there(s, flow, &b->sas[b->n]))) {
		b->flows[b->n] = flow;
		b->lengths[b->n++] = length;
		s->built++;
	} else {
		s->withheld++;
	}
	s->due += s->per_packet + s->per_octet * (length + TRAFFIC_AROUND);
	s->burst_at = s->burst_at + 1 < s->burst ? s->burst_at + 1 : 0;
	s->length_at++;
	if (++s->order_at == s->n_order) {
		s->order_at = 0;
		s->length_at += s->extra;
	}
	s->length_at %= s->n_lengths;
}

/* Packets that were due until now. */
static uint64_t had_turn(const struct traffic_stream *s)
{
	return s->built + s->missed + s->withheld;
}

/* A sender that is too late gives up what was due meanwhile, rather than send it all at once. */
static void give_up(struct traffic_stream *s, double elapsed)
{
	double late = elapsed - s->due;
	uint64_t lost;

	if (s->mean <= 0 || late <= s->catch_up)
		return;
	lost = (uint64_t)((late - s->catch_up) / s->mean);
	if (s->limit != 0 && lost > s->limit - had_turn(s))
		lost = s->limit - had_turn(s);
	s->missed += lost;
	s->due += (double)lost * s->mean;
}

static int over(const struct traffic_stream *s)
{
	if (s->limit != 0)
		return had_turn(s) >= s->limit;
	return s->due + 1 >= (double)s->duration; /* sums of fractions may fall short of it by less than a cycle */
}

/* Collects what is due, up to a burst. */
static void collect(struct traffic_stream *s, uint64_t elapsed, struct batch *b)
{
	give_up(s, (double)elapsed);
	if (s->mean <= 0 && elapsed >= s->duration) /* as fast as it goes, until the time is over */
		s->ended = 1;
	for (uint32_t turns = 0; !s->ended && turns < TRAFFIC_BURST; turns++) {
		if (s->burst_at == 0 && over(s)) {
			s->ended = 1;
			return;
		}
		if (s->burst_at == 0 && s->due > (double)elapsed)
			return;
		if (s->limit != 0 && had_turn(s) >= s->limit) {
			s->ended = 1;
			return;
		}
		take_turn(s, b);
	}
}

/* Encrypts the batch and leaves out what cannot be: the SA is used up. */
static void seal(const struct traffic_sender *sender, struct traffic_stream *s, struct batch *b)
{
	uint32_t failed = traffic_seal(sender->crypto, b->sas, b->mbufs, b->n), n = 0;

	if (likely(failed == 0))
		return;
	s->exhausted = 1;
	s->ended = 1;
	for (uint32_t i = 0; i < b->n; i++) {
		if (failed >> i & 1)
			rte_pktmbuf_free(b->mbufs[i]);
		else
			b->mbufs[n++] = b->mbufs[i];
	}
	b->n = n;
}

static void write_ether(const struct traffic_sender *sender, struct rte_mbuf *m)
{
	uint8_t version = *rte_pktmbuf_mtod(m, uint8_t *) >> 4;
	uint16_t length = sender->vlan == 0 ? ETHER : ETHER + VLAN_TAG;
	uint8_t *ether = (uint8_t *)rte_pktmbuf_prepend(m, length); /* the headroom is larger than all headers */

	memcpy(ether, sender->gateway, 6);
	memcpy(ether + 6, sender->mac, 6);
	store16(ether + length - 2, version == 6 ? ETHER_TYPE_IPV6 : ETHER_TYPE_IPV4);
	if (sender->vlan == 0)
		return;
	store16(ether + 12, ETHER_TYPE_VLAN);
	store16(ether + 14, sender->vlan);
}

/* Makes the packets of a batch; without buffers for all there are none. */
static int build(struct traffic_sender *sender, struct traffic_stream *s, struct batch *b)
{
	if (unlikely(rte_pktmbuf_alloc_bulk(sender->pool, b->mbufs, b->n) != 0)) {
		s->no_buffer += b->n;
		s->missed += b->n;
		s->built -= b->n;
		b->n = 0;
		return -1;
	}
	for (uint32_t i = 0; i < b->n; i++) {
		struct traffic_mark mark = {.sequence = s->next[b->flows[i]]++, .stamp = rte_rdtsc(), .stream = s->number, .trial = sender->trial, .flow = b->flows[i]};
		uint8_t *ip = (uint8_t *)rte_pktmbuf_append(b->mbufs[i], (uint16_t)b->lengths[i]); /* Go has compared the lengths with the pool's buffers */

		traffic_write(s, sender->fill, b->flows[i], b->lengths[i], &mark, ip);
	}
	if (s->sas != NULL)
		seal(sender, s, b);
	for (uint32_t i = 0; i < b->n; i++)
		write_ether(sender, b->mbufs[i]);
	return 0;
}

/* Offers the port what is pending. */
static uint32_t flush(struct traffic_sender *sender)
{
	struct traffic_stream *s = sender->pending_of;
	uint32_t lengths[TRAFFIC_BURST];
	uint16_t sent;

	for (uint32_t i = 0; i < sender->n_pending; i++)
		lengths[i] = sender->pending[sender->pending_at + i]->pkt_len + 4; /* the check sequence */
	sent = rte_eth_tx_burst(sender->port, 0, sender->pending + sender->pending_at, (uint16_t)sender->n_pending);
	for (uint32_t i = 0; i < sent; i++)
		s->sent_octets += lengths[i];
	s->sent += sent;
	if (sent > 0)
		s->last = rte_rdtsc();
	sender->pending_at += sent;
	sender->n_pending -= sent;
	return sent;
}

static uint32_t send_stream(struct traffic_sender *sender, struct traffic_stream *s, uint64_t elapsed)
{
	struct batch b;

	b.n = 0;
	collect(s, elapsed, &b);
	if (b.n == 0 || build(sender, s, &b) != 0)
		return 0;
	memcpy(sender->pending, b.mbufs, b.n * sizeof(b.mbufs[0]));
	sender->pending_of = s;
	sender->pending_at = 0;
	sender->n_pending = b.n;
	return b.n == 0 ? 0 : flush(sender);
}

/* What Go has to say: answers to ARP and the like. A stream's packets go first. */
static uint32_t send_orders(struct traffic_sender *sender)
{
	struct rte_mbuf *mbufs[TRAFFIC_BURST];
	uint32_t n = rte_ring_dequeue_burst(sender->orders, (void **)mbufs, TRAFFIC_BURST, NULL);
	uint16_t sent;

	if (n == 0)
		return 0;
	sent = rte_eth_tx_burst(sender->port, 0, mbufs, (uint16_t)n);
	sender->orders_lost += n - sent;
	rte_pktmbuf_free_bulk(mbufs + sent, n - sent);
	return n;
}

uint32_t traffic_send(struct traffic_sender *sender, uint64_t start, int halt)
{
	uint32_t worked = send_orders(sender);
	uint64_t now;

	if (sender->n_pending > 0) {
		worked += flush(sender);
		if (sender->n_pending > 0)
			return worked;
	}
	now = rte_rdtsc();
	if (start == 0 || now < start || halt)
		return worked;
	/* Streams take turns, also when the port keeps one of them waiting. */
	for (uint32_t i = 0; i < sender->n_streams && sender->n_pending == 0; i++) {
		sender->turn = sender->turn + 1 < sender->n_streams ? sender->turn + 1 : 0;
		if (!sender->streams[sender->turn]->ended)
			worked += send_stream(sender, sender->streams[sender->turn], now - start);
	}
	return worked;
}

void traffic_sender_finish(struct traffic_sender *sender)
{
	if (sender->n_pending == 0)
		return;
	sender->pending_of->unsent += sender->n_pending;
	rte_pktmbuf_free_bulk(sender->pending + sender->pending_at, sender->n_pending);
	sender->n_pending = 0;
}

uint64_t traffic_rehearse(struct traffic_sender *sender, struct traffic_stream *s, uint32_t n)
{
	uint64_t start = rte_rdtsc();

	for (uint32_t done = 0; done < n; done += TRAFFIC_BURST) {
		struct batch b;

		b.n = 0;
		for (uint32_t i = 0; i < TRAFFIC_BURST; i++)
			take_turn(s, &b);
		if (b.n < TRAFFIC_BURST)
			return 0;
		if (build(sender, s, &b) != 0)
			return 0;
		rte_pktmbuf_free_bulk(b.mbufs, b.n);
		if (b.n < TRAFFIC_BURST)
			return 0;
	}
	return rte_rdtsc() - start;
}
