/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Stage 6: a tunnel's packets, encapsulated and encrypted (RFC 4303 3.3): by itself ESP with AES-GCM in tunnels, all else in outbound_general.c. Runs of packets of one SA share the sequence reservation, the crypto call and the counters.
 * All that can speak against a packet is asked before a byte of it changes, so that whoever answers with ICMP sees it as it came.
 */

#include "crypt.h"
#include "esp.h"
#include "fragment.h"
#include "frame.h"
#include "inline.h"
#include "mbuf.h"
#include "outer.h"
#include "sequence.h"

uint16_t sp_outbound_largest(const struct sp_sa_out *sa, uint16_t mtu, uint32_t stays)
{
	const int esp = sa->protocol == SP_SA_ESP;
	uint32_t overhead = stays + sa->header_length + (esp ? sa->transform.icv_length : 0u), trailer = esp ? 2 : 0;
	uint32_t block_mask = esp ? sa->transform.block_mask : 0, room;

	if (mtu < overhead + block_mask + 1u)
		return 0;
	room = (mtu - overhead) & ~block_mask;
	if (room < trailer || stays + room - trailer < SP_IPV4_LENGTH)
		return 0;
	return (uint16_t)(stays + room - trailer);
}

uint16_t sp_sa_out_largest_inner(const struct sp_sa_out *sa, uint16_t mtu)
{
	uint32_t header = sa->outer == SP_IPV6 ? SP_IPV6_LENGTH : SP_IPV4_LENGTH;

	return sp_outbound_largest(sa, mtu, sa->transport ? header : 0);
}

__rte_noinline void sp_outbound_reject(struct sp_worker *w, struct sp_sa_out *sa, uint32_t mtu, struct sp_packet *p, uint32_t total)
{
	const struct sp_fields fields = sp_fields_of(&sa->encapsulation);
	struct sp_cut cut;
	uint16_t room;

	sp_set_mark_sa(p->mbuf, sa->subject);
	if (!sp_selected_out(sa, p, sp_is_ipv6(p->l3))) {
		sp_drop(w, p->mbuf, SP_DROP_SELECTOR_MISMATCH);
	} else if (*sp_hops_left(p->l3) <= 1 && p->key.role != SP_ROLE_LOCAL) {
		sp_punt_dropped(w, p, SP_PUNT_TTL_EXPIRED, 0);
	} else if (total > mtu) {
		room = sp_outbound_largest(sa, (uint16_t)mtu, sa->transport ? sp_unprotected(p->l3) : 0);
		if ((sa->plain || sa->plain6) && sp_cut_after(w, sa, &fields, p)) /* other SAs have asked before */
			w->oversize[w->n_oversize++] = (struct sp_oversize){.packet = p};
		else if (!sa->transport && room > 0 && sp_may_fragment(w, p, room, &cut)) /* transport mode takes no fragments (RFC 4301 4.1) */
			w->oversize[w->n_oversize++] = (struct sp_oversize){.packet = p, .room = room};
		else
			sp_punt_dropped(w, p, SP_PUNT_TOO_BIG, sp_is_ipv6(p->l3) ? RTE_MAX(room, SP_IPV6_MINIMUM) : room);
	} else {
		sp_drop(w, p->mbuf, SP_DROP_NO_ROOM);
	}
}

/*
 * Turns packets into ESP still to be encrypted, numbered from `sequence` on; returns how many, in mbufs, and in *frames the bytes of their frames. Compiled once for
 * each kind of SA and the IP versions of its packets and its tunnel, so that the lengths of a kind are constants.
 */
static __rte_always_inline uint32_t encapsulate(struct sp_worker *w, struct sp_sa_out *sa, const struct sp_adjacency *next, struct sp_packet **packets,
						struct rte_mbuf **mbufs, uint64_t sequence, uint32_t n, uint64_t *frames, enum sp_sa_kind kind, int ipv6, int outer6)
{
	const uint8_t *const header6 = outer6 ? sp_outer_header(sa) : NULL;
	const uint32_t header = sa->header_length, icv = sa->transform.icv_length, mtu = sp_sa_out_mtu(sa, next);
	const int transit = packets[0]->key.role != SP_ROLE_LOCAL; /* one in-port, so one role */
	uint64_t bytes = 0, outer_bytes = 0;
	uint32_t good = 0;

