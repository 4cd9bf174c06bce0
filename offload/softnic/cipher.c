#include "cipher.h"

#include <errno.h>
#include <string.h>

static const uint8_t zero_iv[SP_NIC_IV_MAX];

static int suite_of_key(uint16_t key_length, int smallest)
{
	if (key_length != 16 && key_length != 24 && key_length != 32)
		return -ENOTSUP;
	return smallest + (key_length - 16) / 8;
}

/* The transforms of a chain come in the order of the work, which depends on the direction. */
static const struct rte_crypto_sym_xform *part(const struct rte_crypto_sym_xform *xform, enum rte_crypto_sym_xform_type type)
{
	while (xform != NULL && xform->type != type)
		xform = xform->next;
	return xform;
}

static int suite_of_chain(const struct rte_crypto_sym_xform *xform)
{
	const struct rte_crypto_sym_xform *cipher = part(xform, RTE_CRYPTO_SYM_XFORM_CIPHER), *auth = part(xform, RTE_CRYPTO_SYM_XFORM_AUTH);

	if (cipher == NULL || auth == NULL || cipher->cipher.algo != RTE_CRYPTO_CIPHER_AES_CBC)
		return -ENOTSUP;
	if (auth->auth.algo == RTE_CRYPTO_AUTH_SHA1_HMAC && auth->auth.digest_length == 12 && auth->auth.key.length == 20)
		return suite_of_key(cipher->cipher.key.length, SP_NIC_CBC_128_SHA1);
	if (auth->auth.algo == RTE_CRYPTO_AUTH_SHA256_HMAC && auth->auth.digest_length == 16 && auth->auth.key.length == 32)
		return suite_of_key(cipher->cipher.key.length, SP_NIC_CBC_128_SHA256);
	return -ENOTSUP;
}

int sp_nic_suite_of(const struct rte_crypto_sym_xform *xform)
{
	if (xform == NULL)
		return -ENOTSUP;
	if (xform->type != RTE_CRYPTO_SYM_XFORM_AEAD)
		return suite_of_chain(xform);
	if (xform->next != NULL || xform->aead.algo != RTE_CRYPTO_AEAD_AES_GCM || xform->aead.digest_length != 16)
		return -ENOTSUP;
	return suite_of_key(xform->aead.key.length, SP_NIC_GCM_128);
}

static void expand_gcm(struct sp_nic_cipher *c, const IMB_MGR *library, const uint8_t *key)
{
	switch (c->key_length) {
	case IMB_KEY_128_BYTES:
		IMB_AES128_GCM_PRE(library, key, &c->gcm);
		break;
	case IMB_KEY_192_BYTES:
		IMB_AES192_GCM_PRE(library, key, &c->gcm);
		break;
	default:
		IMB_AES256_GCM_PRE(library, key, &c->gcm);
	}
}

