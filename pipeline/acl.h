/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SP_ACL_H
#define SP_ACL_H

/*
 * The filters of one IP version as a table: rules in, the index of the best matching entry out. The control side builds and frees it, classify.c asks it.
 *
 * The role is no field of the trie but a category of rte_acl, which gives a result for each of them: a trie of four bytes less is built and walked in two thirds of
 * the time.
 */

#include <stddef.h>
#include <stdint.h>

#include "tables.h"

#define SP_ACL_PARTS 64
#define SP_ACL_CATEGORIES 4 /* one for each bit of enum sp_role, and one to spare: rte_acl takes 1 or a multiple of 4 */

struct rte_acl_ctx;
struct sp_dataplane;

struct sp_acl_part {
	struct rte_acl_ctx *context;
	uint32_t first; /* lowest entry that it can give */
};

/* Immutable once built. */
struct sp_acl {
	uint32_t n;
	struct sp_acl_part part[SP_ACL_PARTS]; /* ascending by `first` */
};

/* Keys are in network byte order, as rte_acl demands: the first field is one byte, the others stand in groups of four. */
struct sp_acl_key {
	uint8_t protocol;
	uint8_t role; /* enum sp_role: one of them */
	uint8_t reserved[2];
	uint32_t source_be;
	uint32_t destination_be;
	uint16_t source_port_be;
	uint16_t destination_port_be;
};

struct sp_acl_key6 {
	uint8_t protocol;
	uint8_t role;
	uint8_t reserved[2];
	uint32_t source_be[4];
	uint32_t destination_be[4];
	uint16_t source_port_be;
	uint16_t destination_port_be;
};

/*
 * acl.c: a table in *acl, NULL when there are no rules. Of the rules that match a packet the one with the lowest entry wins. It is built fastest when rules stand in
 * the order of their entries. Returns -1 with the reason in error.
 */
int sp_acl_build(struct sp_dataplane *dp, enum sp_ip ip, const struct sp_rules *rules, uint32_t n_entries, struct sp_acl **acl, char *error, size_t size);
void sp_acl_free(struct sp_acl *acl);

/* acl_match.c: for each of at most SP_BURST keys the index of its entry + 1, or 0 when no rule matches. A table that is NULL matches nothing. */
void sp_acl_match(const struct sp_acl *acl, const struct sp_acl_key *keys, uint32_t *result, uint32_t n);
void sp_acl_match6(const struct sp_acl *acl, const struct sp_acl_key6 *keys, uint32_t *result, uint32_t n);

#endif
