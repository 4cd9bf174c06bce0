#include "job.h"

#include <string.h>

#define HMAC_BLOCK_MAX IMB_SHA_512_BLOCK_SIZE

/* One direction alone: the other schedule is wiped. */
static void expand_aes(const IMB_MGR *library, const uint8_t *key, unsigned int key_length, int encrypt, uint8_t schedule[SPCRYPTO_AES_SCHEDULE])
{
	uint8_t other[SPCRYPTO_AES_SCHEDULE] __rte_aligned(16);
	uint8_t *forward = encrypt ? schedule : other, *backward = encrypt ? other : schedule;

	switch (key_length) {
	case IMB_KEY_128_BYTES:
		IMB_AES_KEYEXP_128(library, key, forward, backward);
		break;
	case IMB_KEY_192_BYTES:
		IMB_AES_KEYEXP_192(library, key, forward, backward);
		break;
	default:
		IMB_AES_KEYEXP_256(library, key, forward, backward);
	}
	explicit_bzero(other, sizeof(other));
}

static void expand_des(const IMB_MGR *library, const uint8_t *key, unsigned int key_length, struct spcrypto_job *session)
{
	for (unsigned int i = 0; i < key_length / 8; i++) {
		IMB_DES_KEYSCHED(library, session->keys.cipher.des[i], key + 8 * (size_t)i);
		session->keys.des_schedules[i] = session->keys.cipher.des[i];
	}
}

static void set_cipher(const IMB_MGR *library, struct spcrypto_job *session, const struct spcrypto_job_config *config, const uint8_t *key)
{
	const void *schedule = &session->keys.cipher;

	switch (config->cipher) {
	case IMB_CIPHER_NULL:
		return;
	case IMB_CIPHER_CBC:
		expand_aes(library, key, config->key_length, config->encrypt, session->keys.cipher.aes);
		break;
	case IMB_CIPHER_DES:
		expand_des(library, key, config->key_length, session);
		break;
	case IMB_CIPHER_DES3:
		expand_des(library, key, config->key_length, session);
		schedule = session->keys.des_schedules;
		break;
	case IMB_CIPHER_CHACHA20_POLY1305:
		memcpy(session->keys.cipher.chacha20, key, sizeof(session->keys.cipher.chacha20));
		break;
	default: /* counter modes encrypt the counter in both directions */
		expand_aes(library, key, config->key_length, 1, session->keys.cipher.aes);
	}
	session->job.enc_keys = schedule;
	session->job.dec_keys = schedule;
	session->job.key_len_in_bytes = config->key_length;
}

/* The states after the first block of the inner and the outer hash (RFC 2104 section 4). Keys of IPsec are never longer than a block. */
static void set_hmac(struct spcrypto_job *session, const uint8_t *key, unsigned int key_length, hash_one_block_t one_block, unsigned int block_length)
{
	uint8_t block[HMAC_BLOCK_MAX] __rte_aligned(16) = {0};

	memset(block, 0x36, block_length);
	for (unsigned int i = 0; i < key_length; i++)
		block[i] ^= key[i];
	one_block(block, session->keys.integrity.hmac.inner);
	for (unsigned int i = 0; i < block_length; i++)
		block[i] ^= 0x36 ^ 0x5c;
	one_block(block, session->keys.integrity.hmac.outer);
	explicit_bzero(block, sizeof(block));
	session->job.u.HMAC._hashed_auth_key_xor_ipad = session->keys.integrity.hmac.inner;
	session->job.u.HMAC._hashed_auth_key_xor_opad = session->keys.integrity.hmac.outer;
}

static void set_xcbc(const IMB_MGR *library, struct spcrypto_job *session, const uint8_t *key)
{
	IMB_AES_XCBC_KEYEXP(library, key, session->keys.integrity.cbc_mac.key, session->keys.integrity.cbc_mac.second, session->keys.integrity.cbc_mac.third);
	session->job.u.XCBC._k1_expanded = (const uint32_t *)(const void *)session->keys.integrity.cbc_mac.key;
	session->job.u.XCBC._k2 = session->keys.integrity.cbc_mac.second;
	session->job.u.XCBC._k3 = session->keys.integrity.cbc_mac.third;
}

