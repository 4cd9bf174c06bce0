#include "run.h"

#include <errno.h>
#include <string.h>

#include <intel-ipsec-mb.h>
#include <rte_crypto.h>
#include <rte_cryptodev.h>
#include <rte_errno.h>
#include <rte_mbuf.h>

#define ESP_HEADER_LEN 8
#define GCM_IV_LEN 12
#define CBC_IV_LEN 16
/* A software device has finished long before so many empty polls. */
#define MAX_POLLS (1u << 24)

int dt_pools_create(struct dt_pools *pools, const char *mbufs, const char *operations, uint16_t private_size)
{
	pools->mbufs = rte_pktmbuf_pool_create(mbufs, 2 * DT_BURST, 0, 0, RTE_PKTMBUF_HEADROOM + DT_MAX_PACKET, SOCKET_ID_ANY);
	if (pools->mbufs == NULL)
		return -rte_errno;
	/* Associated data stands behind the IV. */
	pools->operations = rte_crypto_op_pool_create(operations, RTE_CRYPTO_OP_TYPE_SYMMETRIC, 2 * DT_BURST, 0,
						      private_size + DT_AAD_MAX, SOCKET_ID_ANY);
	return pools->operations == NULL ? -rte_errno : 0;
}

/* SPI and sequence number, with ESN the upper half between them: RFC 4106 section 5. */
static void fill_aad(uint8_t *aad, const struct dt_session *session, const uint8_t *packet, uint32_t seq_high)
{
	rte_be32_t high = rte_cpu_to_be_32(seq_high);

	if (!session->esn) {
		memcpy(aad, packet, ESP_HEADER_LEN);
		return;
	}
	memcpy(aad, packet, 4);
	memcpy(aad + 4, &high, 4);
	memcpy(aad + 8, packet + 4, 4);
}

static void fill_nonce(uint8_t *nonce, const struct dt_session *session, const uint8_t *packet)
{
	memcpy(nonce, session->salt, DT_SALT_LEN);
	memcpy(nonce + DT_SALT_LEN, packet + ESP_HEADER_LEN, GCM_IV_LEN - DT_SALT_LEN);
}

static void run_cpu(const struct dt_session *session, uint8_t *packet, struct dt_packet *result)
{
	uint32_t start = ESP_HEADER_LEN + session->iv_length;
	uint8_t aad[DT_AAD_MAX], nonce[GCM_IV_LEN];
	struct rte_crypto_vec vec = { .base = packet + start, .len = result->length - start - session->icv_length };
	struct rte_crypto_sgl sgl = { .vec = &vec, .num = 1 };
	struct rte_crypto_va_iova_ptr iv = { .va = nonce }, digest = { .va = packet + result->length - session->icv_length };
	struct rte_crypto_va_iova_ptr associated = { .va = aad };
	union rte_crypto_sym_ofs ofs = { .raw = 0 };
	int32_t status = -1;
	struct rte_crypto_sym_vec batch = {
		.num = 1, .src_sgl = &sgl, .iv = &iv, .digest = &digest, .status = &status,
	};

	batch.aad = &associated;
	fill_aad(aad, session, packet, result->seq_high);
	fill_nonce(nonce, session, packet);
	result->ok = rte_cryptodev_sym_cpu_crypto_process(session->device, session->handle, ofs, &batch) == 1 && status == 0;
}

static void run_direct(const struct dt_session *session, uint8_t *packet, struct dt_packet *result)
{
	uint32_t start = ESP_HEADER_LEN + session->iv_length, length = result->length - start - session->icv_length;
	uint8_t *text = packet + start, *icv = text + length, found[DT_ICV_MAX];
	uint8_t aad[DT_AAD_MAX], nonce[GCM_IV_LEN];
	struct gcm_context_data context;

	memcpy(found, icv, session->icv_length);
	fill_aad(aad, session, packet, result->seq_high);
	fill_nonce(nonce, session, packet);
	((aes_gcm_enc_dec_t)session->gcm)(session->handle, &context, text, text, length, nonce, aad, session->esn ? DT_AAD_MAX : ESP_HEADER_LEN, icv,
					  session->icv_length);
	result->ok = session->encrypt || memcmp(found, icv, session->icv_length) == 0;
}

static void fill_aead(struct rte_crypto_op *op, const struct dt_session *session, uint8_t *packet, const struct dt_packet *p)
{
	uint32_t start = ESP_HEADER_LEN + session->iv_length;
	uint8_t *iv = rte_crypto_op_ctod_offset(op, uint8_t *, session->iv_offset);
	uint8_t *aad = iv + CBC_IV_LEN;

	fill_nonce(iv, session, packet);
	fill_aad(aad, session, packet, p->seq_high);
	op->sym->aead.data.offset = start;
	op->sym->aead.data.length = p->length - start - session->icv_length;
	op->sym->aead.aad.data = aad;
	op->sym->aead.aad.phys_addr = rte_crypto_op_ctophys_offset(op, session->iv_offset + CBC_IV_LEN);
	op->sym->aead.digest.data = packet + p->length - session->icv_length;
	op->sym->aead.digest.phys_addr = rte_pktmbuf_iova_offset(op->sym->m_src, p->length - session->icv_length);
}

