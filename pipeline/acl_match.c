/* SPDX-License-Identifier: Apache-2.0 */

/* Which filter a packet meets: the tables of acl.c as the workers ask them. */

#include "acl.h"

#include <string.h>

#include <rte_acl.h>

static void match(const struct sp_acl *acl, const uint8_t *keys, size_t key_size, uint32_t *result, uint32_t n)
{
	const uint8_t *data[SP_BURST];

	if (acl == NULL) {
		memset(result, 0, n * sizeof(*result));
		return;
	}
	for (uint32_t i = 0; i < n; i++)
		data[i] = keys + i * key_size;
	rte_acl_classify(acl->context, data, result, n, 1);
}

void sp_acl_match(const struct sp_acl *acl, const struct sp_acl_key *keys, uint32_t *result, uint32_t n)
{
	match(acl, (const uint8_t *)keys, sizeof(*keys), result, n);
}

void sp_acl_match6(const struct sp_acl *acl, const struct sp_acl_key6 *keys, uint32_t *result, uint32_t n)
{
	match(acl, (const uint8_t *)keys, sizeof(*keys), result, n);
}