static void set_cmac(const IMB_MGR *library, struct spcrypto_job *session, const uint8_t *key)
{
	uint8_t schedule[SPCRYPTO_AES_SCHEDULE] __rte_aligned(16);

	expand_aes(library, key, IMB_KEY_128_BYTES, 1, schedule);
	memcpy(session->keys.integrity.cbc_mac.key, schedule, sizeof(session->keys.integrity.cbc_mac.key));
	explicit_bzero(schedule, sizeof(schedule));
	IMB_AES_CMAC_SUBKEY_GEN_128(library, session->keys.integrity.cbc_mac.key, session->keys.integrity.cbc_mac.second, session->keys.integrity.cbc_mac.third);
	session->job.u.CMAC._key_expanded = session->keys.integrity.cbc_mac.key;
	session->job.u.CMAC._skey1 = session->keys.integrity.cbc_mac.second;
	session->job.u.CMAC._skey2 = session->keys.integrity.cbc_mac.third;
}

static void set_gmac(struct spcrypto_job *session, const uint8_t *key, aes_gcm_pre_t expand, unsigned int iv_length)
{
	expand(key, &session->gmac);
	session->job.u.GMAC._key = &session->gmac;
	session->job.u.GMAC.iv_len_in_bytes = iv_length;
}

static void set_integrity(const IMB_MGR *library, struct spcrypto_job *session, const struct spcrypto_job_config *config, const uint8_t *key)
{
	switch (config->hash) {
	case IMB_AUTH_MD5:
		set_hmac(session, key, config->integ_key_length, library->md5_one_block, 64);
		break;
	case IMB_AUTH_HMAC_SHA_1:
		set_hmac(session, key, config->integ_key_length, library->sha1_one_block, IMB_SHA1_BLOCK_SIZE);
		break;
	case IMB_AUTH_HMAC_SHA_256:
		set_hmac(session, key, config->integ_key_length, library->sha256_one_block, IMB_SHA_256_BLOCK_SIZE);
		break;
	case IMB_AUTH_HMAC_SHA_384:
		set_hmac(session, key, config->integ_key_length, library->sha384_one_block, IMB_SHA_384_BLOCK_SIZE);
		break;
	case IMB_AUTH_HMAC_SHA_512:
		set_hmac(session, key, config->integ_key_length, library->sha512_one_block, IMB_SHA_512_BLOCK_SIZE);
		break;
	case IMB_AUTH_AES_XCBC:
		set_xcbc(library, session, key);
		break;
	case IMB_AUTH_AES_CMAC:
		set_cmac(library, session, key);
		break;
	case IMB_AUTH_AES_GMAC_128:
		set_gmac(session, key, library->gcm128_pre, config->iv_length);
		break;
	case IMB_AUTH_AES_GMAC_192:
		set_gmac(session, key, library->gcm192_pre, config->iv_length);
		break;
	case IMB_AUTH_AES_GMAC_256:
		set_gmac(session, key, library->gcm256_pre, config->iv_length);
		break;
	case IMB_AUTH_AES_CCM:
		session->job.u.CCM.aad_len_in_bytes = config->aad_length;
		break;
	default: /* IMB_AUTH_CHACHA20_POLY1305 */
		session->job.u.CHACHA20_POLY1305.aad_len_in_bytes = config->aad_length;
	}
}

/* ESP encrypts and then authenticates (RFC 4303 section 3.3.2); CCM has its tag from the clear text (RFC 3610 section 2.2). */
static IMB_CHAIN_ORDER order(const struct spcrypto_job_config *config)
{
	int cipher_first = config->encrypt;

	if (config->hash == IMB_AUTH_AES_CCM)
		cipher_first = !cipher_first;
	if (config->cipher == IMB_CIPHER_NULL)
		cipher_first = 0;
	return cipher_first ? IMB_ORDER_CIPHER_HASH : IMB_ORDER_HASH_CIPHER;
}

struct spcrypto_job *spcrypto_job_create(const IMB_MGR *library, const struct spcrypto_job_config *config, const uint8_t *key, const uint8_t *integ_key,
					 struct rte_mempool *sessions)
{
	struct spcrypto_job *session;

	if (rte_mempool_get(sessions, (void **)&session) != 0)
		return NULL;
	memset(session, 0, sizeof(*session));
	session->job.cipher_mode = config->cipher;
	session->job.cipher_direction = config->encrypt ? IMB_DIR_ENCRYPT : IMB_DIR_DECRYPT;
	session->job.hash_alg = config->hash;
	session->job.chain_order = order(config);
	session->job.iv_len_in_bytes = config->iv_length;
	session->job.auth_tag_output_len_in_bytes = config->icv_length;
	set_cipher(library, session, config, key);
	set_integrity(library, session, config, integ_key);
	return session;
}
