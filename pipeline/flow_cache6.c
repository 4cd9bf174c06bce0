/* SPDX-License-Identifier: Apache-2.0 */

/* Stage 3 for IPv6: the same memo as flow_cache.c, in a table of its own, because its keys are longer: an entry is a whole cache line. */

#include <nmmintrin.h>

#include "ipv6.h"

static __rte_always_inline uint32_t flow_hash(const uint64_t addresses[4], uint64_t rest)
{
	uint64_t h = _mm_crc32_u64(0, rest);

	for (uint32_t i = 0; i < 4; i++)
		h = _mm_crc32_u64(h, addresses[i]);
	return (uint32_t)h;
}

static __rte_always_inline int flow_matches(const struct sp_flow_entry6 *e, const struct sp_packet6 *p, uint32_t generation)
{
	uint64_t differs = e->rest ^ p->p.words[1];

	for (uint32_t i = 0; i < RTE_DIM(p->addresses); i++)
		differs |= e->addresses[i] ^ p->addresses[i];
	return differs == 0 && e->generation == generation;
}

static __rte_always_inline void flow_apply(const struct sp_worker *w, struct sp_packet6 *p, const struct sp_flow_entry6 *e)
{
	memcpy(&p->p.verdict, &e->generation, sizeof(p->p.verdict));
	sp_fetch_decided(w, e->filter, e->action, e->cell);
}

/* The newest memo of a bucket stands first; the older one gives way. */
static void flow_insert(struct sp_worker *w, struct sp_flow_entry6 *bucket, struct sp_packet6 *p)
{
	if (bucket[0].generation == w->generation)
		bucket[1] = bucket[0];
	p->p.verdict.generation = w->generation;
	memcpy(bucket[0].addresses, p->addresses, sizeof(p->addresses));
	bucket[0].rest = p->p.words[1];
	memcpy(&bucket[0].generation, &p->p.verdict, sizeof(p->p.verdict));
}

static void flow_misses(struct sp_worker *w, struct sp_packet6 *packets, const uint32_t *missed, const uint32_t *bucket, uint32_t n)
{
	struct sp_packet6 *misses[SP_BURST];
	uint8_t memo[SP_BURST];

	for (uint32_t i = 0; i < n; i++)
		misses[i] = &packets[missed[i]];
	sp_classify_misses6(w->dp, w->snapshot, misses, memo, n);
	for (uint32_t i = 0; i < n; i++) {
		sp_fetch_counter(w, misses[i]->p.verdict.filter);
		if (memo[i])
			flow_insert(w, &w->flows6[bucket[missed[i]]], misses[i]);
	}
}

void sp_flow_verdicts6(struct sp_worker *w, struct sp_packet6 *packets, uint32_t n)
{
	uint32_t bucket[SP_BURST], missed[SP_BURST], n_missed = 0;

	for (uint32_t i = 0; i < n; i++) {
		bucket[i] = (flow_hash(packets[i].addresses, packets[i].p.words[1]) & w->flow6_mask) * 2;
		rte_prefetch0(&w->flows6[bucket[i]]);
	}
	for (uint32_t i = 0; i < n; i++) {
		const struct sp_flow_entry6 *e = &w->flows6[bucket[i]];

		if (likely(flow_matches(&e[0], &packets[i], w->generation)))
			flow_apply(w, &packets[i], &e[0]);
		else if (flow_matches(&e[1], &packets[i], w->generation))
			flow_apply(w, &packets[i], &e[1]);
		else
			missed[n_missed++] = i;
	}
	if (unlikely(n_missed > 0))
		flow_misses(w, packets, missed, bucket, n_missed);
}

/* The worker goes on meanwhile: an entry that changes while it is copied is not shown. */
uint32_t sp_flow_find6(const struct sp_dataplane *dp, uint32_t worker, const struct sp_flow_key *key, const uint8_t *addresses, struct sp_flow_entry6 out[2])
{
	const struct sp_worker *w = dp->workers[worker];
	const struct sp_flow_entry6 *bucket;
	uint64_t wide[4], words[2];
	uint32_t n = 0;

	memcpy(wide, addresses, sizeof(wide));
	memcpy(words, key, sizeof(words));
	bucket = &w->flows6[(flow_hash(wide, words[1]) & w->flow6_mask) * 2];
	for (uint32_t i = 0; i < 2; i++) {
		struct sp_flow_entry6 e = bucket[i];

		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (e.generation != 0 && e.rest == words[1] && memcmp(e.addresses, wide, sizeof(wide)) == 0 && memcmp(&e, &bucket[i], sizeof(e)) == 0)
			out[n++] = e;
	}
	return n;
}
