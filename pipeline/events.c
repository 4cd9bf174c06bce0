/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What workers tell the control thread of SAs without a packet to tell it by: a lifetime that is used up, sequence numbers that come to their end (S-080), a peer whose NAT
 * gave it another address (RFC 7296 2.23). Each is told once. A ring that is full delays it to the SA's next run of packets.
 */

#include "ipv6.h"
#include "sequence.h"

/* Sequence numbers that are left of an SA without ESN when it is time for another one: 72 s of traffic at 14.88 Mpps (S-080). */
#define SEQUENCE_MARGIN (UINT64_C(1) << 30)

/* Of one SA. An ICV does not cover the outer header: who is on the path can write another source into every packet, and the control thread is for other peers too (S-089). */
#define MOVES_PER_SECOND 10

/* ---- the ring ---- */

static int push(struct sp_worker *w, const struct sp_event *event)
{
	struct sp_events *ring = &w->events;
	uint32_t head = ring->head;

	if (head - __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE) == SP_EVENTS)
		return 0;
	ring->event[head % SP_EVENTS] = *event;
	__atomic_store_n(&ring->head, head + 1, __ATOMIC_RELEASE);
	return 1;
}

uint32_t sp_event_dequeue(struct sp_dataplane *dp, uint32_t worker, struct sp_event *out, uint32_t n)
{
	struct sp_events *ring = &dp->workers[worker]->events;
	uint32_t tail = ring->tail, head = __atomic_load_n(&ring->head, __ATOMIC_ACQUIRE), taken = 0;

	while (tail != head && taken < n)
		out[taken++] = ring->event[tail++ % SP_EVENTS];
	__atomic_store_n(&ring->tail, tail, __ATOMIC_RELEASE);
	return taken;
}

/* Tells something of an SA that has not been told; other workers may be about to tell the same. */
static void tell(struct sp_worker *w, uint8_t *told, enum sp_event_kind kind, uint32_t spi, uint16_t cell, int outbound)
{
	const struct sp_event event = {.kind = (uint8_t)kind, .spi = spi, .cell = cell, .outbound = (uint8_t)outbound};
	const uint8_t bit = (uint8_t)(1u << kind);

	if (__atomic_fetch_or(told, bit, __ATOMIC_RELAXED) & bit)
		return;
	if (!push(w, &event))
		__atomic_fetch_and(told, (uint8_t)~bit, __ATOMIC_RELAXED);
}

static int was_told(const uint8_t *told, enum sp_event_kind kind)
{
	return __atomic_load_n(told, __ATOMIC_RELAXED) >> kind & 1;
}

static uint32_t due_units(uint64_t bytes)
{
	return (uint32_t)RTE_MIN(bytes >> SP_DUE_SHIFT, (uint64_t)UINT32_MAX);
}

/* ---- outbound lifetimes ---- */

/* When the next run of packets has something to tell. */
static uint64_t set_due_once(struct sp_sa_out *sa)
{
	const uint64_t limit = __atomic_load_n(&sa->sequence_limit, __ATOMIC_RELAXED);
	uint64_t sequence = limit, bytes = sa->hard_bytes;

	if (!was_told(&sa->told, SP_EVENT_SOFT)) {
		sequence = RTE_MIN(sequence, sa->soft_sequence);
		bytes = RTE_MIN(bytes, sa->soft_bytes);
	}
	if (!was_told(&sa->told, SP_EVENT_SEQUENCE))
		sequence = RTE_MIN(sequence, sa->near_sequence);
	__atomic_store_n(&sa->due_sequence, sequence, __ATOMIC_RELAXED);
	__atomic_store_n(&sa->due_bytes, due_units(bytes), __ATOMIC_RELAXED);
	return limit;
}

/* The control thread may have changed the limit meanwhile: its own due number must not be undone. */
static void set_due(struct sp_sa_out *sa)
{
	uint64_t limit;

	do {
		limit = set_due_once(sa);
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
	} while (unlikely(limit != __atomic_load_n(&sa->sequence_limit, __ATOMIC_RELAXED)));
}

/* A lifetime in packets as the last number of an SA that begins with first; 0 packets are no limit. */
static uint64_t number_at(uint64_t first, uint64_t packets)
{
	return packets == 0 || packets > UINT64_MAX - first ? UINT64_MAX : first + packets - 1;
}

static uint64_t limit_of(uint64_t n)
{
	return n == 0 ? UINT64_MAX : n;
}

