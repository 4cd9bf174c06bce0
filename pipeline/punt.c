/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What a worker hands to Go. Rings have one writer and one reader; a full ring is a counted drop. A slow path that
 * stands still, or has more to do than it can, costs packets of the full class and nothing else: no worker waits, and all queues together hold a part of the buffers only.
 */

#include <rte_hash.h>

#include "classify.h"
#include "mbuf.h"
#include "outer.h"
#include "siphash.h"
#include "vlan.h"

/* Of the IKE header (RFC 7296 3.1, RFC 2408 3.1): both SPIs, the initiator's first. */
#define IKE_SPI_LENGTH 8
#define IKE_SPI_TAG 0xffff /* bits of an SPI of ours that are a hash of the others */
#define TICK_BITS 24 /* beside a hash of 40: they come again after 19 days */
#define SHARE_TICKS 10 /* a second */
#define NON_ESP_MARKER 4 /* bytes in front of it on port 4500 (RFC 3948 2.2) */

uint8_t sp_punt_shared(uint32_t punt_class)
{
	switch (punt_class) {
	case SP_CLASS_LINK: /* by port */
	case SP_CLASS_IKE:  /* and see ike_share */
	case SP_CLASS_IKE_STRANGER:
	case SP_CLASS_IKE_BEGIN:
	case SP_CLASS_IKE_BEGIN_STRANGER:
		return 1;
	default:
		return 0;
	}
}

static int punt_share(struct sp_worker *w, struct rte_mbuf *m, enum sp_punt kind, enum sp_punt_class punt_class, uint8_t share)
{
	struct sp_punt_queue *q = &w->punt[punt_class];
	struct sp_mbuf_priv *priv = sp_priv(m);
	const uint32_t waiting = q->waited[share] - __atomic_load_n(&q->taken[share], __ATOMIC_ACQUIRE);

	priv->kind = (uint8_t)kind;
	priv->share = share;
	if (likely((!q->shared || waiting < rte_ring_free_count(q->ring)) && rte_ring_sp_enqueue(q->ring, m) == 0)) {
		q->waited[share]++;
		q->queued++;
		return 1;
	}
	q->full++;
	return 0;
}

/* Of all but IKE. */
static int punt(struct sp_worker *w, struct rte_mbuf *m, enum sp_punt kind, enum sp_punt_class punt_class)
{
	return punt_share(w, m, kind, punt_class, punt_class == SP_CLASS_LINK ? (uint8_t)m->port : 0);
}

/* Of all but IKE. */
static enum sp_punt_class class_of(enum sp_punt kind)
{
	switch (kind) {
	case SP_PUNT_ARP:
	case SP_PUNT_ND:
		return SP_CLASS_LINK;
	case SP_PUNT_NEIGHBOUR:
		return SP_CLASS_NEIGHBOUR;
	case SP_PUNT_ACQUIRE:
		return SP_CLASS_ACQUIRE;
	case SP_PUNT_EARLY:
		return SP_CLASS_EARLY;
	default:
		return SP_CLASS_LOCAL;
	}
}

/* Whose address a packet comes from: its position in the table of peers, negative for none's. */
static int peer_of(const struct sp_dataplane *dp, const uint8_t *l3)
{
	uint8_t address[SP_IPV6_ADDRESS] = {[10] = 0xff, [11] = 0xff};

	if (sp_is_ipv6(l3))
		memcpy(address, l3 + 8, SP_IPV6_ADDRESS);
	else
		memcpy(address + 12, l3 + 12, 4);
	return rte_hash_lookup(dp->peers, address);
}

uint64_t sp_ike_spi(const uint64_t secret[2], uint64_t random)
{
	const uint64_t free = random & ~(uint64_t)IKE_SPI_TAG;

	return free | (sp_siphash(secret, &free, 1) & IKE_SPI_TAG);
}

uint64_t sp_keyed_hash(const uint64_t key[2], const uint64_t *words, uint32_t n)
{
	return sp_siphash(key, words, n);
}

static int is_ours(const struct sp_dataplane *dp, uint64_t spi)
{
	return spi != 0 && sp_ike_spi(dp->secret, spi) == spi;
}

/*
 * One of the shares of a queue of IKE. Who has the same one, by a secret hash, is another every second: messages that were dropped for somebody else's come again (RFC 7296 2.1),
 * and find another neighbour.
 */
