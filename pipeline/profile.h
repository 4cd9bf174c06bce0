/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SP_PROFILE_H
#define SP_PROFILE_H

/*
 * Where a worker's cycles go, a stage at a time: in builds with SP_PROFILE alone (make profile). In any other SP_ENTER and SP_RESUME are nothing. A stage ends where the next one is
 * entered, so that all of them together are the whole. What a look at the clock costs is measured by itself (sp_profile_cost), and taken off by who reads the counters.
 */

#ifdef SP_PROFILE

#include <stdint.h>

#include <rte_common.h>
#include <rte_cycles.h>

enum sp_stage {
	SP_STAGE_HOUSEKEEPING, /* all that is of no other stage: the turn itself, RCU, rings */
	SP_STAGE_RECEIVE,      /* the driver */
	SP_STAGE_PARSE,
	SP_STAGE_FLOWS,        /* flow cache */
	SP_STAGE_CLASSIFY,     /* its misses */
	SP_STAGE_SORT,         /* filter counters, packets to their next stages */
	SP_STAGE_SA,           /* SPI or cell to SA, keys asked for, replay check */
	SP_STAGE_ENCAPSULATE,
	SP_STAGE_ENCRYPT,
	SP_STAGE_DECRYPT,
	SP_STAGE_DECAPSULATE,  /* replay update, trailer, inner header, selectors */
	SP_STAGE_TRANSMIT,     /* link-layer header of clear packets, the driver, which frees */
	SP_STAGE_COUNT
};

struct sp_profile {
	uint64_t entered; /* TSC of the last look */
	uint32_t stage;
	uint32_t unused;
	uint64_t cycles[SP_STAGE_COUNT];
	uint64_t looks[SP_STAGE_COUNT]; /* at the clock, one at the end of each stage's turn */
	uint64_t unused2[6];            /* whole cache lines */
} __rte_cache_aligned;

static __rte_always_inline void sp_profile_enter(struct sp_profile *p, enum sp_stage stage)
{
	const uint64_t now = rte_rdtsc();

	p->cycles[p->stage] += now - p->entered;
	p->looks[p->stage]++;
	p->entered = now;
	p->stage = stage;
}

/* What has passed since the last look is no stage's. */
static inline void sp_profile_resume(struct sp_profile *p)
{
	p->stage = SP_STAGE_HOUSEKEEPING;
	p->entered = rte_rdtsc();
}

struct sp_dataplane;

/* profile.c: what a worker, which must rest, has counted since the last call. */
void sp_profile_take(struct sp_dataplane *dp, uint32_t worker, uint64_t cycles[SP_STAGE_COUNT], uint64_t looks[SP_STAGE_COUNT]);
/* profile.c: cycles of so many looks at the clock, one after the other. */
uint64_t sp_profile_cost(uint32_t looks);

#define SP_ENTER(worker, name) sp_profile_enter(&(worker)->profile, SP_STAGE_##name)
#define SP_RESUME(worker) sp_profile_resume(&(worker)->profile)

#else

#define SP_ENTER(worker, name) ((void)0)
#define SP_RESUME(worker) ((void)0)

#endif

#endif
