/* rte_security's operations: what the NIC offers, and sessions. */
#include "nic.h"

#include <errno.h>
#include <string.h>

static unsigned int session_size(void *device)
{
	(void)device;
	return sizeof(struct sp_nic_session);
}

static const struct rte_security_capability *capabilities(void *device)
{
	return ((struct sp_nic *)device)->security;
}

/* What an SA may ask for, and this NIC does not do in the session's action and direction. */
static int options_known(const struct rte_security_ipsec_sa_options *asked, const struct rte_security_ipsec_sa_options *offered)
{
	uint32_t a, o;

	memcpy(&a, asked, sizeof(a));
	memcpy(&o, offered, sizeof(o));
	return (a & ~o) == 0;
}

static const struct rte_security_capability *capability_of(const struct sp_nic *nic, const struct rte_security_session_conf *conf)
{
	for (const struct rte_security_capability *c = nic->security; c->action != RTE_SECURITY_ACTION_TYPE_NONE; c++) {
		if (c->action == conf->action_type && c->ipsec.direction == conf->ipsec.direction && c->ipsec.mode == conf->ipsec.mode)
			return c;
	}
	return NULL;
}

/* Returns the suite or -errno. */
static int check(const struct sp_nic *nic, const struct rte_security_session_conf *conf)
{
	const struct rte_security_capability *offered;
	int suite;

	if (nic->fault.vanished)
		return -ENODEV;
	if (conf->protocol != RTE_SECURITY_PROTOCOL_IPSEC || conf->ipsec.proto != RTE_SECURITY_IPSEC_SA_PROTO_ESP)
		return -ENOTSUP;
	offered = capability_of(nic, conf);
	if (offered == NULL || !options_known(&conf->ipsec.options, &offered->ipsec.options))
		return -ENOTSUP;
	if (offered->ipsec.replay_win_sz_max != 0 && conf->ipsec.replay_win_sz > offered->ipsec.replay_win_sz_max)
		return -ENOTSUP;
	if (conf->ipsec.life.packets_hard_limit != 0 || conf->ipsec.life.bytes_hard_limit != 0 || conf->ipsec.life.packets_soft_limit != 0 ||
	    conf->ipsec.life.bytes_soft_limit != 0)
		return -ENOTSUP;
	suite = sp_nic_suite_of(conf->crypto_xform);
	if (suite < 0)
		return suite;
	return nic->suites & ~nic->fault.lack & 1u << suite ? suite : -ENOTSUP;
}

static void read_tunnel(struct sp_nic_session *s, const struct rte_security_ipsec_tunnel_param *tunnel)
{
	s->ipv6 = tunnel->type == RTE_SECURITY_IPSEC_TUNNEL_IPV6;
	if (s->ipv6) {
		memcpy(s->source, &tunnel->ipv6.src_addr, 16);
		memcpy(s->destination, &tunnel->ipv6.dst_addr, 16);
		s->dscp = tunnel->ipv6.dscp;
		s->ttl = tunnel->ipv6.hlimit;
		s->flow_label = tunnel->ipv6.flabel;
		return;
	}
	memcpy(s->source, &tunnel->ipv4.src_ip, 4);
	memcpy(s->destination, &tunnel->ipv4.dst_ip, 4);
	s->dscp = tunnel->ipv4.dscp;
	s->df = tunnel->ipv4.df;
	s->ttl = tunnel->ipv4.ttl;
}

static void fill(struct sp_nic_session *s, const struct rte_security_session_conf *conf)
{
	const struct rte_security_ipsec_xform *ipsec = &conf->ipsec;

	s->spi_be = rte_cpu_to_be_32(ipsec->spi);
	s->egress = ipsec->direction == RTE_SECURITY_IPSEC_SA_DIR_EGRESS;
	s->protocol = conf->action_type == RTE_SECURITY_ACTION_TYPE_INLINE_PROTOCOL;
	s->transport = ipsec->mode == RTE_SECURITY_IPSEC_SA_MODE_TRANSPORT;
	s->udp = ipsec->options.udp_encap;
	s->esn = ipsec->options.esn;
	s->ecn = ipsec->options.ecn;
	s->copy_dscp = ipsec->options.copy_dscp;
	s->copy_df = ipsec->options.copy_df;
	s->source_port_be = rte_cpu_to_be_16(ipsec->udp.sport);
	s->destination_port_be = rte_cpu_to_be_16(ipsec->udp.dport);
	s->userdata = (uint64_t)(uintptr_t)conf->userdata;
	s->next = RTE_MAX(ipsec->esn.value, 1u);
	s->top = s->next - 1;
	s->window = ipsec->replay_win_sz;
	rte_spinlock_init(&s->lock);
	if (!s->transport)
		read_tunnel(s, &ipsec->tunnel);
}

