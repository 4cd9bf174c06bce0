/* SPDX-License-Identifier: Apache-2.0 */

/*
 * AES-GCM (RFC 4106) by libIPSec_MB itself, one call a packet, in place. The driver for the same library would start, update and finish each packet through tables of its
 * own and compare the ICV in a branch.
 */

#include "ipv4.h"
#include "stages.h"

#define GCM_IV 8 /* bytes in the packet; the nonce is salt and IV */
#define GCM_AAD 8 /* SPI and sequence number */
#define GCM_AAD_ESN 12 /* the number's high half between them (section 5) */

/* 12 bytes as one store of 16: the library loads them at once, which would have to wait for two narrower stores to reach the cache. */
static __rte_always_inline const uint8_t *compose(uint8_t *to, uint32_t first, uint64_t rest)
{
	_mm_store_si128((__m128i *)to, _mm_set_epi64x((long long)(rest >> 32), (long long)(rest << 32 | first)));
	return to;
}

void sp_direct_encrypt(struct sp_worker *w, const struct sp_sa_out *sa, struct rte_mbuf **mbufs, uint64_t sequence, uint32_t n)
{
	const uint32_t head = SP_L2_LENGTH + (uint32_t)sa->header_length, icv = sa->transform.icv_length;
	const struct gcm_key_data *key = sa->transform.session;
	const aes_gcm_enc_dec_t encrypt = sa->transform.gcm;
	struct sp_gcm_scratch *g = &w->gcm;
	const uint32_t salt_be = sa->transform.salt_be;
	const int esn = sa->transform.esn;

	for (uint32_t i = 0; i < n; i++) {
		uint8_t *payload = rte_pktmbuf_mtod_offset(mbufs[i], uint8_t *, head);
		uint32_t cipher = mbufs[i]->data_len - head - icv;
		uint64_t sequence_be = rte_cpu_to_be_64(sequence + i);

		compose(g->iv, salt_be, sequence_be);
		if (likely(!esn))
			encrypt(key, &g->context, payload, payload, cipher, g->iv, payload - GCM_IV - SP_ESP_LENGTH, GCM_AAD, payload + cipher, icv);
		else
			encrypt(key, &g->context, payload, payload, cipher, g->iv, compose(g->aad, sa->transform.spi_be, sequence_be), GCM_AAD_ESN, payload + cipher, icv);
	}
}

/* 1 unless two ICVs of 8 to 16 bytes are equal; how they differ shows in nothing that takes time. */
static inline uint32_t icv_differs(const uint8_t *a, const uint8_t *b, uint32_t length)
{
	uint64_t difference = (sp_load64(a) ^ sp_load64(b)) | (sp_load64(a + length - 8) ^ sp_load64(b + length - 8));

	return (difference | -difference) >> 63;
}

uint32_t sp_direct_decrypt(struct sp_worker *w, const struct sp_sa_in *sa, const struct sp_esp *packets, uint32_t n)
{
	const uint32_t icv = sa->transform.icv_length, overhead = SP_ESP_LENGTH + GCM_IV + icv;
	const struct gcm_key_data *key = sa->transform.session;
	const aes_gcm_enc_dec_t decrypt = sa->transform.gcm;
	struct sp_gcm_scratch *g = &w->gcm;
	const uint32_t salt_be = sa->transform.salt_be;
	const int esn = sa->transform.esn;
	uint32_t forged = 0;

	for (uint32_t i = 0; i < n; i++) {
		const struct sp_esp *p = &packets[i];
		uint8_t *payload = p->esp + SP_ESP_LENGTH + GCM_IV;
		uint32_t cipher = p->length - overhead;

		compose(g->iv, salt_be, sp_load64(p->esp + SP_ESP_LENGTH));
		if (likely(!esn))
			decrypt(key, &g->context, payload, payload, cipher, g->iv, p->esp, GCM_AAD, g->icv, icv);
		else
			decrypt(key, &g->context, payload, payload, cipher, g->iv, compose(g->aad, sp_load32(p->esp), rte_cpu_to_be_64(p->sequence)), GCM_AAD_ESN, g->icv, icv);
		forged |= icv_differs(g->icv, payload + cipher, icv) << i;
	}
	return forged;
}
