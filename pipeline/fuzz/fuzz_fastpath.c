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
#include "changes.h"
#include "hostile.h"
#include "invariants.h"
#include "nic.h"
#include "wire.h"

#define SAVED 8

static struct frame saved[SAVED]; /* sealed packets, to be replayed */

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

/* A clear packet, to and from anywhere of interest, on either side; returns its headroom. */
static uint32_t clear_packet(struct program *p, struct frame *f, enum side *side)
{
	uint32_t where = take(p, 1), hosts = take(p, 2), shape = take(p, 1), headroom = shape & 127, tunnels = take(p, 2);
	uint32_t nets[] = {OUR_NET, CLEAR_NET, OUR_WAN & ~255u, PEER_NET((tunnels >> 8) % NETWORKS), PEER_NET(tunnels % NETWORKS), GROUP_NET(hosts >> 8 & 3), 0x7f000000, 0xffffff00};

	*side = where >> 7;
	build(p, f, ours.mac[*side], nets[where & 7] | hosts >> 8, nets[where >> 3 & 7] | (hosts & 255));
	if (shape & 128)
		make_wide(f, take(p, 1));
	f->bytes[0] |= headroom == 127; /* now and then to a group of the link layer */
	return headroom;
}

static void op_clear(struct program *p)
{
	static struct frame f;
	enum side side;
	uint32_t headroom = clear_packet(p, &f, &side);

	receive(&ours, side, &f, headroom);
}

static void op_fragments(struct program *p)
{
	static struct frame f;
	enum side side;

	clear_packet(p, &f, &side);
	receive_fragments(p, side, &f);
}

/* What comes out of the peer's unprotected port for one packet of a host behind it; there may be more of it. */
static int seal(struct program *p, enum tunnel t, int wide, struct frame *out)
{
	static struct frame f;
	uint32_t hosts = take(p, 2), other = take(p, 1);
	uint32_t destination = hosts & 0x8000 ? PEER_NET(other % CELLS) | (hosts & 255) : OUR_NET | (hosts & 255);

	build(p, &f, peer.mac[PROTECTED], PEER_NET(t) | (hosts >> 8 & 127), destination);
	if (wide)
		make_wide(&f, take(p, 1));
	receive(&peer, PROTECTED, &f, RTE_PKTMBUF_HEADROOM);
	run(&peer);
	return next_sealed(out);
}

/* The outer header announces the frame's length again. */
static void repair(struct frame *f)
{
	uint8_t *l3 = f->bytes + SP_L2_LENGTH;

	if (f->length < SP_L2_LENGTH + SP_IPV6_LENGTH)
		return;
	if (sp_is_ipv6(l3)) {
		sp_store16(l3 + 4, rte_cpu_to_be_16((uint16_t)(f->length - SP_L2_LENGTH - SP_IPV6_LENGTH)));
		return;
	}
	sp_store16(l3 + 2, rte_cpu_to_be_16((uint16_t)(f->length - SP_L2_LENGTH)));
	if (l3[9] == SP_PROTOCOL_UDP)
		sp_store16(l3 + 24, rte_cpu_to_be_16((uint16_t)(f->length - SP_L2_LENGTH - SP_IPV4_LENGTH)));
	checksum(l3);
}

static void mark_congestion(uint8_t *l3)
{
	if (sp_is_ipv6(l3)) {
		l3[1] |= SP_ECN_CE << 4;
		return;
	}
	l3[1] |= SP_ECN_CE;
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
		mark_congestion(f.bytes + SP_L2_LENGTH);
		break;
	case 7: /* kept for later, not delivered */
		return;
	}
	if (how & 16 && f.length >= SP_L2_LENGTH + SP_IPV6_LENGTH)
		receive_fragments(p, UNPROTECTED, &f);
	else
		receive(&ours, UNPROTECTED, &f, how & 8 ? value & 127 : RTE_PKTMBUF_HEADROOM);
	while (next_sealed(&f)) /* the peer's own fragments */
		receive(&ours, UNPROTECTED, &f, RTE_PKTMBUF_HEADROOM);
}

/* Once more, whole or in fragments: those of several packets come in any order. */
static void op_replay(struct program *p)
{
	uint32_t which = take(p, 1);
	const struct frame *f = &saved[which % SAVED];

	if (which & 128 && f->length >= SP_L2_LENGTH + SP_IPV6_LENGTH)
		receive_fragments(p, UNPROTECTED, f);
	else if (f->length > 0)
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
	sp_inject(ours.dp, arrival.queue, &injection, 1);
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
	nic_start();
	return 0;
}

static uint32_t waiting(void)
{
	uint32_t n = 0;

	for (uint32_t side = 0; side < SIDES; side++)
		for (uint32_t queue = 0; queue < WORKERS; queue++)
			n += rte_ring_count(ours.rx[side][queue]);
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const operations[])(struct program *) = {op_raw,    op_clear, op_sealed, op_replay, op_inject, op_tables, op_fragments, op_forge,
								op_forge, op_udp,   op_sas,    op_sealed, op_clear,  op_sealed, op_fragments};
	struct arrival next = {0};
	struct program p = {.next = data, .end = data + size};
	struct sp_port_counters before;
	uint32_t what;

	changes_undo();
	for (uint32_t i = 0; i < SAVED; i++)
		saved[i].length = 0;
	sp_port_counters_read(peer.dp, peer.port[UNPROTECTED], &before);
	while (p.next < p.end) {
		what = take(&p, 1);
		arrival = next;
		arrival.queue = what >> 7;
		arrival.stripped = what >> 6 & 1;
		next = (struct arrival){0};
		if ((what & 15) < RTE_DIM(operations))
			operations[what & 15](&p);
		else if (op_nic(&p, &next))
			changes_made();
		if (waiting() > 48)
			run(&ours);
		if (rte_mempool_avail_count(pool) < 256) {
			drain_punts(&ours, 0);
			drain_punts(&peer, 0);
			collect(&ours, UNPROTECTED, 1);
			collect(&ours, PROTECTED, 0);
			collect(&peer, PROTECTED, 0);
		}
	}
	arrival = (struct arrival){0};
	nic_refuse(0);
	nic_awaits(TUNNELS);
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
	drain_punts(&ours, 0); /* of which Go hears */
	drain_punts(&peer, 0);
	check_peer(&before);
	check_conservation(&ours);
	check_conservation(&peer);
	CHECK(rte_mempool_in_use_count(pool) == 0, "%u mbufs leaked", rte_mempool_in_use_count(pool));
	CHECK(rte_mempool_in_use_count(large_pool) == 0, "%u large mbufs leaked", rte_mempool_in_use_count(large_pool));
	return 0;
}
