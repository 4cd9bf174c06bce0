/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SP_REPLAY_H
#define SP_REPLAY_H

/*
 * Anti-replay window (RFC 4303 3.4.3) as a ring of 64-bit words (RFC 6479): advancing clears whole words instead of shifting the window. One owner per SA, so no atomics.
 * sp_replay_check runs before the ICV, sp_replay_update after it: in between other packets of the burst may have moved the window.
 */

#include "dataplane.h"

/* The 64-bit number for the 32 bits of the header. ESN: the high half that lies nearest the window (RFC 4303 appendix A2.2). */
static inline uint64_t sp_replay_sequence(const struct sp_replay *r, uint32_t low, int esn)
{
	uint64_t high = r->top >> 32;
	uint32_t top_low = (uint32_t)r->top;
	uint32_t span = r->window ? r->window : 1;
	uint32_t bottom = top_low - span + 1;

	if (!esn)
		return low;
	if (top_low >= span - 1)
		return ((low >= bottom ? high : high + 1) << 32) | low;
	/* the window spans the wrap; before the first wrap nothing lies below it */
	return ((low >= bottom && high > 0 ? high - 1 : high) << 32) | low;
}

/* Where the bit of a number inside the window stands. */
static inline uint32_t sp_replay_word(const struct sp_replay *r, uint64_t sequence)
{
	uint32_t back = (uint32_t)((r->top >> 6) - (sequence >> 6)); /* < words */

	return r->at >= back ? r->at - back : r->at + r->words - back;
}

/* SP_PASS, or the reason to drop. */
static inline uint8_t sp_replay_check(const struct sp_replay *r, uint64_t sequence)
{
	if (unlikely(sequence == 0))
		return SP_DROP_REPLAY_OLD; /* the first packet of an SA is number 1 */
	if (likely(sequence > r->top) || r->window == 0)
		return SP_PASS;
	if (unlikely(r->top - sequence >= r->window))
		return SP_DROP_REPLAY_OLD;
	if (unlikely(r->bitmap[sp_replay_word(r, sequence)] >> (sequence & 63) & 1))
		return SP_DROP_REPLAY_DUPLICATE;
	return SP_PASS;
}

/* Moves the top to a higher number: words that it passes are cleared. */
static inline void sp_replay_advance(struct sp_replay *r, uint64_t sequence)
{
	uint64_t words = (sequence >> 6) - (r->top >> 6);
	uint32_t at = r->at;

	if (unlikely(words > r->words))
		words = r->words;
	for (uint64_t i = 0; i < words; i++) {
		at = at + 1u == r->words ? 0 : at + 1u;
		r->bitmap[at] = 0;
	}
	__atomic_store_n(&r->at, (uint16_t)at, __ATOMIC_RELAXED);
	__atomic_store_n(&r->top, sequence, __ATOMIC_RELAXED);
}

/* Checks again and marks the number; SP_PASS, or the reason to drop. */
static inline uint8_t sp_replay_update(struct sp_replay *r, uint64_t sequence)
{
	uint32_t word;

	if (likely(sequence > r->top)) {
		sp_replay_advance(r, sequence);
		word = r->at;
	} else {
		uint8_t reason = sp_replay_check(r, sequence);

		if (reason != SP_PASS || r->window == 0)
			return reason;
		word = sp_replay_word(r, sequence);
	}
	r->bitmap[word] |= 1ull << (sequence & 63);
	return SP_PASS;
}

#endif
