/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The fast path under a fuzzer. An input is a little program: frames as they are, packets for the tunnels, ESP that a peer sealed and the wire then damaged, packets of
 * the slow path, changes of tables in between. After each input everything that must always hold is checked; memory errors are the sanitizers' to find, with every byte
 * outside a packet's bounds poisoned.
 */

#include <stdio.h>
#include <stdlib.h>

#include "../ipv6.h"
#include "../lab.h"
#include "../mbuf.h"
#include "../vlan.h"
#include "frames.h"
#include "gateway.h"
#include "invariants.h"

#define SAVED 8
#define TAG_AT 12 /* behind the addresses of a frame */

/* ---- receiving ---- */

static struct frame saved[SAVED]; /* sealed packets, to be replayed */
static int tables_changed;         /* by op_tables, to be undone before the next input */
static int published;              /* compiling a policy is slow: once per input */

/* A frame as it is on the wire. */
static void receive_wire(struct gateway *g, enum side side, const struct frame *f, uint32_t headroom)
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
	if (rte_ring_enqueue(g->rx[side], m) != 0)
		rte_pktmbuf_free(m);
}

/* A frame for a port, tagged if the port is a VLAN. */
static void receive(struct gateway *g, enum side side, const struct frame *f, uint32_t headroom)
{
	static struct frame tagged;

	if (g->vlan[side] == 0 || f->length < SP_L2_LENGTH) {
		receive_wire(g, side, f, headroom);
		return;
	}
	memcpy(tagged.bytes, f->bytes, TAG_AT);
	sp_store16(tagged.bytes + TAG_AT, SP_ETHER_TYPE_VLAN);
	sp_store16(tagged.bytes + TAG_AT + 2, rte_cpu_to_be_16(g->vlan[side]));
	memcpy(tagged.bytes + TAG_AT + SP_TAG_LENGTH, f->bytes + TAG_AT, f->length - TAG_AT);
	tagged.length = f->length + SP_TAG_LENGTH;
	receive_wire(g, side, &tagged, headroom);
}

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

/* Runs until the devices are empty; a turn takes at most one burst from each input. */
static void run(struct gateway *g)
{
	uint32_t turns = 0;

	while (sp_worker_once(g->dp, 0) > 0 || sp_worker_in_flight(g->dp, 0) > 0)
		CHECK(++turns < 10000, "worker does not come to rest");
}

/* ---- operations ---- */

static void op_raw(struct program *p)
{
	static struct frame f;
	enum side side = take(p, 1) & 1;
	uint32_t how = take(p, 1);

	f.length = take(p, 2) % 1700;
	take_bytes(p, f.bytes, f.length);
	if (how & 128)
		receive_wire(&ours, side, &f, how & 127);
	else
		receive(&ours, side, &f, how & 127);
}

/* Clear packets, to and from anywhere of interest, on either side. */
static void op_clear(struct program *p)
{
	static struct frame f;
	uint32_t where = take(p, 1), hosts = take(p, 2), shape = take(p, 1), headroom = shape & 127;
	enum side side = where >> 7;
	uint32_t nets[] = {OUR_NET, CLEAR_NET, OUR_WAN & ~255u, PEER_NET(hosts % NETWORKS), PEER_NET((hosts >> 4) % NETWORKS), GROUP_NET(hosts >> 8 & 3), 0x7f000000, 0xffffff00};
	uint32_t source = nets[where & 7] | hosts >> 8, destination = nets[where >> 3 & 7] | (hosts & 255);

	build(p, &f, ours.mac[side], source, destination);
	if (shape & 128)
		make_wide(&f, take(p, 1));
	f.bytes[0] |= headroom == 127; /* now and then to a group of the link layer */
	receive(&ours, side, &f, headroom);
}

