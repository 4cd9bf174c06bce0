/* SPDX-License-Identifier: Apache-2.0 */

/* Crypto within the call, for packets of any shape: AES-GCM by libIPSec_MB's function or by cpu-crypto of a device. */

#include "ipv4.h"
#include "stages.h"

static const uint8_t *associated(const struct sp_transform *t, const struct sp_crypt *c, uint8_t aad[16])
{
	memcpy(aad, c->start, SP_ESP_LENGTH);
	if (t->esn)
		sp_store64(aad + 4, rte_cpu_to_be_64(c->sequence));
	return aad;
}

static uint32_t run_direct(struct sp_worker *w, const struct sp_transform *t, struct sp_crypt *c, int seal)
{
	struct sp_gcm_scratch *g = &w->gcm;
	uint8_t differs = 0;

	sp_store32(g->iv, t->salt_be);
	sp_store64(g->iv + 4, sp_load64(c->payload - 8));
	t->gcm(t->session, &g->context, c->payload, c->payload, c->payload_length, g->iv, associated(t, c, g->aad), t->esn ? 12 : 8, g->icv, t->icv_length);
	if (seal)
		memcpy(c->icv, g->icv, t->icv_length);
	for (uint32_t i = 0; i < t->icv_length; i++)
		differs |= g->icv[i] ^ c->icv[i];
	return differs != 0;
}

static uint32_t run_cpu(struct sp_worker *w, const struct sp_transform *t, struct sp_crypt *packets, uint32_t n)
{
	struct sp_cpu_vector *v = &w->cpu;
	uint32_t failed = 0;

	for (uint32_t i = 0; i < n; i++) {
		struct sp_crypt *c = &packets[i];

		v->data[i].base = c->payload;
		v->data[i].len = c->payload_length;
		v->digest[i].va = c->icv;
		v->aad[i].va = v->aad_bytes[i];
		associated(t, c, v->aad_bytes[i]);
		sp_store32(v->iv_bytes[i], t->salt_be);
		sp_store64(v->iv_bytes[i] + 4, sp_load64(c->payload - 8));
	}
	sp_cpu_process(w, t->device, t->session, n);
	for (uint32_t i = 0; i < n; i++)
		failed |= (uint32_t)(v->status[i] != 0) << i;
	return failed;
}

static uint32_t run(struct sp_worker *w, const struct sp_transform *t, struct sp_crypt *packets, uint32_t n, int seal)
{
	uint32_t failed = 0;

	if (t->kind == SP_SA_AEAD_CPU)
		return run_cpu(w, t, packets, n);
	for (uint32_t i = 0; i < n; i++)
		failed |= run_direct(w, t, &packets[i], seal) << i;
	return failed;
}

uint32_t sp_crypt_seal(struct sp_worker *w, const struct sp_transform *t, struct sp_crypt *packets, uint32_t n)
{
	return run(w, t, packets, n, 1);
}

uint32_t sp_crypt_open(struct sp_worker *w, const struct sp_transform *t, struct sp_crypt *packets, uint32_t n)
{
	return run(w, t, packets, n, 0);
}
