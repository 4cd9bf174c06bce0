/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Crypto through a device's queue pair: the op lives in the packet's private area, so nothing is allocated and nothing can be lost. Each worker owns one queue pair per device,
 * which completes in order.
 *
 * AES-CBC with HMAC (RFC 3602, RFC 2404, RFC 4868): outbound the cipher runs over the IV field too, with an op IV of zeros: the nonce block that stands there becomes
 * E_K(nonce), an unpredictable IV (SP 800-38A appendix C). The ICV covers SPI to ciphertext, with ESN followed by the high half of the number (RFC 4303 2.2.1), which
 * is never sent: it takes the ICV's place while the digest is computed aside.
 */

#include "ipv4.h"
#include "mbuf.h"
#include "stages.h"

static inline rte_iova_t iova(const struct rte_mbuf *m, const void *p)
{
	return m->buf_iova + (rte_iova_t)((const uint8_t *)p - (const uint8_t *)m->buf_addr);
}

static inline uint32_t offset_of(const struct rte_mbuf *m, const uint8_t *p)
{
	return (uint32_t)(p - rte_pktmbuf_mtod(m, const uint8_t *));
}

static struct rte_crypto_op *prepare(struct rte_mbuf *m, struct sp_mbuf_priv *priv, void *session)
{
	priv->op = (struct rte_crypto_op){
		.type = RTE_CRYPTO_OP_TYPE_SYMMETRIC,
		.status = RTE_CRYPTO_OP_STATUS_NOT_PROCESSED,
		.sess_type = RTE_CRYPTO_OP_WITH_SESSION,
		.phys_addr = iova(m, &priv->op),
	};
	priv->sym = (struct rte_crypto_sym_op){.m_src = m, .session = session};
	return &priv->op;
}

static void prepare_aead(struct rte_mbuf *m, struct sp_mbuf_priv *priv, uint32_t salt_be, int esn)
{
	uint8_t *icv = priv->payload + priv->payload_length;
	const uint8_t *esp = priv->payload - 8 - SP_ESP_LENGTH;

	sp_store32(priv->iv, salt_be);
	sp_store64(priv->iv + 4, sp_load64(priv->payload - 8));
	memset(priv->aad, 0, sizeof(priv->aad));
	sp_store32(priv->aad, sp_load32(esp));
	if (esn)
		sp_store64(priv->aad + 4, rte_cpu_to_be_64(priv->sequence));
	else
		sp_store32(priv->aad + 4, sp_load32(esp + 4));
	priv->sym.aead.data.offset = offset_of(m, priv->payload);
	priv->sym.aead.data.length = priv->payload_length;
	priv->sym.aead.digest.data = icv;
	priv->sym.aead.digest.phys_addr = iova(m, icv);
	priv->sym.aead.aad.data = priv->aad;
	priv->sym.aead.aad.phys_addr = iova(m, priv->aad);
}

/* The authenticated part begins with the SPI; returns where the ICV belongs. */
static uint8_t *prepare_cbc_auth(struct rte_mbuf *m, struct sp_mbuf_priv *priv, int esn)
{
	uint8_t *esp = priv->payload - SP_IV_MAX - SP_ESP_LENGTH;
	uint8_t *icv = priv->payload + priv->payload_length;
	uint8_t *digest = esn ? priv->digest : icv;

	priv->sym.auth.data.offset = offset_of(m, esp);
	priv->sym.auth.data.length = SP_ESP_LENGTH + SP_IV_MAX + priv->payload_length + (esn ? 4u : 0u);
	priv->sym.auth.digest.data = digest;
	priv->sym.auth.digest.phys_addr = iova(m, digest);
	return icv;
}

static void prepare_cbc_encrypt(struct rte_mbuf *m, struct sp_mbuf_priv *priv, const struct sp_sa_out *sa)
{
	uint8_t *icv = prepare_cbc_auth(m, priv, sa->transform.esn);

	memset(priv->iv, 0, sizeof(priv->iv));
	priv->sym.cipher.data.offset = offset_of(m, priv->payload - SP_IV_MAX);
	priv->sym.cipher.data.length = SP_IV_MAX + priv->payload_length;
	if (sa->transform.esn)
		sp_store32(icv, rte_cpu_to_be_32((uint32_t)(priv->sequence >> 32)));
}

static void prepare_cbc_decrypt(struct rte_mbuf *m, struct sp_mbuf_priv *priv, const struct sp_sa_in *sa)
{
	uint8_t *icv = prepare_cbc_auth(m, priv, sa->transform.esn);

	memcpy(priv->iv, priv->payload - SP_IV_MAX, SP_IV_MAX);
	priv->sym.cipher.data.offset = offset_of(m, priv->payload);
	priv->sym.cipher.data.length = priv->payload_length;
	if (sa->transform.esn) {
		memcpy(priv->digest, icv, sa->transform.icv_length);
		sp_store32(icv, rte_cpu_to_be_32((uint32_t)(priv->sequence >> 32)));
	}
}

