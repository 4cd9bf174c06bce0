/* SPDX-License-Identifier: Apache-2.0 */

/* The filters of one IP version compiled into rte_acl, by the control thread. acl_match.c asks the result. */

#include "acl.h"

#include <stdlib.h>
#include <string.h>

#include <rte_acl.h>
#include <rte_errno.h>
#include <rte_lcore.h>
#include <rte_malloc.h>
#include <rte_vect.h>

#include "dataplane.h"

/* An address is one field of 32 bits for IPv4, four for IPv6. */
enum acl_field {
	FIELD_PROTOCOL,
	FIELD_ADDRESSES,
	FIELDS_V4 = FIELD_ADDRESSES + 2 * 1 + 2,
	FIELDS_V6 = FIELD_ADDRESSES + 2 * 4 + 2,
};

RTE_ACL_RULE_DEF(acl_rule, FIELDS_V6); /* an IPv4 rule leaves the last ones out */

#define FIELD(index, kind, bytes, group, key, member) \
	{ .type = RTE_ACL_FIELD_TYPE_##kind, .size = bytes, .field_index = index, .input_index = group, .offset = offsetof(struct key, member) }

static const struct rte_acl_field_def fields4[FIELDS_V4] = {
	FIELD(0, BITMASK, 1, 0, sp_acl_key, protocol),
	FIELD(1, RANGE, 4, 1, sp_acl_key, source_be),
	FIELD(2, RANGE, 4, 2, sp_acl_key, destination_be),
	FIELD(3, RANGE, 2, 3, sp_acl_key, source_port_be),
	FIELD(4, RANGE, 2, 3, sp_acl_key, destination_port_be),
};

static const struct rte_acl_field_def fields6[FIELDS_V6] = {
	FIELD(0, BITMASK, 1, 0, sp_acl_key6, protocol),
	FIELD(1, RANGE, 4, 1, sp_acl_key6, source_be[0]),
	FIELD(2, RANGE, 4, 2, sp_acl_key6, source_be[1]),
	FIELD(3, RANGE, 4, 3, sp_acl_key6, source_be[2]),
	FIELD(4, RANGE, 4, 4, sp_acl_key6, source_be[3]),
	FIELD(5, RANGE, 4, 5, sp_acl_key6, destination_be[0]),
	FIELD(6, RANGE, 4, 6, sp_acl_key6, destination_be[1]),
	FIELD(7, RANGE, 4, 7, sp_acl_key6, destination_be[2]),
	FIELD(8, RANGE, 4, 8, sp_acl_key6, destination_be[3]),
	FIELD(9, RANGE, 2, 9, sp_acl_key6, source_port_be),
	FIELD(10, RANGE, 2, 9, sp_acl_key6, destination_port_be),
};

static uint32_t address_words(enum sp_ip ip)
{
	return ip == SP_IPV6 ? 4 : 1;
}

static uint32_t field_count(enum sp_ip ip)
{
	return ip == SP_IPV6 ? FIELDS_V6 : FIELDS_V4;
}

static struct rte_acl_field *fill_ranges(struct rte_acl_field *field, const uint32_t *first, const uint32_t *last, uint32_t words)
{
	for (uint32_t i = 0; i < words; i++, field++) {
		field->value.u32 = first[i];
		field->mask_range.u32 = last[i];
	}
	return field;
}

static struct rte_acl_field *fill_ports(struct rte_acl_field *field, uint16_t first, uint16_t last)
{
	field->value.u16 = first;
	field->mask_range.u16 = last;
	return field + 1;
}

static void fill_rule(struct acl_rule *r, enum sp_ip ip, const struct sp_rule *from, uint32_t n_entries)
{
	struct rte_acl_field *field = r->field + FIELD_ADDRESSES;

	memset(r, 0, sizeof(*r));
	r->data.category_mask = from->roles;
	r->data.priority = (int32_t)(n_entries - from->entry);
	r->data.userdata = from->entry + 1; /* 0 means no match */
	r->field[FIELD_PROTOCOL].value.u8 = from->protocol;
	r->field[FIELD_PROTOCOL].mask_range.u8 = from->protocol ? UINT8_MAX : 0;
	field = fill_ranges(field, from->source_first, from->source_last, address_words(ip));
	field = fill_ranges(field, from->destination_first, from->destination_last, address_words(ip));
	field = fill_ports(field, from->source_port_first, from->source_port_last);
	fill_ports(field, from->destination_port_first, from->destination_port_last);
}

/* ---- parts ---- */

/*
 * rte_acl merges rules into tries. Where rules that leave the source open meet rules that leave the destination open, it must spell out every pair of them, and time and
 * memory grow with the product: above SINGLE_PART rules the two kinds and the others become tables of their own, and none gets more than FULL_PART rules, which bounds
 * what building takes for a moment. A packet asks them in turn; docs/DESIGN.md has the measurements.
 */
#define SINGLE_PART 2048
#define FULL_PART 8192
#define LEAST_PART 16 /* below, splitting in two will not help */

enum shape { OPEN_SOURCE, OPEN_DESTINATION, NEITHER, SHAPES };

struct builder {
	struct sp_dataplane *dp;
	enum sp_ip ip;
	const struct sp_rules *rules;
	uint32_t n_entries;
	struct sp_acl *acl;
	uint32_t *order; /* of the rules of one shape */
	char *error;
	size_t size;
};

static enum shape shape_of(const struct builder *b, const struct sp_rule *r)
{
	/* as much as a prefix of 8 bits, or of 16 in IPv6, has in the first word: most rules of a policy are narrower */
	uint32_t open = b->ip == SP_IPV6 ? UINT32_MAX >> 16 : UINT32_MAX >> 8;

	if (b->rules->n <= SINGLE_PART)
		return NEITHER;
	if (r->source_last[0] - r->source_first[0] > open)
		return OPEN_SOURCE;
	return r->destination_last[0] - r->destination_first[0] > open ? OPEN_DESTINATION : NEITHER;
}

static int add_rules(const struct builder *b, struct rte_acl_ctx *context, const uint32_t *order, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		struct acl_rule rule;
		int r;

		fill_rule(&rule, b->ip, &b->rules->rule[order[i]], b->n_entries);
		r = rte_acl_add_rules(context, (struct rte_acl_rule *)&rule, 1);
		if (r != 0)
			return r;
	}
	return 0;
}

