/* SPDX-License-Identifier: Apache-2.0 */

#include "floor.h"

#include <errno.h>
#include <string.h>

#include <intel-ipsec-mb.h>
#include <rte_crypto.h>
#include <rte_cryptodev.h>
#include <rte_cycles.h>
#include <rte_ethdev.h>
#include <rte_malloc.h>
#include <rte_mbuf.h>

#define EMPTY_BURSTS 100000
#define ESP_HEADER 8
#define TAG_ROOM 64
#define IV_FIELD 16 /* room for an IV behind an op; the AAD follows */

/* ---- source ---- */

int bench_source(uint16_t port, uint64_t pass, uint64_t cycles, uint64_t *packets, uint64_t *spent)
{
	uint64_t start = rte_rdtsc(), taken = 0;
	uint32_t empty = 0;

	do {
		struct rte_mbuf *mbufs[BENCH_BURST];
		uint16_t n = rte_eth_rx_burst(port, 0, mbufs, BENCH_BURST);

		for (uint16_t i = 0; i < n; i++)
			rte_pktmbuf_free(mbufs[i]);
		taken += n;
		empty = n == 0 ? empty + 1 : 0;
		if (unlikely(empty == EMPTY_BURSTS))
			return -ENODATA;
		*spent = rte_rdtsc() - start;
	} while (*spent < cycles || taken % pass != 0);
	*packets = taken;
	return 0;
}

/* ---- crypto ---- */

/* In an mbuf's private area. */
struct op {
	struct rte_crypto_op op;
	struct rte_crypto_sym_op sym;
	uint8_t iv[IV_FIELD];
	uint8_t aad[16];
};

struct bench_crypto {
	struct bench_session session;
	struct rte_mbuf *mbufs[BENCH_BURST];
	struct rte_crypto_op *ops[BENCH_BURST];
	struct rte_crypto_vec data[BENCH_BURST];
	struct rte_crypto_sgl sgl[BENCH_BURST];
	struct rte_crypto_va_iova_ptr iv[BENCH_BURST], aad[BENCH_BURST], digest[BENCH_BURST];
	int32_t status[BENCH_BURST];
	uint8_t nonce[BENCH_BURST][IV_FIELD];
	IMB_MGR *manager;
	IMB_JOB jobs[BENCH_BURST];
	uint8_t tag[BENCH_BURST][TAG_ROOM];
	uint32_t n_mbufs;
};

/* Vectors for cpu-crypto as RFC 4106 wants them: nonce of salt and IV, AAD of SPI and sequence number where they stand. */
static void prepare_cpu(struct bench_crypto *c, uint32_t i, uint8_t *esp, uint32_t length)
{
	uint8_t *text = esp + ESP_HEADER + c->session.iv_length;

	memcpy(c->nonce[i], c->session.salt, sizeof(c->session.salt));
	memcpy(c->nonce[i] + sizeof(c->session.salt), esp + ESP_HEADER, c->session.iv_length);
	c->data[i].base = text;
	c->data[i].len = length - ESP_HEADER - c->session.iv_length - c->session.icv_length;
	c->sgl[i].vec = &c->data[i];
	c->sgl[i].num = 1;
	c->iv[i].va = c->nonce[i];
	c->aad[i].va = esp;
	c->digest[i].va = esp + length - c->session.icv_length;
}

static void prepare_aead(const struct bench_crypto *c, struct op *op, struct rte_mbuf *m, const uint8_t *esp, uint32_t length)
{
	uint32_t text = ESP_HEADER + c->session.iv_length, end = length - c->session.icv_length;

	memcpy(op->iv, c->session.salt, sizeof(c->session.salt));
	memcpy(op->iv + sizeof(c->session.salt), esp + ESP_HEADER, c->session.iv_length);
	memcpy(op->aad, esp, ESP_HEADER);
	op->sym.aead.data.offset = text;
	op->sym.aead.data.length = end - text;
	op->sym.aead.aad.data = op->aad;
	op->sym.aead.digest.data = rte_pktmbuf_mtod_offset(m, uint8_t *, end);
}

/* As in pipeline/crypto_async.c: encryption begins at the IV field, with an IV of zeros. */
static void prepare_chain(const struct bench_crypto *c, struct op *op, struct rte_mbuf *m, const uint8_t *esp, uint32_t length)
{
	uint32_t end = length - c->session.icv_length;
	uint32_t text = c->session.encrypt ? ESP_HEADER : ESP_HEADER + (uint32_t)c->session.iv_length;

	if (!c->session.encrypt)
		memcpy(op->iv, esp + ESP_HEADER, c->session.iv_length);
	op->sym.cipher.data.offset = text;
	op->sym.cipher.data.length = end - text;
	op->sym.auth.data.offset = 0;
	op->sym.auth.data.length = end;
	op->sym.auth.digest.data = rte_pktmbuf_mtod_offset(m, uint8_t *, end);
}

