/* SPDX-License-Identifier: Apache-2.0 */

/* Synchronous crypto: one call per run of packets of an SA, in place. */

#include "stages.h"

uint32_t sp_cpu_process(struct sp_worker *w, uint8_t device, void *session, uint32_t n)
{
	struct sp_cpu_vector *v = &w->cpu;
	struct rte_crypto_sym_vec vector = {
		.num = n,
		.src_sgl = v->sgl,
		.iv = v->iv,
		.aad = v->aad,
		.digest = v->digest,
		.status = v->status,
	};

	/* a driver that fails before the first packet says so by its return value alone */
	for (uint32_t i = 0; i < n; i++)
		v->status[i] = EIO;
	return rte_cryptodev_sym_cpu_crypto_process(device, session, (union rte_crypto_sym_ofs){.raw = 0}, &vector);
}
