/* SPDX-License-Identifier: Apache-2.0 */

#include <stdio.h>
#include <stdlib.h>

#include <sanitizer/asan_interface.h>

#include "../ipv6.h"
#include "../lab.h"
#include "../mbuf.h"
#include "../vlan.h"
#include "invariants.h"
#include "nic.h"
#include "wire.h"

#define TAG_AT 12 /* behind the addresses of a frame */
#define FRAGMENTS 10

struct arrival arrival;

/* The linker has the fast path call this in place of sp_drop: who is gone is read by nobody. */
void __real_sp_drop(struct sp_worker *w, struct rte_mbuf *m, uint8_t reason);
void __wrap_sp_drop(struct sp_worker *w, struct rte_mbuf *m, uint8_t reason);
void __wrap_sp_drop(struct sp_worker *w, struct rte_mbuf *m, uint8_t reason)
{
	void *buffer = m->buf_addr;
	const uint16_t length = m->buf_len;

	__real_sp_drop(w, m, reason);
	ASAN_POISON_MEMORY_REGION(buffer, length);
}

/* ---- to a gateway ---- */

static void deliver(const struct gateway *g, enum side side, struct rte_mbuf *m)
{
	if (g == &ours) {
		nic_receive(m);
		side = arrival.aside ? PROTECTED : side;
	}
	if (rte_ring_enqueue(g->rx[side][g == &ours ? arrival.queue : 0], m) != 0)
		rte_pktmbuf_free(m);
}

static struct rte_mbuf *buffer_of(const struct frame *f, uint32_t headroom)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(pool);

	CHECK(m != NULL, "mbuf pool empty: leak");
	sp_mbuf_unpoison(m);
	memset(sp_priv(m), (int)(f->length * 37), SP_MBUF_PRIVATE_SIZE); /* reception leaves there what it finds */
	m->data_off = (uint16_t)headroom;
	memcpy(rte_pktmbuf_mtod(m, uint8_t *), f->bytes, f->length);
	m->data_len = (uint16_t)f->length;
	m->pkt_len = f->length;
	sp_mbuf_poison(m);
	return m;
}

void receive_wire(const struct gateway *g, enum side side, const struct frame *f, uint32_t headroom)
{
	deliver(g, side, buffer_of(f, headroom));
}

void receive(const struct gateway *g, enum side side, const struct frame *f, uint32_t headroom)
{
	static struct frame tagged;
	struct rte_mbuf *m;

	if (g->vlan[side] == 0 || f->length < SP_L2_LENGTH) {
		receive_wire(g, side, f, headroom);
		return;
	}
	if (arrival.stripped) {
		m = buffer_of(f, headroom);
		sp_lab_strip(m, g->vlan[side]);
		deliver(g, side, m);
		return;
	}
	memcpy(tagged.bytes, f->bytes, TAG_AT);
	sp_store16(tagged.bytes + TAG_AT, SP_ETHER_TYPE_VLAN);
	sp_store16(tagged.bytes + TAG_AT + 2, rte_cpu_to_be_16(g->vlan[side]));
	memcpy(tagged.bytes + TAG_AT + SP_TAG_LENGTH, f->bytes + TAG_AT, f->length - TAG_AT);
	tagged.length = f->length + SP_TAG_LENGTH;
	receive_wire(g, side, &tagged, headroom);
}

void receive_fragments(struct program *p, enum side side, const struct frame *whole)
{
	static struct frame f;

	for (uint32_t n = 1 + take(p, 1) % FRAGMENTS; n > 0; n--) {
		cut(p, whole, &f);
		receive(&ours, side, &f, RTE_PKTMBUF_HEADROOM);
	}
}

void run(const struct gateway *g)
{
	uint32_t turns = 0, busy;

	do {
		CHECK(++turns < 10000, "workers do not come to rest");
		busy = 0;
		for (uint32_t w = 0; w < g->workers; w++)
			busy += sp_worker_once(g->dp, w) + sp_worker_in_flight(g->dp, w);
	} while (busy > 0);
}

/* ---- the slow path's part ---- */

