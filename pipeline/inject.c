/* SPDX-License-Identifier: Apache-2.0 */

/* What Go hands to a worker: frames and packets of its own, and packets that it held. */

#include "classify.h"
#include "mbuf.h"

static struct rte_mbuf *copy_frame(struct sp_dataplane *dp, const struct sp_injection *frame)
{
	uint32_t head = frame->kind == SP_INJECT_RAW ? 0 : SP_L2_LENGTH;
	struct rte_mbuf *m = rte_pktmbuf_alloc(dp->pool);
	uint8_t *start;

	if (m == NULL)
		return NULL;
	sp_mbuf_unpoison(m);
	start = (uint8_t *)rte_pktmbuf_append(m, 0);
	if (head + frame->length > rte_pktmbuf_tailroom(m)) {
		rte_pktmbuf_free(m);
		return NULL;
	}
	sp_mbuf_bounds(m, start, head + frame->length);
	memset(start, 0, head);
	memcpy(start + head, frame->data, frame->length);
	m->port = SP_PORT_LOCAL;
	sp_clear_marks(m);
	sp_priv(m)->inject = frame->kind;
	sp_priv(m)->fresh = 1;
	sp_priv(m)->out_port = frame->port;
	sp_priv(m)->in_cell = SP_NO_CELL;
	sp_priv(m)->cell = frame->cell;
	return m;
}

uint32_t sp_inject(struct sp_dataplane *dp, uint32_t worker, const struct sp_injection *frames, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		struct rte_mbuf *m = copy_frame(dp, &frames[i]);

		if (m == NULL)
			return i;
		if (rte_ring_sp_enqueue(dp->workers[worker]->inject, m) != 0) {
			rte_pktmbuf_free(m);
			return i;
		}
	}
	return n;
}

uint32_t sp_release(struct sp_dataplane *dp, uint32_t worker, struct rte_mbuf **mbufs, uint32_t n)
{
	/* reception does not clear the private area: a mark in it may be of a message that the buffer carried before */
	for (uint32_t i = 0; i < n; i++) {
		sp_priv(mbufs[i])->fresh = 0;
		if (sp_mark_filter(mbufs[i]) >= dp->max_filters) /* of a soft SA that may have ended */
			sp_set_mark_filter(mbufs[i], SP_COUNTER_NONE);
	}
	return rte_ring_sp_enqueue_burst(dp->workers[worker]->inject, (void **)mbufs, n, NULL);
}

static void transmit_raw(struct sp_worker *w, struct rte_mbuf *m)
{
	uint16_t port = sp_priv(m)->out_port;

	if (port >= SP_MAX_PORTS || !w->dp->ports[port].present || m->data_len < SP_L2_LENGTH || m->data_len > w->dp->ports[port].mtu + SP_L2_LENGTH)
		sp_drop(w, m, SP_DROP_INJECT_INVALID);
	else
		sp_transmit_run(w, port, &m, 1, m->pkt_len);
}

/* An IP packet behind SP_L2_LENGTH void bytes: ours, or one that came out of a tunnel. */
static int parse_behind_l2(struct sp_worker *w, struct sp_packet *p, struct rte_mbuf *m, uint8_t role, uint16_t in_cell)
{
	uint8_t *l3 = rte_pktmbuf_mtod_offset(m, uint8_t *, SP_L2_LENGTH);

	if (m->data_len < SP_L2_LENGTH || sp_parse_ipv4(p, m, l3, m->data_len - SP_L2_LENGTH, sp_key_origin(role, in_cell)) != SP_PASS) {
		sp_drop(w, m, SP_DROP_INJECT_INVALID);
		return 0;
	}
	return 1;
}

static int parse_behind_l2_6(struct sp_worker *w, struct sp_packet6 *p, struct rte_mbuf *m, uint8_t role, uint16_t in_cell)
{
	uint8_t *l3 = rte_pktmbuf_mtod_offset(m, uint8_t *, SP_L2_LENGTH);

	if (sp_parse_ipv6(p, m, l3, m->data_len - SP_L2_LENGTH, sp_key_origin(role, in_cell)) == SP_PASS)
		return 1;
	sp_drop(w, m, SP_DROP_INJECT_INVALID);
	return 0;
}

/* Of a frame whose first SP_L2_LENGTH bytes are void. */
static int holds_ipv6(const struct rte_mbuf *m)
{
	return m->data_len > SP_L2_LENGTH && sp_is_ipv6(rte_pktmbuf_mtod_offset(m, const uint8_t *, SP_L2_LENGTH));
}

static int parse_own(struct sp_worker *w, struct sp_packet6 *wide, struct rte_mbuf *m)
{
	if (holds_ipv6(m))
		return parse_behind_l2_6(w, wide, m, SP_ROLE_LOCAL, SP_NO_CELL);
	return parse_behind_l2(w, &wide->p, m, SP_ROLE_LOCAL, SP_NO_CELL);
}

