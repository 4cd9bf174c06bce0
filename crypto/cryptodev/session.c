#include "session.h"

#include <stdlib.h>
#include <string.h>

#include <rte_cryptodev.h>
#include <rte_errno.h>

/* The entry of one algorithm in a table that ends with RTE_CRYPTO_OP_TYPE_UNDEFINED, NULL for none. */
static const struct rte_cryptodev_symmetric_capability *find(const struct rte_cryptodev_capabilities *table, enum rte_crypto_sym_xform_type type, int algorithm)
{
	for (; table != NULL && table->op != RTE_CRYPTO_OP_TYPE_UNDEFINED; table++) {
		const struct rte_cryptodev_symmetric_capability *sym = &table->sym;

		if (table->op != RTE_CRYPTO_OP_TYPE_SYMMETRIC || sym->xform_type != type)
			continue;
		if ((type == RTE_CRYPTO_SYM_XFORM_AEAD && (int)sym->aead.algo == algorithm) ||
		    (type == RTE_CRYPTO_SYM_XFORM_CIPHER && (int)sym->cipher.algo == algorithm) ||
		    (type == RTE_CRYPTO_SYM_XFORM_AUTH && (int)sym->auth.algo == algorithm))
			return sym;
	}
	return NULL;
}

static enum spcrypto_refusal check_aead(const struct rte_cryptodev_capabilities *table, const struct spcrypto_transform *transform)
{
	const struct rte_cryptodev_symmetric_capability *capability = find(table, RTE_CRYPTO_SYM_XFORM_AEAD, transform->aead);

	if (capability == NULL)
		return SPCRYPTO_NO_AEAD;
	if (rte_cryptodev_sym_capability_check_aead(capability, transform->key_length, transform->icv_length,
						    transform->aad_length, transform->iv_length) != 0)
		return SPCRYPTO_NO_AEAD_SIZE;
	return SPCRYPTO_ACCEPTED;
}

static enum spcrypto_refusal check_cipher(const struct rte_cryptodev_capabilities *table, const struct spcrypto_transform *transform)
{
	const struct rte_cryptodev_symmetric_capability *capability = find(table, RTE_CRYPTO_SYM_XFORM_CIPHER, transform->cipher);

	if (capability == NULL)
		return SPCRYPTO_NO_CIPHER;
	if (rte_cryptodev_sym_capability_check_cipher(capability, transform->key_length, transform->iv_length) != 0)
		return SPCRYPTO_NO_CIPHER_SIZE;
	return SPCRYPTO_ACCEPTED;
}

static enum spcrypto_refusal check_auth(const struct rte_cryptodev_capabilities *table, const struct spcrypto_transform *transform)
{
	const struct rte_cryptodev_symmetric_capability *capability = find(table, RTE_CRYPTO_SYM_XFORM_AUTH, transform->auth);

	if (capability == NULL)
		return SPCRYPTO_NO_AUTH;
	if (rte_cryptodev_sym_capability_check_auth(capability, transform->integ_key_length, transform->icv_length,
						    transform->auth_iv_length) != 0)
		return SPCRYPTO_NO_AUTH_SIZE;
	return SPCRYPTO_ACCEPTED;
}

enum spcrypto_refusal spcrypto_check_table(const struct rte_cryptodev_capabilities *table, const struct spcrypto_transform *transform)
{
	enum spcrypto_refusal refusal = SPCRYPTO_ACCEPTED;

	if (transform->shape == SPCRYPTO_AEAD)
		return check_aead(table, transform);
	if (transform->shape == SPCRYPTO_CHAIN)
		refusal = check_cipher(table, transform);
	return refusal == SPCRYPTO_ACCEPTED ? check_auth(table, transform) : refusal;
}

enum spcrypto_refusal spcrypto_check(uint8_t id, const struct spcrypto_transform *transform)
{
	struct rte_cryptodev_info info;

	rte_cryptodev_info_get(id, &info);
	return spcrypto_check_table(info.capabilities, transform);
}

unsigned int spcrypto_most_sessions(uint8_t id)
{
	struct rte_cryptodev_info info;

	rte_cryptodev_info_get(id, &info);
	return info.sym.max_nb_sessions;
}

void spcrypto_room(uint8_t id, uint16_t *front, uint16_t *behind)
{
	struct rte_cryptodev_info info;

	rte_cryptodev_info_get(id, &info);
	*front = info.min_mbuf_headroom_req;
	*behind = info.min_mbuf_tailroom_req;
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

void spcrypto_fill(struct rte_crypto_sym_xform xforms[2], const struct spcrypto_transform *transform, const uint8_t *encr_key,
		   const uint8_t *integ_key, int encrypt)
{
	struct rte_crypto_sym_xform *first = &xforms[0], *second = &xforms[1];

	memset(xforms, 0, 2 * sizeof(*xforms));
	if (transform->shape == SPCRYPTO_AEAD) {
		fill_aead(first, transform, encr_key, encrypt);
	} else if (transform->shape == SPCRYPTO_AUTH) {
		fill_auth(first, transform, integ_key, encrypt);
	} else if (encrypt) {
		/* ESP encrypts and then authenticates the ciphertext: RFC 4303 section 3.3.2. */
		fill_cipher(first, transform, encr_key, encrypt);
		fill_auth(second, transform, integ_key, encrypt);
		first->next = second;
	} else {
		fill_auth(first, transform, integ_key, encrypt);
		fill_cipher(second, transform, encr_key, encrypt);
		first->next = second;
	}
}

void spcrypto_clear_last(struct rte_mempool *sessions, size_t from)
{
	unsigned int n = rte_mempool_avail_count(sessions);
	void **all = calloc(n, sizeof(*all));

	if (all != NULL && n > 0 && rte_mempool_get_bulk(sessions, all, n) == 0) {
		explicit_bzero((uint8_t *)all[n - 1] + from, sessions->elt_size - from);
		rte_mempool_put_bulk(sessions, all, n);
	}
	free(all);
}

void *spcrypto_session_create(uint8_t id, const struct spcrypto_transform *transform, const uint8_t *encr_key,
			      const uint8_t *integ_key, int encrypt, struct rte_mempool *sessions, int *error)
{
	struct rte_crypto_sym_xform xforms[2];
	void *session;

	spcrypto_fill(xforms, transform, encr_key, integ_key, encrypt);
	session = rte_cryptodev_sym_session_create(id, xforms, sessions);
	*error = session == NULL ? -rte_errno : 0;
	if (session == NULL)
		spcrypto_clear_last(sessions, 0);
	return session;
}
