/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Stage 1 and the frame around all others: the poll loop of a data core. One turn takes a burst from every input, runs it through the stages to its end, flushes
 * the transmit buffers and reports to RCU. Nothing here waits for the control plane, and nothing allocates.
 */

#include <sched.h>
#include <time.h>

#include <rte_cycles.h>

#include "fragment.h"
#include "inline.h"
#include "vlan.h"

#define EMPTY_TURNS_BEFORE_NAP 64
#define LEAST_NAP_NANOSECONDS 50000
#define MOST_NAP_NANOSECONDS 200000
#define PACKETS_WORTH_WAKING 8

/* Packets that neither leave nor wait: those for us, and the refused. */
static void finish_here(struct sp_worker *w, const struct sp_packet *p)
{
	if (p->verdict.action == SP_ACTION_LOCAL)
		sp_punt_delivered(w, p, SP_PUNT_LOCAL);
	else if (p->verdict.action == SP_ACTION_IKE)
		sp_punt_ike(w, p);
	else if (p->verdict.action == SP_ACTION_GROUP)
		sp_deliver_group(w, p->mbuf);
	else if (unlikely(p->verdict.cell != SP_NO_CELL))
		sp_punt_noticed(w, p);
	else if (unlikely(p->key.protocol == SP_PROTOCOL_UDP))
		sp_punt_heard(w, p, p->verdict.reason);
	else
		sp_drop(w, p->mbuf, p->verdict.reason);
}

/* Packets with their verdicts to their next stages. They stand `size` bytes apart, and are of one IP version. secured: a NIC may have marked them. */
static __rte_always_inline void distribute(struct sp_worker *w, struct sp_packet *packets, size_t size, uint32_t n, int secured)
{
	struct sp_packet *outbound[SP_BURST], *forward[SP_BURST];
	struct sp_esp inbound[SP_BURST];
	uint32_t n_outbound = 0, n_forward = 0, n_inbound = 0;
	uint32_t filter, first = 0;
	uint64_t bytes = 0;

	SP_ENTER(w, SORT);
	filter = packets[0].verdict.filter;
	for (uint32_t i = 0; i < n; i++) {
		struct sp_packet *p = RTE_PTR_ADD(packets, i * size);

		if (secured)
			sp_inline_refuse(p);
		/* filters count what they decide; neighbours in a burst mostly share theirs */
		if (unlikely(p->verdict.filter != filter)) {
			sp_count_filter(w, filter, i - first, bytes);
			filter = p->verdict.filter;
			first = i;
			bytes = 0;
		}
		bytes += p->length;
		sp_set_mark_filter(p->mbuf, filter);
		if (p->verdict.action == SP_ACTION_OUTBOUND)
			outbound[n_outbound++] = p;
		else if (p->verdict.action == SP_ACTION_FORWARD)
			forward[n_forward++] = p;
		else if (p->verdict.action == SP_ACTION_INBOUND)
			n_inbound += (uint32_t)sp_demux_esp(w, p, &inbound[n_inbound]);
		else
			finish_here(w, p);
	}
	sp_count_filter(w, filter, n - first, bytes);
	if (n_outbound > 0)
		sp_outbound(w, outbound, n_outbound);
	if (n_forward > 0)
		sp_forward(w, forward, n_forward);
	if (n_inbound > 0)
		sp_inbound(w, inbound, n_inbound);
}

void sp_process(struct sp_worker *w, struct sp_packet *packets, uint32_t n)
{
	sp_flow_verdicts(w, packets, n);
	if (likely(!w->dp->secured))
		distribute(w, packets, sizeof(*packets), n, 0);
	else
		distribute(w, packets, sizeof(*packets), n, 1);
}

void sp_process6(struct sp_worker *w, struct sp_packet6 *packets, uint32_t n)
{
	sp_flow_verdicts6(w, packets, n);
	if (likely(!w->dp->secured))
		distribute(w, &packets->p, sizeof(*packets), n, 0);
	else
		distribute(w, &packets->p, sizeof(*packets), n, 1);
}

static uint32_t poll_ports(struct sp_worker *w)
{
	struct rte_mbuf *mbufs[SP_BURST];
	uint32_t total = 0;

	for (uint32_t i = 0; i < w->n_sources; i++) {
		uint16_t device = w->sources[i];
		uint32_t n;

		SP_ENTER(w, RECEIVE);
		n = rte_eth_rx_burst(device, w->id, mbufs, SP_BURST);
		SP_ENTER(w, HOUSEKEEPING);
		if (n == 0)
			continue;
		if (likely(w->dp->trunks[device] == NULL))
			sp_ingest(w, device, mbufs, n, 1);
		else
			sp_ingest_trunk(w, device, mbufs, n);
		total += n;
	}
	return total;
}

/* ESP that other workers received for SAs of ours. */
static uint32_t poll_handover(struct sp_worker *w)
{
	struct rte_mbuf *mbufs[SP_BURST];
	uint32_t n = rte_ring_sc_dequeue_burst(w->handover, (void **)mbufs, SP_BURST, NULL);
	uint32_t start = 0;

	for (uint32_t i = 1; i <= n; i++) {
		if (i < n && mbufs[i]->port == mbufs[start]->port)
			continue;
		sp_ingest(w, mbufs[start]->port, mbufs + start, i - start, 0);
		start = i;
	}
	return n;
}

void sp_worker_online(struct sp_worker *w)
{
	if (w->online)
		return;
	rte_rcu_qsbr_thread_online(w->dp->rcu, w->id);
	w->online = 1;
}

static void go_offline(struct sp_worker *w)
{
	rte_rcu_qsbr_thread_offline(w->dp->rcu, w->id);
	w->online = 0;
	w->pending_epoch = 0;
}

