/* The replay window of inline protocol (RFC 4303 section 3.4.3), as a ring of words of RFC 6479. */
#ifndef SALLYPORT_SOFTNIC_WINDOW_H
#define SALLYPORT_SOFTNIC_WINDOW_H

#include "nic.h"

/* The whole number of a packet, of which 32 bits were sent: the one in the 2^32 numbers from the window's lower end on (RFC 4303 appendix A2). */
static inline uint64_t sp_nic_number(const struct sp_nic_session *s, uint32_t low)
{
	const uint64_t width = RTE_MAX(s->window, 1u), bottom = s->top >= width ? s->top - width + 1 : 0;
	uint64_t number = (bottom & ~(uint64_t)UINT32_MAX) | low;

	if (!s->esn)
		return low;
	return number < bottom ? number + ((uint64_t)1 << 32) : number;
}

static inline int sp_nic_window_allows(const struct sp_nic_session *s, uint64_t number)
{
	if (s->window == 0 || number > s->top)
		return s->window == 0 || number != 0;
	if (number == 0 || s->top - number >= s->window)
		return 0;
	return (s->seen[number / 64 % SP_NIC_WINDOW_WORDS] >> number % 64 & 1) == 0;
}

/* Only for a number that is allowed, when its packet was authentic. */
static inline void sp_nic_window_accept(struct sp_nic_session *s, uint64_t number)
{
	if (number > s->top) {
		const uint64_t first = s->top / 64 + 1, last = number / 64;

		for (uint64_t word = first; word <= last && word < first + SP_NIC_WINDOW_WORDS; word++)
			s->seen[word % SP_NIC_WINDOW_WORDS] = 0;
		s->top = number;
	}
	if (s->top - number < SP_NIC_WINDOW_MAX)
		s->seen[number / 64 % SP_NIC_WINDOW_WORDS] |= (uint64_t)1 << number % 64;
}

#endif
