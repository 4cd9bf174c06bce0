/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Stage 3: exact match on addresses, ports, protocol, role and tunnel of arrival. An entry is a memo of a decision that the classifier would take again, and valid only in
 * the generation that took it (S-021).
 */

#include "parse.h"

static __rte_always_inline int flow_matches(const struct sp_flow_entry *e, const struct sp_packet *p, uint32_t generation)
{
	__m128i same = _mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *)&e->key), _mm_loadu_si128((const __m128i *)p->words));

	return _mm_movemask_epi8(same) == 0xffff && e->generation == generation;
}

static __rte_always_inline void flow_apply(const struct sp_worker *w, struct sp_packet *p, const struct sp_flow_entry *e)
{
	memcpy(&p->verdict, &e->generation, sizeof(p->verdict));
	sp_fetch_decided(w, e->filter, e->action, e->cell);
}

/* The bucket in the neighbouring cache line: its own where there is no other. */
static inline uint32_t beside(const struct sp_worker *w, uint32_t bucket)
{
	return (bucket ^ 2) & (2 * w->flow_mask + 1);
}

/*
 * An older memo that a newer one has pushed out of its bucket stays in the bucket beside it as long as that has room. Once all is taken, perhaps by flows that have ended,
 * it takes a place there one time in four: a third flow of a bucket comes to rest before long, and a flood of new ones pushes out few.
 */
static void flow_move(struct sp_worker *w, struct sp_flow_entry *to, const struct sp_flow_entry *e)
{
	if (to[0].generation != w->generation)
		to[0] = *e;
	else if (to[1].generation != w->generation)
		to[1] = *e;
	else if ((++w->flow_moves & 3) == 0)
		to[w->flow_moves >> 2 & 1] = *e;
}

/* The newest memo of a bucket stands first. */
static void flow_insert(struct sp_worker *w, uint32_t at, struct sp_packet *p)
{
	struct sp_flow_entry *bucket = &w->flows[at];

	if (bucket[0].generation == w->generation) {
		if (bucket[1].generation == w->generation)
			flow_move(w, &w->flows[beside(w, at)], &bucket[1]);
		bucket[1] = bucket[0];
	}
	p->verdict.generation = w->generation;
	bucket[0].key = p->key;
	memcpy(&bucket[0].generation, &p->verdict, sizeof(p->verdict));
}

static void flow_misses(struct sp_worker *w, struct sp_packet *packets, const uint32_t *missed, const uint32_t *bucket, uint32_t n)
{
	struct sp_packet *misses[SP_BURST];
	uint8_t memo[SP_BURST];

	SP_ENTER(w, CLASSIFY);
	for (uint32_t i = 0; i < n; i++)
		misses[i] = &packets[missed[i]];
	sp_classify_misses(w->dp, w->snapshot, misses, memo, n);
	for (uint32_t i = 0; i < n; i++) {
		sp_fetch_counter(w, misses[i]->verdict.filter);
		if (memo[i])
			flow_insert(w, bucket[missed[i]], misses[i]);
	}
}

static __rte_always_inline int flow_look_up(const struct sp_worker *w, struct sp_packet *p, uint32_t bucket)
{
	const struct sp_flow_entry *e = &w->flows[bucket];

	if (likely(flow_matches(&e[0], p, w->generation)))
		flow_apply(w, p, &e[0]);
	else if (flow_matches(&e[1], p, w->generation))
		flow_apply(w, p, &e[1]);
	else
		return 0;
	return 1;
}

/* Packets without a memo in their buckets, which may have one in the bucket beside; moves those that have none to the front and returns their number. */
static __rte_noinline uint32_t flow_look_beside(const struct sp_worker *w, struct sp_packet *packets, uint32_t *missed, const uint32_t *bucket, uint32_t n)
{
	uint32_t n_missed = 0;

	for (uint32_t i = 0; i < n; i++)
		rte_prefetch0(&w->flows[beside(w, bucket[missed[i]])]);
	for (uint32_t i = 0; i < n; i++)
		if (!flow_look_up(w, &packets[missed[i]], beside(w, bucket[missed[i]])))
			missed[n_missed++] = missed[i];
	return n_missed;
}

void sp_flow_verdicts(struct sp_worker *w, struct sp_packet *packets, uint32_t n)
{
	uint32_t bucket[SP_BURST], missed[SP_BURST], n_missed = 0;

	SP_ENTER(w, FLOWS);
	for (uint32_t i = 0; i < n; i++) {
		bucket[i] = (packets[i].hash & w->flow_mask) * 2;
		rte_prefetch0(&w->flows[bucket[i]]);
	}
	for (uint32_t i = 0; i < n; i++)
		if (unlikely(!flow_look_up(w, &packets[i], bucket[i])))
			missed[n_missed++] = i;
	if (unlikely(n_missed > 0))
		n_missed = flow_look_beside(w, packets, missed, bucket, n_missed);
	if (unlikely(n_missed > 0))
		flow_misses(w, packets, missed, bucket, n_missed);
}

/* The worker goes on meanwhile: an entry that changes while it is copied is not shown. */
uint32_t sp_flow_find(const struct sp_dataplane *dp, uint32_t worker, const struct sp_flow_key *key, struct sp_flow_entry out[2])
{
	const struct sp_worker *w = dp->workers[worker];
	uint64_t words[2];
	uint32_t bucket, n = 0;

	memcpy(words, key, sizeof(words));
	bucket = (sp_flow_hash(words[0], words[1]) & w->flow_mask) * 2;
	for (uint32_t i = 0; i < (w->flow_mask == 0 ? 2 : 4) && n < 2; i++) {
		const struct sp_flow_entry *at = &w->flows[i < 2 ? bucket + i : beside(w, bucket) + i - 2];
		struct sp_flow_entry e = *at;

		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (e.generation != 0 && memcmp(&e.key, key, sizeof(*key)) == 0 && memcmp(&e, at, sizeof(e)) == 0)
			out[n++] = e;
	}
	return n;
}
