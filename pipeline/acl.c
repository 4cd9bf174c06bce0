/* SPDX-License-Identifier: Apache-2.0 */

/* The filters of one IP version compiled into rte_acl, by the control thread. acl_match.c asks the result. */

#include "acl.h"

#include <string.h>

#include <rte_acl.h>
#include <rte_errno.h>
#include <rte_malloc.h>

#include "dataplane.h"

/* An address is one field of 32 bits for IPv4, four for IPv6. */
enum acl_field {
	FIELD_PROTOCOL,
	FIELD_ADDRESSES,
	FIELDS_V4 = FIELD_ADDRESSES + 2 * 1 + 3,
	FIELDS_V6 = FIELD_ADDRESSES + 2 * 4 + 3,
};

RTE_ACL_RULE_DEF(acl_rule, FIELDS_V6); /* an IPv4 rule leaves the last ones out */

#define FIELD(index, kind, bytes, group, key, member) \
	{ .type = RTE_ACL_FIELD_TYPE_##kind, .size = bytes, .field_index = index, .input_index = group, .offset = offsetof(struct key, member) }

static const struct rte_acl_field_def fields4[FIELDS_V4] = {
	FIELD(0, BITMASK, 1, 0, sp_acl_key, protocol),
	FIELD(1, MASK, 4, 1, sp_acl_key, source_be),
	FIELD(2, MASK, 4, 2, sp_acl_key, destination_be),
	FIELD(3, RANGE, 2, 3, sp_acl_key, source_port_be),
	FIELD(4, RANGE, 2, 3, sp_acl_key, destination_port_be),
	FIELD(5, BITMASK, 4, 4, sp_acl_key, role_be),
};

static const struct rte_acl_field_def fields6[FIELDS_V6] = {
	FIELD(0, BITMASK, 1, 0, sp_acl_key6, protocol),
	FIELD(1, MASK, 4, 1, sp_acl_key6, source_be[0]),
	FIELD(2, MASK, 4, 2, sp_acl_key6, source_be[1]),
	FIELD(3, MASK, 4, 3, sp_acl_key6, source_be[2]),
	FIELD(4, MASK, 4, 4, sp_acl_key6, source_be[3]),
	FIELD(5, MASK, 4, 5, sp_acl_key6, destination_be[0]),
	FIELD(6, MASK, 4, 6, sp_acl_key6, destination_be[1]),
	FIELD(7, MASK, 4, 7, sp_acl_key6, destination_be[2]),
	FIELD(8, MASK, 4, 8, sp_acl_key6, destination_be[3]),
	FIELD(9, RANGE, 2, 9, sp_acl_key6, source_port_be),
	FIELD(10, RANGE, 2, 9, sp_acl_key6, destination_port_be),
	FIELD(11, BITMASK, 4, 10, sp_acl_key6, role_be),
};

static uint32_t address_words(enum sp_ip ip)
{
	return ip == SP_IPV6 ? 4 : 1;
}

static uint32_t field_count(enum sp_ip ip)
{
	return ip == SP_IPV6 ? FIELDS_V6 : FIELDS_V4;
}

/* A packet has one of three roles, one bit each: value and mask of a comparison that holds for a set of them. */
static void role_match(uint8_t roles, struct rte_acl_field *field)
{
	const uint32_t all = SP_ROLE_PROTECTED | SP_ROLE_UNPROTECTED | SP_ROLE_LOCAL;

	roles &= all;
	if (roles == all) {
		field->value.u32 = 0;
		field->mask_range.u32 = 0;
	} else if ((roles & (roles - 1)) == 0) {
		field->value.u32 = roles;
		field->mask_range.u32 = roles;
	} else {
		field->value.u32 = 0;
		field->mask_range.u32 = all & ~(uint32_t)roles;
	}
}

/* One field for each word of an address; returns the field behind them. */
static struct rte_acl_field *fill_address(struct rte_acl_field *field, const uint32_t *address, uint32_t words, uint32_t bits)
{
	for (uint32_t i = 0; i < words; i++, field++) {
		field->value.u32 = address[i];
		field->mask_range.u32 = RTE_MIN(bits, 32U);
		bits -= field->mask_range.u32;
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
	r->data.category_mask = 1;
	r->data.priority = (int32_t)(n_entries - from->entry);
	r->data.userdata = from->entry + 1; /* 0 means no match */
	r->field[FIELD_PROTOCOL].value.u8 = from->protocol;
	r->field[FIELD_PROTOCOL].mask_range.u8 = from->protocol ? UINT8_MAX : 0;
	field = fill_address(field, from->source, address_words(ip), from->source_bits);
	field = fill_address(field, from->destination, address_words(ip), from->destination_bits);
	field = fill_ports(field, from->source_port_first, from->source_port_last);
	field = fill_ports(field, from->destination_port_first, from->destination_port_last);
	role_match(from->roles, field);
}

static int rule_valid(enum sp_ip ip, const struct sp_rule *r, uint32_t n_entries)
{
	uint32_t most = 32 * address_words(ip);

	return r->entry < n_entries && r->source_bits <= most && r->destination_bits <= most && r->source_port_first <= r->source_port_last &&
	       r->destination_port_first <= r->destination_port_last && r->roles != 0;
}

static int add_rules(struct sp_acl *acl, enum sp_ip ip, const struct sp_rules *rules, uint32_t n_entries, char *error, size_t size)
{
	for (uint32_t i = 0; i < rules->n; i++) {
		const struct sp_rule *from = &rules->rule[i];
		struct acl_rule rule;
		int r;

		if (!rule_valid(ip, from, n_entries)) {
			sp_fail(error, size, "rule %u of %u: entry %u of %u, prefixes /%u and /%u, port ranges or roles out of bounds", i, rules->n,
				from->entry, n_entries, from->source_bits, from->destination_bits);
			return -1;
		}
		fill_rule(&rule, ip, from, n_entries);
		r = rte_acl_add_rules(acl->context, (struct rte_acl_rule *)&rule, 1);
		if (r != 0) {
			sp_fail(error, size, "rule %u of %u: %s", i, rules->n, rte_strerror(-r));
			return -1;
		}
	}
	return 0;
}

static int compile(struct sp_acl *acl, enum sp_ip ip, char *error, size_t size)
{
	struct rte_acl_config config = {.num_categories = 1, .num_fields = field_count(ip)};
	int r;

	memcpy(config.defs, ip == SP_IPV6 ? fields6 : fields4, config.num_fields * sizeof(config.defs[0]));
	r = rte_acl_build(acl->context, &config);
	if (r != 0)
		sp_fail(error, size, "compiling the rules: %s", rte_strerror(-r));
	return r;
}

int sp_acl_build(struct sp_dataplane *dp, enum sp_ip ip, const struct sp_rules *rules, uint32_t n_entries, struct sp_acl **acl, char *error, size_t size)
{
	char name[32];
	struct rte_acl_param param = {
		.name = name,
		.socket_id = dp->socket,
		.rule_size = RTE_ACL_RULE_SZ(field_count(ip)),
		.max_rule_num = rules->n,
	};
	struct sp_acl *built;

	*acl = NULL;
	if (rules->n == 0)
		return 0;
	built = rte_zmalloc_socket("sp_acl", sizeof(*built), RTE_CACHE_LINE_SIZE, dp->socket);
	if (built == NULL) {
		sp_fail(error, size, "classifier: no DPDK memory");
		return -1;
	}
	sp_object_name(dp, name);
	built->context = rte_acl_create(&param);
	if (built->context == NULL) {
		sp_fail(error, size, "classifier for %u rules: %s", rules->n, rte_strerror(rte_errno));
		sp_acl_free(built);
		return -1;
	}
	if (add_rules(built, ip, rules, n_entries, error, size) != 0 || compile(built, ip, error, size) != 0) {
		sp_acl_free(built);
		return -1;
	}
	*acl = built;
	return 0;
}

void sp_acl_free(struct sp_acl *acl)
{
	if (acl == NULL)
		return;
	rte_acl_free(acl->context);
	rte_free(acl);
}
