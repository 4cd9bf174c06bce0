/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SP_CRYPT_H
#define SP_CRYPT_H

/* What the crypto stages compose beside the packet: IVs, nonces, associated data, and the half of a sequence number that is authenticated but not sent. */

#include "ipv4.h"
#include "mbuf.h"
#include "stages.h"

#define SP_HIGH_HALF 4 /* bytes of an extended sequence number that are not sent */

/*
 * Outbound the IV is made of the sequence number, which never repeats under a key: combined modes and counters take it as it is; CBC encrypts it, with zeros up to a block, as
 * the first block under an IV of zeros, so that what is sent cannot be predicted (SP 800-38A appendix C).
 */
static inline void sp_write_iv(const struct sp_transform *t, uint8_t *iv, uint64_t sequence)
{
	if (t->iv_length == 0)
		return;
	sp_store64(iv, rte_cpu_to_be_64(sequence));
	if (t->iv_length > 8)
		sp_store64(iv + 8, 0);
}

/* Salt and the IV of the packet: 12 bytes, with CCM's salt 11. */
static inline uint8_t *sp_compose_nonce(const struct sp_transform *t, const uint8_t *iv, uint8_t *to)
{
	const uint64_t sent = sp_load64(iv);

	sp_store32(to, t->salt_be);
	sp_store64(to + (t->cipher == SP_CIPHER_CCM ? 3 : 4), sent);
	return to;
}

static inline uint32_t sp_aad_length(const struct sp_transform *t)
{
	return t->esn ? 12 : SP_ESP_LENGTH;
}

/* SPI and sequence number, with ESN the number's high half between them (RFC 4106 5): the packet's own bytes, or composed. */
static inline uint8_t *sp_associated(const struct sp_transform *t, uint8_t *esp, uint64_t sequence, uint8_t *to)
{
	if (!t->esn)
		return esp;
	sp_store32(to, sp_load32(esp));
	sp_store64(to + 4, rte_cpu_to_be_64(sequence));
	return to;
}

static inline int sp_is_aead(const struct sp_transform *t)
{
	return t->cipher == SP_CIPHER_GCM || t->cipher == SP_CIPHER_CCM;
}

/*
 * An ICV other than AEAD's covers one run of bytes. The number's high half stands among them for a moment: behind them (RFC 4303 2.2.1, RFC 4302 2.5.1), or in ESP with GMAC
 * between SPI and low half (RFC 4543 3.4), for which the SPI moves to the 4 bytes in front. sp_insert_high returns what sp_remove_high needs to undo it.
 */
static inline uint32_t sp_insert_high(const struct sp_transform *t, uint8_t *start, uint8_t *end, uint64_t sequence)
{
	uint8_t *at = t->cipher == SP_CIPHER_GMAC ? start - SP_HIGH_HALF : end;
	uint32_t high_be = rte_cpu_to_be_32((uint32_t)(sequence >> 32)), former = sp_load32(at);

	if (t->cipher == SP_CIPHER_GMAC) {
		sp_store32(at, sp_load32(start));
		at = start;
	}
	sp_store32(at, high_be);
	return former;
}

static inline void sp_remove_high(const struct sp_transform *t, uint8_t *start, uint8_t *end, uint32_t former)
{
	uint8_t *at = t->cipher == SP_CIPHER_GMAC ? start - SP_HIGH_HALF : end;

	if (t->cipher == SP_CIPHER_GMAC)
		sp_store32(start, sp_load32(at));
	sp_store32(at, former);
}

/* crypto_async.c: the op of a packet whose private area has decrypted, sequence, payload and payload_length; and what stood in the packet for the device alone, undone. */
struct rte_crypto_op *sp_async_prepare(struct rte_mbuf *m, const struct sp_transform *t);
void sp_async_restore(struct rte_mbuf *m, const struct sp_transform *t);

/* crypto_whole.c: packets of one SA of SP_SA_WHOLE_ASYNC, and what the device gives back of them. */
void sp_whole_seal(struct sp_worker *w, struct sp_sa_out *sa, const struct sp_adjacency *next, struct sp_packet **packets, uint32_t n);
void sp_whole_sealed(struct sp_worker *w, struct sp_sa_out *sa, struct rte_crypto_op **ops, uint32_t n);
void sp_whole_open(struct sp_worker *w, struct sp_sa_in *sa, const struct sp_esp *packets, uint32_t n);
void sp_whole_opened(struct sp_worker *w, struct sp_sa_in *sa, struct rte_crypto_op **ops, uint32_t n);

/* The packet whose private area an operation lives in. */
static inline struct sp_mbuf_priv *sp_op_priv(struct rte_crypto_op *op)
{
	return container_of(op, struct sp_mbuf_priv, op);
}

static inline struct rte_mbuf *sp_priv_mbuf(struct sp_mbuf_priv *priv)
{
	return (struct rte_mbuf *)RTE_PTR_SUB(priv, sizeof(struct rte_mbuf));
}

#endif
