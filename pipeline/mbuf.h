/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SP_MBUF_H
#define SP_MBUF_H

/*
 * The only places that move the bounds of a packet. A sanitizer cannot see them by itself, because a buffer of the pool is one allocation: under
 * AddressSanitizer everything outside the packet's bytes is poisoned, so that a read beyond them is caught.
 */

#include <rte_mbuf.h>

#if defined(__SANITIZE_ADDRESS__)
#define SP_POISON 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SP_POISON 1
#endif
#endif

#ifdef SP_POISON
#include <sanitizer/asan_interface.h>

static inline void sp_mbuf_poison(struct rte_mbuf *m)
{
	ASAN_POISON_MEMORY_REGION(m->buf_addr, m->buf_len);
	ASAN_UNPOISON_MEMORY_REGION(rte_pktmbuf_mtod(m, void *), m->data_len);
}

static inline void sp_mbuf_unpoison(struct rte_mbuf *m)
{
	ASAN_UNPOISON_MEMORY_REGION(m->buf_addr, m->buf_len);
}
#else
static inline void sp_mbuf_poison(struct rte_mbuf *m __rte_unused) {}
static inline void sp_mbuf_unpoison(struct rte_mbuf *m __rte_unused) {}
#endif

/* Bytes in front of p inside the buffer. */
static inline uint32_t sp_mbuf_before(const struct rte_mbuf *m, const uint8_t *p)
{
	return (uint32_t)(p - (const uint8_t *)m->buf_addr);
}

/* Bytes from p to the end of the buffer. */
static inline uint32_t sp_mbuf_after(const struct rte_mbuf *m, const uint8_t *p)
{
	return m->buf_len - sp_mbuf_before(m, p);
}

/* Makes the packet [start, start + length): the caller has checked that this lies in the buffer. */
static inline void sp_mbuf_bounds(struct rte_mbuf *m, const uint8_t *start, uint32_t length)
{
	m->data_off = (uint16_t)sp_mbuf_before(m, start);
	m->data_len = (uint16_t)length;
	m->pkt_len = length;
	sp_mbuf_poison(m);
}

#endif