	for (uint32_t i = 0; i < n; i++) {
		struct sp_packet *p = packets[i];
		const struct sp_lengths l = sp_lengths_of(p, header, icv);

		if (unlikely(!sp_may_enter(sa, p, &l, mtu, transit, ipv6))) {
			sp_outbound_reject(w, sa, mtu, p, l.total);
			continue;
		}
		sp_frame(sa, next, header6, p, &l, sequence, transit, ipv6);
		if (kind == SP_SA_AEAD_CPU) {
			w->cpu.data[good].base = p->l3;
			w->cpu.data[good].len = l.cipher;
		}
		bytes += p->length;
		outer_bytes += l.total;
		mbufs[good++] = p->mbuf;
		sequence++;
	}
	sp_add(sa->shared, &sa->packets, good);
	sp_add(sa->shared, &sa->bytes, bytes);
	*frames = outer_bytes + (uint64_t)good * SP_L2_LENGTH;
	return good;
}

/* AES-GCM (RFC 4106): nonce = salt and IV, AAD = SPI and sequence number, with ESN its high half between them (section 5). */
static __rte_always_inline void fill_vector(struct sp_cpu_vector *v, const struct sp_sa_out *sa, uint64_t sequence, uint32_t n)
{
	const uint32_t salt_be = sa->transform.salt_be, spi_be = sa->transform.spi_be;
	const int esn = sa->transform.esn;

	for (uint32_t i = 0; i < n; i++) {
		uint8_t *payload = v->data[i].base;
		uint64_t sequence_be = rte_cpu_to_be_64(sequence + i);

		v->digest[i].va = payload + v->data[i].len;
		v->aad[i].va = payload - 8 - SP_ESP_LENGTH;
		sp_store32(v->iv_bytes[i], salt_be);
		sp_store64(v->iv_bytes[i] + 4, sequence_be);
		if (unlikely(esn)) {
			v->aad[i].va = v->aad_bytes[i];
			sp_store32(v->aad_bytes[i], spi_be);
			sp_store64(v->aad_bytes[i] + 4, sequence_be);
		}
	}
}

static void seal_cpu(struct sp_worker *w, struct sp_sa_out *sa, const struct sp_adjacency *next, struct rte_mbuf **mbufs, uint64_t sequence, uint32_t n, uint64_t frames)
{
	uint32_t good;

	fill_vector(&w->cpu, sa, sequence, n);
	good = sp_cpu_process(w, sa->transform.device, sa->transform.session, n);
	if (unlikely(good != n)) {
		good = 0;
		for (uint32_t i = 0; i < n; i++) {
			if (w->cpu.status[i] == 0) {
				mbufs[good++] = mbufs[i];
				continue;
			}
			frames -= mbufs[i]->pkt_len;
			sp_drop(w, mbufs[i], SP_DROP_CRYPTO_ERROR); /* may be half encrypted: never sent */
		}
	}
	sp_transmit_run(w, next->port, mbufs, good, frames);
}

static __rte_always_inline uint32_t encapsulate_run(struct sp_worker *w, struct sp_sa_out *sa, const struct sp_adjacency *next, struct sp_packet **packets,
						    struct rte_mbuf **mbufs, uint64_t sequence, uint32_t n, uint64_t *frames, int ipv6, int outer6)
{
	if (likely(sa->transform.kind == SP_SA_AEAD_DIRECT))
		return encapsulate(w, sa, next, packets, mbufs, sequence, n, frames, SP_SA_AEAD_DIRECT, ipv6, outer6);
	return encapsulate(w, sa, next, packets, mbufs, sequence, n, frames, SP_SA_AEAD_CPU, ipv6, outer6);
}

/* Packets of one SA. */
static __rte_always_inline void seal_run(struct sp_worker *w, struct sp_sa_out *sa, const struct sp_adjacency *next, struct sp_packet **packets, uint32_t n, int outer6)
{
	struct rte_mbuf *mbufs[SP_BURST];
	const int ipv6 = sp_is_ipv6(packets[0]->l3); /* before packets that find no number are gone */
	uint64_t sequence, frames;

	SP_ENTER(w, ENCAPSULATE);
	sequence = sp_reserve(w, sa, packets, &n);
	if (likely(!ipv6))
		n = encapsulate_run(w, sa, next, packets, mbufs, sequence, n, &frames, 0, outer6);
	else
		n = encapsulate_run(w, sa, next, packets, mbufs, sequence, n, &frames, 1, outer6);
	sp_reserved(sa, sequence, n);
	if (unlikely(n == 0))
		return;
	__atomic_store_n(&sa->last_use, w->now, __ATOMIC_RELAXED);
	SP_ENTER(w, ENCRYPT);
	if (likely(sa->transform.kind == SP_SA_AEAD_DIRECT)) {
		sp_direct_encrypt(w, sa, mbufs, sequence, n);
		SP_ENTER(w, TRANSMIT);
		sp_transmit_run(w, next->port, mbufs, n, frames);
	} else if (sa->transform.kind == SP_SA_AEAD_INLINE) {
		sp_inline_seal(w, sa, next, mbufs, sequence, n, frames);
	} else {
		seal_cpu(w, sa, next, mbufs, sequence, n, frames);
	}
}