/* Gives the ops to the device; those it does not take are dropped, their numbers skipped. */
static void submit(struct sp_worker *w, uint8_t device, uint32_t subject, struct rte_crypto_op **ops, uint32_t n)
{
	struct sp_async_queue *q = NULL;
	uint32_t taken = 0;

	for (uint32_t i = 0; i < w->n_devices; i++)
		if (w->devices[i].device == device)
			q = &w->devices[i];
	if (likely(q != NULL)) {
		taken = rte_cryptodev_enqueue_burst(device, w->id, ops, (uint16_t)n);
		q->enqueued += taken;
		w->in_flight += taken;
	}
	for (uint32_t i = taken; i < n; i++) {
		sp_set_mark_sa(ops[i]->sym->m_src, subject);
		sp_drop(w, ops[i]->sym->m_src, SP_DROP_CRYPTO_QUEUE_FULL);
	}
}

void sp_async_encrypt(struct sp_worker *w, struct sp_sa_out *sa, struct rte_mbuf **mbufs, uint32_t n)
{
	struct rte_crypto_op *ops[SP_BURST];

	for (uint32_t i = 0; i < n; i++) {
		struct sp_mbuf_priv *priv = sp_priv(mbufs[i]);

		priv->decrypted = 0;
		priv->sa = sa;
		ops[i] = prepare(mbufs[i], priv, sa->transform.session);
		if (sa->transform.kind == SP_SA_CBC_ASYNC)
			prepare_cbc_encrypt(mbufs[i], priv, sa);
		else
			prepare_aead(mbufs[i], priv, sa->transform.salt_be, sa->transform.esn);
	}
	submit(w, sa->transform.device, sa->subject, ops, n);
}

void sp_async_decrypt(struct sp_worker *w, struct sp_sa_in *sa, struct sp_esp *packets, uint32_t n)
{
	struct rte_crypto_op *ops[SP_BURST];

	for (uint32_t i = 0; i < n; i++) {
		struct sp_esp *p = &packets[i];
		struct sp_mbuf_priv *priv = sp_priv(p->mbuf);

		priv->decrypted = 1;
		priv->sa = sa;
		priv->outer_tos = p->outer_tos;
		priv->form = p->form;
		priv->headers = p->headers;
		priv->sequence = p->sequence;
		priv->payload = p->esp + SP_ESP_LENGTH + sa->transform.iv_length;
		priv->payload_length = p->length - SP_ESP_LENGTH - sa->transform.iv_length - sa->transform.icv_length;
		ops[i] = prepare(p->mbuf, priv, sa->transform.session);
		if (sa->transform.kind == SP_SA_CBC_ASYNC)
			prepare_cbc_decrypt(p->mbuf, priv, sa);
		else
			prepare_aead(p->mbuf, priv, sa->transform.salt_be, sa->transform.esn);
	}
	submit(w, sa->transform.device, sa->subject, ops, n);
}

/* Ops of one outbound SA and in-port. */
static void complete_encrypt(struct sp_worker *w, struct sp_sa_out *sa, struct rte_crypto_op **ops, uint32_t n)
{
	struct rte_mbuf *mbufs[SP_BURST];
	uint32_t good = 0;

	for (uint32_t i = 0; i < n; i++) {
		struct rte_mbuf *m = ops[i]->sym->m_src;
		struct sp_mbuf_priv *priv = sp_priv(m);

		if (unlikely(ops[i]->status != RTE_CRYPTO_OP_STATUS_SUCCESS)) {
			sp_drop(w, m, SP_DROP_CRYPTO_ERROR);
			continue;
		}
		if (sa->transform.kind == SP_SA_CBC_ASYNC && sa->transform.esn)
			memcpy(priv->payload + priv->payload_length, priv->digest, sa->transform.icv_length);
		mbufs[good++] = m;
	}
	sp_outbound_sealed(w, sa, mbufs, good);
}

/* Ops of one inbound SA and in-port. */
static void complete_decrypt(struct sp_worker *w, struct sp_sa_in *sa, struct rte_crypto_op **ops, uint32_t n)
{
	struct sp_esp packets[SP_BURST];
	uint32_t good = 0;

	for (uint32_t i = 0; i < n; i++) {
		struct rte_mbuf *m = ops[i]->sym->m_src;
		const struct sp_mbuf_priv *priv = sp_priv(m);

		if (unlikely(ops[i]->status == RTE_CRYPTO_OP_STATUS_AUTH_FAILED)) {
			sp_sa_in_drop(w, sa, m, SP_DROP_AUTH_FAILED);
			continue;
		}
		if (unlikely(ops[i]->status != RTE_CRYPTO_OP_STATUS_SUCCESS)) {
			sp_sa_in_drop(w, sa, m, SP_DROP_CRYPTO_ERROR);
			continue;
		}
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

static void complete(struct sp_worker *w, struct rte_crypto_op **ops, uint32_t n)
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

uint32_t sp_async_complete(struct sp_worker *w)
{
	struct rte_crypto_op *ops[SP_BURST];
	uint32_t total = 0;

	for (uint32_t i = 0; i < w->n_devices; i++) {
		struct sp_async_queue *q = &w->devices[i];
		/* not the ones that completing these will enqueue: the loop must come round to the ports */
		uint64_t limit = q->enqueued;

		while (q->completed < limit) {
			uint32_t n = rte_cryptodev_dequeue_burst(q->device, w->id, ops, SP_BURST);

			if (n == 0)
				break;
			q->completed += n;
			w->in_flight -= n;
			total += n;
			complete(w, ops, n);
		}
	}
	return total;
}