static int compile(const struct builder *b, struct rte_acl_ctx *context)
{
	struct rte_acl_config config = {.num_categories = SP_ACL_CATEGORIES, .num_fields = field_count(b->ip)};

	memcpy(config.defs, b->ip == SP_IPV6 ? fields6 : fields4, config.num_fields * sizeof(config.defs[0]));
	return rte_acl_build(context, &config);
}

/*
 * Walks the tries with vectors of 512 bits where the processor has them: a whole burst at once, a fifth less time. DPDK by itself keeps to 256 bits, for the sake of
 * processors that lower their clock; its limit is lifted for the choice of this context only. Any other processor keeps what rte_acl_create chose.
 */
static void widen(struct rte_acl_ctx *context)
{
	uint16_t limit = rte_vect_get_max_simd_bitwidth();

	if (rte_vect_set_max_simd_bitwidth(RTE_VECT_SIMD_512) != 0)
		return; /* the operator of DPDK's command line has decided */
	rte_acl_set_ctx_classify(context, RTE_ACL_CLASSIFY_AVX512X32);
	rte_vect_set_max_simd_bitwidth(limit);
}

static int no_memory(const struct builder *b, uint32_t n)
{
	const double megabyte = 1 << 20;
	struct rte_malloc_socket_stats heap = {0};

	rte_malloc_get_socket_stats(b->dp->socket < 0 ? (int)rte_socket_id() : b->dp->socket, &heap);
	sp_fail(b->error, b->size,
		"compiling %u of %u rules: no memory: %.1f MB of DPDK memory are free beside the table in force, %.1f MB in one piece: "
		"raise dataplane.memory_mb, or let fewer address and port ranges overlap",
		n, b->rules->n, (double)heap.heap_freesz_bytes / megabyte, (double)heap.greatest_free_size / megabyte);
	return -1;
}

/* One context for n rules. Returns a negative errno and frees it when it cannot be built. */
static int build_context(const struct builder *b, const uint32_t *order, uint32_t n, struct rte_acl_ctx **context)
{
	char name[32];
	struct rte_acl_param param = {
		.name = name,
		.socket_id = b->dp->socket,
		.rule_size = RTE_ACL_RULE_SZ(field_count(b->ip)),
		.max_rule_num = n,
	};
	int r;

	sp_object_name(b->dp, name);
	*context = rte_acl_create(&param);
	if (*context == NULL)
		return -rte_errno;
	r = add_rules(b, *context, order, n);
	if (r == 0)
		r = compile(b, *context);
	if (r != 0)
		rte_acl_free(*context);
	else
		widen(*context);
	return r;
}

