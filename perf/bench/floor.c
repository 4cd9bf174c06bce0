/* SPDX-License-Identifier: Apache-2.0 */

#include "floor.h"

#include <errno.h>

#include <rte_cycles.h>
#include <rte_ethdev.h>
#include <rte_malloc.h>

#include "floor_crypto.h"

#define EMPTY_BURSTS 100000

int bench_source(uint16_t port, uint16_t queue, uint64_t pass, uint64_t cycles, uint64_t *packets, uint64_t *spent)
{
	uint64_t start = rte_rdtsc(), taken = 0;
	uint32_t empty = 0;

	do {
		struct rte_mbuf *mbufs[BENCH_BURST];
		uint16_t n = rte_eth_rx_burst(port, queue, mbufs, BENCH_BURST);

		for (uint16_t i = 0; i < n; i++)
			rte_pktmbuf_free(mbufs[i]);
		taken += n;
		empty = n == 0 ? empty + 1 : 0;
		if (unlikely(empty == EMPTY_BURSTS))
			return -ENODATA;
		*spent = rte_rdtsc() - start;
	} while (*spent < cycles || taken % pass != 0);
	*packets = taken;
	return 0;
}

/* ---- crypto ---- */

static int fill(struct bench_crypto *c, struct rte_mempool *pool, const struct bench_packets *packets)
{
	const uint8_t *octets = packets->octets;

	if (rte_pktmbuf_priv_size(pool) < sizeof(struct op) || c->session.iv_offset != offsetof(struct op, iv))
		return -EINVAL;
	for (uint32_t i = 0; i < packets->n; i++) {
		struct burst *b = &c->bursts[i / BENCH_BURST];
		uint32_t at = i % BENCH_BURST, length = packets->lengths[i];
		struct rte_mbuf *m;

		if (at == 0) {
			if (rte_pktmbuf_alloc_bulk(pool, b->mbufs, BENCH_BURST) != 0)
				return -ENOMEM;
			c->n_bursts++;
		}
		m = b->mbufs[at];
		if (packets->offset + length > m->buf_len)
			return -EMSGSIZE;
		m->data_off = (uint16_t)packets->offset;
		m->data_len = (uint16_t)length;
		m->pkt_len = length;
		memcpy(rte_pktmbuf_mtod(m, uint8_t *), octets, length);
		octets += length;
		if (c->session.kind == BENCH_DIRECT || c->session.kind == BENCH_JOBS)
			bench_prepare_library(c, b, at);
		else
			bench_prepare_device(c, b, at);
	}
	return 0;
}

/* Returns how many packets were done; good are those of them whose ICV was right, if somebody compared it. */
static uint32_t process(struct bench_crypto *c, struct burst *b, uint32_t *good)
{
	uint32_t done;

	if (c->session.kind == BENCH_DIRECT || c->session.kind == BENCH_JOBS)
		done = *good = bench_process_library(c, b);
	else
		done = bench_process_device(c, b, good);
	c->lost = c->lost || done < BENCH_BURST;
	return done;
}

/* Whether the first run made or found the ICVs that it should: then it had the keys and the bytes that it should. */
static int verify(struct bench_crypto *c, const struct bench_packets *packets)
{
	const uint32_t icv_length = c->session.icv_length;

	for (uint32_t i = 0; i < packets->n; i += BENCH_BURST) {
		uint32_t good;

		if (process(c, &c->bursts[i / BENCH_BURST], &good) != BENCH_BURST)
			return -ETIMEDOUT;
		if (good != BENCH_BURST)
			return -EBADMSG;
	}
	for (uint32_t i = 0; i < packets->n; i++) {
		const struct burst *b = &c->bursts[i / BENCH_BURST];

		if (b->tags[i % BENCH_BURST] != NULL && memcmp(b->tags[i % BENCH_BURST], packets->icvs + (size_t)i * icv_length, icv_length) != 0)
			return -EBADMSG;
	}
	return 0;
}

struct bench_crypto *bench_crypto_create(struct rte_mempool *pool, const struct bench_session *session, const struct bench_packets *packets, int *error)
{
	struct bench_crypto *c = rte_zmalloc("bench_crypto", sizeof(*c) + packets->n / BENCH_BURST * sizeof(struct burst), RTE_CACHE_LINE_SIZE);

	if (c == NULL) {
		*error = -ENOMEM;
		return NULL;
	}
	c->session = *session;
	*error = session->kind == BENCH_JOBS ? bench_open_library(c) : 0;
	if (*error == 0)
		*error = fill(c, pool, packets);
	if (*error == 0)
		*error = verify(c, packets);
	if (*error != 0) {
		bench_crypto_free(c);
		return NULL;
	}
	return c;
}

void bench_crypto_free(struct bench_crypto *c)
{
	for (uint32_t i = 0; i < c->n_bursts && !c->lost; i++)
		rte_pktmbuf_free_bulk(c->bursts[i].mbufs, BENCH_BURST);
	bench_close_library(c);
	if (!c->lost)
		rte_free(c);
}

int bench_crypto_run(struct bench_crypto *c, uint64_t cycles, uint64_t *packets, uint64_t *spent)
{
	uint64_t start = rte_rdtsc();

	*packets = 0;
	do {
		for (uint32_t i = 0; i < c->n_bursts; i++) {
			uint32_t good, done = process(c, &c->bursts[i], &good);

			*packets += done;
			if (unlikely(done < BENCH_BURST))
				return -ETIMEDOUT;
		}
		*spent = rte_rdtsc() - start;
	} while (*spent < cycles);
	return 0;
}

uint64_t bench_heap_bytes(void)
{
	uint64_t sum = 0;

	for (int socket = 0; socket < RTE_MAX_NUMA_NODES; socket++) {
		struct rte_malloc_socket_stats stats;

		if (rte_malloc_get_socket_stats(socket, &stats) == 0)
			sum += stats.heap_allocsz_bytes;
	}
	return sum;
}
