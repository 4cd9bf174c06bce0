#include "session.h"

#include <string.h>

#include <rte_cryptodev.h>
#include <rte_errno.h>

static enum spcrypto_refusal check_aead(uint8_t id, const struct spcrypto_transform *transform)
{
	struct rte_cryptodev_sym_capability_idx index = { .type = RTE_CRYPTO_SYM_XFORM_AEAD };
	const struct rte_cryptodev_symmetric_capability *capability;

	index.algo.aead = transform->aead;
	capability = rte_cryptodev_sym_capability_get(id, &index);
	if (capability == NULL)
		return SPCRYPTO_NO_AEAD;
	if (rte_cryptodev_sym_capability_check_aead(capability, transform->key_length, transform->icv_length,
						    transform->aad_length, transform->iv_length) != 0)
		return SPCRYPTO_NO_AEAD_SIZE;
	return SPCRYPTO_ACCEPTED;
}

static enum spcrypto_refusal check_cipher(uint8_t id, const struct spcrypto_transform *transform)
{
	struct rte_cryptodev_sym_capability_idx index = { .type = RTE_CRYPTO_SYM_XFORM_CIPHER };
	const struct rte_cryptodev_symmetric_capability *capability;

	index.algo.cipher = transform->cipher;
	capability = rte_cryptodev_sym_capability_get(id, &index);
	if (capability == NULL)
		return SPCRYPTO_NO_CIPHER;
	if (rte_cryptodev_sym_capability_check_cipher(capability, transform->key_length, transform->iv_length) != 0)
		return SPCRYPTO_NO_CIPHER_SIZE;
	return SPCRYPTO_ACCEPTED;
}

static enum spcrypto_refusal check_auth(uint8_t id, const struct spcrypto_transform *transform)
{
	struct rte_cryptodev_sym_capability_idx index = { .type = RTE_CRYPTO_SYM_XFORM_AUTH };
	const struct rte_cryptodev_symmetric_capability *capability;

	index.algo.auth = transform->auth;
	capability = rte_cryptodev_sym_capability_get(id, &index);
	if (capability == NULL)
		return SPCRYPTO_NO_AUTH;
	if (rte_cryptodev_sym_capability_check_auth(capability, transform->integ_key_length, transform->icv_length,
						    transform->auth_iv_length) != 0)
		return SPCRYPTO_NO_AUTH_SIZE;
	return SPCRYPTO_ACCEPTED;
}

enum spcrypto_refusal spcrypto_check(uint8_t id, const struct spcrypto_transform *transform)
{
	enum spcrypto_refusal refusal = SPCRYPTO_ACCEPTED;

	if (transform->shape == SPCRYPTO_AEAD)
		return check_aead(id, transform);
	if (transform->shape == SPCRYPTO_CHAIN)
		refusal = check_cipher(id, transform);
	return refusal == SPCRYPTO_ACCEPTED ? check_auth(id, transform) : refusal;
}

static void fill_aead(struct rte_crypto_sym_xform *xform, const struct spcrypto_transform *transform,
		      const uint8_t *key, int encrypt)
{
	xform->type = RTE_CRYPTO_SYM_XFORM_AEAD;
	xform->aead.op = encrypt ? RTE_CRYPTO_AEAD_OP_ENCRYPT : RTE_CRYPTO_AEAD_OP_DECRYPT;
	xform->aead.algo = transform->aead;
	xform->aead.key.data = key;
	xform->aead.key.length = transform->key_length;
	xform->aead.iv.offset = SPCRYPTO_IV_OFFSET;
	xform->aead.iv.length = transform->iv_length;
	xform->aead.digest_length = transform->icv_length;
	xform->aead.aad_length = transform->aad_length;
}

static void fill_cipher(struct rte_crypto_sym_xform *xform, const struct spcrypto_transform *transform,
			const uint8_t *key, int encrypt)
{
	xform->type = RTE_CRYPTO_SYM_XFORM_CIPHER;
	xform->cipher.op = encrypt ? RTE_CRYPTO_CIPHER_OP_ENCRYPT : RTE_CRYPTO_CIPHER_OP_DECRYPT;
	xform->cipher.algo = transform->cipher;
	xform->cipher.key.data = key;
	xform->cipher.key.length = transform->key_length;
	xform->cipher.iv.offset = SPCRYPTO_IV_OFFSET;
	xform->cipher.iv.length = transform->iv_length;
}

static void fill_auth(struct rte_crypto_sym_xform *xform, const struct spcrypto_transform *transform,
		      const uint8_t *key, int generate)
{
	xform->type = RTE_CRYPTO_SYM_XFORM_AUTH;
	xform->auth.op = generate ? RTE_CRYPTO_AUTH_OP_GENERATE : RTE_CRYPTO_AUTH_OP_VERIFY;
	xform->auth.algo = transform->auth;
	xform->auth.key.data = key;
	xform->auth.key.length = transform->integ_key_length;
	xform->auth.iv.offset = SPCRYPTO_IV_OFFSET;
	xform->auth.iv.length = transform->auth_iv_length;
	xform->auth.digest_length = transform->icv_length;
}

void *spcrypto_session_create(uint8_t id, const struct spcrypto_transform *transform, const uint8_t *encr_key,
			      const uint8_t *integ_key, int encrypt, struct rte_mempool *sessions, int *error)
{
	struct rte_crypto_sym_xform first, second;
	void *session;

	memset(&first, 0, sizeof(first));
	memset(&second, 0, sizeof(second));
	if (transform->shape == SPCRYPTO_AEAD) {
		fill_aead(&first, transform, encr_key, encrypt);
	} else if (transform->shape == SPCRYPTO_AUTH) {
		fill_auth(&first, transform, integ_key, encrypt);
	} else if (encrypt) {
		/* ESP encrypts and then authenticates the ciphertext: RFC 4303 section 3.3.2. */
		fill_cipher(&first, transform, encr_key, encrypt);
		fill_auth(&second, transform, integ_key, encrypt);
		first.next = &second;
	} else {
		fill_auth(&first, transform, integ_key, encrypt);
		fill_cipher(&second, transform, encr_key, encrypt);
		first.next = &second;
	}
	session = rte_cryptodev_sym_session_create(id, &first, sessions);
	*error = session == NULL ? -rte_errno : 0;
	return session;
}