static uint8_t ike_share(const struct sp_dataplane *dp, uint64_t a, uint64_t b)
{
	const uint64_t words[3] = {a, b, __atomic_load_n(&dp->tick, __ATOMIC_RELAXED) / SHARE_TICKS};

	return (uint8_t)(sp_siphash(dp->secret, words, RTE_DIM(words)) % SP_PUNT_SHARES);
}

/* Of the address that a packet comes from. */
static uint8_t share_of_source(const struct sp_dataplane *dp, const uint8_t *l3)
{
	if (sp_is_ipv6(l3))
		return ike_share(dp, sp_load64(l3 + 8), sp_load64(l3 + 16));
	return ike_share(dp, 0, sp_load32(l3 + 12));
}

/*
 * Every byte that is read lies within the IP packet; the lengths of UDP are Go's to check. Who of the two began does not matter: a message of IKEv1 does not even say it. What
 * names an IKE SA of ours shares by that, because whoever has seen the SPI can write it from any address.
 */
static enum sp_punt_class class_of_ike(const struct sp_dataplane *dp, const struct sp_packet *p, uint8_t *share)
{
	const uint32_t headers = sp_is_ipv6(p->l3) ? ((const struct sp_packet6 *)p)->l4 : sp_ipv4_header_length(p->l3);
	const uint32_t at = headers + SP_UDP_LENGTH + (p->key.destination_port == SP_PORT_IKE_NAT ? NON_ESP_MARKER : 0);

	if (p->length >= at + 2 * IKE_SPI_LENGTH) {
		const uint64_t initiator = rte_be_to_cpu_64(sp_load64(p->l3 + at)), responder = rte_be_to_cpu_64(sp_load64(p->l3 + at + IKE_SPI_LENGTH));

		if (is_ours(dp, responder) || is_ours(dp, initiator)) {
			*share = ike_share(dp, is_ours(dp, responder) ? responder : initiator, 0);
			return SP_CLASS_IKE;
		}
		if (responder != 0) {
			*share = share_of_source(dp, p->l3);
			return SP_CLASS_IKE_STRANGER;
		}
	}
	*share = share_of_source(dp, p->l3);
	return peer_of(dp, p->l3) >= 0 ? SP_CLASS_IKE_BEGIN : SP_CLASS_IKE_BEGIN_STRANGER;
}

void sp_punt_frame(struct sp_worker *w, struct rte_mbuf *m, enum sp_punt kind, uint32_t filter)
{
	struct sp_mbuf_priv *priv = sp_priv(m);
	const uint16_t in_port = m->port;

	priv->in_cell = SP_NO_CELL;
	priv->filter = filter;
	if (likely(punt(w, m, kind, class_of(kind))))
		w->counters[in_port].delivered++;
	else
		sp_drop(w, m, SP_DROP_PUNT_FULL);
}

/* Notes what the slow path needs to know. A decrypted packet loses what was around it. */
static void describe(const struct sp_worker *w, const struct sp_packet *p)
{
	struct sp_mbuf_priv *priv = sp_priv(p->mbuf);

	priv->generation = w->generation;
	priv->in_cell = p->key.in_cell;
	priv->filter = p->verdict.filter;
	priv->cell = (uint16_t)p->verdict.cell;
	priv->adjacency = p->verdict.adjacency;
	priv->out_port = p->out_port;
	priv->next_hop = p->next_hop;
	if (p->key.in_cell == SP_NO_CELL)
		return;
	priv->incarnation = sp_cell_incarnation(w->dp, p->key.in_cell);
	sp_mbuf_bounds(p->mbuf, p->l3 - SP_L2_LENGTH, SP_L2_LENGTH + (uint32_t)p->length);
}

void sp_punt_delivered(struct sp_worker *w, const struct sp_packet *p, enum sp_punt kind)
{
	const uint16_t in_port = p->mbuf->port;

	describe(w, p);
	if (likely(punt(w, p->mbuf, kind, class_of(kind))))
		w->counters[in_port].delivered++;
	else
		sp_punt_heard(w, p, SP_DROP_PUNT_FULL); /* a filter may have let through what is for a port of IKE */
}

void sp_punt_ike(struct sp_worker *w, const struct sp_packet *p)
{
	uint16_t in_port = p->mbuf->port;
	uint8_t share;
	enum sp_punt_class punt_class = class_of_ike(w->dp, p, &share);

	describe(w, p);
	if (likely(punt_share(w, p->mbuf, SP_PUNT_IKE, punt_class, share)))
		w->counters[in_port].delivered++;
	else
		sp_drop(w, p->mbuf, SP_DROP_PUNT_FULL);
}

