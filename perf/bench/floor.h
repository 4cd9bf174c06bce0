/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BENCH_FLOOR_H
#define BENCH_FLOOR_H

/* The work that no gateway can avoid, each part alone: packets from the source and back to their pool, and crypto over the same bytes. */

#include <stdint.h>

struct rte_mempool;
struct bench_crypto;

#define BENCH_BURST 32

/* Takes packets from a queue of the port and frees them until `cycles` have passed and the packets are a multiple of `pass`. Fills packets taken and cycles spent.
 * Returns 0, or -ENODATA when nothing arrives. */
int bench_source(uint16_t port, uint16_t queue, uint64_t pass, uint64_t cycles, uint64_t *packets, uint64_t *spent);

/* Who does the crypto of a session. */
enum bench_kind {
	BENCH_DIRECT, /* libIPSec_MB, one call a packet: AES-GCM */
	BENCH_JOBS,   /* libIPSec_MB, a burst of jobs */
	BENCH_CPU,    /* the device, synchronously: AES-GCM */
	BENCH_QUEUED, /* the device, enqueue and dequeue: AES-GCM, or cipher and HMAC */
};

/* A crypto session and where the parts of a packet are, lengths in bytes. */
struct bench_session {
	void *handle;           /* key, job or session */
	void *gcm;              /* direct: the function for the key's length and the direction */
	enum bench_kind kind;
	uint8_t device;
	uint16_t queue_pair;    /* for sessions of enqueue and dequeue: one that no worker uses */
	uint16_t iv_offset;     /* of the IV from the start of a crypto op */
	uint8_t aead, ah, encrypt;
	uint8_t iv_length, icv_length;
	uint8_t salt[4];
};

/* Packets from their first authenticated byte on, one after the other: ESP with its ICV or room for it, AH with zeros where its ICV does not cover it. */
struct bench_packets {
	const uint8_t *octets;
	const uint8_t *icvs;    /* that they have or are to get, one after the other */
	const uint32_t *lengths;
	uint32_t n;             /* whole bursts */
	uint32_t offset;        /* of a packet behind the start of a buffer's headroom, where the gateway has it */
};

/* Copies the packets into mbufs and works on them once. NULL with a negative errno in error when memory is short, an ICV comes out differently, or the device does not give back all. */
struct bench_crypto *bench_crypto_create(struct rte_mempool *pool, const struct bench_session *session, const struct bench_packets *packets, int *error);
void bench_crypto_free(struct bench_crypto *crypto);
/* Encrypts or decrypts the bursts over and over, in place, until `cycles` have passed. After the first time a decryption finds a wrong ICV, which costs the same.
 * Returns 0, or -ETIMEDOUT when the device does not give back all for seconds. */
int bench_crypto_run(struct bench_crypto *crypto, uint64_t cycles, uint64_t *packets, uint64_t *spent);

/* Bytes allocated from DPDK's heaps, overhead included. */
uint64_t bench_heap_bytes(void);

#endif