void sp_lifetime_out_start(struct sp_sa_out *sa, const struct sp_sa_config *c, int extended)
{
	const uint64_t first = c->first_sequence;

	sa->sequence = first - 1;
	/* reservations beyond the limit are never sent, and leave room for the counter not to wrap at 64 bits either */
	sa->sequence_limit = extended ? UINT64_MAX >> 1 : UINT32_MAX;
	sa->near_sequence = extended ? UINT64_MAX : UINT32_MAX - SEQUENCE_MARGIN;
	sa->limit_reason = SP_DROP_SEQ_EXHAUSTED;
	if (number_at(first, c->hard_packets) <= sa->sequence_limit) {
		sa->sequence_limit = number_at(first, c->hard_packets);
		sa->limit_reason = SP_DROP_LIFETIME_EXPIRED;
	}
	sa->soft_sequence = number_at(first, c->soft_packets);
	sa->soft_bytes = limit_of(c->soft_bytes);
	sa->hard_bytes = limit_of(c->hard_bytes);
	set_due(sa);
}

void sp_lifetime_out_inherit(struct sp_sa_out *sa, const struct sp_sa_out *former)
{
	sa->sequence_limit = former->sequence_limit;
	sa->limit_reason = former->limit_reason;
	sa->soft_sequence = former->soft_sequence;
}

/* Packets that a worker may have numbered before it sees a new limit, of all workers. */
#define IN_FLIGHT (SP_BURST * SP_MAX_WORKERS)

/* A limit is never there without its reason: that comes first where it is to be held, and goes last. */
static void set_limit(struct sp_sa_out *sa, uint64_t limit, uint8_t reason)
{
	if (reason == SP_DROP_CRYPTO_QUEUE_FULL)
		__atomic_store_n(&sa->limit_reason, reason, __ATOMIC_RELEASE);
	__atomic_store_n(&sa->sequence_limit, limit, __ATOMIC_RELEASE);
	__atomic_store_n(&sa->limit_reason, reason, __ATOMIC_RELEASE);
	set_due(sa);
}

/*
 * What is to be told of an SA whose last number is taken, -1 before that. Of one that is held, for another to begin behind it, that there should be a next one: the other should be here
 * before that, and if it is not nothing else would end what is dropped.
 */
static int at_limit(const struct sp_sa_out *sa, uint64_t last)
{
	uint64_t limit = __atomic_load_n(&sa->sequence_limit, __ATOMIC_ACQUIRE), again;
	uint8_t reason;

	for (;; limit = again) {
		reason = __atomic_load_n(&sa->limit_reason, __ATOMIC_ACQUIRE);
		again = __atomic_load_n(&sa->sequence_limit, __ATOMIC_ACQUIRE);
		if (likely(again == limit)) /* else the reason may be that of another */
			break;
	}
	if (last < limit)
		return -1;
	return reason == SP_DROP_CRYPTO_QUEUE_FULL ? SP_EVENT_SOFT : SP_EVENT_HARD;
}

int sp_numbers_hold(struct sp_sa_out *sa, uint64_t first)
{
	const uint64_t limit = sa->sequence_limit;
	const uint8_t reason = sa->limit_reason;

	if (limit < first)
		return 1;
	set_limit(sa, first - 1, SP_DROP_CRYPTO_QUEUE_FULL);
	if (__atomic_load_n(&sa->sequence, __ATOMIC_RELAXED) + IN_FLIGHT < first)
		return 1;
	set_limit(sa, limit, reason);
	return 0;
}

void sp_lifetime_out_carry(struct sp_sa_out *sa, const struct sp_sa_counters *carried, uint8_t told)
{
	sa->packets = carried->packets;
	sa->bytes = carried->bytes;
	sa->dummies = carried->dummies;
	sa->last_use = carried->last_use;
	sa->told = told;
	set_due(sa);
}

static uint64_t later(uint64_t number, int64_t by)
{
	return by > 0 && number > UINT64_MAX - (uint64_t)by ? UINT64_MAX : number + (uint64_t)by;
}

void sp_lifetime_out_skip(struct sp_sa_out *sa, int64_t numbers)
{
	const uint64_t space = sa->near_sequence == UINT64_MAX ? UINT64_MAX >> 1 : UINT32_MAX; /* as in sp_lifetime_out_start */
	uint64_t limit = sa->sequence_limit;
	uint8_t reason = sa->limit_reason;

	if (sa->soft_sequence != UINT64_MAX)
		sa->soft_sequence = later(sa->soft_sequence, numbers);
	if (reason == SP_DROP_LIFETIME_EXPIRED && (limit = later(limit, numbers)) > space) {
		limit = space;
		reason = SP_DROP_SEQ_EXHAUSTED;
	}
	set_limit(sa, limit, reason);
}