void sp_uncount(struct sp_worker *w, uint32_t filter, uint32_t bytes)
{
	if (filter != SP_COUNTER_NONE)
		sp_count_filter(w, filter, -(uint64_t)1, -(uint64_t)bytes);
}

/* The mark must be read while the packet is ours: Go may have it as soon as it is in the queue. */
void sp_punt_held(struct sp_worker *w, const struct sp_packet *p, enum sp_punt kind)
{
	struct rte_mbuf *m = p->mbuf;
	uint16_t in_port = m->port;
	uint32_t filter = sp_mark_filter(m);

	describe(w, p);
	if (likely(punt(w, m, kind, class_of(kind)))) {
		w->counters[in_port].held++;
		sp_uncount(w, filter, p->length);
	} else {
		sp_drop(w, m, SP_DROP_PUNT_FULL);
	}
}

int sp_punt_early(struct sp_worker *w, struct rte_mbuf *m, uint32_t spi)
{
	struct sp_mbuf_priv *priv = sp_priv(m);
	const uint16_t in_port = m->port;
	const uint32_t filter = sp_mark_filter(m), bytes = sp_ip_length(rte_pktmbuf_mtod_offset(m, uint8_t *, SP_L2_LENGTH));

	priv->in_cell = SP_NO_CELL;
	priv->filter = filter;
	priv->generation = w->generation;
	priv->spi = spi;
	if (!punt(w, m, SP_PUNT_EARLY, SP_CLASS_EARLY))
		return 0;
	w->counters[in_port].held++;
	sp_uncount(w, filter, bytes);
	return 1;
}

void sp_punt_dropped(struct sp_worker *w, const struct sp_packet *p, enum sp_punt kind, uint16_t mtu)
{
	sp_count_drop(w, p->mbuf, kind == SP_PUNT_TTL_EXPIRED ? SP_DROP_TTL_EXPIRED : SP_DROP_MTU_EXCEEDED);
	describe(w, p);
	sp_priv(p->mbuf)->mtu = mtu;
	if (unlikely(!punt(w, p->mbuf, kind, class_of(kind))))
		rte_pktmbuf_free(p->mbuf);
}

/* Drops a packet that Go is told of. */
static void notice(struct sp_worker *w, const struct sp_packet *p, enum sp_punt kind, uint8_t reason)
{
	sp_count_drop(w, p->mbuf, reason);
	describe(w, p);
	if (unlikely(!punt(w, p->mbuf, kind, SP_CLASS_NOTICE)))
		rte_pktmbuf_free(p->mbuf);
}

static uint32_t tick_of(const struct sp_worker *w)
{
	return __atomic_load_n(&w->dp->tick, __ATOMIC_RELAXED);
}

/* What comes in clear while the cell waits for an SA. What finds the queue full is told of when there is room: more of the same comes. */
static int tell_clear(struct sp_worker *w, const struct sp_packet *p)
{
	struct sp_cell *cell = &w->dp->cells[p->verdict.cell];
	const uint8_t tick = (uint8_t)tick_of(w);

	return __atomic_load_n(&cell->told_clear, __ATOMIC_RELAXED) != tick && !sp_cell_up(cell) && sp_without_sa(cell) == SP_PASS &&
	       !rte_ring_full(w->punt[SP_CLASS_NOTICE].ring) && __atomic_exchange_n(&cell->told_clear, tick, __ATOMIC_RELAXED) != tick;
}

/*
 * Who sends to a group may do it once, and must not be missed (S-052). A sender shares its place with others, but not its hash: the next one takes the place and is told of too. Senders
 * may fill half of the queue. Of any beyond that Go knows only that there was one, and takes whoever is answered for it.
 */
