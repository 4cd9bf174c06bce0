/* SPDX-License-Identifier: Apache-2.0 */

/* Operations on tables, which the next input finds as they were. */

#include "changes.h"

#include "../ipv6.h"
#include "../lab.h"
#include "invariants.h"
#include "wire.h"

static int changed;
static struct soft live[MAX_SOFT / 2]; /* local 0: none */
static int published;                  /* compiling a policy is slow: once per input */

void changes_made(void)
{
	changed = 1;
}

/* A cell goes to another tunnel: what the former one brought and what still waits must not pass for the new one's. */
static void reuse(enum tunnel t)
{
	tunnel_withdraw(t);
	tunnel_close(&ours, t);
	sp_cell_reuse(ours.dp, (uint16_t)t);
}

/* A question about any packet at all changes no counter. */
static void explain(struct program *p)
{
	struct sp_flow_key key;
	struct sp_flow_entry found[2];
	struct sp_flow_entry6 found6[2];
	uint8_t wide[2 * SP_IPV6_ADDRESS];
	struct sp_explanation x;
	uint32_t where = take(p, 1);
	uint16_t in_port = where & 8 ? SP_PORT_LOCAL : ours.port[where & 1];

	take_bytes(p, (uint8_t *)&key, sizeof(key));
	key.role = where & 8 ? SP_ROLE_LOCAL : SP_ROLE_PROTECTED;
	key.in_cell = where & 2 ? key.in_cell % CELLS : SP_NO_CELL;
	if (where & 4) {
		widen(wide, key.source);
		widen(wide + SP_IPV6_ADDRESS, key.destination);
		key.source = 0;
		key.destination = 0;
	}
	sp_explain(ours.dp, &key, where & 4 ? wide : NULL, in_port, &x);
	CHECK(x.fate == SP_FATE_DROPPED ? x.reason < SP_DROP_COUNT : x.action != SP_ACTION_DROP, "action %u, reason %u, fate %u", x.action, x.reason, x.fate);
	if (where & 4)
		sp_flow_find6(ours.dp, arrival.queue, &x.key, wide, found6);
	else
		sp_flow_find(ours.dp, arrival.queue, &x.key, found);
}

void op_tables(struct program *p)
{
	uint32_t what = take(p, 1);
	enum tunnel t = take(p, 1) % TUNNELS;
	struct sp_sa_out *sa = sp_cell_current(ours.dp, (uint16_t)t);

	changed = 1;
	switch (what & 15) {
	case 0:
		/* what the former SAs sealed must be opened by the former SAs */
		run(&ours);
		collect(&ours, UNPROTECTED, 1);
		tunnel_reset(t);
		break;
	case 1:
		tunnel_withdraw(t);
		break;
	case 2:
		tunnel_close(&ours, t);
		break;
	case 3:
		gateway_neighbours(&ours, 0);
		break;
	case 4:
		gateway_neighbours(&ours, 1);
		break;
	case 5:
		sp_generation_bump(ours.dp);
		break;
	case 6:
		sp_cell_set_state(ours.dp, (uint16_t)t, what & 16 ? SP_CELL_HOLD : SP_CELL_CLOSED);
		break;
	case 7:
		if (!published)
			gateway_publish(&ours, what >> 4);
		published = 1;
		break;
	case 8:
		sp_cell_set_state(ours.dp, (uint16_t)t, SP_CELL_FAILED);
		break;
	case 9:
		run(&ours);
		reuse(t);
		break;
	case 10:
		explain(p);
		break;
	case 11:
		if (sa != NULL)
			sp_sa_out_set_path_mtu(sa, (uint16_t)(tunnel_wide(t) ? 1280 : 576 + what));
		break;
	case 12:
		sp_lab_advance(ours.dp, (uint64_t)FRAGMENT_TIMEOUT * (what >> 4) / 8);
		break;
	case 13:
		run(&ours);
		tunnel_expect(&ours, t);
		break;
	case 14: /* the SA is there, and what waited for it */
		run(&ours);
		collect(&ours, UNPROTECTED, 1);
		tunnel_reset(t);
		drain_punts(&ours, 1);
		break;
	default:
		run(&ours); /* what is queued so far is a burst of its own */
	}
}

