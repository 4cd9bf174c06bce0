/* Sessions of libIPSec_MB's multi-buffer jobs: every transform of ESP and AH that the library has. */
#ifndef SALLYPORT_CRYPTODEV_JOB_H
#define SALLYPORT_CRYPTODEV_JOB_H

#include <stdint.h>

#include <intel-ipsec-mb.h>
#include <rte_common.h>
#include <rte_mempool.h>

#define SPCRYPTO_AES_SCHEDULE (15 * 16) /* round keys of the longest key */
#define SPCRYPTO_AES128_SCHEDULE (11 * 16)

/*
 * One direction of one SA. A worker copies the job, which it finds at the session's address, into one of its own manager, and adds what belongs to the packet: source, destination,
 * lengths, IV, associated data, and where the tag goes. The job's other pointers lead to the keys behind it.
 */
struct spcrypto_job {
	IMB_JOB job;
	union {
		struct {
			union {
				uint8_t aes[SPCRYPTO_AES_SCHEDULE]; /* in the session's direction */
				uint64_t des[3][IMB_DES_KEY_SCHED_SIZE / 8];
				uint8_t chacha20[32];
			} cipher;
			const void *des_schedules[3];
			union {
				struct {
					uint8_t inner[IMB_SHA512_DIGEST_SIZE_IN_BYTES], outer[IMB_SHA512_DIGEST_SIZE_IN_BYTES];
				} hmac;
				struct {
					uint8_t key[SPCRYPTO_AES128_SCHEDULE], second[16], third[16];
				} cbc_mac; /* XCBC: K1, K2, K3; CMAC: K, K1, K2 */
			} integrity __rte_aligned(64);
		} keys;
		struct gcm_key_data gmac;
	} __rte_aligned(64);
};

/* Lengths in octets. */
struct spcrypto_job_config {
	IMB_CIPHER_MODE cipher; /* IMB_CIPHER_NULL for GMAC and for integrity alone */
	IMB_HASH_ALG hash;
	uint8_t key_length, integ_key_length;
	uint8_t iv_length;      /* as the job takes it, with the salt where there is one */
	uint8_t icv_length;
	uint8_t aad_length;     /* of combined-mode ciphers */
	uint8_t encrypt;
};

/* A session, NULL when the pool has no element left. Keys are read in place and not kept; for GMAC the key is the cipher's or, in AH, the integrity algorithm's. */
struct spcrypto_job *spcrypto_job_create(const IMB_MGR *library, const struct spcrypto_job_config *config, const uint8_t *key, const uint8_t *integ_key,
					 struct rte_mempool *sessions);

#endif
