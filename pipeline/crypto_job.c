/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Every transform by jobs of libIPSec_MB: a burst is submitted as a whole, so that the library works on many packets at once where an algorithm itself is serial (CBC,
 * HMAC, CMAC), and then flushed, so that nothing outlives the call. A session is a job that lacks nothing but the packet.
 */

#include "crypt.h"

#define LONGEST 65520 /* the library counts bytes in 16 bits */

static const uint8_t zero_iv[SP_IV_MAX];

/* Adds packet i to a copy of the session's job. */
static void fill(struct sp_job_scratch *s, IMB_JOB *job, const struct sp_crypt *c, uint32_t i, int encrypt)
{
	const struct sp_transform *t = c->transform;
	const uint64_t before = (uint64_t)(c->payload - c->start);

	job->src = c->start;
	job->dst = c->payload;
	job->cipher_start_src_offset_in_bytes = before;
	job->msg_len_to_cipher_in_bytes = c->payload_length;
	job->msg_len_to_hash_in_bytes = before + c->payload_length + (t->esn ? SP_HIGH_HALF : 0);
	job->auth_tag_output = s->tag[i];
	switch (t->cipher) {
	case SP_CIPHER_NULL:
		break;
	case SP_CIPHER_CBC:
		job->iv = c->payload - t->iv_length;
		if (!encrypt)
			break;
		job->iv = zero_iv;
		job->dst -= t->iv_length;
		job->cipher_start_src_offset_in_bytes -= t->iv_length;
		job->msg_len_to_cipher_in_bytes += t->iv_length;
		break;
	case SP_CIPHER_CTR:
		job->iv = sp_compose_nonce(t, c->payload - t->iv_length, s->iv[i]);
		break;
	case SP_CIPHER_GMAC:
		job->src -= t->esn ? SP_HIGH_HALF : 0;
		job->u.GMAC._iv = sp_compose_nonce(t, c->payload - t->iv_length, s->iv[i]);
		break;
	case SP_CIPHER_GMAC_AH:
		if (encrypt)
			sp_write_iv(t, s->aad[i], c->sequence); /* zero in the packet until its ICV is known */
		job->u.GMAC._iv = sp_compose_nonce(t, encrypt ? s->aad[i] : c->icv - t->iv_length, s->iv[i]);
		break;
	default: /* AEAD */
		job->iv = sp_compose_nonce(t, c->payload - t->iv_length, s->iv[i]);
		job->hash_start_src_offset_in_bytes = before;
		job->msg_len_to_hash_in_bytes = c->payload_length;
		if (t->cipher == SP_CIPHER_CCM)
			job->u.CCM.aad = sp_associated(t, c->start, c->sequence, s->aad[i]);
		else
			job->u.CHACHA20_POLY1305.aad = sp_associated(t, c->start, c->sequence, s->aad[i]);
	}
}

/* What the library would not survive, or would take for another length. Only AH has no payload. */
static int unfit(const struct sp_crypt *c)
{
	const struct sp_transform *t = c->transform;
	const uint8_t *end = c->payload + c->payload_length;
	int empty = c->payload_length == 0 && c->icv == end;

	return empty || (c->payload_length & t->block_mask) != 0 || end - c->start > LONGEST || (t->esn && sp_mbuf_after(c->mbuf, end) < SP_HIGH_HALF);
}

/* The burst to the manager and back, complete and in order: it was empty before. */
static void process(IMB_MGR *manager, IMB_JOB **jobs, uint32_t n)
{
	uint32_t done = IMB_SUBMIT_BURST_NOCHECK(manager, n, jobs);

	if (done < n)
		IMB_FLUSH_BURST(manager, n - done, jobs + done);
}

/* The number's high half stands in the packet as long as its job runs. */
static int inserts_high(const struct sp_transform *t)
{
	return t->esn && !sp_is_aead(t);
}

/* Makes the packet's job; returns 1, or 0 with a job that does nothing when it cannot have one. */
static int prepare(struct sp_worker *w, IMB_JOB *job, const struct sp_crypt *c, uint32_t i, uint32_t *former, int encrypt)
{
	*job = *(const IMB_JOB *)c->transform->session;
	if (unlikely(unfit(c))) {
		job->cipher_mode = IMB_CIPHER_NULL;
		job->hash_alg = IMB_AUTH_NULL;
		return 0;
	}
	fill(&w->job, job, c, i, encrypt);
	if (inserts_high(c->transform)) {
		sp_mbuf_unpoison(c->mbuf);
		*former = sp_insert_high(c->transform, c->start, c->payload + c->payload_length, c->sequence);
	}
	return 1;
}

uint32_t sp_job_run(struct sp_worker *w, const struct sp_crypt *packets, uint32_t which, int encrypt)
{
	const uint32_t n = (uint32_t)__builtin_popcount(which);
	uint32_t former[SP_BURST], failed = 0, left = which;
	IMB_JOB *jobs[SP_BURST];

	IMB_GET_NEXT_BURST(w->job.manager, n, jobs);
	for (uint32_t at = 0; at < n; at++, left &= left - 1) {
		uint32_t i = (uint32_t)__builtin_ctz(left);

		failed |= (uint32_t)!prepare(w, jobs[at], &packets[i], i, &former[i], encrypt) << i;
	}
	process(w->job.manager, jobs, n);
	left = which;
	for (uint32_t at = 0; at < n; at++, left &= left - 1) {
		uint32_t i = (uint32_t)__builtin_ctz(left);
		const struct sp_crypt *c = &packets[i];

		if (unlikely(failed >> i & 1))
			continue;
		if (inserts_high(c->transform)) {
			sp_remove_high(c->transform, c->start, c->payload + c->payload_length, former[i]);
			sp_mbuf_poison(c->mbuf);
		}
		failed |= (uint32_t)(jobs[at]->status != IMB_STATUS_COMPLETED) << i;
	}
	return failed;
}

uint32_t sp_job_ivs(struct sp_worker *w, const struct sp_crypt *packets, uint32_t which)
{
	const uint32_t n = (uint32_t)__builtin_popcount(which);
	uint32_t failed = 0, left = which;
	IMB_JOB *jobs[SP_BURST];

	IMB_GET_NEXT_BURST(w->job.manager, n, jobs);
	for (uint32_t at = 0; at < n; at++, left &= left - 1) {
		const struct sp_crypt *c = &packets[__builtin_ctz(left)];
		const struct sp_transform *t = c->transform;
		uint8_t *iv = c->payload - t->iv_length;

		*jobs[at] = *(const IMB_JOB *)t->session;
		jobs[at]->hash_alg = IMB_AUTH_NULL;
		jobs[at]->src = jobs[at]->dst = iv;
		jobs[at]->iv = zero_iv;
		jobs[at]->cipher_start_src_offset_in_bytes = 0;
		jobs[at]->msg_len_to_cipher_in_bytes = t->iv_length;
	}
	process(w->job.manager, jobs, n);
	left = which;
	for (uint32_t at = 0; at < n; at++, left &= left - 1)
		failed |= (uint32_t)(jobs[at]->status != IMB_STATUS_COMPLETED) << __builtin_ctz(left);
	return failed;
}
