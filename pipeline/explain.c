/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What would become of a packet, for the operator who asks: the published tables, asked through the functions that a worker asks them through. Nothing is counted,
 * remembered or sent. Called by the control thread, which alone frees what is published, so nothing vanishes meanwhile.
 */

#include "classify.h"

/* A packet for the tunnel of its cell: the same questions in the same order as outbound.c, but for those that need the packet's length and time to live. */
static void explain_outbound(const struct sp_dataplane *dp, struct sp_packet *p, struct sp_explanation *out)
{
	const struct sp_cell *cell = &dp->cells[p->verdict.cell];
	const struct sp_sa_out *sa = sp_cell_any(dp, p->verdict.cell);

	if (sa == NULL) {
		out->reason = sp_without_sa(cell);
		out->fate = out->reason == SP_PASS ? SP_FATE_ACQUIRE : SP_FATE_DROPPED;
		return;
	}
	out->spi = rte_be_to_cpu_32(sa->transform.spi_be);
	out->adjacency = __atomic_load_n(&sa->adjacency, __ATOMIC_RELAXED);
	out->fate = SP_FATE_DROPPED;
	if (out->adjacency == SP_NO_ADJACENCY) {
		out->reason = SP_DROP_NO_ROUTE;
	} else if (sp_adjacency_of(dp, out->adjacency) == NULL) {
		out->fate = SP_FATE_NEIGHBOUR;
	} else if (__atomic_load_n(&sa->sequence, __ATOMIC_RELAXED) >= sa->sequence_limit) {
		out->reason = sa->limit_reason;
	} else if (!sp_selected_out(sa, p, sp_is_ipv6(p->l3))) {
		out->reason = SP_DROP_SELECTOR_MISMATCH;
	} else {
		out->fate = SP_FATE_SENT;
	}
}

static void explain_forward(const struct sp_dataplane *dp, const struct sp_packet *p, struct sp_explanation *out)
{
	out->adjacency = p->verdict.adjacency;
	out->out_port = p->out_port;
	out->next_hop = p->next_hop;
	out->fate = sp_adjacency_of(dp, out->adjacency) == NULL ? SP_FATE_NEIGHBOUR : SP_FATE_SENT;
}

/* The classifiers look at no byte of the packet but the one that tells its version. */
static void classify(const struct sp_dataplane *dp, const struct sp_snapshot *s, struct sp_packet6 *packet, const uint8_t *addresses)
{
	static uint8_t ipv4 = 0x45, ipv6 = 0x60;
	struct sp_packet *p = &packet->p;
	uint8_t memo;

	p->l3 = addresses == NULL ? &ipv4 : &ipv6;
	if (addresses == NULL) {
		sp_classify_misses(dp, s, &p, &memo, 1);
	} else if (s->ipv6) {
		memcpy(packet->addresses, addresses, sizeof(packet->addresses));
		sp_classify_misses6(dp, s, &packet, &memo, 1);
	} else {
		sp_verdict_drop(p, SP_DROP_IPV6); /* as sp_ingest6 does */
	}
}

void sp_explain(const struct sp_dataplane *dp, const struct sp_flow_key *key, const uint8_t *addresses, uint16_t in_port, struct sp_explanation *out)
{
	const struct sp_snapshot *s = __atomic_load_n(&dp->snapshot, __ATOMIC_ACQUIRE);
	struct rte_mbuf m = {.port = in_port};
	struct sp_packet6 packet = {.p = {.key = *key, .mbuf = &m}};
	const struct sp_packet *p = &packet.p;

	if (in_port < SP_MAX_PORTS && key->in_cell == SP_NO_CELL)
		packet.p.key.role = s->port[in_port].role;
	classify(dp, s, &packet, addresses);
	*out = (struct sp_explanation){
		.key = p->key,
		.filter = p->verdict.filter,
		.cell = (uint16_t)p->verdict.cell,
		.adjacency = SP_NO_ADJACENCY,
		.action = p->verdict.action,
		.reason = p->verdict.reason,
		.fate = SP_FATE_DELIVERED,
	};
	switch (p->verdict.action) {
	case SP_ACTION_DROP:
		out->fate = SP_FATE_DROPPED;
		break;
	case SP_ACTION_OUTBOUND:
		explain_outbound(dp, &packet.p, out);
		break;
	case SP_ACTION_FORWARD:
		explain_forward(dp, p, out);
		break;
	default:
		break;
	}
}

uint32_t sp_snapshot_entries(const struct sp_dataplane *dp, uint32_t first, struct sp_entry *out, uint32_t n)
{
	const struct sp_snapshot *s = __atomic_load_n(&dp->snapshot, __ATOMIC_ACQUIRE);

	if (first >= s->n_entries)
		return 0;
	n = RTE_MIN(n, s->n_entries - first);
	memcpy(out, s->entries + first, n * sizeof(*out));
	return n;
}