static void expand_cbc(struct sp_nic_cipher *c, const IMB_MGR *library, const uint8_t *key)
{
	uint8_t other[sizeof(c->chain.schedule)] __rte_aligned(16);
	uint8_t *forward = c->encrypt ? c->chain.schedule : other, *backward = c->encrypt ? other : c->chain.schedule;

	switch (c->key_length) {
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

static int is_sha1(const struct sp_nic_cipher *c)
{
	return c->suite < SP_NIC_CBC_128_SHA256;
}

/* The states after the first block of the inner and the outer hash (RFC 2104 section 4). Both hashes have blocks of 64 octets. */
static void expand_hmac(struct sp_nic_cipher *c, const IMB_MGR *library, const uint8_t *key, uint32_t length)
{
	uint8_t block[64] __rte_aligned(16);
	hash_one_block_t one_block = is_sha1(c) ? library->sha1_one_block : library->sha256_one_block;

	memset(block, 0x36, sizeof(block));
	for (uint32_t i = 0; i < length; i++)
		block[i] ^= key[i];
	one_block(block, c->chain.inner);
	for (uint32_t i = 0; i < sizeof(block); i++)
		block[i] ^= 0x36 ^ 0x5c;
	one_block(block, c->chain.outer);
	explicit_bzero(block, sizeof(block));
}

void sp_nic_cipher_init(struct sp_nic_cipher *c, const IMB_MGR *library, const struct rte_crypto_sym_xform *xform, uint32_t salt, int encrypt)
{
	const struct rte_crypto_sym_xform *cipher, *auth;

	memset(c, 0, sizeof(*c));
	c->suite = (uint8_t)sp_nic_suite_of(xform);
	c->encrypt = (uint8_t)encrypt;
	c->gcm_used = c->suite <= SP_NIC_GCM_256;
	memcpy(c->salt, &salt, sizeof(c->salt));
	if (c->gcm_used) {
		c->iv_length = 8;
		c->icv_length = 16;
		c->block = 4;
		c->key_length = (uint8_t)xform->aead.key.length;
		expand_gcm(c, library, xform->aead.key.data);
		return;
	}
	cipher = part(xform, RTE_CRYPTO_SYM_XFORM_CIPHER);
	auth = part(xform, RTE_CRYPTO_SYM_XFORM_AUTH);
	c->iv_length = 16;
	c->icv_length = is_sha1(c) ? 12 : 16;
	c->block = 16;
	c->key_length = (uint8_t)cipher->cipher.key.length;
	expand_cbc(c, library, cipher->cipher.key.data);
	expand_hmac(c, library, auth->auth.key.data, auth->auth.key.length);
}

static aes_gcm_enc_dec_t gcm_function(const struct sp_nic_cipher *c, const IMB_MGR *library)
{
	switch (c->key_length) {
	case IMB_KEY_128_BYTES:
		return c->encrypt ? library->gcm128_enc : library->gcm128_dec;
	case IMB_KEY_192_BYTES:
		return c->encrypt ? library->gcm192_enc : library->gcm192_dec;
	default:
		return c->encrypt ? library->gcm256_enc : library->gcm256_dec;
	}
}

/* Nonce: salt and IV; associated data: SPI and number, with the upper half between SPI and lower half (RFC 4106 sections 4 and 5). */
static void run_gcm(const struct sp_nic_cipher *c, const IMB_MGR *library, uint8_t *esp, uint32_t length, int esn, uint32_t high, uint8_t *icv)
{
	struct gcm_context_data context;
	const uint32_t high_be = rte_cpu_to_be_32(high);
	uint8_t nonce[12], aad[12];
	uint8_t *text = esp + SP_NIC_ESP_HEADER + c->iv_length;

	memcpy(nonce, c->salt, 4);
	memcpy(nonce + 4, esp + SP_NIC_ESP_HEADER, 8);
	memcpy(aad, esp, 4);
	if (esn)
		memcpy(aad + 4, &high_be, 4);
	memcpy(aad + (esn ? 8 : 4), esp + 4, 4);
	gcm_function(c, library)(&c->gcm, &context, text, text, length, nonce, aad, esn ? 12 : 8, icv, c->icv_length);
}

/*
 * The HMAC covers the header, the IV, the ciphertext and with ESN the upper half of the number, which stands behind them for as long as it is needed, where the ICV goes. The job
 * is alone in its manager: it is done when this returns.
 */
static void run_chain(const struct sp_nic_cipher *c, IMB_MGR *library, uint8_t *esp, uint32_t length, int esn, uint32_t high, int make_iv, uint8_t *icv)
{
	const uint32_t high_be = rte_cpu_to_be_32(high), covered = SP_NIC_ESP_HEADER + c->iv_length + length;
	const uint32_t start = make_iv ? SP_NIC_ESP_HEADER : SP_NIC_ESP_HEADER + c->iv_length;
	IMB_JOB *job = IMB_GET_NEXT_JOB(library);

	if (esn)
		memcpy(esp + covered, &high_be, 4);
	job->cipher_mode = IMB_CIPHER_CBC;
	job->cipher_direction = c->encrypt ? IMB_DIR_ENCRYPT : IMB_DIR_DECRYPT;
	job->chain_order = c->encrypt ? IMB_ORDER_CIPHER_HASH : IMB_ORDER_HASH_CIPHER;
	job->hash_alg = is_sha1(c) ? IMB_AUTH_HMAC_SHA_1 : IMB_AUTH_HMAC_SHA_256;
	job->enc_keys = c->chain.schedule;
	job->dec_keys = c->chain.schedule;
	job->key_len_in_bytes = c->key_length;
	job->src = esp;
	job->dst = esp + start;
	job->cipher_start_src_offset_in_bytes = start;
	job->msg_len_to_cipher_in_bytes = covered - start;
	job->iv = make_iv ? zero_iv : esp + SP_NIC_ESP_HEADER;
	job->iv_len_in_bytes = c->iv_length;
	job->hash_start_src_offset_in_bytes = 0;
	job->msg_len_to_hash_in_bytes = covered + (esn ? 4 : 0);
	job->auth_tag_output = icv;
	job->auth_tag_output_len_in_bytes = c->icv_length;
	job->u.HMAC._hashed_auth_key_xor_ipad = c->chain.inner;
	job->u.HMAC._hashed_auth_key_xor_opad = c->chain.outer;
	if (IMB_SUBMIT_JOB(library) == NULL)
		(void)IMB_FLUSH_JOB(library);
}

static void run(const struct sp_nic_cipher *c, IMB_MGR *library, uint8_t *esp, uint32_t length, int esn, uint32_t high, int make_iv, uint8_t *icv)
{
	if (c->gcm_used)
		run_gcm(c, library, esp, length, esn, high, icv);
	else
		run_chain(c, library, esp, length, esn, high, make_iv, icv);
}

void sp_nic_seal(const struct sp_nic_cipher *c, IMB_MGR *library, uint8_t *esp, uint32_t length, int esn, uint32_t high, int make_iv)
{
	uint8_t icv[SP_NIC_ICV_MAX];

	run(c, library, esp, length, esn, high, make_iv, icv);
	memcpy(esp + SP_NIC_ESP_HEADER + c->iv_length + length, icv, c->icv_length);
}

int sp_nic_open(const struct sp_nic_cipher *c, IMB_MGR *library, uint8_t *esp, uint32_t length, int esn, uint32_t high)
{
	uint8_t icv[SP_NIC_ICV_MAX] = {0}, received[SP_NIC_ICV_MAX];
	uint8_t *at = esp + SP_NIC_ESP_HEADER + c->iv_length + length, differ = 0;

	memcpy(received, at, c->icv_length);
	run(c, library, esp, length, esn, high, 0, icv);
	memcpy(at, received, c->icv_length);
	for (uint32_t i = 0; i < c->icv_length; i++)
		differ |= icv[i] ^ received[i];
	return differ == 0;
}