/* What comes out of the peer's unprotected port for one packet of a host behind it. */
static int seal(struct program *p, enum tunnel t, int wide, struct frame *out)
{
	static struct frame f;
	uint32_t hosts = take(p, 2);
	uint32_t destination = hosts & 0x8000 ? PEER_NET(hosts % CELLS) | (hosts & 255) : OUR_NET | (hosts & 255);
	struct rte_mbuf *m;
	void *object;

	build(p, &f, peer.mac[PROTECTED], PEER_NET(t) | (hosts >> 8 & 127) | 2, destination);
	if (wide)
		make_wide(&f, take(p, 1));
	receive(&peer, PROTECTED, &f, RTE_PKTMBUF_HEADROOM);
	run(&peer);
	if (rte_ring_dequeue(peer.tx[UNPROTECTED], &object) != 0)
		return 0;
	m = object;
	sp_mbuf_unpoison(m);
	out->length = m->data_len;
	memcpy(out->bytes, rte_pktmbuf_mtod(m, void *), m->data_len);
	rte_pktmbuf_free(m);
	ethernet(out->bytes, ours.mac[UNPROTECTED]);
	return 1;
}

/* The outer header announces the frame's length again. */
static void repair(struct frame *f)
{
	uint8_t *l3 = f->bytes + SP_L2_LENGTH;

	if (f->length < SP_L2_LENGTH + SP_IPV4_LENGTH)
		return;
	sp_store16(l3 + 2, rte_cpu_to_be_16((uint16_t)(f->length - SP_L2_LENGTH)));
	if (l3[9] == SP_PROTOCOL_UDP && f->length >= SP_L2_LENGTH + SP_IPV4_LENGTH + SP_UDP_LENGTH)
		sp_store16(l3 + 24, rte_cpu_to_be_16((uint16_t)(f->length - SP_L2_LENGTH - SP_IPV4_LENGTH)));
	checksum(l3);
}

static void op_sealed(struct program *p)
{
	static struct frame f;
	uint32_t how = take(p, 1), where = take(p, 2), value = take(p, 1), tunnel = take(p, 1);

	if (!seal(p, (tunnel & 127) % TUNNELS, tunnel >> 7 != 0, &f))
		return;
	saved[where % SAVED] = f;
	switch (how & 7) {
	case 0: /* as sealed */
		break;
	case 1: /* one byte changed, ESP or ICV */
		f.bytes[SP_L2_LENGTH + SP_IPV4_LENGTH + where % (f.length - SP_L2_LENGTH - SP_IPV4_LENGTH)] ^= (uint8_t)(value | 1);
		break;
	case 2: /* truncated, and honest about it */
		f.length = SP_L2_LENGTH + SP_IPV4_LENGTH + where % (f.length - SP_L2_LENGTH - SP_IPV4_LENGTH);
		repair(&f);
		break;
	case 3: /* truncated on the wire */
		f.length = where % f.length;
		break;
	case 4: /* longer than sealed */
		memset(f.bytes + f.length, (int)value, where % 64);
		f.length += where % 64;
		repair(&f);
		break;
	case 5: /* twice in one burst */
		receive(&ours, UNPROTECTED, &f, RTE_PKTMBUF_HEADROOM);
		break;
	case 6: /* congestion marked outside */
		f.bytes[SP_L2_LENGTH + 1] |= SP_ECN_CE;
		checksum(f.bytes + SP_L2_LENGTH);
		break;
	case 7: /* kept for later, not delivered */
		return;
	}
	receive(&ours, UNPROTECTED, &f, how & 8 ? value & 127 : RTE_PKTMBUF_HEADROOM);
}

static void op_replay(struct program *p)
{
	const struct frame *f = &saved[take(p, 1) % SAVED];

	if (f->length > 0)
		receive(&ours, UNPROTECTED, f, RTE_PKTMBUF_HEADROOM);
}

static void op_inject(struct program *p)
{
	static struct frame f;
	struct sp_injection injection = {.data = f.bytes + SP_L2_LENGTH};
	uint32_t kind = take(p, 1);

	injection.kind = (uint8_t)(kind & 3);
	injection.port = ours.port[kind >> 2 & 1];
	if (injection.kind == SP_INJECT_RAW) {
		/* an EtherType that the checks below do not mistake for a leak */
		f.length = SP_L2_LENGTH + take(p, 2) % 1700;
		take_bytes(p, f.bytes, f.length);
		sp_store16(f.bytes + 12, RTE_BE16(0x88b5));
		injection.data = f.bytes;
		injection.length = f.length;
	} else {
		uint32_t hosts = take(p, 2);

		build(p, &f, ours.mac[0], OUR_WAN, injection.kind == SP_INJECT_ROUTE_LOCAL ? (OUR_WAN & ~255u) | (hosts & 3) : PEER_NET(hosts % CELLS) | (hosts >> 8));
		f.bytes[SP_L2_LENGTH + 9] = 1; /* nothing that the checks could take for ESP of a tunnel */
		checksum(f.bytes + SP_L2_LENGTH);
		if (kind & 128)
			f.bytes[SP_L2_LENGTH + (hosts & 31)] ^= 0x55;
		injection.length = f.length - SP_L2_LENGTH;
	}
	sp_inject(ours.dp, 0, &injection, 1);
}

