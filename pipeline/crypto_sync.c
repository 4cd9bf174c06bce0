/* SPDX-License-Identifier: Apache-2.0 */

/* Crypto within the call, for packets of any shape: by libIPSec_MB's function, by cpu-crypto of a device, or by jobs. */

#include <errno.h>
#include <string.h>

#include "crypt.h"

/* 1 unless two ICVs of at least 8 bytes are equal; how they differ shows in nothing that takes time. */
static uint32_t icv_differs(const uint8_t *a, const uint8_t *b, uint32_t length)
{
	uint64_t difference = sp_load64(a + length - 8) ^ sp_load64(b + length - 8);

	for (uint32_t i = 0; i + 8 < length; i += 8)
		difference |= sp_load64(a + i) ^ sp_load64(b + i);
	return (uint32_t)((difference | -difference) >> 63);
}

/* crypto_direct.c does the same for the shape that most packets have. */
static void run_direct(struct sp_worker *w, const struct sp_crypt *c, uint8_t *tag)
{
	const struct sp_transform *t = c->transform;
	struct sp_gcm_scratch *g = &w->gcm;

	t->gcm(t->session, &g->context, c->payload, c->payload, c->payload_length, sp_compose_nonce(t, c->payload - t->iv_length, g->iv),
	       sp_associated(t, c->start, c->sequence, g->aad), sp_aad_length(t), tag, t->icv_length);
}

/* Packets of one SA. The device writes the ICV, or compares it: returns a bit for each packet that failed, *forged has those that did because their ICV is wrong. */
static uint32_t run_cpu(struct sp_worker *w, const struct sp_crypt *packets, uint32_t n, uint32_t *forged)
{
	const struct sp_transform *t = packets->transform;
	struct sp_cpu_vector *v = &w->cpu;
	uint32_t failed = 0;

	for (uint32_t i = 0; i < n; i++) {
		const struct sp_crypt *c = &packets[i];

		v->data[i].base = c->payload;
		v->data[i].len = c->payload_length;
		v->digest[i].va = c->icv;
		sp_compose_nonce(t, c->payload - t->iv_length, v->iv_bytes[i]);
		v->aad[i].va = sp_associated(t, c->start, c->sequence, v->aad_bytes[i]);
	}
	*forged = 0;
	if (likely(sp_cpu_process(w, t->device, t->session, n) == n))
		return 0;
	for (uint32_t i = 0; i < n; i++) {
		failed |= (uint32_t)(v->status[i] != 0) << i;
		*forged |= (uint32_t)(v->status[i] == EBADMSG) << i;
	}
	return failed;
}

/* The packets from the first one on that are of its SA. */
static uint32_t run_length(const struct sp_crypt *packets, uint32_t n)
{
	uint32_t end = 1;

	while (end < n && packets[end].transform == packets->transform)
		end++;
	return end;
}

/*
 * All packets: a device's by SA, jobs of whatever SAs together. Returns a bit for each that failed; those of a device have their ICVs then, the others' are in w->job.tag. *forged
 * has those whose ICV a device found wrong.
 */
static uint32_t run(struct sp_worker *w, const struct sp_crypt *packets, uint32_t n, int encrypt, uint32_t *forged)
{
	uint32_t jobs = 0, failed = 0, length, wrong;

	for (uint32_t i = 0; i < n; i += length) {
		length = 1;
		switch (packets[i].transform->kind) {
		case SP_SA_AEAD_CPU:
			length = run_length(packets + i, n - i);
			failed |= run_cpu(w, packets + i, length, &wrong) << i;
			*forged |= wrong << i;
			break;
		case SP_SA_AEAD_DIRECT:
		case SP_SA_AEAD_INLINE:
			run_direct(w, &packets[i], w->job.tag[i]);
			break;
		default:
			jobs |= 1u << i;
		}
	}
	if (jobs != 0)
		failed |= sp_job_run(w, packets, jobs, encrypt);
	return failed;
}

uint32_t sp_crypt_seal(struct sp_worker *w, const struct sp_crypt *packets, uint32_t n)
{
	uint32_t failed, forged = 0;

	for (uint32_t i = 0; i < n; i++)
		if (packets[i].transform->cipher != SP_CIPHER_GMAC_AH)
			sp_write_iv(packets[i].transform, packets[i].payload - packets[i].transform->iv_length, packets[i].sequence);
	failed = run(w, packets, n, 1, &forged);
	for (uint32_t i = 0; i < n; i++) {
		const struct sp_transform *t = packets[i].transform;

		if (unlikely(failed >> i & 1) || t->kind == SP_SA_AEAD_CPU)
			continue;
		if (t->cipher == SP_CIPHER_GMAC_AH)
			sp_write_iv(t, packets[i].icv - t->iv_length, packets[i].sequence);
		sp_copy_few(packets[i].icv, w->job.tag[i], t->icv_length);
	}
	return failed;
}

/* A device compares ICVs itself, and says which packets it failed on for that. */
struct sp_opened sp_crypt_open(struct sp_worker *w, const struct sp_crypt *packets, uint32_t n)
{
	struct sp_opened opened = {0};

	opened.broken = run(w, packets, n, 0, &opened.forged) & ~opened.forged;
	for (uint32_t i = 0; i < n; i++)
		if (packets[i].transform->kind != SP_SA_AEAD_CPU)
			opened.forged |= icv_differs(w->job.tag[i], packets[i].icv, packets[i].transform->icv_length) << i;
	opened.forged &= ~opened.broken; /* no ICV to compare with */
	return opened;
}
