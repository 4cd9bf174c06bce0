/* SPDX-License-Identifier: Apache-2.0 */

/* Grace periods: what workers may still read is freed when each has been quiescent since. */

#include <rte_malloc.h>

#include "dataplane.h"

uint64_t sp_grace_start(struct sp_dataplane *dp)
{
	return rte_rcu_qsbr_start(dp->rcu);
}

int sp_grace_passed(struct sp_dataplane *dp, uint64_t token)
{
	return rte_rcu_qsbr_check(dp->rcu, token, false);
}

void sp_synchronise(struct sp_dataplane *dp)
{
	rte_rcu_qsbr_synchronize(dp->rcu, RTE_QSBR_THRID_INVALID);
}

/* Frees what has waited long enough, everything if forced. */
static void reclaim(struct sp_dataplane *dp, int force)
{
	struct sp_deferred **link = &dp->deferred;

	while (*link != NULL) {
		struct sp_deferred *d = *link;

		if (!force && !sp_grace_passed(dp, d->token)) {
			link = &d->next;
			continue;
		}
		*link = d->next;
		rte_free(d->object);
		rte_free(d);
	}
}

void sp_free_later(struct sp_dataplane *dp, void *object)
{
	struct sp_deferred *d = rte_zmalloc("sp_deferred", sizeof(*d), 0);

	reclaim(dp, 0);
	if (d == NULL) {
		/* out of memory for the note: wait instead, on the control thread */
		sp_synchronise(dp);
		rte_free(object);
		return;
	}
	d->object = object;
	d->token = sp_grace_start(dp);
	d->next = dp->deferred;
	dp->deferred = d;
}

void sp_free_deferred(struct sp_dataplane *dp)
{
	reclaim(dp, 1);
}
