/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BENCH_FLOOR_H
#define BENCH_FLOOR_H

/* The work that no gateway can avoid, each part alone: packets from the source and back to their pool, and the crypto device, or libIPSec_MB's jobs, over the same bytes. */

#include <stdint.h>

struct rte_mempool;
struct bench_crypto;

#define BENCH_BURST 32

/* Takes packets from queue 0 of the port and frees them until `cycles` have passed and the packets are a multiple of `pass`. Fills packets taken and cycles spent.
 * Returns 0, or -ENODATA when nothing arrives. */
int bench_source(uint16_t port, uint64_t pass, uint64_t cycles, uint64_t *packets, uint64_t *spent);

/* A crypto session and where an ESP packet's parts are, lengths in bytes. */
struct bench_session {
	void *handle;
	uint8_t device;
	uint16_t queue_pair;    /* for sessions of enqueue and dequeue: one that no worker uses */
	uint16_t iv_offset;     /* of the IV from the start of a crypto op */
	uint8_t cpu, aead, encrypt;
	uint8_t job;            /* handle is an IMB_JOB: a burst of jobs of a manager of the floor's own */
	uint8_t ah;             /* job: the whole packet is authenticated, and the ICV is none of it */
	uint8_t iv_length, icv_length;
	uint8_t salt[4];
};

/* One burst: BENCH_BURST ESP packets of `length` bytes from SPI to ICV, one after the other at `packets`, copied into mbufs `offset` bytes behind the headroom's start, where
 * the gateway has them. An encrypting session gets the clear text with its trailer. NULL with a negative errno in error when memory is short or a packet fails. */
struct bench_crypto *bench_crypto_create(struct rte_mempool *pool, const struct bench_session *session, const uint8_t *packets, uint32_t length, uint32_t offset, int *error);
void bench_crypto_free(struct bench_crypto *crypto);
/* Encrypts or decrypts the burst over and over, in place, until `cycles` have passed. After the first time a decryption finds a wrong ICV, which costs the same. */
void bench_crypto_run(struct bench_crypto *crypto, uint64_t cycles, uint64_t *packets, uint64_t *spent);

/* Bytes allocated from DPDK's heaps, overhead included. */
uint64_t bench_heap_bytes(void);

#endif
