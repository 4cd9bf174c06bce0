/* The symmetric transforms of ESP as DPDK describes them, and sessions made of them. */
#ifndef SALLYPORT_CRYPTODEV_SESSION_H
#define SALLYPORT_CRYPTODEV_SESSION_H

#include <stddef.h>
#include <stdint.h>

#include <rte_crypto.h>
#include <rte_crypto_sym.h>
#include <rte_cryptodev.h>
#include <rte_mempool.h>

/* The IV of an operation stands right behind it, in the private area. */
#define SPCRYPTO_IV_OFFSET (sizeof(struct rte_crypto_op) + sizeof(struct rte_crypto_sym_op))

/* How a transform's parts come together in an operation. */
enum spcrypto_shape {
	SPCRYPTO_AEAD,  /* one algorithm */
	SPCRYPTO_CHAIN, /* cipher and auth */
	SPCRYPTO_AUTH,  /* auth alone: ESP with the NULL cipher, GMAC */
};

/* Lengths in octets. What a shape does not have is 0. */
struct spcrypto_transform {
	enum spcrypto_shape shape;
	enum rte_crypto_aead_algorithm aead;
	enum rte_crypto_cipher_algorithm cipher;
	enum rte_crypto_auth_algorithm auth;
	uint16_t key_length;
	uint16_t integ_key_length;
	uint16_t iv_length;      /* of AEAD or cipher, as the device takes it: with the salt where there is one */
	uint16_t auth_iv_length; /* GMAC */
	uint16_t icv_length;
	uint16_t aad_length;
};

enum spcrypto_refusal {
	SPCRYPTO_ACCEPTED,
	SPCRYPTO_NO_AEAD,
	SPCRYPTO_NO_AEAD_SIZE,
	SPCRYPTO_NO_CIPHER,
	SPCRYPTO_NO_CIPHER_SIZE,
	SPCRYPTO_NO_AUTH,
	SPCRYPTO_NO_AUTH_SIZE,
};

/* The most sessions that the device can have, 0 for as many as there is memory for. */
unsigned int spcrypto_most_sessions(uint8_t id);

/* Bytes that the device needs free in front of a packet and behind it. */
void spcrypto_room(uint8_t id, uint16_t *front, uint16_t *behind);

/* Asks the capabilities of the device. */
enum spcrypto_refusal spcrypto_check(uint8_t id, const struct spcrypto_transform *transform);

/* The same of a table of capabilities, such as rte_security has for a port. */
enum spcrypto_refusal spcrypto_check_table(const struct rte_cryptodev_capabilities *table, const struct spcrypto_transform *transform);

/* Describes a transform with its keys, which it points to, in one xform or in a chain of two. */
void spcrypto_fill(struct rte_crypto_sym_xform xforms[2], const struct spcrypto_transform *transform, const uint8_t *encr_key,
		   const uint8_t *integ_key, int encrypt);

/* Keys are read in place and not kept: encr_key of key_length, integ_key of
 * integ_key_length. On failure returns NULL and sets *error to a negative errno. */
void *spcrypto_session_create(uint8_t id, const struct spcrypto_transform *transform, const uint8_t *encr_key,
			      const uint8_t *integ_key, int encrypt, struct rte_mempool *sessions, int *error);

/*
 * Clears a session that its driver has refused, from an offset on: it may have written keys before. The session went back to the pool, which is a ring without caches and the caller's
 * alone, so that of all that are in it it comes last.
 */
void spcrypto_clear_last(struct rte_mempool *sessions, size_t from);

#endif
