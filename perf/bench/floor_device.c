/* SPDX-License-Identifier: Apache-2.0 */

/* A crypto device of DPDK alone, asked as the pipeline asks it. */

#include <rte_cryptodev.h>
#include <rte_cycles.h>

#include "floor_crypto.h"

#define PATIENCE 5 /* seconds with a device that does nothing: it has lost something */

/* Vectors for cpu-crypto as RFC 4106 wants them: nonce of salt and IV, AAD of SPI and sequence number where they stand. */
static void prepare_cpu(struct bench_crypto *c, struct burst *b, uint32_t i)
{
	uint32_t text = bench_text_offset(c), end = bench_text_end(c, b, i);
	uint8_t *esp = bench_packet(b, i);

	memcpy(b->nonce[i], c->session.salt, sizeof(c->session.salt));
	memcpy(b->nonce[i] + sizeof(c->session.salt), esp + ESP_HEADER, c->session.iv_length);
	b->cpu.data[i].base = esp + text;
	b->cpu.data[i].len = end - text;
	b->cpu.sgl[i].vec = &b->cpu.data[i];
	b->cpu.sgl[i].num = 1;
	b->cpu.iv[i].va = b->nonce[i];
	b->cpu.aad[i].va = esp;
	b->cpu.digest[i].va = esp + end;
}

static void prepare_aead(const struct bench_crypto *c, struct op *op, struct rte_mbuf *m, uint32_t end)
{
	const uint8_t *esp = rte_pktmbuf_mtod(m, const uint8_t *);
	uint32_t text = bench_text_offset(c);

	memcpy(op->iv, c->session.salt, sizeof(c->session.salt));
	memcpy(op->iv + sizeof(c->session.salt), esp + ESP_HEADER, c->session.iv_length);
	memcpy(op->aad, esp, ESP_HEADER);
	op->sym.aead.data.offset = text;
	op->sym.aead.data.length = end - text;
	op->sym.aead.aad.data = op->aad;
	op->sym.aead.digest.data = rte_pktmbuf_mtod_offset(m, uint8_t *, end);
}

/* As in pipeline/crypto_async.c: encryption begins at the IV field, with an IV of zeros. */
static void prepare_chain(const struct bench_crypto *c, struct op *op, struct rte_mbuf *m, uint32_t end)
{
	const uint8_t *esp = rte_pktmbuf_mtod(m, const uint8_t *);
	uint32_t text = c->session.encrypt ? ESP_HEADER : bench_text_offset(c);

	if (!c->session.encrypt)
		memcpy(op->iv, esp + ESP_HEADER, c->session.iv_length);
	op->sym.cipher.data.offset = text;
	op->sym.cipher.data.length = end - text;
	op->sym.auth.data.offset = 0;
	op->sym.auth.data.length = end;
	op->sym.auth.digest.data = rte_pktmbuf_mtod_offset(m, uint8_t *, end);
}

static void prepare_queued(struct bench_crypto *c, struct burst *b, uint32_t i)
{
	struct rte_mbuf *m = b->mbufs[i];
	struct op *op = rte_mbuf_to_priv(m);

	memset(op, 0, sizeof(*op));
	op->op.type = RTE_CRYPTO_OP_TYPE_SYMMETRIC;
	op->op.sess_type = RTE_CRYPTO_OP_WITH_SESSION;
	op->sym.m_src = m;
	op->sym.session = c->session.handle;
	if (c->session.aead)
		prepare_aead(c, op, m, bench_text_end(c, b, i));
	else
		prepare_chain(c, op, m, bench_text_end(c, b, i));
	b->ops[i] = &op->op;
}

void bench_prepare_device(struct bench_crypto *c, struct burst *b, uint32_t i)
{
	b->tags[i] = c->session.encrypt ? bench_packet(b, i) + bench_text_end(c, b, i) : NULL;
	if (c->session.kind == BENCH_CPU)
		prepare_cpu(c, b, i);
	else
		prepare_queued(c, b, i);
}

static uint32_t process_cpu(const struct bench_crypto *c, struct burst *b)
{
	struct rte_crypto_sym_vec vector = {
		.num = BENCH_BURST, .src_sgl = b->cpu.sgl, .iv = b->cpu.iv, .aad = b->cpu.aad, .digest = b->cpu.digest, .status = b->cpu.status,
	};

	return rte_cryptodev_sym_cpu_crypto_process(c->session.device, c->session.handle, (union rte_crypto_sym_ofs){.raw = 0}, &vector);
}

/* Offers the device what it has not taken yet, until it has given back all, or neither takes nor gives back anything any longer. */
static uint32_t process_queued(const struct bench_crypto *c, struct burst *b, uint32_t *good)
{
	const uint8_t device = c->session.device;
	const uint16_t queue_pair = c->session.queue_pair;
	struct rte_crypto_op *done[BENCH_BURST];
	uint32_t n = 0, taken = 0;
	uint64_t last = 0; /* when nothing happened for the first time; 0: something has */

	*good = 0;
	for (uint32_t i = 0; i < BENCH_BURST; i++)
		b->ops[i]->status = RTE_CRYPTO_OP_STATUS_NOT_PROCESSED;
	while (n < BENCH_BURST) {
		uint16_t took = taken == BENCH_BURST ? 0 : rte_cryptodev_enqueue_burst(device, queue_pair, b->ops + taken, (uint16_t)(BENCH_BURST - taken));
		uint16_t got = rte_cryptodev_dequeue_burst(device, queue_pair, done, BENCH_BURST);

		for (uint16_t i = 0; i < got; i++)
			*good += done[i]->status == RTE_CRYPTO_OP_STATUS_SUCCESS;
		n += got;
		taken += took;
		if (likely(took + got > 0))
			last = 0;
		else if (last == 0)
			last = rte_rdtsc();
		else if (rte_rdtsc() - last > PATIENCE * rte_get_tsc_hz())
			break;
	}
	return n;
}

uint32_t bench_process_device(struct bench_crypto *c, struct burst *b, uint32_t *good)
{
	if (c->session.kind == BENCH_QUEUED)
		return process_queued(c, b, good);
	*good = process_cpu(c, b);
	return BENCH_BURST;
}