/* Rules that rte_acl cannot bring into its eight tries are no reason to refuse a policy while halves of them can. */
static int build_part(const struct builder *b, const uint32_t *order, uint32_t n)
{
	struct sp_acl_part part = {.first = UINT32_MAX};
	uint32_t at;
	int r;

	if (b->acl->n == SP_ACL_PARTS)
		return no_memory(b, n);
	r = build_context(b, order, n, &part.context);
	if (r == -ENOMEM && n >= 2 * LEAST_PART)
		return build_part(b, order, n / 2) != 0 || build_part(b, order + n / 2, n - n / 2) != 0 ? -1 : 0;
	if (r == -ENOMEM)
		return no_memory(b, n);
	if (r != 0) {
		sp_fail(b->error, b->size, "compiling %u of %u rules: %s", n, b->rules->n, rte_strerror(-r));
		return -1;
	}
	for (uint32_t i = 0; i < n; i++)
		part.first = RTE_MIN(part.first, b->rules->rule[order[i]].entry);
	for (at = b->acl->n++; at > 0 && b->acl->part[at - 1].first > part.first; at--)
		b->acl->part[at] = b->acl->part[at - 1];
	b->acl->part[at] = part;
	return 0;
}

static int build_shape(const struct builder *b, enum shape shape)
{
	/* of all shapes together no more parts than a quarter of what there is room for: some may have to be split */
	uint32_t full = RTE_MAX((uint32_t)FULL_PART, b->rules->n / (SP_ACL_PARTS / 4 - SHAPES) + 1);
	uint32_t n = 0, parts;

	for (uint32_t i = 0; i < b->rules->n; i++)
		if (shape_of(b, &b->rules->rule[i]) == shape)
			b->order[n++] = i;
	parts = (n + full - 1) / full;
	for (uint32_t i = 0; i < parts; i++) {
		uint32_t from = (uint32_t)((uint64_t)n * i / parts), to = (uint32_t)((uint64_t)n * (i + 1) / parts);

		if (build_part(b, b->order + from, to - from) != 0)
			return -1;
	}
	return 0;
}

/* ---- the table ---- */

static int rule_valid(const struct builder *b, const struct sp_rule *r)
{
	for (uint32_t i = 0; i < address_words(b->ip); i++)
		if (r->source_first[i] > r->source_last[i] || r->destination_first[i] > r->destination_last[i])
			return 0;
	return r->entry < b->n_entries && r->source_port_first <= r->source_port_last && r->destination_port_first <= r->destination_port_last && r->roles != 0 &&
	       r->roles >> SP_ACL_CATEGORIES == 0;
}

static int check_rules(const struct builder *b)
{
	for (uint32_t i = 0; i < b->rules->n; i++) {
		const struct sp_rule *r = &b->rules->rule[i];

		if (rule_valid(b, r))
			continue;
		sp_fail(b->error, b->size, "rule %u of %u: entry %u of %u, roles %x, addresses or ports out of bounds or backwards", i, b->rules->n, r->entry,
			b->n_entries, r->roles);
		return -1;
	}
	return 0;
}

int sp_acl_build(struct sp_dataplane *dp, enum sp_ip ip, const struct sp_rules *rules, uint32_t n_entries, struct sp_acl **acl, char *error, size_t size)
{
	struct builder b = {.dp = dp, .ip = ip, .rules = rules, .n_entries = n_entries, .error = error, .size = size};
	int r = 0;

	*acl = NULL;
	if (rules->n == 0)
		return 0;
	if (check_rules(&b) != 0)
		return -1;
	b.acl = rte_zmalloc_socket("sp_acl", sizeof(*b.acl), RTE_CACHE_LINE_SIZE, dp->socket);
	b.order = calloc(rules->n, sizeof(*b.order));
	if (b.acl == NULL || b.order == NULL)
		r = no_memory(&b, rules->n);
	for (int shape = 0; shape < SHAPES && r == 0; shape++)
		r = build_shape(&b, shape);
	free(b.order);
	if (r != 0) {
		sp_acl_free(b.acl);
		return -1;
	}
	*acl = b.acl;
	return 0;
}

void sp_acl_free(struct sp_acl *acl)
{
	if (acl == NULL)
		return;
	for (uint32_t i = 0; i < acl->n; i++)
		rte_acl_free(acl->part[i].context);
	rte_free(acl);
}
