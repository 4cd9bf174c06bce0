/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Crypto through a device's queue pair, of which crypto_queue.c knows the order: what each packet asks for, and what becomes of it afterwards. The op lives in the packet's private
 * area, so nothing is allocated.
 *
 * CBC (RFC 3602): outbound the cipher runs over the IV field too, with an op IV of zeros, so that the IV of the packet is what the number encrypts to. The ICV of a chain
 * covers SPI to ciphertext, with ESN followed by the high half of the number, which takes the ICV's place while the digest is computed aside.
 */

#include <string.h>

#include "crypt.h"

#define CCM_AAD 18 /* where devices want CCM's associated data: what stands before is theirs (rte_crypto_sym_op) */
#define CCM_NONCE 1

static inline rte_iova_t iova(const struct rte_mbuf *m, const void *p)
{
	return m->buf_iova + (rte_iova_t)((const uint8_t *)p - (const uint8_t *)m->buf_addr);
}

static inline uint32_t offset_of(const struct rte_mbuf *m, const uint8_t *p)
{
	return (uint32_t)(p - rte_pktmbuf_mtod(m, const uint8_t *));
}

static inline uint8_t *esp_of(const struct sp_transform *t, const struct sp_mbuf_priv *priv)
{
	return priv->payload - t->iv_length - SP_ESP_LENGTH;
}

/* The chain's digest is computed aside while the high half of the number stands in its place. GMAC has the high half in front. */
static inline int digest_aside(const struct sp_transform *t)
{
	return t->esn && t->kind == SP_SA_CHAIN_ASYNC && t->cipher != SP_CIPHER_GMAC;
}

static void prepare_aead(struct rte_mbuf *m, struct sp_mbuf_priv *priv, const struct sp_transform *t)
{
	const int ccm = t->cipher == SP_CIPHER_CCM;
	uint8_t *icv = priv->payload + priv->payload_length, *aad = priv->aad + (ccm ? CCM_AAD : 0);
	const uint8_t *associated;

	sp_compose_nonce(t, priv->payload - t->iv_length, priv->iv + (ccm ? CCM_NONCE : 0));
	memset(priv->aad, 0, sizeof(priv->aad));
	associated = sp_associated(t, esp_of(t, priv), priv->sequence, aad);
	if (associated != aad)
		memcpy(aad, associated, SP_ESP_LENGTH);
	priv->sym.aead.data.offset = offset_of(m, priv->payload);
	priv->sym.aead.data.length = priv->payload_length;
	priv->sym.aead.digest.data = icv;
	priv->sym.aead.digest.phys_addr = iova(m, icv);
	priv->sym.aead.aad.data = priv->aad;
	priv->sym.aead.aad.phys_addr = iova(m, priv->aad);
}

/* What the ICV covers: from the SPI, and with ESN the number's high half among it. */
static void prepare_auth(struct rte_mbuf *m, struct sp_mbuf_priv *priv, const struct sp_transform *t)
{
	uint8_t *esp = esp_of(t, priv), *icv = priv->payload + priv->payload_length, *digest = icv, *first = esp;

	if (digest_aside(t)) {
		memcpy(priv->digest, icv, t->icv_length); /* inbound the one to compare with */
		digest = priv->digest;
	}
	if (t->esn) {
		uint32_t former = sp_insert_high(t, esp, icv, priv->sequence);

		if (t->cipher == SP_CIPHER_GMAC) {
			sp_store32(priv->digest, former);
			first -= SP_HIGH_HALF;
		}
	}
	priv->sym.auth.data.offset = offset_of(m, first);
	priv->sym.auth.data.length = (uint32_t)(icv - esp) + (t->esn ? SP_HIGH_HALF : 0);
	priv->sym.auth.digest.data = digest;
	priv->sym.auth.digest.phys_addr = iova(m, digest);
}

static void prepare_chain(struct rte_mbuf *m, struct sp_mbuf_priv *priv, const struct sp_transform *t)
{
	uint8_t *iv = priv->payload - t->iv_length, *text = priv->payload;

	switch (t->cipher) {
	case SP_CIPHER_CBC:
		memset(priv->iv, 0, sizeof(priv->iv));
		if (priv->decrypted)
			memcpy(priv->iv, iv, t->iv_length);
		else
			text = iv;
		break;
	case SP_CIPHER_CTR:
		sp_compose_nonce(t, iv, priv->iv);
		sp_store32(priv->iv + 12, rte_cpu_to_be_32(1));
		break;
	case SP_CIPHER_GMAC:
		sp_compose_nonce(t, iv, priv->iv);
		break;
	default: /* SP_CIPHER_NULL */
		break;
	}
	priv->sym.cipher.data.offset = offset_of(m, text);
	priv->sym.cipher.data.length = (uint32_t)(priv->payload - text) + priv->payload_length;
	prepare_auth(m, priv, t);
}

struct rte_crypto_op *sp_async_prepare(struct rte_mbuf *m, const struct sp_transform *t)
{
	struct sp_mbuf_priv *priv = sp_priv(m);

	if (!priv->decrypted)
		sp_write_iv(t, priv->payload - t->iv_length, priv->sequence);
	priv->op = (struct rte_crypto_op){
		.type = RTE_CRYPTO_OP_TYPE_SYMMETRIC,
		.status = RTE_CRYPTO_OP_STATUS_NOT_PROCESSED,
		.sess_type = RTE_CRYPTO_OP_WITH_SESSION,
		.phys_addr = iova(m, &priv->op),
	};
	priv->sym = (struct rte_crypto_sym_op){.m_src = m, .session = t->session};
	if (t->kind == SP_SA_AEAD_ASYNC)
		prepare_aead(m, priv, t);
	else
		prepare_chain(m, priv, t);
	return &priv->op;
}

