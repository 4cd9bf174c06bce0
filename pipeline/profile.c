//go:build profile

/* SPDX-License-Identifier: Apache-2.0 */

/* The counters of profile.h, read between two measurements. */

#include "profile.h"

#ifdef SP_PROFILE /* who compiles all files, as the fuzzer does, has no counters */

#include <string.h>

#include "dataplane.h"

void sp_profile_take(struct sp_dataplane *dp, uint32_t worker, uint64_t cycles[SP_STAGE_COUNT], uint64_t looks[SP_STAGE_COUNT])
{
	struct sp_profile *p = &dp->workers[worker]->profile;

	memcpy(cycles, p->cycles, sizeof(p->cycles));
	memcpy(looks, p->looks, sizeof(p->looks));
	memset(p, 0, sizeof(*p));
}

uint64_t sp_profile_cost(uint32_t looks)
{
	struct sp_profile p = {0};
	uint64_t start = rte_rdtsc();

	for (uint32_t i = 0; i < looks; i++) {
		sp_profile_enter(&p, i % SP_STAGE_COUNT);
		__asm__ volatile("" : : "r"(&p) : "memory"); /* each stands in memory, as a worker's */
	}
	return rte_rdtsc() - start;
}

#endif
