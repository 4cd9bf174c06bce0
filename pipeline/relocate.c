/* SPDX-License-Identifier: Apache-2.0 */

/*
 * An SA whose work is done elsewhere from now on: another one with its keys takes its place while packets flow. Both are in use until every worker has seen the other, and crypto
 * devices have given back what they had. Numbers come from one counter and windows are one window all that time.
 *
 * Outbound the counter stays where it is until nobody sends by the former SA, and then moves to the other. Workers that take numbers meanwhile see which of the two it is by its value.
 *
 * Inbound the window is its owner's alone: with the first packet for the other SA the owner takes it over, and what the former SA's device gives back later counts in it.
 */

#include "inline.h"
#include "sequence.h"

#define HANDED_ON UINT64_MAX /* a counter that has moved */

/* ---- outbound ---- */

int sp_sa_out_succeed(struct sp_sa_out *sa, struct sp_sa_out *former, uint64_t jump, struct sp_sa_counters *carried)
{
	sp_lifetime_out_inherit(sa, former);
	if (jump != 0 && !sp_numbers_hold(former, jump))
		return 0;
	sp_sa_out_counters(former, carried);
	sa->subject = former->subject;
	sa->path_mtu = __atomic_load_n(&former->path_mtu, __ATOMIC_RELAXED);
	sp_lifetime_out_carry(sa, carried, __atomic_load_n(&former->told, __ATOMIC_RELAXED));
	sa->shared = 1; /* its counts are added to by the control thread too */
	if (jump != 0) {
		sa->sequence = jump - 1;
		if (carried->sequence < jump) /* else it ended before: what is beyond its limit was numbered and dropped */
			sp_lifetime_out_skip(sa, (int64_t)(jump - 1 - carried->sequence));
		return 1;
	}
	sa->former = former;
	sa->heir = 1;
	return 1;
}

uint64_t sp_inherited_numbers(struct sp_sa_out *sa, uint32_t n)
{
	uint64_t *counter = &sa->former->sequence, last = __atomic_load_n(counter, __ATOMIC_ACQUIRE);

	while (last != HANDED_ON)
		if (__atomic_compare_exchange_n(counter, &last, last + n, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
			return last;
	return __atomic_fetch_add(&sa->sequence, n, __ATOMIC_RELAXED);
}

static void add(uint64_t *to, uint64_t n, uint64_t carried)
{
	__atomic_fetch_add(to, n - carried, __ATOMIC_RELAXED);
}

void sp_sa_out_settle(struct sp_sa_out *sa, struct sp_sa_out *former, const struct sp_sa_counters *carried)
{
	if (sa->heir) {
		uint64_t last = __atomic_load_n(&former->sequence, __ATOMIC_RELAXED);

		do /* nobody takes a number of it before the other counter says that it has moved */
			__atomic_store_n(&sa->sequence, last, __ATOMIC_RELAXED);
		while (!__atomic_compare_exchange_n(&former->sequence, &last, HANDED_ON, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED));
		sa->heir = 0;
	} else { /* what has left by the former SA since then is of the lifetimes after all */
		const uint64_t last = RTE_MIN(former->sequence, former->sequence_limit);

		if (last > carried->sequence)
			sp_lifetime_out_skip(sa, -(int64_t)(last - carried->sequence));
	}
	add(&sa->packets, former->packets, carried->packets);
	add(&sa->bytes, former->bytes, carried->bytes);
	add(&sa->dummies, former->dummies, carried->dummies);
}

/* ---- inbound ---- */

void sp_sa_in_succeed(struct sp_sa_in *sa, struct sp_sa_in *former)
{
	sa->subject = former->subject;
	sa->plain_then = sa->plain;
	sa->plain = 0;
	sa->heir = 1;
	*sp_sa_in_kin_place(sa) = former;
}

static void take_window(struct sp_sa_in *sa, struct sp_sa_in *former)
{
	memcpy(sa->replay.bitmap, former->replay.bitmap, sa->replay.words * sizeof(*sa->replay.bitmap));
	__atomic_store_n(&sa->replay.at, former->replay.at, __ATOMIC_RELAXED);
	__atomic_store_n(&sa->replay.top, former->replay.top, __ATOMIC_RELAXED);
	*sp_sa_in_stays_until(sa) = *sp_sa_in_stays_until(former);
	sp_sa_in_locate(sa, sp_sa_in_peer(former), former->remote, former->remote_port);
	sp_lifetime_in_carry(sa, former);
	sa->plain = sa->plain_then;
	sa->heir = 0;
	*sp_sa_in_kin_place(former) = sa;
	former->handed = 1;
	__atomic_store_n(sp_sa_in_kin_place(sa), NULL, __ATOMIC_RELEASE);
}

/* One that carried nothing may have been replaced in its turn: the window is the oldest one's. */
void sp_sa_in_adopt(struct sp_sa_in *sa)
{
	while (sa->heir) {
		struct sp_sa_in *heir = sa;

		while ((*sp_sa_in_kin_place(heir))->heir)
			heir = *sp_sa_in_kin_place(heir);
		take_window(heir, *sp_sa_in_kin_place(heir));
	}
}

int sp_sa_in_settled(const struct sp_sa_in *sa)
{
	return __atomic_load_n(sp_sa_in_kin_place(sa), __ATOMIC_ACQUIRE) == NULL || sa->handed; /* which is later */
}
