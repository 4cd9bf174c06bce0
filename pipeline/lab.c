/* SPDX-License-Identifier: Apache-2.0 */

/* The worker of a gateway under measurement: the same turns, from a file that never ends. */

#include "lab.h"

#include <errno.h>
#include <string.h>

#include <rte_cycles.h>
#include <rte_errno.h>
#include <rte_mbuf_dyn.h>

#include "fields.h"
#include "inline.h"
#include "mss.h"
#include "sequence.h"
#include "stages.h"

/* A source in memory is never empty: so many turns without a packet mean that it has none, or that no buffer is free. */
#define EMPTY_TURNS 100000

static uint64_t received(const struct sp_worker *w)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < w->n_ports; i++)
		sum += w->counters[w->ports[i]].received;
	return sum;
}

static int run_pass(struct sp_dataplane *dp, struct sp_worker *w, uint64_t pass)
{
	uint64_t end = received(w) + pass, at;
	uint32_t empty = 0;

	SP_RESUME(w);
	sp_worker_online(w);
	while ((at = received(w)) < end && empty < EMPTY_TURNS)
		empty = sp_worker_turn(w) == 0 ? empty + 1 : 0;
	sp_worker_drain(dp, w->id);
	SP_ENTER(w, HOUSEKEEPING); /* what is behind the last turn */
	if (at < end)
		return -ENODATA;
	return at == end ? 0 : -EPROTO;
}

static void rewind_replay(struct sp_dataplane *dp, const struct sp_worker *w)
{
	for (uint32_t slot = 0; slot <= dp->sad_mask; slot++) {
		struct sp_sa_in *sa = dp->sad[slot];

		if (sa == NULL || sa->owner != w->id)
			continue;
		sa->replay.top = 0;
		sa->replay.at = 0;
		memset(sa->replay.bitmap, 0, sa->replay.words * sizeof(*sa->replay.bitmap));
	}
}

int sp_lab_run(struct sp_dataplane *dp, uint32_t worker, uint64_t pass, uint64_t cycles, int forget, uint64_t *packets, uint64_t *spent)
{
	struct sp_worker *w = dp->workers[worker];
	uint64_t begin = rte_rdtsc();

	if (pass % SP_BURST != 0) /* no burst would end where the file does */
		return -EINVAL;
	*packets = 0;
	*spent = 0;
	do {
		uint64_t start = rte_rdtsc();
		int r;

		if (forget)
			sp_generation_bump(dp);
		r = run_pass(dp, w, pass);
		if (r != 0)
			return r;
		*packets += pass;
		*spent += rte_rdtsc() - start;
		rewind_replay(dp, w);
	} while (rte_rdtsc() - begin < cycles);
	return 0;
}

void sp_lab_advance(struct sp_dataplane *dp, uint64_t cycles)
{
	__atomic_fetch_add(&dp->time_offset, cycles, __ATOMIC_RELAXED);
}

uint64_t sp_lab_operations(const struct sp_dataplane *dp)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < dp->n_workers; i++)
		for (uint32_t j = 0; j < dp->workers[i]->n_devices; j++)
			n += dp->workers[i]->devices[j].given;
	return n;
}

void sp_lab_match(const struct sp_dataplane *dp, const struct sp_acl_key *keys, uint32_t *result, uint32_t n)
{
	for (uint32_t i = 0; i < n; i += SP_BURST)
		sp_acl_match(dp->snapshot->acl, keys + i, result + i, RTE_MIN(n - i, (uint32_t)SP_BURST));
}

void sp_lab_match6(const struct sp_dataplane *dp, const struct sp_acl_key6 *keys, uint32_t *result, uint32_t n)
{
	for (uint32_t i = 0; i < n; i += SP_BURST)
		sp_acl_match6(dp->snapshot->acl6, keys + i, result + i, RTE_MIN(n - i, (uint32_t)SP_BURST));
}

uint32_t sp_lab_parts(const struct sp_dataplane *dp, enum sp_ip ip)
{
	const struct sp_acl *acl = ip == SP_IPV6 ? dp->snapshot->acl6 : dp->snapshot->acl;

	return acl == NULL ? 0 : acl->n;
}