static void prepare_queued(struct bench_crypto *c, uint32_t i, const uint8_t *esp, uint32_t length)
{
	struct rte_mbuf *m = c->mbufs[i];
	struct op *op = rte_mbuf_to_priv(m);

	memset(op, 0, sizeof(*op));
	op->op.type = RTE_CRYPTO_OP_TYPE_SYMMETRIC;
	op->op.sess_type = RTE_CRYPTO_OP_WITH_SESSION;
	op->sym.m_src = m;
	op->sym.session = c->session.handle;
	if (c->session.aead)
		prepare_aead(c, op, m, esp, length);
	else
		prepare_chain(c, op, m, esp, length);
	c->ops[i] = &op->op;
}

/* Salt, as long as the nonce leaves room for it, and IV. */
static const uint8_t *fill_nonce(struct bench_crypto *c, uint32_t i, const uint8_t *iv, uint64_t length)
{
	uint64_t salt = length - c->session.iv_length;

	memcpy(c->nonce[i], c->session.salt, salt);
	memcpy(c->nonce[i] + salt, iv, c->session.iv_length);
	return c->nonce[i];
}

/* As in pipeline/crypto_job.c, without ESN, and complete but for the copy into a manager's job. */
static void prepare_job(struct bench_crypto *c, uint32_t i, uint8_t *packet, uint32_t length)
{
	static const uint8_t zero_iv[IV_FIELD];
	uint32_t end = c->session.ah ? length : length - c->session.icv_length, text = c->session.ah ? length : ESP_HEADER + (uint32_t)c->session.iv_length;
	const uint8_t *iv = packet + ESP_HEADER;
	IMB_JOB *job = &c->jobs[i];

	*job = *(const IMB_JOB *)c->session.handle;
	if (job->cipher_mode == IMB_CIPHER_CBC || job->cipher_mode == IMB_CIPHER_DES || job->cipher_mode == IMB_CIPHER_DES3) {
		job->iv = c->session.encrypt ? zero_iv : iv;
		text -= c->session.encrypt ? c->session.iv_length : 0;
	} else if (job->iv_len_in_bytes != 0) {
		job->iv = fill_nonce(c, i, iv, job->iv_len_in_bytes);
	}
	job->src = packet;
	job->dst = packet + text;
	job->cipher_start_src_offset_in_bytes = text;
	job->msg_len_to_cipher_in_bytes = end - text;
	job->msg_len_to_hash_in_bytes = end;
	job->auth_tag_output = c->tag[i];
	switch (job->hash_alg) {
	case IMB_AUTH_AES_GMAC_128:
	case IMB_AUTH_AES_GMAC_192:
	case IMB_AUTH_AES_GMAC_256:
		job->u.GMAC._iv = job->iv;
		break;
	case IMB_AUTH_AES_CCM:
		job->u.CCM.aad = packet;
		break;
	case IMB_AUTH_CHACHA20_POLY1305:
		job->u.CHACHA20_POLY1305.aad = packet;
		break;
	default:
		return;
	}
	if (job->cipher_mode == IMB_CIPHER_NULL)
		return;
	job->hash_start_src_offset_in_bytes = text;
	job->msg_len_to_hash_in_bytes = end - text;
}

static uint32_t process_jobs(struct bench_crypto *c)
{
	IMB_JOB *jobs[BENCH_BURST];
	uint32_t good = 0, done;

	IMB_GET_NEXT_BURST(c->manager, BENCH_BURST, jobs);
	for (uint32_t i = 0; i < BENCH_BURST; i++)
		*jobs[i] = c->jobs[i];
	done = IMB_SUBMIT_BURST_NOCHECK(c->manager, BENCH_BURST, jobs);
	if (done < BENCH_BURST)
		IMB_FLUSH_BURST(c->manager, BENCH_BURST - done, jobs + done);
	for (uint32_t i = 0; i < BENCH_BURST; i++)
		good += jobs[i]->status == IMB_STATUS_COMPLETED;
	return good;
}