/* ---- the slow path's part ---- */

/* Frees what is delivered; gives held packets back or throws them away. Returns the number of packets it released. */
static uint32_t drain_punts(struct gateway *g, int release)
{
	struct sp_exception exceptions[SP_BURST];
	uint32_t n, released = 0;

	while ((n = sp_punt_dequeue(g->dp, 0, exceptions, SP_BURST)) > 0) {
		for (uint32_t i = 0; i < n; i++) {
			const struct sp_exception *e = &exceptions[i];
			struct rte_mbuf *m = e->mbuf;
			int held = e->kind == SP_PUNT_NEIGHBOUR || e->kind == SP_PUNT_ACQUIRE;
			volatile uint8_t last;

			CHECK(e->l3_offset <= e->length || e->kind == SP_PUNT_ARP, "exception of %u bytes", e->length);
			last = e->data[e->length - 1]; /* readable to its end */
			(void)last;
			if (held && release && sp_release(g->dp, 0, &m, 1) == 1) {
				released++;
				continue;
			}
			if (held)
				g->discarded[e->in_port]++;
			sp_packets_free(&m, 1);
		}
	}
	return released;
}

/* ---- what left ---- */

static int is_esp(const uint8_t *frame)
{
	const uint8_t *l3 = frame + SP_L2_LENGTH;

	return sp_load16(frame + 12) == RTE_BE16(0x0800) && sp_load32(l3 + 16) == RTE_BE32(PEER_WAN) &&
	       (l3[9] == SP_PROTOCOL_ESP || (l3[9] == SP_PROTOCOL_UDP && sp_load32(l3 + 20) == (RTE_BE16(4500) | (uint32_t)RTE_BE16(4500) << 16) && sp_load32(l3 + 28) != 0));
}

/* Takes all frames that left a port; ESP of ours goes on to the peer if it came from a tunnel. */
static uint32_t collect(struct gateway *g, enum side side, int to_peer)
{
	static struct frame f;
	uint32_t passed = 0;
	void *object;

	while (rte_ring_dequeue(g->tx[side], &object) == 0) {
		struct rte_mbuf *m = object;

		sp_mbuf_unpoison(m);
		f.length = m->data_len;
		CHECK(f.length <= sizeof(f.bytes) && m->pkt_len == f.length && m->nb_segs == 1, "frame of %u bytes", f.length);
		memcpy(f.bytes, rte_pktmbuf_mtod(m, void *), f.length);
		untag(g, side, &f);
		CHECK(f.length >= SP_L2_LENGTH && f.length <= MTU + SP_L2_LENGTH, "frame of %u bytes", f.length);
		rte_pktmbuf_free(m);
		if (side == UNPROTECTED)
			check_clear(f.bytes, f.length);
		if (g == &ours)
			check_group(f.bytes);
		if (!to_peer || !is_esp(f.bytes))
			continue;
		ethernet(f.bytes, peer.mac[UNPROTECTED]);
		receive(&peer, UNPROTECTED, &f, RTE_PKTMBUF_HEADROOM);
		if (++passed % SP_BURST == 0)
			run(&peer);
	}
	run(&peer);
	return passed;
}

/* A cell goes to another tunnel: what the former one brought and what still waits must not pass for the new one's. */
static void reuse(enum tunnel t)
{
	sp_sa_out_free(sp_cell_publish(ours.dp, (uint16_t)t, NULL));
	sp_sa_in_free(sp_sa_in_retire(ours.dp, ours.spi[t]));
	sp_cell_reuse(ours.dp, (uint16_t)t);
}

