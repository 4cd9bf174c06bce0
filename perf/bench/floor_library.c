/* SPDX-License-Identifier: Apache-2.0 */

/* libIPSec_MB alone: what the pipeline's direct and job sessions call, over bursts that do not change. */

#include <errno.h>

#include "floor_crypto.h"

int bench_open_library(struct bench_crypto *c)
{
	c->manager = alloc_mb_mgr(0);
	if (c->manager == NULL)
		return -ENOMEM;
	init_mb_mgr_auto(c->manager, NULL);
	return imb_get_errno(c->manager) == 0 ? 0 : -ENOTSUP;
}

void bench_close_library(struct bench_crypto *c)
{
	if (c->manager != NULL)
		free_mb_mgr(c->manager);
}

/* Salt and IV, as all nonces begin. CCM's salt has 3 bytes. */
static uint8_t *nonce(const struct bench_crypto *c, struct burst *b, uint32_t i, uint32_t salt_length)
{
	memcpy(b->nonce[i], c->session.salt, salt_length);
	memcpy(b->nonce[i] + salt_length, bench_packet(b, i) + ESP_HEADER, c->session.iv_length);
	return b->nonce[i];
}

/* CBC outbound has its IV made by encryption of the IV field, under an IV of zeros (pipeline/crypt.h). */
static void prepare_cbc(const struct bench_crypto *c, const struct burst *b, IMB_JOB *job, uint32_t i)
{
	static const uint8_t zeros[16];

	job->iv = bench_packet(b, i) + ESP_HEADER;
	if (!c->session.encrypt)
		return;
	job->iv = zeros;
	job->dst -= c->session.iv_length;
	job->cipher_start_src_offset_in_bytes -= c->session.iv_length;
	job->msg_len_to_cipher_in_bytes += c->session.iv_length;
}

static void prepare_esp(const struct bench_crypto *c, struct burst *b, IMB_JOB *job, uint32_t i)
{
	uint32_t text = bench_text_offset(c), end = bench_text_end(c, b, i);
	uint8_t *esp = bench_packet(b, i);

	job->dst = esp + text;
	job->cipher_start_src_offset_in_bytes = text;
	job->msg_len_to_cipher_in_bytes = end - text;
	job->msg_len_to_hash_in_bytes = end;
	if (c->session.encrypt)
		job->auth_tag_output = esp + end;
	switch (job->cipher_mode) {
	case IMB_CIPHER_CBC:
	case IMB_CIPHER_DES:
	case IMB_CIPHER_DES3:
		prepare_cbc(c, b, job, i);
		break;
	case IMB_CIPHER_CNTR:
		job->iv = nonce(c, b, i, 4);
		break;
	case IMB_CIPHER_CCM:
		job->iv = nonce(c, b, i, 3);
		job->u.CCM.aad = esp;
		job->hash_start_src_offset_in_bytes = text;
		job->msg_len_to_hash_in_bytes = end - text;
		break;
	case IMB_CIPHER_CHACHA20_POLY1305:
		job->iv = nonce(c, b, i, 4);
		job->u.CHACHA20_POLY1305.aad = esp;
		job->hash_start_src_offset_in_bytes = text;
		job->msg_len_to_hash_in_bytes = end - text;
		break;
	default: /* no cipher: GMAC, or an HMAC that needs no nonce */
		if (c->session.iv_length > 0)
			job->u.GMAC._iv = nonce(c, b, i, 4);
	}
}

void bench_prepare_library(struct bench_crypto *c, struct burst *b, uint32_t i)
{
	IMB_JOB *job = &b->jobs[i];

	if (c->session.kind == BENCH_DIRECT) {
		nonce(c, b, i, 4);
		b->tags[i] = c->session.encrypt ? bench_packet(b, i) + bench_text_end(c, b, i) : b->scratch[i];
		return;
	}
	*job = *(const IMB_JOB *)c->session.handle;
	job->src = bench_packet(b, i);
	job->auth_tag_output = b->scratch[i];
	if (c->session.ah) {
		job->dst = bench_packet(b, i);
		job->msg_len_to_hash_in_bytes = b->mbufs[i]->data_len;
	} else {
		prepare_esp(c, b, job, i);
	}
	b->tags[i] = job->auth_tag_output;
}

static uint32_t process_direct(struct bench_crypto *c, struct burst *b)
{
	const uint32_t text = bench_text_offset(c), icv_length = c->session.icv_length;
	aes_gcm_enc_dec_t gcm;

	memcpy(&gcm, &c->session.gcm, sizeof(gcm));
	for (uint32_t i = 0; i < BENCH_BURST; i++) {
		uint8_t *esp = bench_packet(b, i);

		gcm(c->session.handle, &c->context, esp + text, esp + text, bench_text_end(c, b, i) - text, b->nonce[i], esp, ESP_HEADER, (uint8_t *)(uintptr_t)b->tags[i],
		    icv_length);
	}
	return BENCH_BURST;
}

static uint32_t process_jobs(struct bench_crypto *c, struct burst *b)
{
	IMB_JOB *jobs[BENCH_BURST];
	uint32_t done;

	IMB_GET_NEXT_BURST(c->manager, BENCH_BURST, jobs);
	for (uint32_t i = 0; i < BENCH_BURST; i++)
		*jobs[i] = b->jobs[i];
	done = IMB_SUBMIT_BURST_NOCHECK(c->manager, BENCH_BURST, jobs);
	if (done < BENCH_BURST)
		done += IMB_FLUSH_BURST(c->manager, BENCH_BURST - done, jobs + done);
	return done;
}

uint32_t bench_process_library(struct bench_crypto *c, struct burst *b)
{
	return c->session.kind == BENCH_DIRECT ? process_direct(c, b) : process_jobs(c, b);
}
