/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SP_FLOW_ENTRY_H
#define SP_FLOW_ENTRY_H

/* What workers remember of a flow, which operators are shown. Sizes are asserted here and in layout.go. */

#include <stdint.h>

/* Key of the flow cache, compared as 16 bytes. in_cell: SP_NO_CELL when the packet arrived in clear. */
struct sp_flow_key {
	uint32_t source, destination;
	uint16_t source_port, destination_port;
	uint8_t protocol;
	uint8_t role;
	uint16_t in_cell;
};
_Static_assert(sizeof(struct sp_flow_key) == 16, "sp_flow_key layout");

/* A memo of a policy decision, valid while `generation` is the dataplane's (S-021): never state that lets a reverse packet in. */
struct sp_flow_entry {
	struct sp_flow_key key;
	uint32_t generation; /* 0: never used */
	uint32_t filter;     /* filter counter slot */
	uint32_t cell;       /* OUTBOUND */
	uint16_t adjacency;  /* FORWARD */
	uint8_t action;      /* enum sp_action */
	uint8_t reason;      /* DROP: enum sp_drop_reason */
};
_Static_assert(sizeof(struct sp_flow_entry) == 32, "sp_flow_entry layout: two to a cache line");

/* The same for IPv6. `rest` is the second half of an sp_flow_key: ports, protocol, role and in_cell. */
struct sp_flow_entry6 {
	uint64_t addresses[4]; /* source and destination as they stand in the packet */
	uint64_t rest;
	uint32_t generation;
	uint32_t filter;
	uint32_t cell;
	uint16_t adjacency;
	uint8_t action;
	uint8_t reason;
	uint64_t reserved;
};
_Static_assert(sizeof(struct sp_flow_entry6) == 64, "sp_flow_entry6 layout: a cache line");

#endif
