/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Beside stage 7: ESP and AH that comes before its SA. A responder may send by a new SA as soon as it has the keys (RFC 7296 2.8), so that its first packets can overtake the
 * answer that gives them to us. What has an SPI that is reserved here waits with Go, which gives it back when the SA is there. Only a lookup that found no SA comes here, and
 * what may wait is counted before a packet enters the queue: a peer that sends on at full rate has a small part of the buffers.
 */

#include "stages.h"

/* Whether one more may be counted. The control thread and all workers count. */
static int take(uint32_t *count, uint32_t limit)
{
	if (__atomic_load_n(count, __ATOMIC_RELAXED) >= limit)
		return 0;
	if (__atomic_fetch_add(count, 1, __ATOMIC_RELAXED) < limit)
		return 1;
	__atomic_fetch_sub(count, 1, __ATOMIC_RELAXED);
	return 0;
}

static struct sp_early *entry_of(const struct sp_dataplane *dp, uint32_t spi)
{
	return &dp->early[spi & dp->sad_mask];
}

static void give_back(struct sp_dataplane *dp, struct sp_early *e)
{
	__atomic_fetch_sub(&e->waiting, 1, __ATOMIC_RELAXED);
	__atomic_fetch_sub(&dp->early_waiting, 1, __ATOMIC_RELAXED);
}

static int take_both(struct sp_dataplane *dp, struct sp_early *e)
{
	if (!take(&e->waiting, SP_EARLY_EACH))
		return 0;
	if (take(&dp->early_waiting, dp->early_limit))
		return 1;
	__atomic_fetch_sub(&e->waiting, 1, __ATOMIC_RELAXED);
	return 0;
}

int sp_early_keep(struct sp_worker *w, struct rte_mbuf *m, uint32_t spi)
{
	struct sp_early *e = entry_of(w->dp, spi);

	if (__atomic_load_n(&e->spi, __ATOMIC_RELAXED) != spi || spi == 0) /* which an entry of nobody has */
		return 0;
	if (!take_both(w->dp, e)) {
		sp_drop(w, m, SP_DROP_EARLY_FULL);
	} else if (!sp_punt_early(w, m, spi)) {
		give_back(w->dp, e);
		sp_drop(w, m, SP_DROP_PUNT_FULL);
	}
	return 1;
}

/* ---- the control thread ---- */

void sp_early_expect(struct sp_dataplane *dp, uint32_t spi)
{
	__atomic_store_n(&entry_of(dp, spi)->spi, spi, __ATOMIC_RELAXED);
}

/* Before the SA leaves its slot: a worker that does not find it there any more, which is a load with acquire, finds nobody here. */
void sp_early_forget(struct sp_dataplane *dp, uint32_t spi)
{
	struct sp_early *e = entry_of(dp, spi);

	if (__atomic_load_n(&e->spi, __ATOMIC_RELAXED) == spi)
		__atomic_store_n(&e->spi, 0, __ATOMIC_RELAXED);
}

/* The count is of the slot, whoever has it now. */
void sp_early_left(struct sp_dataplane *dp, uint32_t spi)
{
	give_back(dp, entry_of(dp, spi));
}