static void seal(struct sp_worker *w, struct sp_sa_out *sa, const struct sp_adjacency *next, struct sp_packet **packets, uint32_t n)
{
	seal_run(w, sa, next, packets, n, 0);
}

/* The same of an IPv6 tunnel. */
static __rte_noinline void seal6(struct sp_worker *w, struct sp_sa_out *sa, const struct sp_adjacency *next, struct sp_packet **packets, uint32_t n)
{
	seal_run(w, sa, next, packets, n, 1);
}

/* SAs that are not plain: by a crypto device or their NIC, where those take inner packets, or by the general path. */
static __rte_noinline void otherwise(struct sp_worker *w, struct sp_sealing *batch, struct sp_sa_out *sa, const struct sp_adjacency *next, struct sp_packet **packets, uint32_t n)
{
	uint32_t done = 0;

	if (sa->transform.kind == SP_SA_WHOLE_ASYNC) {
		sp_whole_seal(w, sa, next, packets, n);
		return;
	}
	if (sa->inlined && sa->inline_->protocol)
		done = sp_inline_enter(w, sa, next, packets, &n);
	if (likely(done < n))
		sp_outbound_general(w, batch, sa, next, packets + done, n - done, 0);
}

static void enter(struct sp_worker *w, struct sp_sealing *batch, struct sp_sa_out *sa, const struct sp_adjacency *next, struct sp_packet **packets, uint32_t n)
{
	if (likely(sa->plain))
		seal(w, sa, next, packets, n);
	else if (sa->plain6)
		seal6(w, sa, next, packets, n);
	else
		otherwise(w, batch, sa, next, packets, n);
}

/* What has been put aside a second time: the path MTU has fallen since, or the buffer has no room for this. */
static void drop_oversize(struct sp_worker *w)
{
	while (w->n_oversize > 0)
		sp_drop(w, w->oversize[--w->n_oversize].packet->mbuf, SP_DROP_MTU_EXCEEDED);
}

/* A packet in fragments that fit. */
static void enter_cut(struct sp_worker *w, struct sp_sealing *batch, struct sp_sa_out *sa, const struct sp_adjacency *next, const struct sp_oversize *o)
{
	struct sp_packet6 fragments[SP_FRAGMENTS_MAX];
	struct sp_packet *list[SP_FRAGMENTS_MAX];
	struct sp_cut cut = {0};
	uint32_t n;

	sp_may_fragment(w, o->packet, o->room, &cut); /* it has said so before */
	n = sp_fragment_packet(w, o->packet, &cut, fragments, list);
	for (uint32_t start = 0; start < n; start += SP_BURST) {
		enter(w, batch, sa, next, list + start, RTE_MIN(n - start, (uint32_t)SP_BURST));
		drop_oversize(w);
	}
}

/* The packets that were put aside, as runs of their own: fragmentation before encapsulation, or after it by the general path (RFC 4301 8.1). */
static __rte_noinline void enter_oversize(struct sp_worker *w, struct sp_sealing *batch, struct sp_sa_out *sa, const struct sp_adjacency *next)
{
	struct sp_oversize aside[SP_BURST];
	uint32_t n_aside = w->n_oversize;

	memcpy(aside, w->oversize, n_aside * sizeof(*aside));
	w->n_oversize = 0;
	for (uint32_t i = 0; i < n_aside; i++) {
		if (aside[i].room == 0)
			sp_outbound_general(w, batch, sa, next, &aside[i].packet, 1, 0);
		else
			enter_cut(w, batch, sa, next, &aside[i]);
		drop_oversize(w);
	}
}

static void without_sa(struct sp_worker *w, const struct sp_cell *cell, struct sp_packet **packets, uint32_t n)
{
	uint8_t reason = sp_without_sa(cell);

	for (uint32_t i = 0; i < n; i++) {
		if (reason == SP_PASS)
			sp_punt_held(w, packets[i], SP_PUNT_ACQUIRE);
		else
			sp_drop(w, packets[i]->mbuf, reason);
	}
}

