/* SPDX-License-Identifier: Apache-2.0 */

/* The control side of reassembly: a worker's tables, sized so that they and the fragments in them take no more memory than was granted. */

#include <rte_malloc.h>

#include "reassembly.h"

#define BUCKET_ENTRIES 8
#define TABLE_BYTES 1024 /* of a table for each fragment: two to four places of 256 bytes, so that half of them stay empty */

_Static_assert(SP_FRAGMENTS_MAX_IN == RTE_LIBRTE_IP_FRAG_MAX_FRAG, "Go sizes buffers by it");

int sp_reassembly_create(struct sp_worker *w, const struct sp_config *config, char *error, size_t size)
{
	const struct rte_mempool *pool = config->pool;
	const uint64_t each = (uint64_t)pool->header_size + pool->elt_size + pool->trailer_size + TABLE_BYTES;
	uint64_t limit = config->fragment_memory / config->n_workers / SP_REASSEMBLY_TABLES / each;
	struct sp_reassembly *r;

	if (limit < SP_FRAGMENTS_MAX_IN || config->fragment_timeout == 0) {
		sp_fail(error, size, "%lu bytes for fragments and a timeout of %lu cycles: want %lu bytes at least, and a timeout", config->fragment_memory, config->fragment_timeout,
			each * SP_FRAGMENTS_MAX_IN * SP_REASSEMBLY_TABLES * config->n_workers);
		return -1;
	}
	limit = RTE_MIN(limit, UINT32_MAX / 8u);
	r = rte_zmalloc_socket("sp_reassembly", sizeof(*r), RTE_CACHE_LINE_SIZE, config->socket);
	w->reassembly = r;
	if (r == NULL) {
		sp_fail(error, size, "worker %u: no DPDK memory for %zu bytes", w->id, sizeof(*r));
		return -1;
	}
	r->limit = (uint32_t)limit;
	r->timeout = config->fragment_timeout;
	for (uint32_t i = 0; i < SP_REASSEMBLY_TABLES; i++) {
		r->table[i] = rte_ip_frag_table_create(rte_align32pow2(r->limit) / BUCKET_ENTRIES, BUCKET_ENTRIES, r->limit, r->timeout, config->socket);
		if (r->table[i] == NULL) {
			sp_fail(error, size, "worker %u: no DPDK memory for a table of %u fragments", w->id, r->limit);
			return -1;
		}
	}
	return 0;
}

void sp_reassembly_destroy(struct sp_worker *w)
{
	struct sp_reassembly *r = w->reassembly;

	if (r == NULL)
		return;
	for (uint32_t i = 0; i < SP_REASSEMBLY_TABLES; i++)
		if (r->table[i] != NULL)
			rte_ip_frag_table_destroy(r->table[i]);
	rte_free(r);
}
