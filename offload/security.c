/* SPDX-License-Identifier: Apache-2.0 */

#include "security.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_flow.h>
#include <rte_security.h>
#include <rte_security_driver.h>

void *sp_offload_context(uint16_t port)
{
	return rte_eth_dev_get_sec_ctx(port);
}

int sp_offload_capability(void *context, uint32_t place, struct sp_offload_capability *out)
{
	const struct rte_security_capability *c = rte_security_capabilities_get(context);

	if (c == NULL)
		return -ENOENT;
	for (uint32_t i = 0; i <= place; i++, c++)
		if (c->action == RTE_SECURITY_ACTION_TYPE_NONE)
			return -ENOENT;
	c--;
	memset(out, 0, sizeof(*out));
	if (c->protocol != RTE_SECURITY_PROTOCOL_IPSEC || c->ipsec.proto != RTE_SECURITY_IPSEC_SA_PROTO_ESP ||
	    (c->action != RTE_SECURITY_ACTION_TYPE_INLINE_CRYPTO && c->action != RTE_SECURITY_ACTION_TYPE_INLINE_PROTOCOL))
		return -ENOTSUP;
	out->protocol = c->action == RTE_SECURITY_ACTION_TYPE_INLINE_PROTOCOL;
	out->outbound = c->ipsec.direction == RTE_SECURITY_IPSEC_SA_DIR_EGRESS;
	out->transport = c->ipsec.mode == RTE_SECURITY_IPSEC_SA_MODE_TRANSPORT;
	out->esn = c->ipsec.options.esn;
	out->udp = c->ipsec.options.udp_encap;
	out->copy_dscp = c->ipsec.options.copy_dscp;
	out->copy_df = c->ipsec.options.copy_df;
	out->ecn = c->ipsec.options.ecn;
	out->window = c->ipsec.replay_win_sz_max;
	out->metadata = (c->ol_flags & RTE_SECURITY_TX_OLOAD_NEED_MDATA) != 0;
	out->suites = c->crypto_capabilities;
	return 0;
}

struct rte_mempool *sp_offload_sessions(void *context, const char *name, uint32_t count, int socket, int *error)
{
	/* No per-lcore cache: sessions are made by control threads, which have none. One at a time: the flags make it a ring, whose order forget_last knows. */
	struct rte_mempool *pool = rte_mempool_create(name, count, rte_security_session_get_size(context), 0, 0, NULL, NULL, NULL, NULL, socket,
						      RTE_MEMPOOL_F_SP_PUT | RTE_MEMPOOL_F_SC_GET);

	*error = pool == NULL ? -rte_errno : 0;
	return pool;
}

static void fill_tunnel(struct rte_security_ipsec_tunnel_param *tunnel, const struct sp_offload_sa *sa)
{
	if (sa->ipv6) {
		tunnel->type = RTE_SECURITY_IPSEC_TUNNEL_IPV6;
		memcpy(&tunnel->ipv6.src_addr, sa->source, 16);
		memcpy(&tunnel->ipv6.dst_addr, sa->destination, 16);
		tunnel->ipv6.dscp = sa->dscp;
		tunnel->ipv6.hlimit = sa->ttl;
		return;
	}
	tunnel->type = RTE_SECURITY_IPSEC_TUNNEL_IPV4;
	memcpy(&tunnel->ipv4.src_ip, sa->source, 4);
	memcpy(&tunnel->ipv4.dst_ip, sa->destination, 4);
	tunnel->ipv4.dscp = sa->dscp;
	tunnel->ipv4.df = sa->df;
	tunnel->ipv4.ttl = sa->ttl;
}

/* Clears the private part of a session: drivers need not clear their keys. */
static void forget(void *session, size_t size)
{
	if (size > sizeof(struct rte_security_session))
		memset(SECURITY_GET_SESS_PRIV(session), 0, size - sizeof(struct rte_security_session));
}

/* A driver that fails may have written keys before. Its session went to the end of the ring; it comes last when all are taken out. */
static void forget_last(struct rte_mempool *sessions, size_t size)
{
	unsigned int n = rte_mempool_avail_count(sessions);
	void **all = calloc(n, sizeof(*all));

	if (all != NULL && n > 0 && rte_mempool_get_bulk(sessions, all, n) == 0) {
		forget(all[n - 1], size);
		rte_mempool_put_bulk(sessions, all, n);
	}
	free(all);
}

