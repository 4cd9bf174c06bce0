// Burst-wide wrappers around the inline functions of rte_mbuf.h: one crossing from Go for many packets.
#ifndef SALLYPORT_PMD_MBUF_H
#define SALLYPORT_PMD_MBUF_H

#include <rte_mbuf.h>

// Makes n mbufs whose frames stand one after the other in bytes, lengths[i] bytes each. All or none: 0, -ENOMEM when the pool
// is short of buffers, or -EMSGSIZE when a frame is longer than a buffer.
int sp_mbuf_from_frames(struct rte_mempool *pool, const uint8_t *bytes, const uint32_t *lengths, unsigned int n, void **mbufs);

// Writes the frame length of each mbuf, all its segments included, and returns the sum.
size_t sp_mbuf_lengths(void **mbufs, unsigned int n, uint32_t *lengths);

// Copies the frames one after the other into bytes, which has room for the sum of sp_mbuf_lengths.
void sp_mbuf_copy_out(void **mbufs, unsigned int n, uint8_t *bytes);

void sp_mbuf_free(void **mbufs, unsigned int n);

#endif
