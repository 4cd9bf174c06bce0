#include "mbuf.h"

#include <errno.h>
#include <rte_memcpy.h>

int
sp_mbuf_from_frames(struct rte_mempool *pool, const uint8_t *bytes, const uint32_t *lengths, unsigned int n, void **mbufs)
{
	if (rte_pktmbuf_alloc_bulk(pool, (struct rte_mbuf **)mbufs, n) != 0)
		return -ENOMEM;
	for (unsigned int i = 0; i < n; i++) {
		struct rte_mbuf *m = mbufs[i];

		if (lengths[i] > rte_pktmbuf_tailroom(m)) {
			sp_mbuf_free(mbufs, n);
			return -EMSGSIZE;
		}
		rte_memcpy(rte_pktmbuf_append(m, (uint16_t)lengths[i]), bytes, lengths[i]);
		bytes += lengths[i];
	}
	return 0;
}

size_t
sp_mbuf_lengths(void **mbufs, unsigned int n, uint32_t *lengths)
{
	size_t sum = 0;

	for (unsigned int i = 0; i < n; i++) {
		lengths[i] = rte_pktmbuf_pkt_len((struct rte_mbuf *)mbufs[i]);
		sum += lengths[i];
	}
	return sum;
}

void
sp_mbuf_copy_out(void **mbufs, unsigned int n, uint8_t *bytes)
{
	for (unsigned int i = 0; i < n; i++)
		for (struct rte_mbuf *m = mbufs[i]; m != NULL; m = m->next) {
			rte_memcpy(bytes, rte_pktmbuf_mtod(m, void *), rte_pktmbuf_data_len(m));
			bytes += rte_pktmbuf_data_len(m);
		}
}

void
sp_mbuf_free(void **mbufs, unsigned int n)
{
	rte_pktmbuf_free_bulk((struct rte_mbuf **)mbufs, n);
}