void *sp_offload_create(void *context, struct rte_mempool *sessions, const struct sp_offload_sa *sa, struct rte_crypto_sym_xform *xform)
{
	struct rte_security_session_conf conf;
	struct rte_security_ipsec_xform *ipsec = &conf.ipsec;
	void *session;

	memset(&conf, 0, sizeof(conf));
	conf.action_type = sa->protocol ? RTE_SECURITY_ACTION_TYPE_INLINE_PROTOCOL : RTE_SECURITY_ACTION_TYPE_INLINE_CRYPTO;
	conf.protocol = RTE_SECURITY_PROTOCOL_IPSEC;
	conf.crypto_xform = xform;
	conf.userdata = (void *)(uintptr_t)sa->userdata;
	ipsec->spi = sa->spi;
	memcpy(&ipsec->salt, sa->salt, sizeof(ipsec->salt));
	ipsec->proto = RTE_SECURITY_IPSEC_SA_PROTO_ESP;
	ipsec->mode = sa->transport ? RTE_SECURITY_IPSEC_SA_MODE_TRANSPORT : RTE_SECURITY_IPSEC_SA_MODE_TUNNEL;
	ipsec->direction = sa->outbound ? RTE_SECURITY_IPSEC_SA_DIR_EGRESS : RTE_SECURITY_IPSEC_SA_DIR_INGRESS;
	ipsec->options.esn = sa->esn;
	ipsec->options.udp_encap = sa->udp;
	ipsec->options.copy_dscp = sa->copy_dscp;
	ipsec->options.copy_df = sa->copy_df;
	ipsec->options.ecn = sa->ecn;
	ipsec->udp.sport = sa->source_port;
	ipsec->udp.dport = sa->destination_port;
	ipsec->replay_win_sz = sa->window;
	ipsec->esn.value = sa->sequence;
	fill_tunnel(&ipsec->tunnel, sa);
	session = rte_security_session_create(context, &conf, sessions);
	if (session == NULL)
		forget_last(sessions, rte_security_session_get_size(context));
	return session;
}

int sp_offload_destroy(void *context, void *session)
{
	int ret = rte_security_session_destroy(context, session);

	/* It is in the pool already, from which nobody takes meanwhile: the caller's lock is for all. */
	if (ret == 0)
		forget(session, rte_security_session_get_size(context));
	return ret;
}

void sp_offload_forget(void *context, void *session)
{
	forget(session, rte_security_session_get_size(context));
}

struct rte_flow *sp_offload_rule(uint16_t port, const struct sp_offload_sa *sa, void *session, char *text, size_t length)
{
	struct rte_flow_action_security security = {.security_session = session};
	const struct rte_flow_action actions[] = {
		{.type = RTE_FLOW_ACTION_TYPE_SECURITY, .conf = &security},
		{.type = RTE_FLOW_ACTION_TYPE_END},
	};
	struct rte_flow_item_ipv4 ipv4, ipv4_mask;
	struct rte_flow_item_ipv6 ipv6, ipv6_mask;
	struct rte_flow_item_udp udp, udp_mask;
	struct rte_flow_item_esp esp, esp_mask;
	struct rte_flow_item pattern[5] = {{.type = RTE_FLOW_ITEM_TYPE_ETH}};
	const struct rte_flow_attr attributes = {.ingress = 1};
	struct rte_flow_error error;
	struct rte_flow *rule;
	unsigned int n = 1;

	memset(&ipv4, 0, sizeof(ipv4));
	memset(&ipv6, 0, sizeof(ipv6));
	memset(&udp, 0, sizeof(udp));
	memset(&esp, 0, sizeof(esp));
	memset(&error, 0, sizeof(error));
	ipv4_mask = ipv4;
	ipv6_mask = ipv6;
	udp_mask = udp;
	esp_mask = esp;
	if (sa->ipv6) {
		memcpy(ipv6.hdr.dst_addr, sa->destination, 16);
		memset(ipv6_mask.hdr.dst_addr, 0xff, 16);
		pattern[n++] = (struct rte_flow_item){.type = RTE_FLOW_ITEM_TYPE_IPV6, .spec = &ipv6, .mask = &ipv6_mask};
	} else {
		memcpy(&ipv4.hdr.dst_addr, sa->destination, 4);
		memset(&ipv4_mask.hdr.dst_addr, 0xff, 4);
		pattern[n++] = (struct rte_flow_item){.type = RTE_FLOW_ITEM_TYPE_IPV4, .spec = &ipv4, .mask = &ipv4_mask};
	}
	if (sa->udp) {
		udp.hdr.dst_port = rte_cpu_to_be_16(sa->destination_port);
		udp_mask.hdr.dst_port = 0xffff;
		pattern[n++] = (struct rte_flow_item){.type = RTE_FLOW_ITEM_TYPE_UDP, .spec = &udp, .mask = &udp_mask};
	}
	esp.hdr.spi = rte_cpu_to_be_32(sa->spi);
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
