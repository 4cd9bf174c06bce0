/* SPDX-License-Identifier: Apache-2.0 */

/* Which filter a packet meets: the tables of acl.c as the workers ask them. */

#include "acl.h"

#include <string.h>

#include <rte_acl.h>
#include <rte_common.h>

#define VECTOR 16
#define LONE_PACKETS 10
_Static_assert(SP_BURST % VECTOR == 0, "whole vectors fit a burst");

/* What is still to be asked of a burst. */
struct question {
	const uint8_t *data[SP_BURST]; /* keys */
	uint32_t place[SP_BURST];      /* of their results */
	uint32_t n;
};

/* Drops the packets whose entry comes before all that the part could give. */
static void keep_open(struct question *q, const struct sp_acl_part *part, const uint32_t *best)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < q->n; i++) {
		if (best[q->place[i]] < part->first)
			continue;
		q->data[n] = q->data[i];
		q->place[n++] = q->place[i];
	}
	q->n = n;
}

static void ask(struct question *q, const struct sp_acl_part *part, uint32_t *best)
{
	uint32_t found[SP_BURST * SP_ACL_CATEGORIES];
	uint32_t n = q->n;

	/* rte_acl walks 16 packets at once, or 8 much slower: a dozen are worth a few that nobody asked for */
	for (; n > LONE_PACKETS && n % VECTOR != 0; n++)
		q->data[n] = q->data[0];
	rte_acl_classify(part->context, q->data, found, n, SP_ACL_CATEGORIES);
	for (uint32_t i = 0; i < q->n; i++) {
		uint32_t role = q->data[i][offsetof(struct sp_acl_key, role)];
		/* userdata is entry + 1, and no match, 0, becomes the highest number */
		uint32_t entry = found[i * SP_ACL_CATEGORIES + rte_bsf32(role)] - 1;

		best[q->place[i]] = RTE_MIN(best[q->place[i]], entry);
	}
}

static void match(const struct sp_acl *acl, const uint8_t *keys, size_t key_size, uint32_t *result, uint32_t n)
{
	struct question q = {.n = n};

	if (acl == NULL) {
		memset(result, 0, n * sizeof(*result));
		return;
	}
	for (uint32_t i = 0; i < n; i++) {
		q.data[i] = keys + i * key_size;
		q.place[i] = i;
		result[i] = UINT32_MAX;
	}
	for (uint32_t i = 0; i < acl->n; i++) {
		keep_open(&q, &acl->part[i], result);
		if (q.n == 0)
			break;
		ask(&q, &acl->part[i], result);
	}
	for (uint32_t i = 0; i < n; i++)
		result[i]++;
}

_Static_assert(offsetof(struct sp_acl_key, role) == offsetof(struct sp_acl_key6, role), "keys of both versions begin alike");

void sp_acl_match(const struct sp_acl *acl, const struct sp_acl_key *keys, uint32_t *result, uint32_t n)
{
	match(acl, (const uint8_t *)keys, sizeof(*keys), result, n);
}

void sp_acl_match6(const struct sp_acl *acl, const struct sp_acl_key6 *keys, uint32_t *result, uint32_t n)
{
	match(acl, (const uint8_t *)keys, sizeof(*keys), result, n);
}
