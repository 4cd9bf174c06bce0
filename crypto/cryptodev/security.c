#include "security.h"

#include <errno.h>
#include <string.h>

#include <rte_cryptodev.h>
#include <rte_errno.h>
#include <rte_security.h>
#include <rte_security_driver.h>

#include "session.h"

void *spcrypto_security_of(uint8_t device)
{
	return rte_cryptodev_get_sec_ctx(device);
}

static int known(enum rte_security_session_action_type action)
{
	return action == RTE_SECURITY_ACTION_TYPE_INLINE_CRYPTO || action == RTE_SECURITY_ACTION_TYPE_INLINE_PROTOCOL ||
	       action == RTE_SECURITY_ACTION_TYPE_LOOKASIDE_PROTOCOL;
}

int spcrypto_capability(void *context, uint32_t place, struct spcrypto_capability *out)
{
	const struct rte_security_capability *c = rte_security_capabilities_get(context);

	if (c == NULL)
		return -ENOENT;
	for (uint32_t i = 0; i <= place; i++, c++)
		if (c->action == RTE_SECURITY_ACTION_TYPE_NONE)
			return -ENOENT;
	c--;
	memset(out, 0, sizeof(*out));
	if (c->protocol != RTE_SECURITY_PROTOCOL_IPSEC || c->ipsec.proto != RTE_SECURITY_IPSEC_SA_PROTO_ESP || !known(c->action))
		return -ENOTSUP;
	out->action = c->action;
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

struct rte_mempool *spcrypto_security_sessions(void *context, const char *name, uint32_t count, int socket, int *error)
{
	/* No per-lcore cache: sessions are made by control threads, which have none. One at a time: the flags make it a ring, whose order spcrypto_clear_last knows. */
	struct rte_mempool *pool = rte_mempool_create(name, count, rte_security_session_get_size(context), 0, 0, NULL, NULL, NULL, NULL, socket,
						      RTE_MEMPOOL_F_SP_PUT | RTE_MEMPOOL_F_SC_GET);

	*error = pool == NULL ? -rte_errno : 0;
	return pool;
}

static void fill_tunnel(struct rte_security_ipsec_tunnel_param *tunnel, const struct spcrypto_esp *sa)
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

void *spcrypto_security_create(void *context, struct rte_mempool *sessions, const struct spcrypto_esp *sa, struct rte_crypto_sym_xform *xform)
{
	struct rte_security_session_conf conf;
	struct rte_security_ipsec_xform *ipsec = &conf.ipsec;
	void *session;

	memset(&conf, 0, sizeof(conf));
	conf.action_type = sa->action;
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
		spcrypto_clear_last(sessions, sizeof(struct rte_security_session));
	explicit_bzero(&conf, sizeof(conf)); /* the salt */
	return session;
}

int spcrypto_security_destroy(void *context, void *session)
{
	int ret = rte_security_session_destroy(context, session);

	/* It is in the pool already, from which nobody takes meanwhile: the caller's lock is for all. */
	if (ret == 0)
		forget(session, rte_security_session_get_size(context));
	return ret;
}

void spcrypto_security_forget(void *context, void *session)
{
	forget(session, rte_security_session_get_size(context));
}