static int tell_group(struct sp_worker *w, const struct sp_packet *p)
{
	const struct sp_flow_key *k = &p->key;
	const struct sp_punt_queue *q = &w->punt[SP_CLASS_NOTICE];
	const uint64_t words[3] = {
		sp_is_ipv6(p->l3) ? ((const struct sp_packet6 *)p)->addresses[0] : 0,
		sp_is_ipv6(p->l3) ? ((const struct sp_packet6 *)p)->addresses[1] : k->source,
		(uint64_t)p->verdict.cell << 32 | (uint64_t)k->source_port << 8 | k->protocol,
	};
	const uint64_t hash = sp_siphash(w->dp->secret, words, RTE_DIM(words));
	const uint64_t mark = hash << TICK_BITS | (tick_of(w) & ((1u << TICK_BITS) - 1));
	uint64_t *place = &w->dp->told[hash >> 32 & (SP_TOLD - 1)];

	if (likely(__atomic_load_n(place, __ATOMIC_RELAXED) == mark))
		return 0;
	__atomic_store_n(place, mark, __ATOMIC_RELAXED);
	if (unlikely(rte_ring_count(q->ring) >= (rte_ring_get_capacity(q->ring) + 1) / 2)) {
		__atomic_store_n(&w->untold, w->untold + 1, __ATOMIC_RELAXED);
		return 0;
	}
	return 1;
}

/* A datagram in clear for one of IKE's ports at an address of ours. */
static int to_ike_port(const struct sp_worker *w, const struct sp_packet *p)
{
	const struct sp_flow_key *k = &p->key;
	const struct sp_snapshot *s = w->snapshot;

	if (k->protocol != SP_PROTOCOL_UDP || (k->destination_port != SP_PORT_IKE && k->destination_port != SP_PORT_IKE_NAT) || k->in_cell != SP_NO_CELL || k->role == SP_ROLE_LOCAL)
		return 0;
	if (sp_is_ipv6(p->l3))
		return sp_ipv6_own(s, ((const struct sp_packet6 *)p)->destination);
	for (uint32_t i = 0; i < s->n_own; i++)
		if (s->own[i].address == k->destination)
			return 1;
	return 0;
}

void sp_punt_heard(struct sp_worker *w, const struct sp_packet *p, uint8_t reason)
{
	const int peer = to_ike_port(w, p) ? peer_of(w->dp, p->l3) : -1;
	const uint32_t tick = tick_of(w);

	if (peer >= 0 && __atomic_load_n(&w->dp->heard[peer], __ATOMIC_RELAXED) != tick && __atomic_exchange_n(&w->dp->heard[peer], tick, __ATOMIC_RELAXED) != tick)
		notice(w, p, SP_PUNT_HEARD, reason);
	else
		sp_drop(w, p->mbuf, reason);
}

void sp_punt_unheard(struct sp_worker *w, struct rte_mbuf *m, uint8_t *l3, const uint8_t *udp, uint8_t reason)
{
	struct sp_packet6 wide = {.p = {.key = {.protocol = SP_PROTOCOL_UDP, .in_cell = SP_NO_CELL}, .verdict = {.filter = SP_COUNTER_NONE, .cell = SP_NO_CELL}, .l3 = l3, .mbuf = m}};

	wide.p.key.destination_port = udp != NULL ? rte_be_to_cpu_16(sp_load16(udp + 2)) : SP_PORT_IKE;
	if (sp_is_ipv6(l3))
		memcpy(wide.addresses, l3 + 8, sizeof(wide.addresses));
	else
		wide.p.key.destination = rte_be_to_cpu_32(sp_load32(l3 + 16));
	if (udp == NULL && to_ike_port(w, &wide.p) && peer_of(w->dp, l3) >= 0)
		__atomic_store_n(&w->unheard, w->unheard + 1, __ATOMIC_RELAXED);
	if (udp == NULL)
		sp_drop(w, m, reason);
	else
		sp_punt_heard(w, &wide.p, reason);
}

/* Also of drops that the flow cache remembers. A peer that writes to a port of IKE is heard, whatever filter has its datagram (S-051). */
void sp_punt_noticed(struct sp_worker *w, const struct sp_packet *p)
{
	if (unlikely(to_ike_port(w, p)) && peer_of(w->dp, p->l3) >= 0)
		sp_punt_heard(w, p, p->verdict.reason);
	else if (p->verdict.reason == SP_DROP_CLEAR_ON_PROTECTED ? tell_clear(w, p) : tell_group(w, p))
		notice(w, p, p->verdict.reason == SP_DROP_CLEAR_ON_PROTECTED ? SP_PUNT_CLEAR : SP_PUNT_GROUPED, p->verdict.reason);
	else
		sp_drop(w, p->mbuf, p->verdict.reason);
}

