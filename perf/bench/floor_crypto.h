/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BENCH_FLOOR_CRYPTO_H
#define BENCH_FLOOR_CRYPTO_H

/* The crypto of the floor: floor_library.c calls libIPSec_MB, floor_device.c a crypto device. All that can be composed before is. */

#include <string.h>

#include <intel-ipsec-mb.h>
#include <rte_crypto.h>
#include <rte_mbuf.h>

#include "floor.h"

#define ESP_HEADER 8
#define IV_FIELD 16 /* room for an IV behind an op; the AAD follows */
#define ICV_MAX 32

/* In an mbuf's private area. */
struct op {
	struct rte_crypto_op op;
	struct rte_crypto_sym_op sym;
	uint8_t iv[IV_FIELD];
	uint8_t aad[16];
};

struct burst {
	struct rte_mbuf *mbufs[BENCH_BURST];
	const uint8_t *tags[BENCH_BURST]; /* ICVs as made or, by the library, as computed for comparison; NULL: the device compares */
	uint8_t nonce[BENCH_BURST][IV_FIELD];
	union {
		IMB_JOB jobs[BENCH_BURST];
		struct rte_crypto_op *ops[BENCH_BURST];
		struct {
			struct rte_crypto_vec data[BENCH_BURST];
			struct rte_crypto_sgl sgl[BENCH_BURST];
			struct rte_crypto_va_iova_ptr iv[BENCH_BURST], aad[BENCH_BURST], digest[BENCH_BURST];
			int32_t status[BENCH_BURST];
		} cpu;
	};
	uint8_t scratch[BENCH_BURST][ICV_MAX]; /* ICVs that do not go into the packet */
} __rte_cache_aligned;

struct bench_crypto {
	struct bench_session session;
	IMB_MGR *manager;
	struct gcm_context_data context;
	uint32_t n_bursts;
	int lost; /* the device has not given back all: it may write to the buffers still */
	struct burst bursts[];
};

/* Where packet i of a burst begins. */
static inline uint8_t *bench_packet(const struct burst *b, uint32_t i)
{
	return rte_pktmbuf_mtod(b->mbufs[i], uint8_t *);
}

static inline uint32_t bench_text_offset(const struct bench_crypto *c)
{
	return ESP_HEADER + (uint32_t)c->session.iv_length;
}

/* ESP's ICV is at the end. */
static inline uint32_t bench_text_end(const struct bench_crypto *c, const struct burst *b, uint32_t i)
{
	return b->mbufs[i]->data_len - (uint32_t)c->session.icv_length;
}

int bench_open_library(struct bench_crypto *c);
void bench_close_library(struct bench_crypto *c);
void bench_prepare_library(struct bench_crypto *c, struct burst *b, uint32_t i);
/* Returns how many packets were done. */
uint32_t bench_process_library(struct bench_crypto *c, struct burst *b);

void bench_prepare_device(struct bench_crypto *c, struct burst *b, uint32_t i);
/* Returns how many packets were done, and in good how many of them had the right ICV when decrypting. */
uint32_t bench_process_device(struct bench_crypto *c, struct burst *b, uint32_t *good);

#endif