uint32_t sp_within_lifetime(struct sp_worker *w, struct sp_sa_out *sa, struct sp_packet **packets, uint64_t last, uint32_t n)
{
	const uint32_t spi = rte_be_to_cpu_32(sa->transform.spi_be);
	uint64_t bytes = __atomic_load_n(&sa->bytes, __ATOMIC_RELAXED);
	uint32_t fits = 0;
	int limit;

	while (fits < n && bytes + packets[fits]->length <= sa->hard_bytes)
		bytes += packets[fits++]->length;
	for (uint32_t i = fits; i < n; i++)
		sp_drop_out(w, sa, packets[i]->mbuf, SP_DROP_LIFETIME_EXPIRED);
	last -= n - fits;
	limit = at_limit(sa, last);
	if (bytes >= sa->soft_bytes || last >= sa->soft_sequence || limit == SP_EVENT_SOFT)
		tell(w, &sa->told, SP_EVENT_SOFT, spi, sa->cell, 1);
	if (last >= sa->near_sequence)
		tell(w, &sa->told, SP_EVENT_SEQUENCE, spi, sa->cell, 1);
	if (fits < n || bytes >= sa->hard_bytes || limit == SP_EVENT_HARD)
		tell(w, &sa->told, SP_EVENT_HARD, spi, sa->cell, 1);
	set_due(sa);
	return fits;
}

/* ---- inbound lifetimes ---- */

void sp_lifetime_in_start(struct sp_sa_in *sa, const struct sp_sa_config *c)
{
	sa->hard_packets = limit_of(c->hard_packets);
	sa->hard_bytes = limit_of(c->hard_bytes);
	sa->due_packets = RTE_MIN(sa->hard_packets, limit_of(c->soft_packets));
	sa->next_bytes = RTE_MIN(sa->hard_bytes, limit_of(c->soft_bytes));
	sa->due_bytes = due_units(sa->next_bytes);
}

void sp_lifetime_in_carry(struct sp_sa_in *sa, const struct sp_sa_in *former)
{
	sa->packets = former->packets;
	sa->bytes = former->bytes;
	sa->last_use = former->last_use;
	sa->due_packets = former->due_packets;
	sa->next_bytes = former->next_bytes;
	sa->due_bytes = former->due_bytes;
	sa->expired = former->expired;
	sa->told = __atomic_load_n(&former->told, __ATOMIC_RELAXED);
}

void sp_lifetime_in(struct sp_worker *w, struct sp_sa_in *sa)
{
	if (sa->packets < sa->due_packets && sa->bytes < sa->next_bytes)
		return; /* the last of its units has begun */
	if (sa->packets < sa->hard_packets && sa->bytes < sa->hard_bytes) {
		tell(w, &sa->told, SP_EVENT_SOFT, sa->spi, sa->cell, 0);
		if (was_told(&sa->told, SP_EVENT_SOFT)) {
			sa->due_packets = sa->hard_packets;
			sa->next_bytes = sa->hard_bytes;
			sa->due_bytes = due_units(sa->hard_bytes);
		}
		return;
	}
	sa->expired = 1;
	tell(w, &sa->told, SP_EVENT_HARD, sa->spi, sa->cell, 0);
}

void sp_expired_in(struct sp_worker *w, struct sp_sa_in *sa, const struct sp_esp *packets, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		sp_sa_in_drop(w, sa, packets[i].mbuf, SP_DROP_LIFETIME_EXPIRED);
	tell(w, &sa->told, SP_EVENT_HARD, sa->spi, sa->cell, 0);
}

void sp_tell_inline(struct sp_worker *w, struct sp_sa_in *sa)
{
	tell(w, &sa->told, SP_EVENT_INLINE, sa->spi, sa->cell, 0);
}

/* ---- addresses ---- */

void sp_note_remote(struct sp_worker *w, struct sp_sa_in *sa, const struct sp_esp *packets, uint32_t n)
{
	struct sp_event event = {.kind = SP_EVENT_MOVED, .spi = sa->spi, .cell = sa->cell};
	const struct sp_esp *newest = packets;
	const uint8_t *l3;

	for (const struct sp_esp *p = packets + 1; p < packets + n; p++)
		if (p->sequence > newest->sequence)
			newest = p;
	if (newest->sequence <= sa->replay.top)
		return;
	l3 = rte_pktmbuf_mtod_offset(newest->mbuf, const uint8_t *, SP_L2_LENGTH);
	if (sp_is_ipv6(l3)) {
		event.outer = SP_IPV6;
		memcpy(event.address, l3 + 8, 16);
	} else {
		memcpy(event.address, l3 + 12, 4);
	}
	event.port = rte_be_to_cpu_16(sp_load16(newest->esp - SP_UDP_LENGTH));
	if (event.port == sa->remote_port && memcmp(event.address, sa->remote, sizeof(sa->remote)) == 0)
		return;
	if (w->now < *sp_sa_in_stays_until(sa) || !push(w, &event)) /* the next packet tells it */
		return;
	*sp_sa_in_stays_until(sa) = w->now + rte_get_tsc_hz() / MOVES_PER_SECOND;
	memcpy(sa->remote, event.address, sizeof(sa->remote));
	sa->remote_port = event.port;
}
