/* SPDX-License-Identifier: Apache-2.0 */

#include "rule.h"

#include <stdio.h>
#include <string.h>

#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_flow.h>
#include <rte_security.h>

void *sp_offload_context(uint16_t port)
{
	return rte_eth_dev_get_sec_ctx(port);
}

struct rte_flow *sp_offload_rule(uint16_t port, const struct sp_offload_rule *to, void *session, char *text, size_t length)
{
	struct rte_flow_action_security security = {.security_session = session};
	const struct rte_flow_action actions[] = {
		{.type = RTE_FLOW_ACTION_TYPE_SECURITY, .conf = &security},
		{.type = RTE_FLOW_ACTION_TYPE_END},
	};
	struct rte_flow_item_vlan vlan, vlan_mask;
	struct rte_flow_item_ipv4 ipv4, ipv4_mask;
	struct rte_flow_item_ipv6 ipv6, ipv6_mask;
	struct rte_flow_item_udp udp, udp_mask;
	struct rte_flow_item_esp esp, esp_mask;
	struct rte_flow_item pattern[6] = {{.type = RTE_FLOW_ITEM_TYPE_ETH}};
	const struct rte_flow_attr attributes = {.ingress = 1};
	struct rte_flow_error error;
	struct rte_flow *rule;
	unsigned int n = 1;

	memset(&vlan, 0, sizeof(vlan));
	memset(&ipv4, 0, sizeof(ipv4));
	memset(&ipv6, 0, sizeof(ipv6));
	memset(&udp, 0, sizeof(udp));
	memset(&esp, 0, sizeof(esp));
	memset(&error, 0, sizeof(error));
	vlan_mask = vlan;
	ipv4_mask = ipv4;
	ipv6_mask = ipv6;
	udp_mask = udp;
	esp_mask = esp;
	if (to->vlan != 0) {
		vlan.hdr.vlan_tci = rte_cpu_to_be_16(to->vlan);
		vlan_mask.hdr.vlan_tci = RTE_BE16(0x0fff); /* the rest is priority (IEEE 802.1Q section 9.6) */
		pattern[n++] = (struct rte_flow_item){.type = RTE_FLOW_ITEM_TYPE_VLAN, .spec = &vlan, .mask = &vlan_mask};
	}
	if (to->ipv6) {
		memcpy(ipv6.hdr.dst_addr, to->destination, 16);
		memset(ipv6_mask.hdr.dst_addr, 0xff, 16);
		pattern[n++] = (struct rte_flow_item){.type = RTE_FLOW_ITEM_TYPE_IPV6, .spec = &ipv6, .mask = &ipv6_mask};
	} else {
		memcpy(&ipv4.hdr.dst_addr, to->destination, 4);
		memset(&ipv4_mask.hdr.dst_addr, 0xff, 4);
		pattern[n++] = (struct rte_flow_item){.type = RTE_FLOW_ITEM_TYPE_IPV4, .spec = &ipv4, .mask = &ipv4_mask};
	}
	if (to->udp) {
		udp.hdr.dst_port = rte_cpu_to_be_16(to->destination_port);
		udp_mask.hdr.dst_port = 0xffff;
		pattern[n++] = (struct rte_flow_item){.type = RTE_FLOW_ITEM_TYPE_UDP, .spec = &udp, .mask = &udp_mask};
	}
	esp.hdr.spi = rte_cpu_to_be_32(to->spi);
	esp_mask.hdr.spi = 0xffffffff;
	pattern[n++] = (struct rte_flow_item){.type = RTE_FLOW_ITEM_TYPE_ESP, .spec = &esp, .mask = &esp_mask};
	pattern[n] = (struct rte_flow_item){.type = RTE_FLOW_ITEM_TYPE_END};
	/* Not validated before: with some drivers (ixgbe) that installs the SA already. */
	rule = rte_flow_create(port, &attributes, pattern, actions, &error);
	if (rule == NULL)
		(void)snprintf(text, length, "%s", error.message != NULL ? error.message : rte_strerror(rte_errno));
	return rule;
}

int sp_offload_unrule(uint16_t port, struct rte_flow *rule)
{
	struct rte_flow_error error;

	return rte_flow_destroy(port, rule, &error);
}

int sp_offload_names_sas(void)
{
	return rte_security_dynfield_is_registered();
}

/* ---- ports that go ---- */

static uint8_t removed[RTE_MAX_ETHPORTS];

/* Called from DPDK's interrupt thread. */
static int on_removal(uint16_t port, enum rte_eth_event_type type, void *argument, void *details)
{
	(void)type;
	(void)argument;
	(void)details;
	__atomic_store_n(&removed[port], 1, __ATOMIC_RELAXED);
	return 0;
}

void sp_offload_listen(uint16_t port, int on)
{
	__atomic_store_n(&removed[port], 0, __ATOMIC_RELAXED);
	if (on)
		rte_eth_dev_callback_register(port, RTE_ETH_EVENT_INTR_RMV, on_removal, NULL);
	else
		rte_eth_dev_callback_unregister(port, RTE_ETH_EVENT_INTR_RMV, on_removal, NULL);
}

int sp_offload_removed(uint16_t port)
{
	return __atomic_load_n(&removed[port], __ATOMIC_RELAXED);
}
