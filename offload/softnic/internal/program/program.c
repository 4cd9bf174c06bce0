#include "program.h"

#include <errno.h>
#include <string.h>

#include <rte_cryptodev.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_flow.h>
#include <rte_security.h>

struct rte_mempool *sp_program_pool(uint16_t port, const char *name, uint32_t count)
{
	return rte_mempool_create(name, count, rte_security_session_get_size(rte_eth_dev_get_sec_ctx(port)), 0, 0, NULL, NULL, NULL, NULL, SOCKET_ID_ANY, 0);
}

static void set_tunnel(struct rte_security_ipsec_tunnel_param *tunnel, const struct sp_program_sa *sa)
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

void *sp_program_session(uint16_t port, const struct sp_program_sa *sa, struct rte_mempool *pool)
{
	struct rte_crypto_sym_xform aead = {.type = RTE_CRYPTO_SYM_XFORM_AEAD}, cipher = {.type = RTE_CRYPTO_SYM_XFORM_CIPHER}, auth = {.type = RTE_CRYPTO_SYM_XFORM_AUTH};
	struct rte_security_session_conf conf = {
		.action_type = sa->protocol ? RTE_SECURITY_ACTION_TYPE_INLINE_PROTOCOL : RTE_SECURITY_ACTION_TYPE_INLINE_CRYPTO,
		.protocol = RTE_SECURITY_PROTOCOL_IPSEC,
		.ipsec = {
			.spi = sa->spi,
			.salt = sa->salt,
			.direction = sa->outbound ? RTE_SECURITY_IPSEC_SA_DIR_EGRESS : RTE_SECURITY_IPSEC_SA_DIR_INGRESS,
			.proto = RTE_SECURITY_IPSEC_SA_PROTO_ESP,
			.mode = sa->transport ? RTE_SECURITY_IPSEC_SA_MODE_TRANSPORT : RTE_SECURITY_IPSEC_SA_MODE_TUNNEL,
			.replay_win_sz = sa->window,
			.esn = {.value = sa->sequence},
			.udp = {.sport = sa->local_port, .dport = sa->remote_port},
		},
		.userdata = (void *)(uintptr_t)sa->userdata,
	};

	conf.ipsec.options.esn = sa->esn;
	conf.ipsec.options.udp_encap = sa->udp;
	conf.ipsec.options.ecn = sa->ecn;
	conf.ipsec.options.copy_dscp = sa->copy_dscp;
	conf.ipsec.options.copy_df = sa->copy_df;
	set_tunnel(&conf.ipsec.tunnel, sa);
	aead.aead.algo = RTE_CRYPTO_AEAD_AES_GCM;
	aead.aead.op = sa->outbound ? RTE_CRYPTO_AEAD_OP_ENCRYPT : RTE_CRYPTO_AEAD_OP_DECRYPT;
	aead.aead.key.data = cipher.cipher.key.data = sa->key;
	aead.aead.key.length = cipher.cipher.key.length = sa->key_length;
	aead.aead.digest_length = auth.auth.digest_length = sa->icv_length;
	aead.aead.aad_length = sa->esn ? 12 : 8;
	aead.aead.iv.length = 12;
	cipher.cipher.algo = RTE_CRYPTO_CIPHER_AES_CBC;
	cipher.cipher.op = sa->outbound ? RTE_CRYPTO_CIPHER_OP_ENCRYPT : RTE_CRYPTO_CIPHER_OP_DECRYPT;
	cipher.cipher.iv.length = 16;
	auth.auth.algo = sa->sha256 ? RTE_CRYPTO_AUTH_SHA256_HMAC : RTE_CRYPTO_AUTH_SHA1_HMAC;
	auth.auth.op = sa->outbound ? RTE_CRYPTO_AUTH_OP_GENERATE : RTE_CRYPTO_AUTH_OP_VERIFY;
	auth.auth.key.data = sa->integ_key;
	auth.auth.key.length = sa->integ_key_length;
	cipher.next = sa->outbound ? &auth : NULL;
	auth.next = sa->outbound ? NULL : &cipher;
	conf.crypto_xform = sa->gcm ? &aead : sa->outbound ? &cipher : &auth;
	return rte_security_session_create(rte_eth_dev_get_sec_ctx(port), &conf, pool);
}

int sp_program_close(uint16_t port, void *session)
{
	return rte_security_session_destroy(rte_eth_dev_get_sec_ctx(port), session);
}