/* A question about any packet at all changes no counter. */
static void explain(struct program *p)
{
	struct sp_flow_key key;
	struct sp_flow_entry found[2];
	struct sp_flow_entry6 found6[2];
	uint8_t wide[2 * SP_IPV6_ADDRESS];
	struct sp_explanation x;
	uint32_t where = take(p, 1);
	uint16_t in_port = where & 8 ? SP_PORT_LOCAL : ours.port[where & 1];

	take_bytes(p, (uint8_t *)&key, sizeof(key));
	key.role = where & 8 ? SP_ROLE_LOCAL : SP_ROLE_PROTECTED;
	key.in_cell = where & 2 ? key.in_cell % CELLS : SP_NO_CELL;
	if (where & 4) {
		widen(wide, key.source);
		widen(wide + SP_IPV6_ADDRESS, key.destination);
		key.source = 0;
		key.destination = 0;
	}
	sp_explain(ours.dp, &key, where & 4 ? wide : NULL, in_port, &x);
	CHECK(x.fate == SP_FATE_DROPPED ? x.reason < SP_DROP_COUNT : x.action != SP_ACTION_DROP, "action %u, reason %u, fate %u", x.action, x.reason, x.fate);
	if (where & 4)
		sp_flow_find6(ours.dp, 0, &x.key, wide, found6);
	else
		sp_flow_find(ours.dp, 0, &x.key, found);
}

/* What a peer with the keys and bad intentions may send: anything at all in an ESP packet whose ICV is right, trailer and inner headers included. */
static void forge(struct program *p, enum tunnel t)
{
	static struct frame f;
	static uint8_t plain[FRAME_MAX];
	uint32_t sequence = take(p, 1) + 1, length = 4 + 4 * (take(p, 2) % 300), total;
	uint8_t *l3 = f.bytes + SP_L2_LENGTH, *esp = l3 + SP_IPV4_LENGTH;

	plain[length - 2] = (uint8_t)take(p, 1);
	plain[length - 1] = (uint8_t)take(p, 1);
	take_bytes(p, plain, length - 2);
	ethernet(f.bytes, ours.mac[UNPROTECTED]);
	sp_store32(esp, rte_cpu_to_be_32(ours.spi[t]));
	sp_store32(esp + 4, rte_cpu_to_be_32(sequence));
	sp_store64(esp + SP_ESP_LENGTH, sequence);
	total = SP_IPV4_LENGTH + peer_encrypt(t, esp, plain, length);
	memset(l3, 0, SP_IPV4_LENGTH);
	l3[0] = 0x45;
	l3[1] = (uint8_t)(sequence & SP_ECN_MASK);
	sp_store16(l3 + 2, rte_cpu_to_be_16((uint16_t)total));
	l3[SP_IPV4_TTL] = 64;
	l3[9] = SP_PROTOCOL_ESP;
	sp_store32(l3 + 12, RTE_BE32(PEER_WAN));
	sp_store32(l3 + 16, RTE_BE32(OUR_WAN));
	checksum(l3);
	f.length = SP_L2_LENGTH + total;
	receive(&ours, UNPROTECTED, &f, RTE_PKTMBUF_HEADROOM);
}

static void op_tables(struct program *p)
{
	uint32_t what = take(p, 1);
	enum tunnel t = (what >> 4) % TUNNELS;

	tables_changed = 1;
	switch (what & 15) {
	case 0:
		/* what the former SAs sealed must be opened by the former SAs */
		run(&ours);
		collect(&ours, UNPROTECTED, 1);
		tunnel_reset(t);
		break;
	case 1:
		sp_sa_out_free(sp_cell_publish(ours.dp, (uint16_t)t, NULL));
		break;
	case 2:
		sp_sa_in_free(sp_sa_in_retire(ours.dp, ours.spi[t]));
		break;
	case 3:
		gateway_neighbours(&ours, 0);
		break;
	case 4:
		gateway_neighbours(&ours, 1);
		break;
	case 5:
		sp_generation_bump(ours.dp);
		break;
	case 6:
		sp_cell_set_state(ours.dp, (uint16_t)t, what & 16 ? SP_CELL_HOLD : SP_CELL_CLOSED);
		break;
	case 7:
		if (!published)
			gateway_publish(&ours, what >> 4);
		published = 1;
		break;
	case 8:
		sp_cell_set_state(ours.dp, (uint16_t)t, SP_CELL_FAILED);
		break;
	case 9:
		run(&ours);
		reuse(t);
		break;
	case 10:
		explain(p);
		break;
	case 11:
		forge(p, what & 16 ? TUNNEL_GCM_SHORT : TUNNEL_GCM);
		break;
	default:
		run(&ours); /* what is queued so far is a burst of its own */
	}
}

