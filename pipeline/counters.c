/* SPDX-License-Identifier: Apache-2.0 */

/* What the control thread reads while workers run: each word is one relaxed load, so a sum may be a burst apart from its parts until the workers rest. */

#include <rte_cycles.h>

#include "dataplane.h"
#include "inline.h"

static uint64_t load(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

void sp_port_counters_read(const struct sp_dataplane *dp, uint16_t port, struct sp_port_counters *out)
{
	uint64_t *sum = (uint64_t *)out;

	*out = (struct sp_port_counters){0};
	if (port >= SP_PORT_SLOTS)
		return;
	for (uint32_t i = 0; i < dp->n_workers; i++) {
		const uint64_t *part = (const uint64_t *)&dp->workers[i]->counters[port];

		for (uint32_t j = 0; j < sizeof(*out) / sizeof(*sum); j++)
			sum[j] += load(&part[j]);
	}
}

void sp_filter_counters_read(const struct sp_dataplane *dp, uint32_t counter, struct sp_filter_counters *out)
{
	*out = (struct sp_filter_counters){0};
	if (counter >= dp->max_counters)
		return;
	for (uint32_t i = 0; i < dp->n_workers; i++) {
		out->packets += load(&dp->workers[i]->filters[counter].packets);
		out->bytes += load(&dp->workers[i]->filters[counter].bytes);
	}
}

/* Until it has the window an heir has carried nothing: its kin, which the control thread frees later, has. What NICs have opened is each one's own. */
static const struct sp_sa_in *counting(const struct sp_sa_in *sa)
{
	const struct sp_sa_in *kin;

	while ((kin = __atomic_load_n(sp_sa_in_kin_place(sa), __ATOMIC_ACQUIRE)) != NULL)
		sa = kin;
	return sa;
}

void sp_sa_in_counters(const struct sp_sa_in *of, struct sp_sa_counters *out)
{
	const struct sp_sa_in *sa = counting(of);

	out->packets = load(&sa->packets);
	out->bytes = load(&sa->bytes);
	out->dummies = 0;
	out->last_use = load(&sa->last_use);
	out->sequence = load(&sa->replay.top);
	out->inlined = of->inlined ? load(&sp_sa_in_inline(of)->packets) : 0;
	out->stopped = 0;
}

void sp_sa_out_counters(const struct sp_sa_out *sa, struct sp_sa_counters *out)
{
	out->packets = load(&sa->packets);
	out->bytes = load(&sa->bytes);
	out->dummies = load(&sa->dummies);
	out->last_use = load(&sa->last_use);
	out->sequence = sa->heir ? load(&sa->former->sequence) : load(&sa->sequence);
	out->inlined = sa->inlined ? load(&sa->inline_->packets) : 0;
	out->stopped = sa->inlined && __atomic_load_n(&sa->inline_->stopped, __ATOMIC_RELAXED);
}

/* A worker may be rewriting the entry: a copy whose generation changed meanwhile is not shown. */
uint32_t sp_flow_dump(const struct sp_dataplane *dp, uint32_t worker, uint32_t *cursor, struct sp_flow_entry *out, uint32_t n)
{
	const struct sp_flow_entry *flows = dp->workers[worker]->flows;
	uint32_t generation = sp_generation(dp);
	uint32_t copied = 0;

	while (*cursor < dp->flow_entries && copied < n) {
		const struct sp_flow_entry *e = &flows[(*cursor)++];

		if (__atomic_load_n(&e->generation, __ATOMIC_ACQUIRE) != generation)
			continue;
		out[copied++] = *e;
	}
	return copied;
}

uint32_t sp_flow6_entries(const struct sp_dataplane *dp)
{
	return dp->flow6_entries;
}

uint32_t sp_flow_dump6(const struct sp_dataplane *dp, uint32_t worker, uint32_t *cursor, struct sp_flow_entry6 *out, uint32_t n)
{
	const struct sp_flow_entry6 *flows = dp->workers[worker]->flows6;
	uint32_t generation = sp_generation(dp);
	uint32_t copied = 0;

	while (*cursor < dp->flow6_entries && copied < n) {
		const struct sp_flow_entry6 *e = &flows[(*cursor)++];

		if (__atomic_load_n(&e->generation, __ATOMIC_ACQUIRE) != generation)
			continue;
		out[copied++] = *e;
	}
	return copied;
}

static const char *const drop_names[] = {
#define SP_DROP_NAME(symbol, name) [SP_DROP_##symbol] = name,
	SP_DROP_REASONS(SP_DROP_NAME)
#undef SP_DROP_NAME
};

const char *sp_drop_reason_name(uint32_t reason)
{
	return reason < SP_DROP_COUNT ? drop_names[reason] : NULL;
}

const char *sp_action_name(uint32_t action)
{
	static const char *const names[] = {
		[SP_ACTION_DROP] = "drop",   [SP_ACTION_FORWARD] = "forward", [SP_ACTION_OUTBOUND] = "protect",
		[SP_ACTION_LOCAL] = "local", [SP_ACTION_IKE] = "ike",         [SP_ACTION_INBOUND] = "decrypt",
		[SP_ACTION_GROUP] = "group",
	};

	return action < RTE_DIM(names) ? names[action] : NULL;
}

uint64_t sp_tsc(void)
{
	return rte_rdtsc();
}

uint64_t sp_tsc_hz(void)
{
	return rte_get_tsc_hz();
}

/* Of all workers, the counter at an offset in them. */
static uint64_t sum(const struct sp_dataplane *dp, size_t offset)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < dp->n_workers; i++)
		n += load(RTE_PTR_ADD(dp->workers[i], offset));
	return n;
}

uint64_t sp_groups_untold(const struct sp_dataplane *dp)
{
	return sum(dp, offsetof(struct sp_worker, untold));
}

uint64_t sp_fragments_unheard(const struct sp_dataplane *dp)
{
	return sum(dp, offsetof(struct sp_worker, unheard));
}

static const char *const class_names[] = {
#define SP_PUNT_CLASS_NAME(symbol, name) [SP_CLASS_##symbol] = name,
	SP_PUNT_CLASSES(SP_PUNT_CLASS_NAME)
#undef SP_PUNT_CLASS_NAME
};

const char *sp_punt_class_name(uint32_t punt_class)
{
	return punt_class < SP_CLASS_COUNT ? class_names[punt_class] : NULL;
}

void sp_punt_counters_read(const struct sp_dataplane *dp, uint32_t punt_class, struct sp_punt_counters *out)
{
	*out = (struct sp_punt_counters){0};
	if (punt_class >= SP_CLASS_COUNT)
		return;
	for (uint32_t i = 0; i < dp->n_workers; i++) {
		const struct sp_punt_queue *q = &dp->workers[i]->punt[punt_class];

		out->queued += load(&q->queued);
		out->full += load(&q->full);
		out->waiting += rte_ring_count(q->ring);
	}
}