void *sp_program_rule(uint16_t port, void *session, int ipv6, const uint8_t *destination, uint32_t spi, int udp, uint16_t vlan, const char **why)
{
	struct rte_flow_item_ipv4 four = {0}, four_mask = {.hdr = {.dst_addr = RTE_BE32(UINT32_MAX)}};
	struct rte_flow_item_ipv6 six = {0}, six_mask = {0};
	struct rte_flow_item_esp esp = {.hdr = {.spi = rte_cpu_to_be_32(spi)}};
	const struct rte_flow_item_vlan tag = {.hdr = {.vlan_tci = rte_cpu_to_be_16(vlan)}};
	struct rte_flow_item pattern[6] = {{.type = RTE_FLOW_ITEM_TYPE_ETH}};
	unsigned int n = 1;
	const struct rte_flow_attr attributes = {.ingress = 1};
	const struct rte_flow_action_security security = {.security_session = session};
	const struct rte_flow_action actions[] = {{.type = RTE_FLOW_ACTION_TYPE_SECURITY, .conf = &security}, {.type = RTE_FLOW_ACTION_TYPE_END}};
	struct rte_flow_error error = {0};
	struct rte_flow *rule;

	memset(six_mask.hdr.dst_addr, 0xff, 16);
	if (vlan != 0)
		pattern[n++] = (struct rte_flow_item){.type = RTE_FLOW_ITEM_TYPE_VLAN, .spec = &tag};
	if (ipv6) {
		memcpy(six.hdr.dst_addr, destination, 16);
		pattern[n++] = (struct rte_flow_item){.type = RTE_FLOW_ITEM_TYPE_IPV6, .spec = &six, .mask = &six_mask};
	} else {
		memcpy(&four.hdr.dst_addr, destination, 4);
		pattern[n++] = (struct rte_flow_item){.type = RTE_FLOW_ITEM_TYPE_IPV4, .spec = &four, .mask = &four_mask};
	}
	if (udp)
		pattern[n++].type = RTE_FLOW_ITEM_TYPE_UDP;
	pattern[n++] = (struct rte_flow_item){.type = RTE_FLOW_ITEM_TYPE_ESP, .spec = &esp};
	pattern[n].type = RTE_FLOW_ITEM_TYPE_END;
	rule = rte_flow_validate(port, &attributes, pattern, actions, &error) == 0 ? rte_flow_create(port, &attributes, pattern, actions, &error) : NULL;
	*why = error.message != NULL ? error.message : rte_strerror(rte_errno);
	return rule;
}

int sp_program_remove(uint16_t port, void *rule)
{
	struct rte_flow_error error;

	return rte_flow_destroy(port, rule, &error);
}

/* Length of the Ethernet header with its tags. */
static uint32_t l2_length(struct rte_mbuf *mbuf)
{
	const uint8_t *frame = rte_pktmbuf_mtod(mbuf, const uint8_t *);
	uint32_t length = RTE_ETHER_HDR_LEN;

	while (length + RTE_VLAN_HLEN <= mbuf->data_len && ((frame[length - 2] == 0x81 && frame[length - 1] == 0) || (frame[length - 2] == 0x88 && frame[length - 1] == 0xa8)))
		length += RTE_VLAN_HLEN;
	return length;
}

int sp_program_mark(uint16_t port, void *session, struct rte_mbuf *mbuf)
{
	mbuf->l2_len = l2_length(mbuf);
	mbuf->ol_flags |= RTE_MBUF_F_TX_SEC_OFFLOAD;
	return rte_security_set_pkt_metadata(rte_eth_dev_get_sec_ctx(port), session, mbuf, NULL);
}

void sp_program_set_l2(struct rte_mbuf *mbuf, uint8_t length)
{
	mbuf->l2_len = length;
}

void sp_program_flags(const struct rte_mbuf *mbuf, int *secured, int *failed, uint64_t *userdata)
{
	*secured = (mbuf->ol_flags & RTE_MBUF_F_RX_SEC_OFFLOAD) != 0;
	*failed = (mbuf->ol_flags & RTE_MBUF_F_RX_SEC_OFFLOAD_FAILED) != 0;
	*userdata = rte_security_dynfield_is_registered() ? *rte_security_dynfield((struct rte_mbuf *)(uintptr_t)mbuf) : 0;
}

int sp_program_offers(uint16_t port)
{
	struct rte_eth_dev_info info;

	if (rte_eth_dev_get_sec_ctx(port) == NULL || rte_eth_dev_info_get(port, &info) != 0)
		return 0;
	return (info.rx_offload_capa & RTE_ETH_RX_OFFLOAD_SECURITY) != 0 && (info.tx_offload_capa & RTE_ETH_TX_OFFLOAD_SECURITY) != 0;
}

uint32_t sp_program_capabilities(uint16_t port, int protocol, int outbound, int transport)
{
	struct rte_security_capability_idx index = {
		.action = protocol ? RTE_SECURITY_ACTION_TYPE_INLINE_PROTOCOL : RTE_SECURITY_ACTION_TYPE_INLINE_CRYPTO,
		.protocol = RTE_SECURITY_PROTOCOL_IPSEC,
		.ipsec = {
			.proto = RTE_SECURITY_IPSEC_SA_PROTO_ESP,
			.mode = transport ? RTE_SECURITY_IPSEC_SA_MODE_TRANSPORT : RTE_SECURITY_IPSEC_SA_MODE_TUNNEL,
			.direction = outbound ? RTE_SECURITY_IPSEC_SA_DIR_EGRESS : RTE_SECURITY_IPSEC_SA_DIR_INGRESS,
		},
	};
	const struct rte_security_capability *c = rte_security_capability_get(rte_eth_dev_get_sec_ctx(port), &index);
	uint32_t n = 0;

	while (c != NULL && c->crypto_capabilities[n].op != RTE_CRYPTO_OP_TYPE_UNDEFINED)
		n++;
	return n;
}

void *sp_program_context(uint16_t port)
{
	return rte_eth_dev_get_sec_ctx(port);
}