/* What hides when there are other packets (RFC 4303 2.6). */
static void send_dummy(struct sp_worker *w, struct rte_mbuf *m)
{
	struct sp_packet6 wide = {0};
	uint16_t cell = sp_priv(m)->cell;

	if (cell >= w->dp->max_cells) {
		sp_drop(w, m, SP_DROP_INJECT_INVALID);
		return;
	}
	if (!parse_own(w, &wide, m))
		return;
	wide.p.verdict.cell = cell;
	sp_outbound_dummy(w, &wide.p);
}

/* IKE of ours: it has a route or it has none, and no filter is asked (S-031). */
static void route_local(struct sp_worker *w, struct rte_mbuf *m)
{
	struct sp_packet6 wide = {0};
	struct sp_packet *p = &wide.p;

	if (!parse_own(w, &wide, m))
		return;
	p->verdict.cell = SP_NO_CELL;
	if (sp_is_ipv6(p->l3))
		sp_route6(w->dp, w->snapshot, &wide, 0);
	else
		sp_route(w->dp, w->snapshot, p, 0);
	if (p->verdict.action == SP_ACTION_FORWARD)
		sp_forward(w, &p, 1);
	else
		sp_drop(w, m, p->verdict.reason);
}

static void process_one(struct sp_worker *w, struct rte_mbuf *m, uint8_t role, uint16_t in_cell)
{
	struct sp_packet6 wide;

	if (holds_ipv6(m)) {
		if (parse_behind_l2_6(w, &wide, m, role, in_cell))
			sp_process6(w, &wide, 1);
	} else if (parse_behind_l2(w, &wide.p, m, role, in_cell)) {
		sp_process(w, &wide.p, 1);
	}
}

/* No filter lets what is ours out in clear here: what would be sent as it is has a soft SA's leave. */
static void reply_protected(struct sp_worker *w, struct rte_mbuf *m)
{
	struct sp_packet6 wide = {0};

	if (!parse_own(w, &wide, m))
		return;
	if (holds_ipv6(m))
		sp_flow_verdicts6(w, &wide, 1);
	else
		sp_flow_verdicts(w, &wide.p, 1);
	if (wide.p.verdict.action == SP_ACTION_FORWARD)
		sp_drop(w, m, SP_DROP_REPLY_UNPROTECTED);
	else
		process_one(w, m, SP_ROLE_LOCAL, SP_NO_CELL);
}

static void originate(struct sp_worker *w, struct rte_mbuf *m)
{
	switch (sp_priv(m)->inject) {
	case SP_INJECT_RAW:
		transmit_raw(w, m);
		break;
	case SP_INJECT_ROUTE_LOCAL:
		route_local(w, m);
		break;
	case SP_INJECT_REPLY_TUNNEL:
		process_one(w, m, SP_ROLE_LOCAL, SP_NO_CELL);
		break;
	case SP_INJECT_REPLY_PROTECTED:
		reply_protected(w, m);
		break;
	case SP_INJECT_DUMMY:
		send_dummy(w, m);
		break;
	default:
		sp_drop(w, m, SP_DROP_INJECT_INVALID);
	}
}

/* Out of a tunnel that still is the one it was: another tunnel in the same cell must not vouch for the packet. */
static void process_decrypted(struct sp_worker *w, struct rte_mbuf *m, const struct sp_mbuf_priv *priv)
{
	if (priv->incarnation != sp_cell_incarnation(w->dp, priv->in_cell))
		sp_drop(w, m, SP_DROP_TUNNEL_CLOSED);
	else
		process_one(w, m, w->dp->ports[m->port].role, priv->in_cell);
}

/* Held packets go the way they came, our own ones the way they were sent. */
static void injected(struct sp_worker *w, struct rte_mbuf *m)
{
	struct sp_port_counters *counters = &w->counters[m->port];
	struct sp_mbuf_priv *priv = sp_priv(m);

	if (priv->fresh) {
		priv->fresh = 0;
		counters->received++;
		counters->received_bytes += m->data_len;
		originate(w, m);
		return;
	}
	counters->released++;
	if (m->port == SP_PORT_LOCAL)
		originate(w, m);
	else if (priv->in_cell != SP_NO_CELL)
		process_decrypted(w, m, priv);
	else
		sp_ingest(w, m->port, &m, 1, 0);
}

uint32_t sp_inject_poll(struct sp_worker *w)
{
	struct rte_mbuf *mbufs[SP_BURST];
	uint32_t n = rte_ring_sc_dequeue_burst(w->inject, (void **)mbufs, SP_BURST, NULL);

	for (uint32_t i = 0; i < n; i++)
		injected(w, mbufs[i]);
	return n;
}
