/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The end of a packet that is dropped: counted by its in-port, and under the same reason by the filter that decided it and by the SA it belonged to, if any. A port has a
 * counter for each reason. Filters and SAs are too many for that, and most of them drop for one reason or none: each worker has a hash table of the counts that are not 0,
 * of which nothing but the worker writes what is in use. Its size is fixed: what finds no room in it is counted by reason alone.
 */

#include <rte_common.h>

#include "stages.h"

/* A key is a subject and a reason; 0 is an entry that was never used, since subject 0 is nobody. */
#define REASON_BITS 8

struct sp_tally {
	uint32_t mask;    /* entries - 1 */
	uint32_t shift;   /* of a 32-bit hash, to leave as many bits as the mask has */
	uint32_t room;    /* entries that may still be taken: a quarter stays free, so that probes end soon */
	uint64_t unattributed[SP_DROP_COUNT];
	struct entry {
		uint32_t key;
		uint32_t reserved;
		uint64_t n;
	} entries[];
};
_Static_assert(sizeof(struct entry) == 16, "four to a cache line");

size_t sp_tally_size(uint32_t entries)
{
	return sizeof(struct sp_tally) + entries * sizeof(struct entry);
}

void sp_tally_init(struct sp_tally *t, uint32_t entries)
{
	t->mask = entries - 1;
	t->shift = 32 - rte_log2_u32(entries);
	t->room = entries / 4 * 3;
}

static uint32_t key_of(uint32_t subject, uint32_t reason)
{
	return subject << REASON_BITS | reason;
}

/* The entry of a key, or the free one where it belongs. Fibonacci hashing: subjects are consecutive numbers. */
static struct entry *find(struct sp_tally *t, uint32_t key)
{
	uint32_t at = key * 2654435769u >> t->shift, found;

	while ((found = __atomic_load_n(&t->entries[at].key, __ATOMIC_ACQUIRE)) != key && found != 0)
		at = (at + 1) & t->mask;
	return &t->entries[at];
}

static void count(struct sp_tally *t, uint32_t subject, uint8_t reason)
{
	const uint32_t key = key_of(subject, reason);
	struct entry *e = find(t, key);
	uint64_t *n = &e->n;

	if (unlikely(e->key != key)) {
		if (t->room > 0) {
			t->room--;
			__atomic_store_n(&e->key, key, __ATOMIC_RELEASE);
		} else {
			n = &t->unattributed[reason];
		}
	}
	__atomic_store_n(n, *n + 1, __ATOMIC_RELAXED);
}

void sp_count_drop(struct sp_worker *w, const struct rte_mbuf *m, uint8_t reason)
{
	w->counters[m->port].drops[reason]++;
	if (sp_mark_filter(m) != SP_COUNTER_NONE)
		count(w->tally, sp_mark_filter(m), reason);
	if (sp_mark_sa(m) != 0)
		count(w->tally, sp_mark_sa(m), reason);
}

void sp_drop(struct sp_worker *w, struct rte_mbuf *m, uint8_t reason)
{
	sp_count_drop(w, m, reason);
	if (likely(m->port != SP_PORT_LOCAL) || !sp_punt_unsent(w, m))
		rte_pktmbuf_free(m);
}

/* ---- the control thread ---- */

void sp_tally_forget(struct sp_dataplane *dp, uint32_t subject)
{
	for (uint32_t i = 0; i < dp->n_workers; i++) {
		for (uint32_t reason = 0; reason < SP_DROP_COUNT; reason++) {
			struct entry *e = find(dp->workers[i]->tally, key_of(subject, reason));

			if (e->key != 0)
				__atomic_store_n(&e->n, 0, __ATOMIC_RELAXED);
		}
	}
}

void sp_tally_take(struct sp_dataplane *dp, uint32_t subject, uint64_t drops[SP_DROP_COUNT])
{
	for (uint32_t reason = 0; reason < SP_DROP_COUNT; reason++) {
		drops[reason] = 0;
		for (uint32_t i = 0; i < dp->n_workers; i++) {
			struct entry *e = find(dp->workers[i]->tally, key_of(subject, reason));

			if (e->key != 0)
				drops[reason] += __atomic_exchange_n(&e->n, 0, __ATOMIC_RELAXED);
		}
	}
}

uint32_t sp_tally_dump(const struct sp_dataplane *dp, uint32_t worker, uint32_t *cursor, struct sp_tally_count *out, uint32_t n)
{
	const struct sp_tally *t = dp->workers[worker]->tally;
	uint32_t copied = 0;

	while (*cursor <= t->mask && copied < n) {
		const struct entry *e = &t->entries[(*cursor)++];
		uint32_t key = __atomic_load_n(&e->key, __ATOMIC_ACQUIRE);
		uint64_t value = __atomic_load_n(&e->n, __ATOMIC_RELAXED);

		if (key == 0 || value == 0)
			continue;
		out[copied++] = (struct sp_tally_count){.n = value, .subject = key >> REASON_BITS, .reason = (uint8_t)key};
	}
	return copied;
}

uint64_t sp_tally_unattributed(const struct sp_dataplane *dp, uint32_t reason)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < dp->n_workers; i++)
		n += __atomic_load_n(&dp->workers[i]->tally->unattributed[reason], __ATOMIC_RELAXED);
	return n;
}