/*
 * Between turns a worker holds nothing but what its crypto devices hold. While they do, it may not report the newest epoch: it notes the epoch, and that all operations from now
 * on are of the other phase, and reports that epoch once none of the former phase is left. Devices may finish in any order.
 */
static void report_quiescent(struct sp_worker *w)
{
	struct rte_rcu_qsbr *rcu = w->dp->rcu;
	uint64_t token;

	if (likely(w->in_flight == 0)) {
		rte_rcu_qsbr_quiescent(rcu, w->id);
		w->pending_epoch = 0;
		return;
	}
	if (w->pending_epoch != 0) {
		if (w->unfinished[!w->phase] > 0)
			return;
		__atomic_store_n(&rcu->qsbr_cnt[w->id].cnt, w->pending_epoch, __ATOMIC_RELEASE);
		w->pending_epoch = 0;
	}
	token = __atomic_load_n(&rcu->token, __ATOMIC_ACQUIRE);
	if (token == __atomic_load_n(&rcu->qsbr_cnt[w->id].cnt, __ATOMIC_RELAXED))
		return;
	w->pending_epoch = token;
	w->phase = !w->phase;
}

/* Publication order is snapshot, then generation: whoever sees the new generation sees the new snapshot. */
static void enter_generation(struct sp_worker *w)
{
	w->generation = __atomic_load_n(&w->dp->generation, __ATOMIC_ACQUIRE);
	w->snapshot = __atomic_load_n(&w->dp->snapshot, __ATOMIC_ACQUIRE);
	w->now = rte_rdtsc() + __atomic_load_n(&w->dp->time_offset, __ATOMIC_RELAXED);
}

static uint32_t turn(struct sp_worker *w)
{
	uint32_t n;

	enter_generation(w);
	n = unlikely(!rte_ring_empty(w->inject)) ? sp_inject_poll(w) : 0; /* packets that waited go before those of their flows that need not */
	n += poll_ports(w);
	SP_ENTER(w, HOUSEKEEPING);
	if (unlikely(!rte_ring_empty(w->handover)))
		n += poll_handover(w);
	if (w->in_flight > 0)
		n += sp_queue_poll(w);
	if (unlikely(w->n_fragments > 0))
		sp_reassembly_expire(w);
	SP_ENTER(w, TRANSMIT);
	sp_tx_flush(w);
	SP_ENTER(w, HOUSEKEEPING);
	if (unlikely(w->rings_looked != __atomic_load_n(&w->dp->rings_asked, __ATOMIC_RELAXED)))
		sp_rings_look(w);
	return n;
}

uint32_t sp_worker_turn(struct sp_worker *w)
{
	uint32_t n = turn(w);

	report_quiescent(w);
	return n;
}

uint32_t sp_worker_once(struct sp_dataplane *dp, uint32_t worker)
{
	struct sp_worker *w = dp->workers[worker];
	uint32_t n;

	sp_worker_online(w);
	n = turn(w);
	if (w->in_flight > 0)
		report_quiescent(w);
	else
		go_offline(w);
	return n;
}

/* How a worker without packets passes its time. */
struct idleness {
	uint32_t empty_turns;
	bool slept;
	struct timespec nap;
};

static void idle(const struct sp_dataplane *dp, struct idleness *of)
{
	of->empty_turns++;
	if (dp->idle == SP_IDLE_YIELD) {
		sched_yield();
	} else if (dp->idle == SP_IDLE_SLEEP && of->empty_turns >= EMPTY_TURNS_BEFORE_NAP) {
		nanosleep(&of->nap, NULL);
		of->slept = true;
	} else {
		rte_pause();
	}
}

/*
 * A nap at whose end hardly anything waited is followed by one that is twice as long: each costs whoever else is on the core two changes of thread. One at whose end a burst waited is
 * followed by the shortest, so that no ring runs full.
 */
static void wake(struct idleness *of, uint32_t packets)
{
	of->slept = false;
	of->nap.tv_nsec = packets >= PACKETS_WORTH_WAKING ? LEAST_NAP_NANOSECONDS : RTE_MIN(2 * of->nap.tv_nsec, MOST_NAP_NANOSECONDS);
}

/* Takes back what the devices still hold; nothing new comes in. */
static void drain(struct sp_worker *w)
{
	while (w->in_flight > 0) {
		enter_generation(w);
		sp_queue_poll(w);
		sp_tx_flush(w);
		report_quiescent(w);
	}
}

void sp_worker_loop(struct sp_dataplane *dp, uint32_t worker)
{
	struct sp_worker *w = dp->workers[worker];
	struct idleness of = {.nap.tv_nsec = LEAST_NAP_NANOSECONDS};

	sp_worker_online(w);
	while (likely(!__atomic_load_n(&dp->stop, __ATOMIC_RELAXED))) {
		uint32_t n = sp_worker_turn(w);

		if (unlikely(of.slept))
			wake(&of, n);
		if (likely(n > 0))
			of.empty_turns = 0;
		else
			idle(dp, &of);
	}
	drain(w);
	go_offline(w);
}

void sp_worker_drain(struct sp_dataplane *dp, uint32_t worker)
{
	struct sp_worker *w = dp->workers[worker];

	sp_worker_online(w);
	drain(w);
	go_offline(w);
}

uint32_t sp_worker_in_flight(const struct sp_dataplane *dp, uint32_t worker)
{
	return dp->workers[worker]->in_flight;
}

void sp_dataplane_stop(struct sp_dataplane *dp)
{
	__atomic_store_n(&dp->stop, 1, __ATOMIC_RELAXED);
}

void sp_dataplane_resume(struct sp_dataplane *dp)
{
	__atomic_store_n(&dp->stop, 0, __ATOMIC_RELAXED);
}
