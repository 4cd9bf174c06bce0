/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SP_CLASSIFY_H
#define SP_CLASSIFY_H

/* What rte_acl compares, in network byte order as it demands; the first field is one byte, the others stand in groups of four. */

#include <stdint.h>

struct sp_acl_key {
	uint8_t protocol;
	uint8_t reserved[3];
	uint32_t source_be;
	uint32_t destination_be;
	uint16_t source_port_be;
	uint16_t destination_port_be;
	uint32_t role_be;
};

enum sp_acl_field { SP_ACL_PROTOCOL, SP_ACL_SOURCE, SP_ACL_DESTINATION, SP_ACL_SOURCE_PORT, SP_ACL_DESTINATION_PORT, SP_ACL_ROLE, SP_ACL_FIELDS };

#endif
