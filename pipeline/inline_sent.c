/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Beside stage 9: whether a device has sent what its NIC was left to encrypt. Packets stand in a transmit queue after workers are done with them, and name a session. Drivers may be asked
 * for a queue's descriptors by its worker alone (rte_eth_tx_descriptor_status): the control thread asks, each worker answers at the end of a turn.
 */

#include "stages.h"

/* Some drivers hear of so many packets at a time that they are sent, and speak of those behind the last such time as sent: so many descriptors are looked at. */
#define SENT_AT_ONCE 64u

static int status(uint16_t device, uint16_t queue, uint32_t offset)
{
	return rte_eth_tx_descriptor_status(device, queue, (uint16_t)offset);
}

/* Descriptors of a queue: offsets beyond them are none. 0: the driver tells nothing of them. */
static uint32_t descriptors(uint16_t device, uint16_t queue)
{
	uint32_t is = 0, is_none = UINT16_MAX + 1u;

	if (status(device, queue, 0) < 0)
		return 0;
	while (is_none - is > 1) {
		const uint32_t middle = is + (is_none - is) / 2;

		if (status(device, queue, middle) < 0)
			is_none = middle;
		else
			is = middle;
	}
	return is_none;
}

/* The newest packets have the last offsets. */
static uint8_t look(uint16_t device, uint16_t queue)
{
	const uint32_t n = descriptors(device, queue);

	if (n == 0)
		return SP_RING_UNTOLD;
	for (uint32_t i = 1; i <= RTE_MIN(n, SENT_AT_ONCE); i++)
		if (status(device, queue, n - i) == RTE_ETH_TX_DESC_FULL)
			return SP_RING_SENDING;
	return SP_RING_SENT;
}

void sp_rings_look(struct sp_worker *w)
{
	const uint32_t asked = __atomic_load_n(&w->dp->rings_asked, __ATOMIC_ACQUIRE);

	for (uint32_t i = 0; i < w->n_sources; i++)
		__atomic_store_n(&w->ring[w->sources[i]], look(w->sources[i], w->id), __ATOMIC_RELAXED);
	__atomic_store_n(&w->rings_looked, asked, __ATOMIC_RELEASE);
}

void sp_rings_answer(struct sp_dataplane *dp, uint32_t worker)
{
	sp_rings_look(dp->workers[worker]);
}

uint32_t sp_rings_ask(struct sp_dataplane *dp)
{
	return __atomic_add_fetch(&dp->rings_asked, 1, __ATOMIC_RELEASE);
}

uint8_t sp_ring_state(const struct sp_dataplane *dp, uint32_t worker, uint16_t device, uint32_t asked)
{
	const struct sp_worker *w = dp->workers[worker];

	if ((int32_t)(__atomic_load_n(&w->rings_looked, __ATOMIC_ACQUIRE) - asked) < 0)
		return SP_RING_UNKNOWN;
	return __atomic_load_n(&w->ring[device], __ATOMIC_RELAXED);
}

uint64_t sp_ring_taken(const struct sp_dataplane *dp, uint32_t worker, uint16_t device)
{
	uint64_t n = 0;

	for (uint16_t port = 0; port < SP_MAX_PORTS; port++)
		if (dp->ports[port].present && dp->ports[port].device == device)
			n += __atomic_load_n(&dp->workers[worker]->counters[port].transmitted, __ATOMIC_RELAXED);
	return n;
}