/* Packets of an SA whose next hop is not known yet, or that Go knows no way for. */
static __rte_noinline void without_next(struct sp_worker *w, struct sp_sa_out *sa, struct sp_packet **packets, uint32_t n)
{
	uint16_t adjacency = __atomic_load_n(&sa->adjacency, __ATOMIC_RELAXED);

	for (uint32_t i = 0; i < n; i++) {
		packets[i]->verdict.adjacency = adjacency;
		if (adjacency == SP_NO_ADJACENCY)
			sp_drop_out(w, sa, packets[i]->mbuf, SP_DROP_NO_ROUTE);
		else
			sp_punt_held(w, packets[i], SP_PUNT_NEIGHBOUR);
	}
}

/* Packets of one cell, and of one IP version as all of a burst. */
static void outbound_run(struct sp_worker *w, struct sp_sealing *batch, struct sp_sa_out *sa, struct sp_packet **packets, uint32_t n)
{
	const struct sp_adjacency *next;

	if (unlikely(sa == NULL)) {
		without_sa(w, &w->dp->cells[packets[0]->verdict.cell], packets, n);
		return;
	}
	next = sp_adjacency_get(w, __atomic_load_n(&sa->adjacency, __ATOMIC_RELAXED));
	if (unlikely(next == NULL)) {
		without_next(w, sa, packets, n);
		return;
	}
	enter(w, batch, sa, next, packets, n);
	if (unlikely(w->n_oversize > 0))
		enter_oversize(w, batch, sa, next);
}

void sp_outbound_dummy(struct sp_worker *w, struct sp_packet *p)
{
	struct sp_sa_out *sa = sp_cell_sa(w, p->verdict.cell);
	const struct sp_adjacency *next;
	struct sp_sealing batch;

	if (sa == NULL || sa->protocol != SP_SA_ESP || sa->transform.kind == SP_SA_WHOLE_ASYNC) { /* another one since Go asked for it */
		sp_drop(w, p->mbuf, SP_DROP_NO_OUTBOUND_SA);
		return;
	}
	next = sp_adjacency_get(w, __atomic_load_n(&sa->adjacency, __ATOMIC_RELAXED));
	if (next == NULL) {
		without_next(w, sa, &p, 1);
		return;
	}
	batch.n = 0;
	sp_outbound_general(w, &batch, sa, next, &p, 1, 1);
	if (batch.n > 0)
		sp_outbound_seal(w, &batch);
}

/*
 * Of thousands of tunnels none is in the nearest caches when its packet comes. What a packet needs is asked for ahead of it, a dependency at a time: all SAs of the burst at
 * once, and each key, which its SA points to, so many packets ahead that the memory works while those before it are encrypted.
 */
#define KEY_AHEAD 8

static __rte_always_inline void fetch_sa(const struct sp_sa_out *sa)
{
	if (sa == NULL)
		return;
	rte_prefetch0(&sa->transform.session);
	__builtin_prefetch(&sa->sequence, 1);
}

static __rte_always_inline void fetch_key(const struct sp_sa_out *sa)
{
	if (sa == NULL)
		return;
	sp_fetch_key(&sa->transform);
	if (unlikely(sa->plain6))
		rte_prefetch0(&sa->moved);
}

/*
 * A packet of a run of one that is a frame but for the encryption. The library loads whole vectors of it, and would have to wait for narrower stores of a moment ago to reach the
 * cache, with all packets before it done by then: LATE others are framed first, and the encryption of one goes on while the next begins.
 */
#define LATE 4

struct framed {
	struct sp_sa_out *sa;
	struct rte_mbuf *mbuf;
	uint64_t sequence;
	uint16_t port;
};

/* First in, first out: packets of an SA leave in their order. */
struct late {
	uint32_t begin, end; /* of all that were ever in it */
	struct framed frames[LATE];
};

static __rte_always_inline void encrypt_first(struct sp_worker *w, struct late *late)
{
	struct framed *f = &late->frames[late->begin++ % LATE];

	SP_ENTER(w, ENCRYPT);
	sp_direct_encrypt(w, f->sa, &f->mbuf, f->sequence, 1);
	SP_ENTER(w, TRANSMIT);
	sp_tx_append(sp_tx_reserve(w, f->port, f->mbuf->port, 1), f->mbuf, f->mbuf->pkt_len);
}

static __rte_noinline void encrypt_late(struct sp_worker *w, struct late *late)
{
	while (late->begin != late->end)
		encrypt_first(w, late);
}

/*
 * A run of one packet of a plain SA, as most runs are where tunnels are many: what a run asks once for all of its packets is no saving then. Returns 0, and nothing done, when
 * the packet is one that something speaks against, or the SA another one.
 */
