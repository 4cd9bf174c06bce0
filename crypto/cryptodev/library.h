/* libIPSec_MB without a device in between: its state for key expansion, and the memory of sessions that call it. */
#ifndef SALLYPORT_CRYPTODEV_LIBRARY_H
#define SALLYPORT_CRYPTODEV_LIBRARY_H

#include <stdint.h>

#include <intel-ipsec-mb.h>
#include <rte_common.h>
#include <rte_mempool.h>

/* The library with its functions chosen for this machine, for key expansion alone: workers have managers of their own. It lives as long as the process. On failure returns NULL
 * and in *why, in the words of an operator, the reason. */
IMB_MGR *spcrypto_library(const char **why);

/* NULL, or why AES-GCM is better left to a device. */
const char *spcrypto_gcm_missing(const IMB_MGR *library);

/* Octets behind a key for what its user reads together with it: with thousands of sessions the two are then mostly in one page of memory. */
#define SPCRYPTO_ROOM 384

struct spcrypto_gcm {
	struct gcm_key_data key;
	uint8_t room[SPCRYPTO_ROOM] __rte_aligned(64);
};

/* A pool whose elements hold any session below, aligned to the cache line, which is what the library wants of keys. */
struct rte_mempool *spcrypto_library_sessions(const char *name, uint32_t count, int socket, int *error);

/*
 * AES-GCM: an expanded key with its room, and in *function what a worker calls with it, once a packet: the library's, or with `vectors` those of gcm.h. NULL when the pool has no
 * element left. The key is read and not kept.
 */
struct spcrypto_gcm *spcrypto_gcm_create(const IMB_MGR *library, const uint8_t *key, unsigned int key_length, int encrypt, int vectors, struct rte_mempool *sessions,
					 aes_gcm_enc_dec_t *function);

/* Wipes a session of either kind and gives its memory back. */
void spcrypto_library_free(void *session);

#endif