/* All UDP that the gateway sends is IKE's. What it sends has no other extension header than that of a fragment. */
static int is_udp(const uint8_t *l3, uint32_t length)
{
	if (length < SP_IPV4_LENGTH)
		return 0;
	if (!sp_is_ipv6(l3))
		return l3[9] == SP_PROTOCOL_UDP;
	if (length <= SP_IPV6_LENGTH)
		return 0;
	return l3[SP_IPV6_NEXT_HEADER] == SP_PROTOCOL_UDP || (l3[SP_IPV6_NEXT_HEADER] == SP_NEXT_FRAGMENT && l3[SP_IPV6_LENGTH] == SP_PROTOCOL_UDP);
}

int sp_punt_unsent(struct sp_worker *w, struct rte_mbuf *m)
{
	const uint32_t l2 = SP_L2_LENGTH + (sp_tagged(m) ? SP_TAG_LENGTH : 0);
	struct sp_mbuf_priv *priv = sp_priv(m);
	const uint8_t *l3 = rte_pktmbuf_mtod_offset(m, const uint8_t *, l2);

	if (m->data_len < l2 || !is_udp(l3, m->data_len - l2))
		return 0;
	sp_mbuf_bounds(m, l3 - SP_L2_LENGTH, m->data_len - l2 + SP_L2_LENGTH);
	priv->in_cell = SP_NO_CELL;
	priv->filter = SP_COUNTER_NONE;
	return punt(w, m, SP_PUNT_UNSENT, SP_CLASS_NOTICE);
}

void sp_notice_tick(struct sp_dataplane *dp)
{
	__atomic_fetch_add(&dp->tick, 1, __ATOMIC_RELAXED);
}

/* Up to n packets of one class. */
static uint32_t take(struct sp_worker *w, enum sp_punt_class punt_class, struct sp_exception *out, uint32_t n)
{
	struct sp_punt_queue *q = &w->punt[punt_class];
	struct rte_mbuf *mbufs[SP_BURST];
	uint32_t total = 0;

	while (total < n) {
		uint32_t taken = rte_ring_sc_dequeue_burst(q->ring, (void **)mbufs, RTE_MIN(n - total, (uint32_t)SP_BURST), NULL);

		if (taken == 0)
			break;
		for (uint32_t i = 0; i < taken; i++) {
			const struct sp_mbuf_priv *priv = sp_priv(mbufs[i]);

			out[total++] = (struct sp_exception){
				.mbuf = mbufs[i],
				.data = rte_pktmbuf_mtod(mbufs[i], uint8_t *),
				.length = mbufs[i]->data_len,
				.next_hop = priv->next_hop,
				.spi = priv->spi,
				.filter = priv->filter,
				.generation = priv->generation,
				.l3_offset = SP_L2_LENGTH,
				.in_port = mbufs[i]->port,
				.out_port = priv->out_port,
				.in_cell = priv->in_cell,
				.cell = priv->cell,
				.adjacency = priv->adjacency,
				.mtu = priv->mtu,
				.kind = priv->kind,
				.punt_class = (uint8_t)punt_class,
				.share = priv->share,
				.answers_tunnel = mbufs[i]->port == SP_PORT_LOCAL && priv->inject == SP_INJECT_REPLY_PROTECTED,
			};
			__atomic_store_n(&q->taken[priv->share], q->taken[priv->share] + 1, __ATOMIC_RELEASE);
		}
	}
	return total;
}

uint32_t sp_punt_dequeue(struct sp_dataplane *dp, uint32_t worker, const uint16_t shares[SP_CLASS_COUNT], struct sp_exception *out)
{
	uint32_t total = 0;

	for (uint32_t i = 0; i < SP_CLASS_COUNT; i++)
		total += take(dp->workers[worker], (enum sp_punt_class)i, out + total, shares[i]);
	return total;
}

/* ---- peers ---- */

int sp_peer_add(struct sp_dataplane *dp, const uint8_t address[16])
{
	int rc = rte_hash_add_key(dp->peers, address);

	return rc < 0 ? rc : 0;
}

int sp_peer_remove(struct sp_dataplane *dp, const uint8_t address[16])
{
	int rc = rte_hash_del_key(dp->peers, address);

	return rc < 0 ? rc : 0;
}

void sp_packets_free(struct rte_mbuf **mbufs, uint32_t n)
{
	rte_pktmbuf_free_bulk(mbufs, n);
}