/* Packets that our tunnels sealed must open at the other end. */
static void check_peer(const struct sp_port_counters *before)
{
	static const uint8_t never[] = {SP_DROP_ESP_TRUNCATED, SP_DROP_ESP_LENGTH,  SP_DROP_ENCAPSULATION, SP_DROP_AUTH_FAILED,      SP_DROP_BAD_PADDING,
					SP_DROP_NEXT_HEADER,   SP_DROP_INNER_HEADER, SP_DROP_CRYPTO_ERROR,  SP_DROP_SELECTOR_MISMATCH, SP_DROP_REPLAY_DUPLICATE};
	struct sp_port_counters after;

	sp_port_counters_read(peer.dp, peer.port[UNPROTECTED], &after);
	for (uint32_t i = 0; i < RTE_DIM(never); i++)
		CHECK(after.drops[never[i]] == before->drops[never[i]], "the peer dropped a packet of ours: %s", sp_drop_reason_name(never[i]));
}

/* ---- libFuzzer ---- */

const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	/* EAL keeps allocations for the life of the process; mbufs are counted below */
	return "detect_leaks=0";
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc __rte_unused, char ***argv __rte_unused)
{
	gateways_start();
	return 0;
}

static int tunnel_used(const struct gateway *g, enum tunnel t)
{
	struct sp_sa_counters c;

	sp_sa_out_counters(sp_cell_current(g->dp, (uint16_t)t), &c);
	return c.packets > 0;
}

/* Every input begins in the same state. */
static void restore(void)
{
	for (enum tunnel t = 0; t < TUNNELS; t++)
		if (tables_changed || tunnel_used(&ours, t) || tunnel_used(&peer, t))
			tunnel_reset(t);
	for (uint16_t cell = 0; tables_changed && cell < TUNNELS; cell++)
		sp_cell_set_state(ours.dp, cell, SP_CELL_CLOSED);
	if (published)
		gateway_publish(&ours, 0);
	tables_changed = 0;
	published = 0;
	sp_generation_bump(ours.dp);
	sp_generation_bump(peer.dp);
	for (uint32_t i = 0; i < SAVED; i++)
		saved[i].length = 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const operations[])(struct program *) = {op_raw, op_clear, op_clear, op_sealed, op_sealed, op_replay, op_inject, op_tables};
	struct program p = {.next = data, .end = data + size};
	struct sp_port_counters before;

	restore();
	sp_port_counters_read(peer.dp, peer.port[UNPROTECTED], &before);
	while (p.next < p.end) {
		operations[take(&p, 1) & 7](&p);
		if (rte_ring_count(ours.rx[0]) + rte_ring_count(ours.rx[1]) > 48)
			run(&ours);
		if (rte_mempool_avail_count(pool) < 256) {
			drain_punts(&ours, 0);
			drain_punts(&peer, 0);
			collect(&ours, UNPROTECTED, 1);
			collect(&ours, PROTECTED, 0);
			collect(&peer, PROTECTED, 0);
		}
	}
	run(&ours);
	/* held packets get one more chance, as if the neighbour or the SA had come */
	gateway_neighbours(&ours, 1);
	if (drain_punts(&ours, 1) > 0)
		run(&ours);
	drain_punts(&ours, 0);
	run(&ours);
	collect(&ours, PROTECTED, 0);
	collect(&ours, UNPROTECTED, 1);
	collect(&peer, PROTECTED, 0);
	collect(&peer, UNPROTECTED, 0);
	drain_punts(&peer, 0);
	/* fragments whose others never came */
	sp_lab_advance(ours.dp, FRAGMENT_TIMEOUT + 1ull);
	sp_lab_advance(peer.dp, FRAGMENT_TIMEOUT + 1ull);
	run(&ours);
	run(&peer);
	check_peer(&before);
	check_conservation(&ours);
	check_conservation(&peer);
	CHECK(rte_mempool_in_use_count(pool) == 0, "%u mbufs leaked", rte_mempool_in_use_count(pool));
	return 0;
}
