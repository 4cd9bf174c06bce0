/*
 * Functions of libraries of DPDK that this program defines itself. Its definitions win over the libraries' for the whole process, for the libraries too. A port without a software
 * NIC gets what the library does.
 */
#include "nic.h"

#include <dlfcn.h>
#include <rte_debug.h>

/* The library's function behind ours. */
static void *library(const char *name)
{
	void *function = dlsym(RTLD_NEXT, name);

	if (function == NULL)
		rte_panic("%s is in no library\n", name);
	return function;
}

void *rte_eth_dev_get_sec_ctx(uint16_t port)
{
	struct sp_nic *nic = sp_nic_of(port);

	if (nic != NULL)
		return &nic->context;
	return ((void *(*)(uint16_t))library("rte_eth_dev_get_sec_ctx"))(port);
}

int rte_eth_dev_info_get(uint16_t port, struct rte_eth_dev_info *info)
{
	int result = ((int (*)(uint16_t, struct rte_eth_dev_info *))library("rte_eth_dev_info_get"))(port, info);

	if (result == 0 && sp_nic_of(port) != NULL) {
		info->rx_offload_capa |= RTE_ETH_RX_OFFLOAD_SECURITY;
		info->tx_offload_capa |= RTE_ETH_TX_OFFLOAD_SECURITY;
	}
	return result;
}

typedef int validate_fn(uint16_t, const struct rte_flow_attr *, const struct rte_flow_item *, const struct rte_flow_action *, struct rte_flow_error *);
typedef struct rte_flow *create_fn(uint16_t, const struct rte_flow_attr *, const struct rte_flow_item *, const struct rte_flow_action *, struct rte_flow_error *);
typedef int destroy_fn(uint16_t, struct rte_flow *, struct rte_flow_error *);
typedef int flush_fn(uint16_t, struct rte_flow_error *);

int rte_flow_validate(uint16_t port, const struct rte_flow_attr *attributes, const struct rte_flow_item pattern[], const struct rte_flow_action actions[],
		      struct rte_flow_error *error)
{
	struct sp_nic *nic = sp_nic_of(port);

	if (nic != NULL)
		return sp_nic_flow_validate(nic, attributes, pattern, actions, error);
	return ((validate_fn *)library("rte_flow_validate"))(port, attributes, pattern, actions, error);
}

struct rte_flow *rte_flow_create(uint16_t port, const struct rte_flow_attr *attributes, const struct rte_flow_item pattern[], const struct rte_flow_action actions[],
				 struct rte_flow_error *error)
{
	struct sp_nic *nic = sp_nic_of(port);

	if (nic != NULL)
		return sp_nic_flow_create(nic, attributes, pattern, actions, error);
	return ((create_fn *)library("rte_flow_create"))(port, attributes, pattern, actions, error);
}

int rte_flow_destroy(uint16_t port, struct rte_flow *flow, struct rte_flow_error *error)
{
	struct sp_nic *nic = sp_nic_of(port);

	if (nic != NULL)
		return sp_nic_flow_destroy(nic, flow, error);
	return ((destroy_fn *)library("rte_flow_destroy"))(port, flow, error);
}

int rte_flow_flush(uint16_t port, struct rte_flow_error *error)
{
	struct sp_nic *nic = sp_nic_of(port);

	if (nic != NULL)
		return sp_nic_flow_flush(nic, error);
	return ((flush_fn *)library("rte_flow_flush"))(port, error);
}
