/* SPDX-License-Identifier: Apache-2.0 */

/* Next hops and the neighbours that they are reached by: the control thread's side of what sp_adjacency_get and the classifier's misses read. */

#include <string.h>

#include <rte_hash.h>
#include <rte_malloc.h>

#include "dataplane.h"

int sp_adjacency_set(struct sp_dataplane *dp, uint16_t index, uint16_t port, const uint8_t l2[14])
{
	struct sp_adjacency *fresh = NULL, *former;

	if (index >= dp->max_adjacencies || port >= SP_MAX_PORTS || !dp->ports[port].present)
		return -EINVAL;
	if (l2 != NULL) {
		fresh = rte_zmalloc_socket("sp_adjacency", sizeof(*fresh), 0, dp->socket);
		if (fresh == NULL)
			return -ENOMEM;
		memcpy(fresh->l2, l2, SP_L2_LENGTH);
		fresh->port = port;
		fresh->mtu = dp->ports[port].mtu;
	}
	former = __atomic_exchange_n(&dp->adjacencies[index], fresh, __ATOMIC_ACQ_REL);
	if (former != NULL)
		sp_free_later(dp, former);
	return 0;
}

int sp_neighbour_add(struct sp_dataplane *dp, uint16_t port, uint32_t next_hop, uint16_t adjacency)
{
	struct sp_neighbour_key key = {.port = port, .next_hop = next_hop};

	if (adjacency >= dp->max_adjacencies)
		return -EINVAL;
	return rte_hash_add_key_data(dp->neighbours, &key, (void *)(uintptr_t)adjacency);
}

int sp_neighbour_remove(struct sp_dataplane *dp, uint16_t port, uint32_t next_hop)
{
	struct sp_neighbour_key key = {.port = port, .next_hop = next_hop};
	int32_t position = rte_hash_del_key(dp->neighbours, &key);

	return position < 0 ? position : 0;
}

static struct sp_neighbour_key6 neighbour_key6(uint16_t port, const uint8_t next_hop[16])
{
	struct sp_neighbour_key6 key = {.port = port};

	memcpy(key.next_hop, next_hop, sizeof(key.next_hop));
	return key;
}

int sp_neighbour_add6(struct sp_dataplane *dp, uint16_t port, const uint8_t next_hop[16], uint16_t adjacency)
{
	struct sp_neighbour_key6 key = neighbour_key6(port, next_hop);

	if (adjacency >= dp->max_adjacencies)
		return -EINVAL;
	return rte_hash_add_key_data(dp->neighbours6, &key, (void *)(uintptr_t)adjacency);
}

int sp_neighbour_remove6(struct sp_dataplane *dp, uint16_t port, const uint8_t next_hop[16])
{
	struct sp_neighbour_key6 key = neighbour_key6(port, next_hop);
	int32_t position = rte_hash_del_key(dp->neighbours6, &key);

	return position < 0 ? position : 0;
}