/* Takes a place in the table. The lock is held for writing. */
static int enter(struct sp_nic *nic, struct sp_nic_session *s)
{
	uint32_t slot;

	nic->created++;
	if (nic->fault.fail_sessions != 0 && nic->created % nic->fault.fail_sessions == 0)
		return -EIO;
	if (nic->fault.full || nic->live == nic->capacity)
		return -ENOSPC;
	slot = nic->slots[nic->capacity - 1 - nic->live].free;
	nic->live++;
	nic->made++;
	nic->slots[slot - 1].session = s;
	s->slot = slot;
	return 0;
}

static int session_create(void *device, struct rte_security_session_conf *conf, struct rte_security_session *session)
{
	struct sp_nic *nic = device;
	struct sp_nic_session *s = SECURITY_GET_SESS_PRIV(session);
	int suite = check(nic, conf), result = suite < 0 ? suite : 0;

	if (result == 0 && (uintptr_t)s % __alignof__(*s) != 0)
		result = -EINVAL;
	if (result == 0) {
		memset(s, 0, sizeof(*s));
		sp_nic_cipher_init(&s->cipher, nic->rx[0].library, conf->crypto_xform, conf->ipsec.salt, conf->ipsec.direction == RTE_SECURITY_IPSEC_SA_DIR_EGRESS);
		fill(s, conf);
	}
	rte_rwlock_write_lock(&nic->lock);
	if (result == 0)
		result = enter(nic, s);
	if (result != 0)
		nic->refused++;
	rte_rwlock_write_unlock(&nic->lock);
	if (result != 0) {
		explicit_bzero(s, sizeof(*s));
		return result;
	}
	session->fast_mdata = (uint64_t)nic->slots[s->slot - 1].generation << 32 | s->slot;
	return 0;
}

/*
 * Takes the session out of the table, so that no packet finds it, and wipes it. Whoever had found it holds the lock. With the device gone the caller keeps the memory, as it does with
 * a card that does not answer, but there is no key in it; it may ask again later.
 */
static int session_destroy(void *device, struct rte_security_session *session)
{
	struct sp_nic *nic = device;
	struct sp_nic_session *s = SECURITY_GET_SESS_PRIV(session);
	int result = nic->fault.vanished ? -ENODEV : 0;

	rte_rwlock_write_lock(&nic->lock);
	if (s->slot != 0 && s->rules != NULL && result == 0) {
		result = -EBUSY;
	} else if (s->slot != 0) {
		for (struct rte_flow *flow = s->rules; flow != NULL; flow = flow->sibling)
			flow->session = NULL;
		nic->slots[s->slot - 1].session = NULL;
		nic->slots[s->slot - 1].generation++;
		nic->live--;
		nic->slots[nic->capacity - 1 - nic->live].free = s->slot;
		explicit_bzero(s, sizeof(*s));
	}
	rte_rwlock_write_unlock(&nic->lock);
	return result;
}

static int set_metadata(void *device, struct rte_security_session *session, struct rte_mbuf *mbuf, void *parameters)
{
	struct sp_nic *nic = device;

	(void)parameters;
	if (nic->fault.vanished)
		return -ENODEV;
	*rte_security_dynfield(mbuf) = session->fast_mdata;
	return 0;
}

const struct rte_security_ops sp_nic_security_ops = {
	.session_create = session_create,
	.session_get_size = session_size,
	.session_destroy = session_destroy,
	.set_pkt_metadata = set_metadata,
	.capabilities_get = capabilities,
};

/* Adds a range of key lengths in octets, if a suite of the three from `first` on is offered: of 128, 192 and 256 bits. */
static int key_range(uint32_t suites, unsigned int first, struct rte_crypto_param_range *range)
{
	int found = 0;

	for (unsigned int i = 0; i < 3; i++) {
		if ((suites & 1u << (first + i)) == 0)
			continue;
		if (found)
			range->increment = (uint16_t)(16 + 8 * i - range->max);
		else
			range->min = (uint16_t)(16 + 8 * i);
		range->max = (uint16_t)(16 + 8 * i);
		found = 1;
	}
	return found;
}

