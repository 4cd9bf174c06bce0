/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SP_REASSEMBLY_H
#define SP_REASSEMBLY_H

/* What a worker keeps of fragments that wait for others: reassembly.c makes it, reassemble.c uses it. */

#include <rte_ip_frag.h>

#include "fragment.h"

/* What is in clear takes no room from what is authentic. */
enum {
	SP_REASSEMBLY_CLEAR,
	SP_REASSEMBLY_DECRYPTED,
	SP_REASSEMBLY_TABLES
};

struct sp_reassembly {
	struct rte_ip_frag_tbl *table[SP_REASSEMBLY_TABLES];
	uint32_t waiting[SP_REASSEMBLY_TABLES]; /* fragments in each */
	uint32_t limit;                         /* of them */
	uint64_t timeout;                       /* TSC cycles */
	struct rte_ip_frag_death_row dead;      /* fragments that the library gives back */
};

#endif