static __rte_always_inline int outbound_single(struct sp_worker *w, struct late *late, struct sp_sa_out *sa, struct sp_packet **packet, int ipv6)
{
	const struct sp_adjacency *next;
	struct sp_packet *p = *packet;
	const int transit = p->key.role != SP_ROLE_LOCAL;
	uint32_t numbers = 1;
	struct sp_lengths l;
	uint64_t sequence;

	if (unlikely(sa == NULL || !sa->plain || sa->transform.kind != SP_SA_AEAD_DIRECT))
		return 0;
	SP_ENTER(w, ENCAPSULATE);
	next = sp_adjacency_get(w, __atomic_load_n(&sa->adjacency, __ATOMIC_RELAXED));
	if (unlikely(next == NULL))
		return 0;
	l = sp_lengths_of(p, sa->header_length, sa->transform.icv_length);
	if (unlikely(!sp_may_enter(sa, p, &l, sp_sa_out_mtu(sa, next), transit, ipv6)))
		return 0;
	sequence = sp_reserve(w, sa, packet, &numbers);
	if (unlikely(numbers == 0))
		return 1;
	sp_frame(sa, next, NULL, p, &l, sequence, transit, ipv6);
	sp_add(sa->shared, &sa->packets, 1);
	sp_add(sa->shared, &sa->bytes, p->length);
	sp_reserved(sa, sequence, 1);
	__atomic_store_n(&sa->last_use, w->now, __ATOMIC_RELAXED);
	if (likely(late->end - late->begin == LATE))
		encrypt_first(w, late);
	late->frames[late->end++ % LATE] = (struct framed){.sa = sa, .mbuf = p->mbuf, .sequence = sequence, .port = next->port};
	return 1;
}

static __rte_noinline void outbound_mixed(struct sp_worker *w, struct sp_sealing *batch, struct sp_packet **packets, uint32_t n)
{
	struct sp_sa_out *sas[SP_BURST + KEY_AHEAD] = {NULL};
	const int ipv6 = sp_is_ipv6(packets[0]->l3); /* one IP version */
	struct late late;
	uint32_t start = 0;

	late.begin = late.end = 0;
	for (uint32_t i = 0; i < n; i++)
		sas[i] = sp_cell_sa(w, packets[i]->verdict.cell);
	for (uint32_t i = 0; i < n; i++)
		fetch_sa(sas[i]);
	for (uint32_t i = 0; i < KEY_AHEAD; i++)
		fetch_key(sas[i]);
	while (start < n) {
		uint32_t cell = packets[start]->verdict.cell, end = start;

		SP_ENTER(w, SA);
		do {
			fetch_key(sas[end + KEY_AHEAD]);
			end++;
		} while (end < n && packets[end]->verdict.cell == cell);
		if (end - start > 1 || !outbound_single(w, &late, sas[start], packets + start, ipv6)) {
			encrypt_late(w, &late);
			outbound_run(w, batch, sas[start], packets + start, end - start);
		}
		start = end;
	}
	encrypt_late(w, &late);
}

/* How often the next packet is of another cell. */
static uint32_t cell_changes(struct sp_packet *const *packets, uint32_t n)
{
	uint32_t changes = 0;

	for (uint32_t i = 1; i < n; i++)
		changes += packets[i]->verdict.cell != packets[i - 1]->verdict.cell;
	return changes;
}

static void outbound_runs(struct sp_worker *w, struct sp_sealing *batch, struct sp_packet **packets, uint32_t n)
{
	uint32_t start = 0;

	while (start < n) {
		uint32_t cell = packets[start]->verdict.cell, end = start + 1;

		while (end < n && packets[end]->verdict.cell == cell)
			end++;
		outbound_run(w, batch, sp_cell_sa(w, cell), packets + start, end - start);
		start = end;
	}
}

void sp_outbound(struct sp_worker *w, struct sp_packet **packets, uint32_t n)
{
	struct sp_sealing batch;
	uint32_t changes;

	SP_ENTER(w, SA);
	changes = cell_changes(packets, n);
	batch.n = 0;
	if (likely(changes == 0))
		outbound_run(w, &batch, sp_cell_sa(w, packets[0]->verdict.cell), packets, n);
	else if (changes == 1)
		outbound_runs(w, &batch, packets, n);
	else
		outbound_mixed(w, &batch, packets, n);
	if (unlikely(batch.n > 0))
		sp_outbound_seal(w, &batch);
}