struct sp_lab_outer sp_lab_outer_fields(const struct sp_encapsulation *e, const uint8_t *inner)
{
	const struct sp_fields f = sp_fields_of(e);

	return (struct sp_lab_outer){.tos = sp_fields_tos(&f, inner), .ttl = f.ttl, .flags = rte_be_to_cpu_16(sp_fields_df_be(&f, inner))};
}

void sp_lab_mss_lower(uint8_t *tcp, uint32_t length, uint16_t mss)
{
	sp_mss_lower(tcp, length, mss);
}

void sp_lab_strip(struct rte_mbuf *m, uint16_t tag)
{
	m->ol_flags |= RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED;
	m->vlan_tci = tag;
}

int sp_lab_userdata(void)
{
	static const struct rte_mbuf_dynfield field = {
		.name = "rte_security_dynfield_metadata", /* as librte_security calls it */
		.size = sizeof(rte_security_dynfield_t),
		.align = __alignof__(rte_security_dynfield_t),
	};
	int offset = rte_mbuf_dynfield_register(&field);

	if (offset < 0)
		return -rte_errno;
	rte_security_dynfield_offset = offset;
	return 0;
}

void sp_lab_opened(struct rte_mbuf *m, int failed, uint64_t userdata)
{
	m->ol_flags |= RTE_MBUF_F_RX_SEC_OFFLOAD | (failed ? RTE_MBUF_F_RX_SEC_OFFLOAD_FAILED : 0);
	*rte_security_dynfield(m) = userdata;
}

static int taken_descriptor(__rte_unused void *queue, __rte_unused uint16_t offset)
{
	return RTE_ETH_TX_DESC_FULL;
}

static int free_descriptor(__rte_unused void *queue, __rte_unused uint16_t offset)
{
	return RTE_ETH_TX_DESC_DONE;
}

void sp_lab_descriptors(uint16_t device, int taken)
{
	rte_eth_fp_ops[device].tx_descriptor_status = taken < 0 ? NULL : taken > 0 ? taken_descriptor : free_descriptor;
}

/* By device and worker: rings that are transmit queues. */
static const struct rte_ring *lab_rings[RTE_MAX_ETHPORTS][SP_MAX_WORKERS];

static const struct rte_ring *ring_of(const void *queue)
{
	for (uint32_t device = 0; device < RTE_MAX_ETHPORTS; device++)
		for (uint32_t i = 0; i < SP_MAX_WORKERS; i++)
			if (rte_eth_fp_ops[device].txq.data != NULL && rte_eth_fp_ops[device].txq.data[i] == queue)
				return lab_rings[device][i];
	return NULL;
}

static int ring_descriptor(void *queue, uint16_t offset)
{
	const struct rte_ring *ring = ring_of(queue);

	if (ring == NULL)
		return -ENOTSUP;
	if (offset >= rte_ring_get_size(ring))
		return -EINVAL;
	return offset >= rte_ring_get_size(ring) - rte_ring_count(ring) ? RTE_ETH_TX_DESC_FULL : RTE_ETH_TX_DESC_DONE;
}

void sp_lab_ring(uint16_t device, uint16_t worker, const struct rte_ring *ring)
{
	lab_rings[device][worker] = ring;
	rte_eth_fp_ops[device].tx_descriptor_status = ring_descriptor;
}

void sp_lab_skip(struct sp_sa_out *sa, uint64_t numbers)
{
	__atomic_fetch_add(&sa->sequence, numbers, __ATOMIC_RELAXED);
}

int sp_lab_hold(struct sp_sa_out *sa, uint64_t first)
{
	return sp_numbers_hold(sa, first);
}

void sp_lab_has_opened(const struct sp_sa_in *sa, uint64_t packets)
{
	sp_sa_in_inline(sa)->packets = packets;
}

uint32_t sp_lab_left(const struct rte_mbuf *m)
{
	return m->ol_flags & RTE_MBUF_F_TX_SEC_OFFLOAD ? m->l2_len : 0;
}
