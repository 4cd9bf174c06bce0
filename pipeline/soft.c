/* SPDX-License-Identifier: Apache-2.0 */

/* Soft SAs: the control thread's side of the table that the classifier asks. A soft SA has no keys and meets no crypto device: it is leave to pass in clear (S-046, S-101). */

#include <errno.h>

#include <rte_hash.h>

#include "dataplane.h"

int sp_soft_add(struct sp_dataplane *dp, const struct sp_soft_key *key, uint32_t counter)
{
	if (key->filter <= SP_COUNTER_DEFAULT || key->filter >= dp->max_filters || key->reserved != 0 || counter < dp->max_filters || counter >= dp->max_counters)
		return -EINVAL;
	return rte_hash_add_key_data(dp->soft, key, (void *)(uintptr_t)counter);
}

void sp_soft_remove(struct sp_dataplane *dp, const struct sp_soft_key *key)
{
	rte_hash_del_key(dp->soft, key);
}

void sp_soft_settle(struct sp_dataplane *dp, uint32_t counter, struct sp_filter_counters *hits, uint64_t drops[SP_DROP_COUNT])
{
	sp_filter_counters_read(dp, counter, hits);
	for (uint32_t i = 0; i < dp->n_workers; i++) {
		__atomic_store_n(&dp->workers[i]->filters[counter].packets, 0, __ATOMIC_RELAXED);
		__atomic_store_n(&dp->workers[i]->filters[counter].bytes, 0, __ATOMIC_RELAXED);
	}
	sp_tally_take(dp, counter, drops);
}
