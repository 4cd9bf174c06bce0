/* AES-GCM by libIPSec_MB's own functions, without a device in between. */
#ifndef SALLYPORT_CRYPTODEV_DIRECT_H
#define SALLYPORT_CRYPTODEV_DIRECT_H

#include <stdint.h>

#include <intel-ipsec-mb.h>
#include <rte_mempool.h>

/* The library's functions for the instruction set of this machine: by key length (128, 192, 256 bits). */
struct spcrypto_gcm {
	aes_gcm_pre_t expand[3];
	aes_gcm_enc_dec_t encrypt[3], decrypt[3];
};

/* Lets the library choose its functions for this machine. Returns NULL, or in the words of an operator why they cannot be used. */
const char *spcrypto_gcm_choose(struct spcrypto_gcm *gcm);

/* A pool whose elements hold an expanded key, as mempools align them: to the cache line, which is what the library wants. */
struct rte_mempool *spcrypto_gcm_keys(const char *name, uint32_t count, int socket, int *error);

/* An expanded key, NULL when the pool has none left. `size` is the index of the key's length in spcrypto_gcm; the key is read and not kept. */
struct gcm_key_data *spcrypto_gcm_key_create(const struct spcrypto_gcm *gcm, unsigned int size, const uint8_t *key, struct rte_mempool *keys);

/* Wipes the key and gives its memory back. */
void spcrypto_gcm_key_free(struct gcm_key_data *key);

#endif