/* A soft SA comes or goes, and a packet that it may be for: ours or the other host's, from the side where that is. */
static void op_soft(struct program *p, uint32_t what)
{
	static struct frame f;
	uint32_t n = what % RTE_DIM(live), hosts = take(p, 2), outward = what >> 4 & 1, wide = take(p, 1);
	struct soft *s = &live[n];
	enum side side = outward ? PROTECTED : UNPROTECTED;

	if (s->local != 0 && what & 8) {
		sp_worker_once(ours.dp, what & 1);
		soft_set(n, s->local, s->remote, 1);
		s->local = 0;
	} else if (s->local == 0 && n_soft_seen < SOFT_SEEN) {
		*s = (struct soft){.local = OUR_NET | hosts >> 8, .remote = PEER_NET(CELL_HOLD) | n << 6 | (hosts & 63)};
		soft_set(n, s->local, s->remote, 0);
		soft_seen[n_soft_seen++] = *s;
	}
	if (s->local == 0)
		return;
	build(p, &f, ours.mac[side], outward ? s->local : s->remote, outward ? s->remote : s->local);
	if (wide & 128)
		make_wide(&f, wide);
	receive(&ours, side, &f, RTE_PKTMBUF_HEADROOM);
}

void op_sas(struct program *p)
{
	uint32_t what = take(p, 1);
	enum tunnel t = take(p, 1) % TUNNELS;

	changed = 1;
	switch (what & 7) {
	case 0:
		tunnel_move(t, what >> 3);
		break;
	case 1:
		run(&ours); /* what has a number of the former SA must not come after it */
		collect(&ours, UNPROTECTED, 1);
		tunnel_limit(t, (uint8_t)(what >> 3));
		break;
	case 2:
		tunnel_own(t, what >> 3 & 1, 0);
		break;
	case 3:
		tunnel_own(t, what >> 3 & 1, 1);
		break;
	case 4:
		sp_worker_once(ours.dp, what >> 3 & 1);
		tunnel_close(&ours, t);
		break;
	case 5:
		sp_worker_once(ours.dp, what >> 3 & 1);
		tunnel_withdraw(t);
		break;
	case 6:
		op_soft(p, what >> 3);
		break;
	default:
		sp_worker_once(ours.dp, what >> 3 & 1);
	}
}

static int tunnel_used(const struct gateway *g, enum tunnel t)
{
	struct sp_sa_counters c;

	sp_sa_out_counters(sp_cell_current(g->dp, (uint16_t)t), &c);
	return c.packets > 0;
}

void changes_undo(void)
{
	if (changed)
		tunnels_forget();
	for (uint32_t i = 0; i < RTE_DIM(live); i++) {
		if (live[i].local != 0)
			soft_set(i, live[i].local, live[i].remote, 1);
		live[i].local = 0;
	}
	n_soft_seen = 0;
	sp_notice_tick(ours.dp);
	for (enum tunnel t = 0; changed && t < TUNNELS; t++)
		tunnel_close(&ours, t);
	for (enum tunnel t = 0; t < TUNNELS; t++)
		if (changed || tunnel_used(&ours, t) || tunnel_used(&peer, t))
			tunnel_reset(t);
	for (uint16_t cell = 0; changed && cell < TUNNELS; cell++)
		sp_cell_set_state(ours.dp, cell, SP_CELL_CLOSED);
	if (published)
		gateway_publish(&ours, 0);
	tunnels_bury();
	changed = 0;
	published = 0;
	sp_generation_bump(ours.dp);
	sp_generation_bump(peer.dp);
}
