/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SP_SEQUENCE_H
#define SP_SEQUENCE_H

/* Sequence numbers and lifetimes of an SA, as the stages take them: once for each run of packets. */

#include "stages.h"

/* events.c: the packets of a run, numbered up to `last`, that a lifetime in bytes lets through; the others are dropped, and what there is to tell is told. */
uint32_t sp_within_lifetime(struct sp_worker *w, struct sp_sa_out *sa, struct sp_packet **packets, uint64_t last, uint32_t n);
/* events.c: what an inbound SA has carried is worth telling. */
void sp_lifetime_in(struct sp_worker *w, struct sp_sa_in *sa);
/* events.c: packets of an SA whose hard lifetime is over. */
void sp_expired_in(struct sp_worker *w, struct sp_sa_in *sa, const struct sp_esp *packets, uint32_t n);
/*
 * events.c: packets whose ICV was right and that came in UDP, before they move the window. The source of the newest, if no packet before was newer, is where the peer is now
 * (RFC 7296 2.23): a replayed packet says nothing. Call it only for an SA that follows.
 */
void sp_note_remote(struct sp_worker *w, struct sp_sa_in *sa, const struct sp_esp *packets, uint32_t n);

/* events.c: an outbound SA comes in the place of another: first it has that one's limits, then it goes on with what that has carried of them. */
void sp_lifetime_out_inherit(struct sp_sa_out *sa, const struct sp_sa_out *former);
void sp_lifetime_out_carry(struct sp_sa_out *sa, const struct sp_sa_counters *carried, uint8_t told);
/* events.c: the same inbound, where the owner of both SAs does it. */
void sp_lifetime_in_carry(struct sp_sa_in *sa, const struct sp_sa_in *former);
/* events.c: so many numbers of an SA are no packets of its lifetimes; fewer again if negative. */
void sp_lifetime_out_skip(struct sp_sa_out *sa, int64_t numbers);
/*
 * events.c: workers take no number from `first` on of an SA any more, and drop what would need one. Returns 0, with all as it was, when they may have taken one already.
 */
int sp_numbers_hold(struct sp_sa_out *sa, uint64_t first);

/* events.c: authentic packets came that the NIC, which has the SA's window, has not opened. */
void sp_tell_inline(struct sp_worker *w, struct sp_sa_in *sa);

/* relocate.c: numbers of an SA that has come in the place of another, whose counter is that of both until no worker sends by the other. Returns the last one taken before. */
uint64_t sp_inherited_numbers(struct sp_sa_out *sa, uint32_t n);

/* The last number taken before those n, of an SA that several workers may send by. */
static inline uint64_t sp_shared_numbers(struct sp_sa_out *sa, uint32_t n)
{
	return likely(!sa->heir) ? __atomic_fetch_add(&sa->sequence, n, __ATOMIC_RELAXED) : sp_inherited_numbers(sa, n);
}

/* Takes *n numbers off the counter and returns the first; lowers *n to those packets that the SA may still send (RFC 4303 3.3.3) and drops the others. */
static inline uint64_t sp_reserve(struct sp_worker *w, struct sp_sa_out *sa, struct sp_packet **packets, uint32_t *n)
{
	uint64_t before = sa->shared ? sp_shared_numbers(sa, *n) : sa->sequence;

	/* a run has less bytes than a unit */
	if (likely(before + *n < __atomic_load_n(&sa->due_sequence, __ATOMIC_RELAXED) &&
		   (__atomic_load_n(&sa->bytes, __ATOMIC_RELAXED) >> SP_DUE_SHIFT) + 1 < __atomic_load_n(&sa->due_bytes, __ATOMIC_RELAXED)))
		return before + 1;
	while (*n > 0 && before + *n > __atomic_load_n(&sa->sequence_limit, __ATOMIC_RELAXED)) /* which is never before due_sequence */
		sp_drop_out(w, sa, packets[--*n]->mbuf, sa->limit_reason);
	*n = sp_within_lifetime(w, sa, packets, before + *n, *n);
	return before + 1;
}

/* Ends what sp_reserve began: `used` packets have taken the numbers from first on. Numbers that were not used are skipped where other workers may have taken the next ones. */
static inline void sp_reserved(struct sp_sa_out *sa, uint64_t first, uint32_t used)
{
	if (likely(!sa->shared))
		__atomic_store_n(&sa->sequence, first - 1 + used, __ATOMIC_RELAXED);
}

/* Counts inner packets that an inbound SA has brought. */
static inline void sp_carried_in(struct sp_worker *w, struct sp_sa_in *sa, uint64_t packets, uint64_t bytes)
{
	sa->packets += packets;
	sa->bytes += bytes;
	sa->last_use = w->now;
	if (unlikely(sa->packets >= sa->due_packets || sa->bytes >> SP_DUE_SHIFT >= sa->due_bytes))
		sp_lifetime_in(w, sa);
}

#endif