void sp_async_restore(struct rte_mbuf *m, const struct sp_transform *t)
{
	struct sp_mbuf_priv *priv = sp_priv(m);
	uint8_t *icv = priv->payload + priv->payload_length;

	if (digest_aside(t))
		memcpy(icv, priv->digest, t->icv_length);
	else if (t->esn && t->cipher == SP_CIPHER_GMAC)
		sp_remove_high(t, esp_of(t, priv), icv, sp_load32(priv->digest));
}

void sp_async_encrypt(struct sp_worker *w, struct sp_sa_out *sa, struct rte_mbuf **mbufs, uint32_t n)
{
	struct rte_crypto_op *ops[SP_BURST];

	for (uint32_t i = 0; i < n; i++) {
		struct sp_mbuf_priv *priv = sp_priv(mbufs[i]);

		priv->decrypted = 0;
		priv->sa = sa;
		sp_set_mark_sa(mbufs[i], sa->subject); /* as long as it is with the device */
		ops[i] = sp_async_prepare(mbufs[i], &sa->transform);
	}
	sp_queue_put(w, sa->transform.device, ops, n);
}

void sp_async_decrypt(struct sp_worker *w, struct sp_sa_in *sa, struct sp_esp *packets, uint32_t n)
{
	struct rte_crypto_op *ops[SP_BURST];

	for (uint32_t i = 0; i < n; i++) {
		struct sp_esp *p = &packets[i];
		struct sp_mbuf_priv *priv = sp_priv(p->mbuf);

		priv->decrypted = 1;
		priv->sa = sa;
		sp_set_mark_sa(p->mbuf, sa->subject);
		priv->outer_tos = p->outer_tos;
		priv->form = p->form;
		priv->headers = p->headers;
		priv->sequence = p->sequence;
		priv->payload = p->esp + SP_ESP_LENGTH + sa->transform.iv_length;
		priv->payload_length = p->length - SP_ESP_LENGTH - sa->transform.iv_length - sa->transform.icv_length;
		ops[i] = sp_async_prepare(p->mbuf, &sa->transform);
	}
	sp_queue_put(w, sa->transform.device, ops, n);
}

/* Ops of one outbound SA and in-port. */
static void complete_encrypt(struct sp_worker *w, struct sp_sa_out *sa, struct rte_crypto_op **ops, uint32_t n)
{
	struct rte_mbuf *mbufs[SP_BURST];
	uint32_t good = 0, failed = 0;

	if (sa->transform.kind == SP_SA_WHOLE_ASYNC) {
		sp_whole_sealed(w, sa, ops, n);
		return;
	}
	for (uint32_t i = 0; i < n; i++) {
		struct rte_mbuf *m = ops[i]->sym->m_src;

		if (unlikely(ops[i]->status != RTE_CRYPTO_OP_STATUS_SUCCESS)) {
			failed++;
			sp_drop_out(w, sa, m, SP_DROP_CRYPTO_ERROR);
			continue;
		}
		failed = 0;
		sp_set_mark_sa(m, 0);
		sp_async_restore(m, &sa->transform);
		mbufs[good++] = m;
	}
	sp_queue_failed(w, sa->transform.device, n, failed);
	sp_outbound_sealed(w, sa, mbufs, good);
}

/* Ops of one inbound SA and in-port. */
static void complete_decrypt(struct sp_worker *w, struct sp_sa_in *sa, struct rte_crypto_op **ops, uint32_t n)
{
	struct sp_esp packets[SP_BURST];
	uint32_t good = 0;

	if (sa->transform.kind == SP_SA_WHOLE_ASYNC) {
		sp_whole_opened(w, sa, ops, n);
		return;
	}
	for (uint32_t i = 0; i < n; i++) {
		struct rte_mbuf *m = ops[i]->sym->m_src;
		const struct sp_mbuf_priv *priv = sp_priv(m);

		sp_async_restore(m, &sa->transform);
		if (unlikely(ops[i]->status == RTE_CRYPTO_OP_STATUS_AUTH_FAILED)) {
			sp_sa_in_drop(w, sa, m, SP_DROP_AUTH_FAILED);
			continue;
		}
		if (unlikely(ops[i]->status != RTE_CRYPTO_OP_STATUS_SUCCESS)) {
			sp_sa_in_drop(w, sa, m, SP_DROP_CRYPTO_ERROR);
			continue;
		}
		sp_set_mark_sa(m, 0);
		packets[good++] = (struct sp_esp){
			.mbuf = m,
			.esp = priv->payload - sa->transform.iv_length - SP_ESP_LENGTH,
			.sequence = priv->sequence,
			.length = SP_ESP_LENGTH + sa->transform.iv_length + priv->payload_length + sa->transform.icv_length,
			.headers = priv->headers,
			.outer_tos = priv->outer_tos,
			.form = priv->form,
		};
	}
	sp_inbound_opened(w, sa, packets, good);
}

void sp_async_finish(struct sp_worker *w, struct rte_crypto_op **ops, uint32_t n)
{
	uint32_t start = 0;

	for (uint32_t i = 1; i <= n; i++) {
		const struct rte_mbuf *m = ops[start]->sym->m_src;
		struct sp_mbuf_priv *priv = sp_priv(ops[start]->sym->m_src);

		if (i < n && sp_priv(ops[i]->sym->m_src)->sa == priv->sa && ops[i]->sym->m_src->port == m->port)
			continue;
		if (priv->decrypted)
			complete_decrypt(w, priv->sa, ops + start, i - start);
		else
			complete_encrypt(w, priv->sa, ops + start, i - start);
		start = i;
	}
}
