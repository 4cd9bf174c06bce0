/* SPDX-License-Identifier: Apache-2.0 */

/* Crypto within the call, for packets of any shape: by libIPSec_MB's function, by cpu-crypto of a device, or by jobs. */

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
static void run_direct(struct sp_worker *w, const struct sp_transform *t, const struct sp_crypt *packets, uint32_t n)
{
	struct sp_gcm_scratch *g = &w->gcm;

	for (uint32_t i = 0; i < n; i++) {
		const struct sp_crypt *c = &packets[i];

		t->gcm(t->session, &g->context, c->payload, c->payload, c->payload_length, sp_compose_nonce(t, c->payload - t->iv_length, g->iv),
		       sp_associated(t, c->start, c->sequence, g->aad), sp_aad_length(t), w->job.tag[i], t->icv_length);
	}
}

/* The device writes the ICV, or compares it: returns a bit for each packet that failed. */
static uint32_t run_cpu(struct sp_worker *w, const struct sp_transform *t, const struct sp_crypt *packets, uint32_t n)
{
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
	if (likely(sp_cpu_process(w, t->device, t->session, n) == n))
		return 0;
	for (uint32_t i = 0; i < n; i++)
		failed |= (uint32_t)(v->status[i] != 0) << i;
	return failed;
}

uint32_t sp_crypt_seal(struct sp_worker *w, const struct sp_transform *t, struct sp_crypt *packets, uint32_t n)
{
	uint32_t failed = 0;

	for (uint32_t i = 0; i < n; i++)
		if (t->cipher != SP_CIPHER_GMAC_AH)
			sp_write_iv(t, packets[i].payload - t->iv_length, packets[i].sequence);
	if (t->kind == SP_SA_AEAD_CPU)
		return run_cpu(w, t, packets, n);
	if (t->kind == SP_SA_AEAD_DIRECT)
		run_direct(w, t, packets, n);
	else
		failed = sp_job_run(w, t, packets, n, 1);
	for (uint32_t i = 0; i < n; i++) {
		if (unlikely(failed & 1u << i))
			continue;
		if (t->cipher == SP_CIPHER_GMAC_AH)
			sp_write_iv(t, packets[i].icv - t->iv_length, packets[i].sequence);
		memcpy(packets[i].icv, w->job.tag[i], t->icv_length);
	}
	return failed;
}

uint32_t sp_crypt_open(struct sp_worker *w, const struct sp_transform *t, struct sp_crypt *packets, uint32_t n)
{
	uint32_t failed = 0;

	if (t->kind == SP_SA_AEAD_CPU)
		return run_cpu(w, t, packets, n);
	if (t->kind == SP_SA_AEAD_DIRECT)
		run_direct(w, t, packets, n);
	else
		failed = sp_job_run(w, t, packets, n, 0);
	for (uint32_t i = 0; i < n; i++)
		failed |= icv_differs(w->job.tag[i], packets[i].icv, t->icv_length) << i;
	return failed;
}
