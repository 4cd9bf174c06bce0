/* SPDX-License-Identifier: Apache-2.0 */

#include <stdio.h>
#include <stdlib.h>

#include <rte_cryptodev.h>

#include "keys.h"

#define KEY_MAX 32

static struct rte_mempool *jobs;
static struct IMB_MGR *library;

void keys_start(void)
{
	library = alloc_mb_mgr(0);
	CHECK(library != NULL, "libIPSec_MB");
	init_mb_mgr_auto(library, NULL);
	jobs = rte_mempool_create("jobs", 255, sizeof(struct spcrypto_job), 0, 0, NULL, NULL, NULL, NULL, 0, 0);
	CHECK(jobs != NULL, "pool of jobs");
}

void *key_function(int stand_in, int encrypt)
{
	if (stand_in && spcrypto_gcm_vectors(library))
		return (void *)spcrypto_gcm_function(IMB_KEY_128_BYTES, encrypt);
	return (void *)(encrypt ? library->gcm128_enc : library->gcm128_dec);
}

uint8_t key_device(const struct form *f)
{
	if (f->kind == SP_SA_CHAIN_ASYNC)
		return device_mb;
	return f->kind == SP_SA_AEAD_ASYNC ? device_openssl : device_gcm;
}

static void *aead_session(const struct form *f, uint8_t *key, int encrypt)
{
	struct rte_crypto_sym_xform aead = {.type = RTE_CRYPTO_SYM_XFORM_AEAD};

	aead.aead.op = encrypt ? RTE_CRYPTO_AEAD_OP_ENCRYPT : RTE_CRYPTO_AEAD_OP_DECRYPT;
	aead.aead.algo = RTE_CRYPTO_AEAD_AES_GCM;
	aead.aead.key.data = key;
	aead.aead.key.length = f->key;
	aead.aead.iv.offset = SP_IV_OFFSET;
	aead.aead.iv.length = 12;
	aead.aead.digest_length = f->icv;
	aead.aead.aad_length = f->esn ? 12 : 8;
	return rte_cryptodev_sym_session_create(key_device(f), &aead, sessions);
}

/* Expanded keys, one a tunnel and sender, as many as there can be. */
static void *direct_session(const uint8_t *key)
{
	static struct gcm_key_data keys[TUNNELS * 4];
	static uint32_t used;

	IMB_AES128_GCM_PRE(library, key, &keys[used]);
	return &keys[used++];
}

static void *chain_session(const struct form *f, uint8_t *key, int encrypt)
{
	struct rte_crypto_sym_xform cipher = {.type = RTE_CRYPTO_SYM_XFORM_CIPHER}, auth = {.type = RTE_CRYPTO_SYM_XFORM_AUTH};

	cipher.cipher.op = encrypt ? RTE_CRYPTO_CIPHER_OP_ENCRYPT : RTE_CRYPTO_CIPHER_OP_DECRYPT;
	cipher.cipher.algo = RTE_CRYPTO_CIPHER_AES_CBC;
	cipher.cipher.key.data = key;
	cipher.cipher.key.length = f->key;
	cipher.cipher.iv.offset = SP_IV_OFFSET;
	cipher.cipher.iv.length = f->iv;
	auth.auth.op = encrypt ? RTE_CRYPTO_AUTH_OP_GENERATE : RTE_CRYPTO_AUTH_OP_VERIFY;
	auth.auth.algo = f->integ_key == 20 ? RTE_CRYPTO_AUTH_SHA1_HMAC : RTE_CRYPTO_AUTH_SHA256_HMAC;
	auth.auth.key.data = key;
	auth.auth.key.length = f->integ_key;
	auth.auth.digest_length = f->icv;
	cipher.next = encrypt ? &auth : NULL;
	auth.next = encrypt ? NULL : &cipher;
	return rte_cryptodev_sym_session_create(device_mb, encrypt ? &cipher : &auth, sessions);
}

static void *job_session(const struct form *f, const uint8_t *key, int encrypt)
{
	const struct spcrypto_job_config config = {
		.cipher = f->mode,
		.hash = f->hash,
		.key_length = f->key,
		.integ_key_length = f->integ_key,
		.iv_length = (uint8_t)(!f->salted ? f->iv : f->cipher == SP_CIPHER_CCM ? 11 : 12),
		.icv_length = f->icv,
		.aad_length = f->esn ? 12 : 8,
		.encrypt = (uint8_t)encrypt,
	};

	return spcrypto_job_create(library, &config, key, key, jobs);
}

void *key_session(const struct form *f, enum tunnel t, int encrypt, int from_us)
{
	uint8_t key[KEY_MAX];
	void *s;

	memset(key, (int)(8 * t + (from_us ? 1 : 2)), sizeof(key));
	switch (f->kind) {
	case SP_SA_JOB:
		s = job_session(f, key, encrypt);
		break;
	case SP_SA_AEAD_DIRECT:
		s = direct_session(key);
		break;
	case SP_SA_CHAIN_ASYNC:
		s = chain_session(f, key, encrypt);
		break;
	default:
		s = aead_session(f, key, encrypt);
	}
	CHECK(s != NULL, "session of tunnel %u", t);
	return s;
}