/* Whether a held packet was given back. Any other is freed. */
static int settle(struct gateway *g, uint32_t worker, const struct sp_exception *e, int release)
{
	struct rte_mbuf *m = e->mbuf;
	int held = e->kind == SP_PUNT_NEIGHBOUR || e->kind == SP_PUNT_ACQUIRE || e->kind == SP_PUNT_EARLY;
	volatile uint8_t last;

	CHECK(e->punt_class < SP_CLASS_COUNT, "class %u", e->punt_class);
	CHECK(e->l3_offset <= e->length || e->kind == SP_PUNT_ARP, "exception of %u bytes", e->length);
	last = e->data[e->length - 1]; /* readable to its end */
	(void)last;
	if (e->kind == SP_PUNT_EARLY)
		sp_early_left(g->dp, e->spi);
	if (held && release && sp_release(g->dp, worker, &m, 1) == 1)
		return 1;
	if (held)
		g->discarded[e->in_port]++;
	sp_packets_free(&m, 1);
	return 0;
}

uint32_t drain_punts(struct gateway *g, int release)
{
	struct sp_exception exceptions[SP_CLASS_COUNT * SP_BURST];
	struct sp_event events[SP_BURST];
	uint16_t shares[SP_CLASS_COUNT];
	uint32_t n, released = 0;

	for (uint32_t i = 0; i < SP_CLASS_COUNT; i++)
		shares[i] = SP_BURST;

	for (uint32_t w = 0; w < g->workers; w++) {
		while ((n = sp_punt_dequeue(g->dp, w, shares, exceptions)) > 0)
			for (uint32_t i = 0; i < n; i++)
				released += (uint32_t)settle(g, w, &exceptions[i], release);
		while ((n = sp_event_dequeue(g->dp, w, events, SP_BURST)) > 0)
			for (uint32_t i = 0; i < n; i++)
				CHECK(events[i].cell < TUNNELS && events[i].kind <= SP_EVENT_INLINE, "event %u of cell %u", events[i].kind, events[i].cell);
	}
	return released;
}

/* ---- from a gateway ---- */

/* Takes the tag off a frame that a port sent. */
static void untag(const struct gateway *g, enum side side, struct frame *f)
{
	if (g->vlan[side] == 0)
		return;
	CHECK(f->length >= SP_L2_LENGTH + SP_TAG_LENGTH && sp_load16(f->bytes + TAG_AT) == SP_ETHER_TYPE_VLAN &&
	      sp_load16(f->bytes + TAG_AT + 2) == rte_cpu_to_be_16(g->vlan[side]), "frame of %u bytes without its tag", f->length);
	f->length -= SP_TAG_LENGTH;
	memmove(f->bytes + TAG_AT, f->bytes + TAG_AT + SP_TAG_LENGTH, f->length - TAG_AT);
}

static int next_frame(const struct gateway *g, enum side side, uint32_t queue, struct frame *f)
{
	struct rte_mbuf *m;
	void *object;

	if (rte_ring_dequeue(g->tx[side][queue], &object) != 0)
		return 0;
	m = object;
	sp_mbuf_unpoison(m);
	if (g == &ours)
		nic_check(m);
	f->length = m->data_len;
	CHECK(f->length <= sizeof(f->bytes) && m->pkt_len == f->length && m->nb_segs == 1, "frame of %u bytes", f->length);
	if (sp_lab_left(m) != 0) {
		CHECK(g->card && side == UNPROTECTED, "a frame is left to a port without a NIC");
		nic_send(m, f);
	} else {
		memcpy(f->bytes, rte_pktmbuf_mtod(m, void *), f->length);
	}
	rte_pktmbuf_free(m);
	untag(g, side, f);
	CHECK(f->length >= SP_L2_LENGTH && f->length <= MTU + SP_L2_LENGTH, "frame of %u bytes", f->length);
	return 1;
}

int next_sealed(struct frame *f)
{
	if (!next_frame(&peer, UNPROTECTED, 0, f))
		return 0;
	memcpy(f->bytes, ours.mac[UNPROTECTED], 6);
	return 1;
}

/* Runs the peer before its receive queue is full. */
static void pass_on(struct frame *f, uint32_t *passed)
{
	memcpy(f->bytes, peer.mac[UNPROTECTED], 6);
	receive(&peer, UNPROTECTED, f, RTE_PKTMBUF_HEADROOM);
	if (++*passed % SP_BURST == 0)
		run(&peer);
}

void collect(const struct gateway *g, enum side side, int to_peer)
{
	static struct frame f;
	uint32_t passed = 0;

	for (uint32_t queue = 0; queue < g->workers; queue++) {
		while (next_frame(g, side, queue, &f)) {
			if (side == UNPROTECTED)
				check_clear(g, f.bytes, f.length);
			if (g == &ours)
				check_group(f.bytes);
			if (to_peer && from_tunnel(f.bytes, f.length))
				pass_on(&f, &passed);
		}
	}
	run(&peer);
}