static struct rte_cryptodev_capabilities *add_auth(struct rte_cryptodev_capabilities *c, enum rte_crypto_auth_algorithm algorithm, uint16_t key, uint16_t digest)
{
	c->op = RTE_CRYPTO_OP_TYPE_SYMMETRIC;
	c->sym.xform_type = RTE_CRYPTO_SYM_XFORM_AUTH;
	c->sym.auth.algo = algorithm;
	c->sym.auth.block_size = 64;
	c->sym.auth.key_size.min = c->sym.auth.key_size.max = key;
	c->sym.auth.digest_size.min = c->sym.auth.digest_size.max = digest;
	return c + 1;
}

static void describe_crypto(struct sp_nic *nic)
{
	const uint32_t sha1 = nic->suites & 7u << SP_NIC_CBC_128_SHA1, sha256 = nic->suites & 7u << SP_NIC_CBC_128_SHA256;
	struct rte_cryptodev_capabilities *c = nic->crypto;

	if (key_range(nic->suites, SP_NIC_GCM_128, &c->sym.aead.key_size)) {
		c->op = RTE_CRYPTO_OP_TYPE_SYMMETRIC;
		c->sym.xform_type = RTE_CRYPTO_SYM_XFORM_AEAD;
		c->sym.aead.algo = RTE_CRYPTO_AEAD_AES_GCM;
		c->sym.aead.block_size = 16;
		c->sym.aead.digest_size = (struct rte_crypto_param_range){.min = 16, .max = 16};
		c->sym.aead.aad_size = (struct rte_crypto_param_range){.min = 8, .max = 12, .increment = 4};
		c->sym.aead.iv_size = (struct rte_crypto_param_range){.min = 12, .max = 12};
		c++;
	}
	if (key_range(sha1 >> SP_NIC_CBC_128_SHA1 | sha256 >> SP_NIC_CBC_128_SHA256, 0, &c->sym.cipher.key_size)) {
		c->op = RTE_CRYPTO_OP_TYPE_SYMMETRIC;
		c->sym.xform_type = RTE_CRYPTO_SYM_XFORM_CIPHER;
		c->sym.cipher.algo = RTE_CRYPTO_CIPHER_AES_CBC;
		c->sym.cipher.block_size = 16;
		c->sym.cipher.iv_size = (struct rte_crypto_param_range){.min = 16, .max = 16};
		c++;
	}
	if (sha1 != 0)
		c = add_auth(c, RTE_CRYPTO_AUTH_SHA1_HMAC, 20, 12);
	if (sha256 != 0)
		c = add_auth(c, RTE_CRYPTO_AUTH_SHA256_HMAC, 32, 16);
	c->op = RTE_CRYPTO_OP_TYPE_UNDEFINED;
}

/* Inline crypto leaves numbers to the program, so it knows no upper half of one; all of the header is the program's too. */
static void describe(struct sp_nic *nic, struct rte_security_capability *c, enum rte_security_session_action_type action, int egress, int transport)
{
	const int protocol = action == RTE_SECURITY_ACTION_TYPE_INLINE_PROTOCOL;

	c->action = action;
	c->protocol = RTE_SECURITY_PROTOCOL_IPSEC;
	c->ipsec.proto = RTE_SECURITY_IPSEC_SA_PROTO_ESP;
	c->ipsec.mode = transport ? RTE_SECURITY_IPSEC_SA_MODE_TRANSPORT : RTE_SECURITY_IPSEC_SA_MODE_TUNNEL;
	c->ipsec.direction = egress ? RTE_SECURITY_IPSEC_SA_DIR_EGRESS : RTE_SECURITY_IPSEC_SA_DIR_INGRESS;
	c->ipsec.options.udp_encap = 1;
	c->ipsec.options.esn = protocol;
	c->ipsec.options.ecn = protocol && !transport;
	c->ipsec.options.copy_dscp = protocol && egress && !transport;
	c->ipsec.options.copy_df = protocol && egress && !transport;
	c->ipsec.replay_win_sz_max = protocol && !egress ? SP_NIC_WINDOW_MAX : 0;
	c->crypto_capabilities = nic->crypto;
	c->ol_flags = egress ? RTE_SECURITY_TX_OLOAD_NEED_MDATA : 0;
}

void sp_nic_describe(struct sp_nic *nic, const struct sp_nic_options *options)
{
	struct rte_security_capability *c = nic->security;

	describe_crypto(nic);
	for (int i = 0; i < 4 && options->protocol; i++)
		describe(nic, c++, RTE_SECURITY_ACTION_TYPE_INLINE_PROTOCOL, i & 1, i >> 1);
	for (int i = 0; i < 4 && options->crypto; i++)
		describe(nic, c++, RTE_SECURITY_ACTION_TYPE_INLINE_CRYPTO, i & 1, i >> 1);
	c->action = RTE_SECURITY_ACTION_TYPE_NONE;
}