/* Encryption starts one block early, at the IV field that holds the nonce block, with a
 * zero IV: the first block of ciphertext is then the IV of the packet. With ESN the ICV
 * stands four octets further on, behind the upper half of the sequence number. */
static void fill_chain(struct rte_crypto_op *op, const struct dt_session *session, uint8_t *packet, const struct dt_packet *p)
{
	uint32_t text_end = p->length - session->icv_length;
	uint32_t start = session->encrypt ? ESP_HEADER_LEN : ESP_HEADER_LEN + CBC_IV_LEN;
	uint32_t high_length = session->esn ? 4 : 0;
	rte_be32_t high = rte_cpu_to_be_32(p->seq_high);
	uint8_t *iv = rte_crypto_op_ctod_offset(op, uint8_t *, session->iv_offset);

	if (session->encrypt)
		memset(iv, 0, CBC_IV_LEN);
	else
		memcpy(iv, packet + ESP_HEADER_LEN, CBC_IV_LEN);
	if (session->esn) {
		memmove(packet + text_end + 4, packet + text_end, session->icv_length);
		memcpy(packet + text_end, &high, 4);
	}
	op->sym->cipher.data.offset = start;
	op->sym->cipher.data.length = text_end - start;
	op->sym->auth.data.offset = 0;
	op->sym->auth.data.length = text_end + high_length;
	op->sym->auth.digest.data = packet + text_end + high_length;
	op->sym->auth.digest.phys_addr = rte_pktmbuf_iova_offset(op->sym->m_src, text_end + high_length);
}

static int enqueue(const struct dt_pools *pools, const struct dt_session *session, const uint8_t *buffer,
		   struct dt_packet *packets, uint32_t count)
{
	struct rte_crypto_op *ops[DT_BURST];
	struct rte_mbuf *mbufs[DT_BURST];
	uint32_t i;

	if (rte_pktmbuf_alloc_bulk(pools->mbufs, mbufs, count) != 0)
		return -ENOMEM;
	if (rte_crypto_op_bulk_alloc(pools->operations, RTE_CRYPTO_OP_TYPE_SYMMETRIC, ops, count) != count)
		return -ENOMEM;
	for (i = 0; i < count; i++) {
		uint8_t *packet = (uint8_t *)rte_pktmbuf_append(mbufs[i], packets[i].length + 4);

		memcpy(packet, buffer + packets[i].offset, packets[i].length);
		ops[i]->sym->m_src = mbufs[i];
		rte_crypto_op_attach_sym_session(ops[i], session->handle);
		if (session->aead)
			fill_aead(ops[i], session, packet, &packets[i]);
		else
			fill_chain(ops[i], session, packet, &packets[i]);
		/* The device may give operations back in another order. */
		mbufs[i]->hash.usr = i;
	}
	return rte_cryptodev_enqueue_burst(session->device, session->queue_pair, ops, count) == count ? 0 : -EAGAIN;
}

static void collect(const struct dt_session *session, struct rte_crypto_op *op, uint8_t *buffer, struct dt_packet *packets)
{
	struct rte_mbuf *mbuf = op->sym->m_src;
	struct dt_packet *p = &packets[mbuf->hash.usr];
	uint8_t *packet = rte_pktmbuf_mtod(mbuf, uint8_t *);
	uint32_t text_end = p->length - session->icv_length;

	if (!session->aead && session->esn)
		memmove(packet + text_end, packet + text_end + 4, session->icv_length);
	memcpy(buffer + p->offset, packet, p->length);
	p->ok = op->status == RTE_CRYPTO_OP_STATUS_SUCCESS;
	rte_pktmbuf_free(mbuf);
	rte_crypto_op_free(op);
}

int dt_run(const struct dt_pools *pools, const struct dt_session *session, uint8_t *buffer, struct dt_packet *packets,
	   uint32_t count)
{
	struct rte_crypto_op *ops[DT_BURST];
	uint32_t i, done = 0, polls;
	int ret;

	if (session->gcm != NULL) {
		for (i = 0; i < count; i++)
			run_direct(session, buffer + packets[i].offset, &packets[i]);
		return 0;
	}
	if (session->cpu) {
		for (i = 0; i < count; i++)
			run_cpu(session, buffer + packets[i].offset, &packets[i]);
		return 0;
	}
	ret = enqueue(pools, session, buffer, packets, count);
	if (ret < 0)
		return ret;
	for (polls = 0; done < count && polls < MAX_POLLS; polls++) {
		uint16_t got = rte_cryptodev_dequeue_burst(session->device, session->queue_pair, ops, DT_BURST);

		for (i = 0; i < got; i++)
			collect(session, ops[i], buffer, packets);
		done += got;
	}
	return done == count ? 0 : -ETIMEDOUT;
}
