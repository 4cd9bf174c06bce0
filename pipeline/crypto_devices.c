/* SPDX-License-Identifier: Apache-2.0 */

/* The control thread's part of crypto_queue.c: workers' queues come and go, and what a lost device had is given back when it is stopped. */

#include <rte_malloc.h>

#include "crypt.h"

int sp_queue_create(const struct sp_dataplane *dp, struct sp_async_queue *q, uint8_t device, uint32_t descriptors)
{
	q->device = device;
	q->limit = descriptors - 1; /* a ring of n has room for n - 1 */
	q->held = rte_zmalloc_socket("sp_async_queue", q->limit * sizeof(struct rte_crypto_op *), 0, dp->socket);
	q->slots = rte_malloc_socket("sp_async_queue", q->limit * sizeof(*q->slots), 0, dp->socket);
	q->waiting = rte_malloc_socket("sp_async_queue", SP_QUEUE_WAITING * sizeof(struct rte_crypto_op *), 0, dp->socket);
	if (q->held == NULL || q->slots == NULL || q->waiting == NULL)
		return -1;
	for (uint32_t i = 0; i < q->limit; i++)
		q->slots[i] = (uint16_t)i;
	return 0;
}

void sp_queue_destroy(struct sp_async_queue *q)
{
	rte_free(q->held);
	rte_free(q->slots);
	rte_free(q->waiting);
}

static uint32_t index_of(const struct sp_dataplane *dp, uint8_t device)
{
	const struct sp_worker *w = dp->workers[0];
	uint32_t i = 0;

	while (i < w->n_devices && w->devices[i].device != device)
		i++;
	return i;
}

int sp_device_lost(const struct sp_dataplane *dp, uint8_t device)
{
	uint32_t i = index_of(dp, device);

	return i < dp->workers[0]->n_devices ? __atomic_load_n(&dp->lost[i], __ATOMIC_ACQUIRE) : SP_DEVICE_WORKS;
}

void sp_device_release(struct sp_dataplane *dp, uint8_t device)
{
	uint32_t at = index_of(dp, device);

	for (uint32_t i = 0; i < dp->n_workers && at < dp->workers[i]->n_devices; i++) {
		struct sp_async_queue *q = &dp->workers[i]->devices[at];

		if (!__atomic_load_n(&q->lost, __ATOMIC_ACQUIRE))
			continue; /* it had nothing there */
		for (uint32_t slot = 0; slot < q->limit; slot++) {
			if (q->held[slot] == NULL)
				continue;
			rte_pktmbuf_free(sp_priv_mbuf(sp_op_priv(q->held[slot])));
			q->held[slot] = NULL;
		}
		q->n = 0;
	}
}

void sp_device_read(const struct sp_dataplane *dp, uint8_t device, struct sp_device_counters *out)
{
	uint32_t at = index_of(dp, device);

	*out = (struct sp_device_counters){.lost = (uint8_t)sp_device_lost(dp, device)};
	for (uint32_t i = 0; i < dp->n_workers && at < dp->workers[i]->n_devices; i++) {
		const struct sp_async_queue *q = &dp->workers[i]->devices[at];

		out->operations += __atomic_load_n(&q->given, __ATOMIC_RELAXED);
		out->unknown += __atomic_load_n(&q->unknown, __ATOMIC_RELAXED);
		out->held += __atomic_load_n(&q->n, __ATOMIC_RELAXED);
		out->waiting += __atomic_load_n(&q->put, __ATOMIC_RELAXED) - __atomic_load_n(&q->taken, __ATOMIC_RELAXED);
	}
}
