/* SPDX-License-Identifier: Apache-2.0 */

/* Where workers find SAs: inbound ones by SPI, outbound ones in cells, and the hosts of transport mode. The control thread changes it under their feet. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <rte_malloc.h>

#include "stages.h"

int sp_sa_in_publish(struct sp_dataplane *dp, struct sp_sa_in *sa)
{
	struct sp_sa_in **slot = &dp->sad[sa->spi & dp->sad_mask];

	if (__atomic_load_n(slot, __ATOMIC_RELAXED) != NULL)
		return -EEXIST;
	__atomic_store_n(slot, sa, __ATOMIC_RELEASE);
	return 0;
}

void sp_sa_in_replace(struct sp_dataplane *dp, struct sp_sa_in *sa)
{
	__atomic_store_n(&dp->sad[sa->spi & dp->sad_mask], sa, __ATOMIC_RELEASE);
}

struct sp_sa_in *sp_sa_in_retire(struct sp_dataplane *dp, uint32_t spi)
{
	struct sp_sa_in **slot = &dp->sad[spi & dp->sad_mask];
	struct sp_sa_in *sa = __atomic_load_n(slot, __ATOMIC_RELAXED);

	if (sa == NULL || sa->spi != spi)
		return NULL;
	__atomic_store_n(slot, NULL, __ATOMIC_RELEASE);
	return sa;
}

int sp_transit_set(struct sp_dataplane *dp, const struct sp_pair *pairs, uint32_t n)
{
	struct sp_transit *former = dp->transit, *transit = NULL;

	if (n > 0) {
		transit = rte_malloc_socket("sp_transit", sizeof(*transit) + n * sizeof(*pairs), 0, dp->socket);
		if (transit == NULL)
			return -ENOMEM;
		transit->n = n;
		memcpy(transit->pairs, pairs, n * sizeof(*pairs));
		qsort(transit->pairs, n, sizeof(*pairs), sp_pair_compare);
	}
	__atomic_store_n(&dp->transit, transit, __ATOMIC_RELEASE);
	if (former != NULL)
		sp_free_later(dp, former);
	return 0;
}

/* What workers look at before the cell. */
static void index_cell(struct sp_dataplane *dp, uint16_t cell)
{
	const struct sp_cell *c = &dp->cells[cell];

	__atomic_store_n(&dp->outbound[cell], c->owned == 0 ? c->sa : NULL, __ATOMIC_RELEASE);
}

struct sp_sa_out *sp_cell_publish(struct sp_dataplane *dp, uint16_t cell, struct sp_sa_out *sa)
{
	struct sp_sa_out *former = __atomic_exchange_n(&dp->cells[cell].sa, sa, __ATOMIC_ACQ_REL);

	index_cell(dp, cell);
	return former;
}

struct sp_sa_out *sp_cell_current(const struct sp_dataplane *dp, uint16_t cell)
{
	return __atomic_load_n(&dp->cells[cell].sa, __ATOMIC_ACQUIRE);
}

/* A worker that finds its bit sees the SA; one that finds the bit of an SA that is gone takes the SA of all. */
struct sp_sa_out *sp_cell_publish_own(struct sp_dataplane *dp, uint16_t cell, uint32_t worker, struct sp_sa_out *sa)
{
	struct sp_sa_out **own = &dp->workers[worker]->own[cell], *former;
	const uint64_t bit = UINT64_C(1) << worker;

	if (sa == NULL)
		__atomic_fetch_and(&dp->cells[cell].owned, ~bit, __ATOMIC_RELEASE);
	former = __atomic_exchange_n(own, sa, __ATOMIC_ACQ_REL);
	if (sa != NULL)
		__atomic_fetch_or(&dp->cells[cell].owned, bit, __ATOMIC_RELEASE);
	index_cell(dp, cell);
	return former;
}

void sp_cell_set_state(struct sp_dataplane *dp, uint16_t cell, uint8_t state)
{
	__atomic_store_n(&dp->cells[cell].state, state, __ATOMIC_RELAXED);
}

void sp_cell_reuse(struct sp_dataplane *dp, uint16_t cell)
{
	sp_cell_set_state(dp, cell, SP_CELL_CLOSED);
	__atomic_fetch_add(&dp->cells[cell].incarnation, 1, __ATOMIC_RELAXED);
	sp_generation_bump(dp);
}