static int create_manager(struct bench_crypto *c)
{
	c->manager = alloc_mb_mgr(0);
	if (c->manager == NULL)
		return -ENOMEM;
	init_mb_mgr_auto(c->manager, NULL);
	return -imb_get_errno(c->manager);
}

static uint32_t process_cpu(struct bench_crypto *c)
{
	struct rte_crypto_sym_vec vector = {
		.num = BENCH_BURST, .src_sgl = c->sgl, .iv = c->iv, .aad = c->aad, .digest = c->digest, .status = c->status,
	};

	return rte_cryptodev_sym_cpu_crypto_process(c->session.device, c->session.handle, (union rte_crypto_sym_ofs){.raw = 0}, &vector);
}

static uint32_t process_queued(struct bench_crypto *c)
{
	struct rte_crypto_op *done[BENCH_BURST];
	uint32_t good = 0, n = 0, enqueued;

	for (uint32_t i = 0; i < BENCH_BURST; i++)
		c->ops[i]->status = RTE_CRYPTO_OP_STATUS_NOT_PROCESSED;
	enqueued = rte_cryptodev_enqueue_burst(c->session.device, c->session.queue_pair, c->ops, BENCH_BURST);
	while (n < enqueued) {
		uint32_t got = rte_cryptodev_dequeue_burst(c->session.device, c->session.queue_pair, done, BENCH_BURST);

		for (uint32_t i = 0; i < got; i++)
			good += done[i]->status == RTE_CRYPTO_OP_STATUS_SUCCESS;
		n += got;
	}
	return good;
}

static uint32_t process(struct bench_crypto *c)
{
	if (c->session.job)
		return process_jobs(c);
	return c->session.cpu ? process_cpu(c) : process_queued(c);
}

static int fill(struct bench_crypto *c, struct rte_mempool *pool, const uint8_t *packets, uint32_t length, uint32_t offset)
{
	if (c->session.job && create_manager(c) != 0)
		return -ENOMEM;
	if (rte_pktmbuf_priv_size(pool) < sizeof(struct op) || c->session.iv_offset != offsetof(struct op, iv))
		return -EINVAL;
	if (rte_pktmbuf_alloc_bulk(pool, c->mbufs, BENCH_BURST) != 0)
		return -ENOMEM;
	c->n_mbufs = BENCH_BURST;
	for (uint32_t i = 0; i < BENCH_BURST; i++) {
		struct rte_mbuf *m = c->mbufs[i];
		uint8_t *esp;

		if (offset + length > m->buf_len)
			return -EMSGSIZE;
		m->data_off = (uint16_t)offset;
		m->data_len = (uint16_t)length;
		m->pkt_len = length;
		esp = rte_pktmbuf_mtod(m, uint8_t *);
		memcpy(esp, packets + (size_t)i * length, length);
		if (c->session.job)
			prepare_job(c, i, esp, length);
		else if (c->session.cpu)
			prepare_cpu(c, i, esp, length);
		else
			prepare_queued(c, i, esp, length);
	}
	return process(c) == BENCH_BURST ? 0 : -EBADMSG;
}

struct bench_crypto *bench_crypto_create(struct rte_mempool *pool, const struct bench_session *session, const uint8_t *packets, uint32_t length, uint32_t offset, int *error)
{
	struct bench_crypto *c = rte_zmalloc("bench_crypto", sizeof(*c), RTE_CACHE_LINE_SIZE);

	if (c == NULL) {
		*error = -ENOMEM;
		return NULL;
	}
	c->session = *session;
	*error = fill(c, pool, packets, length, offset);
	if (*error != 0) {
		bench_crypto_free(c);
		return NULL;
	}
	return c;
}

void bench_crypto_free(struct bench_crypto *c)
{
	if (c->manager != NULL)
		free_mb_mgr(c->manager);
	rte_pktmbuf_free_bulk(c->mbufs, c->n_mbufs);
	rte_free(c);
}

void bench_crypto_run(struct bench_crypto *c, uint64_t cycles, uint64_t *packets, uint64_t *spent)
{
	uint64_t start = rte_rdtsc();

	*packets = 0;
	do {
		process(c);
		*packets += BENCH_BURST;
		*spent = rte_rdtsc() - start;
	} while (*spent < cycles);
}

uint64_t bench_heap_bytes(void)
{
	uint64_t sum = 0;

	for (int socket = 0; socket < RTE_MAX_NUMA_NODES; socket++) {
		struct rte_malloc_socket_stats stats;

		if (rte_malloc_get_socket_stats(socket, &stats) == 0)
			sum += stats.heap_allocsz_bytes;
	}
	return sum;
}
