#define _GNU_SOURCE /* RTLD_NEXT */

#include "wholedev.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <rte_cryptodev.h>
#include <rte_security.h>
#include <rte_security_driver.h>

#define DEVICES 64
#define PAIRS 8
#define ROOM 64 /* operations of ESP in a queue pair */

struct pair {
	void *driver; /* its queue pair */
	struct rte_crypto_op *done[ROOM];
	uint32_t n;
};

struct device {
	char name[RTE_CRYPTODEV_NAME_MAX_LEN];
	struct rte_security_ctx context;
	struct rte_security_capability capabilities[3];
	struct rte_cryptodev_capabilities suites[5];
	enqueue_pkt_burst_t enqueue;
	dequeue_pkt_burst_t dequeue;
	uint32_t nth, asked, sessions;
	uint16_t n_pairs;
	uint8_t late, keep;
	struct pair pairs[PAIRS];
};

/* Those that are offered; a place without a name is free. */
static struct device devices[DEVICES];
static uint32_t n_devices;

static struct device *named(const char *name)
{
	for (uint32_t i = 0; i < n_devices; i++)
		if (strcmp(devices[i].name, name) == 0)
			return &devices[i];
	return NULL;
}

/* ---- sessions ---- */

static unsigned int session_size(void *device)
{
	(void)device;
	return sizeof(struct wholedev_session);
}

static const struct rte_security_capability *capabilities(void *device)
{
	return ((struct device *)device)->capabilities;
}

static const struct rte_crypto_sym_xform *part(const struct rte_crypto_sym_xform *xform, enum rte_crypto_sym_xform_type type)
{
	while (xform != NULL && xform->type != type)
		xform = xform->next;
	return xform;
}

static void add_key(struct wholedev_session *s, const uint8_t *key, uint32_t length)
{
	memcpy(s->keymat + s->keymat_length, key, RTE_MIN(length, (uint32_t)(sizeof(s->keymat) - s->keymat_length)));
	s->keymat_length = (uint8_t)RTE_MIN(s->keymat_length + length, (uint32_t)sizeof(s->keymat));
}

static int read_keys(struct wholedev_session *s, const struct rte_security_session_conf *conf)
{
	const struct rte_crypto_sym_xform *aead = part(conf->crypto_xform, RTE_CRYPTO_SYM_XFORM_AEAD);
	const struct rte_crypto_sym_xform *cipher = part(conf->crypto_xform, RTE_CRYPTO_SYM_XFORM_CIPHER), *auth = part(conf->crypto_xform, RTE_CRYPTO_SYM_XFORM_AUTH);

	if (aead != NULL) {
		s->suite = WHOLEDEV_GCM;
		s->key_length = (uint8_t)aead->aead.key.length;
		add_key(s, aead->aead.key.data, aead->aead.key.length);
		add_key(s, (const uint8_t *)&conf->ipsec.salt, sizeof(conf->ipsec.salt));
		return 0;
	}
	if (cipher == NULL || auth == NULL)
		return -ENOTSUP;
	s->suite = auth->auth.algo == RTE_CRYPTO_AUTH_SHA1_HMAC ? WHOLEDEV_CBC_SHA1 : WHOLEDEV_CBC_SHA256;
	s->key_length = (uint8_t)cipher->cipher.key.length;
	add_key(s, cipher->cipher.key.data, cipher->cipher.key.length);
	add_key(s, auth->auth.key.data, auth->auth.key.length);
	return 0;
}

static void read_tunnel(struct wholedev_session *s, const struct rte_security_ipsec_tunnel_param *tunnel)
{
	s->ipv6 = tunnel->type == RTE_SECURITY_IPSEC_TUNNEL_IPV6;
	if (s->ipv6) {
		memcpy(s->source, &tunnel->ipv6.src_addr, 16);
		memcpy(s->destination, &tunnel->ipv6.dst_addr, 16);
		s->dscp = tunnel->ipv6.dscp;
		s->ttl = tunnel->ipv6.hlimit;
		return;
	}
	memcpy(s->source, &tunnel->ipv4.src_ip, 4);
	memcpy(s->destination, &tunnel->ipv4.dst_ip, 4);
	s->dscp = tunnel->ipv4.dscp;
	s->df = tunnel->ipv4.df;
	s->ttl = tunnel->ipv4.ttl;
}

static int session_create(void *device, struct rte_security_session_conf *conf, struct rte_security_session *session)
{
	struct wholedev_session *s = SECURITY_GET_SESS_PRIV(session);
	const struct rte_security_ipsec_xform *ipsec = &conf->ipsec;
	struct device *d = device;
	const int fails = d->nth > 0 && ++d->asked % d->nth == 0;
	int status;

	if (fails && !d->late)
		return -EIO;
	if (conf->action_type != RTE_SECURITY_ACTION_TYPE_LOOKASIDE_PROTOCOL || conf->protocol != RTE_SECURITY_PROTOCOL_IPSEC || ipsec->proto != RTE_SECURITY_IPSEC_SA_PROTO_ESP ||
	    ipsec->mode != RTE_SECURITY_IPSEC_SA_MODE_TUNNEL || ipsec->replay_win_sz > WHOLEDEV_WINDOW_MAX)
		return -ENOTSUP;
	memset(s, 0, sizeof(*s));
	s->spi = ipsec->spi;
	s->window = ipsec->replay_win_sz;
	s->outbound = ipsec->direction == RTE_SECURITY_IPSEC_SA_DIR_EGRESS;
	s->udp = ipsec->options.udp_encap;
	s->esn = ipsec->options.esn;
	s->ecn = ipsec->options.ecn;
	s->copy_dscp = ipsec->options.copy_dscp;
	s->copy_df = ipsec->options.copy_df;
	s->source_port = ipsec->udp.sport;
	s->destination_port = ipsec->udp.dport;
	s->next = RTE_MAX(ipsec->esn.value, 1u);
	read_tunnel(s, &ipsec->tunnel);
	status = read_keys(s, conf);
	if (status != 0 || fails)
		return status != 0 ? status : -EIO;
	d->sessions++;
	return 0;
}

/* The keys stay: a driver need not wipe them. */
static int session_destroy(void *device, struct rte_security_session *session)
{
	struct device *d = device;

	(void)session;
	if (d->keep)
		return -EBUSY;
	d->sessions--;
	return 0;
}

static const struct rte_security_ops operations = {
	.session_create = session_create,
	.session_get_size = session_size,
	.session_destroy = session_destroy,
	.capabilities_get = capabilities,
};

/* ---- what it says of itself ---- */

static struct rte_cryptodev_capabilities *add_auth(struct rte_cryptodev_capabilities *c, enum rte_crypto_auth_algorithm algorithm, uint16_t key, uint16_t digest)
{
	c->op = RTE_CRYPTO_OP_TYPE_SYMMETRIC;
	c->sym.xform_type = RTE_CRYPTO_SYM_XFORM_AUTH;
	c->sym.auth.algo = algorithm;
	c->sym.auth.key_size = (struct rte_crypto_param_range){.min = key, .max = key};
	c->sym.auth.digest_size = (struct rte_crypto_param_range){.min = digest, .max = digest};
	return c + 1;
}

static void describe_suites(struct rte_cryptodev_capabilities *c, const struct wholedev_options *options)
{
	const struct rte_crypto_param_range keys = {.min = 16, .max = options->no_key_256 ? 16 : 32, .increment = options->no_key_256 ? 0 : 16};

	c->op = RTE_CRYPTO_OP_TYPE_SYMMETRIC;
	c->sym.xform_type = RTE_CRYPTO_SYM_XFORM_AEAD;
	c->sym.aead.algo = RTE_CRYPTO_AEAD_AES_GCM;
	c->sym.aead.key_size = keys;
	c->sym.aead.digest_size = (struct rte_crypto_param_range){.min = 16, .max = 16};
	c->sym.aead.aad_size = (struct rte_crypto_param_range){.min = 8, .max = 12, .increment = 4};
	c->sym.aead.iv_size = (struct rte_crypto_param_range){.min = 12, .max = 12};
	c++;
	if (!options->no_chain) {
		c->op = RTE_CRYPTO_OP_TYPE_SYMMETRIC;
		c->sym.xform_type = RTE_CRYPTO_SYM_XFORM_CIPHER;
		c->sym.cipher.algo = RTE_CRYPTO_CIPHER_AES_CBC;
		c->sym.cipher.key_size = keys;
		c->sym.cipher.iv_size = (struct rte_crypto_param_range){.min = 16, .max = 16};
		c = add_auth(c + 1, RTE_CRYPTO_AUTH_SHA1_HMAC, 20, 12);
		c = add_auth(c, RTE_CRYPTO_AUTH_SHA256_HMAC, 32, 16);
	}
	c->op = RTE_CRYPTO_OP_TYPE_UNDEFINED;
}

static void describe(struct device *d, struct rte_security_capability *c, int outbound, const struct wholedev_options *options)
{
	c->action = RTE_SECURITY_ACTION_TYPE_LOOKASIDE_PROTOCOL;
	c->protocol = RTE_SECURITY_PROTOCOL_IPSEC;
	c->ipsec.proto = RTE_SECURITY_IPSEC_SA_PROTO_ESP;
	c->ipsec.mode = RTE_SECURITY_IPSEC_SA_MODE_TUNNEL;
	c->ipsec.direction = outbound ? RTE_SECURITY_IPSEC_SA_DIR_EGRESS : RTE_SECURITY_IPSEC_SA_DIR_INGRESS;
	c->ipsec.options.esn = !options->no_esn;
	c->ipsec.options.udp_encap = !options->no_udp;
	c->ipsec.options.ecn = !options->no_ecn;
	c->ipsec.options.copy_dscp = outbound && !options->no_copy_dscp;
	c->ipsec.options.copy_df = outbound && !options->no_copy_df;
	c->ipsec.replay_win_sz_max = outbound ? 0 : options->window != 0 ? options->window : WHOLEDEV_WINDOW_MAX;
	c->crypto_capabilities = d->suites;
}

int wholedev_offer(const char *name, const struct wholedev_options *options)
{
	struct device *d = named("");
	struct rte_security_capability *c;

	if ((d == NULL && n_devices == DEVICES) || strlen(name) >= sizeof(d->name) || name[0] == '\0' || named(name) != NULL)
		return -EINVAL;
	if (d == NULL)
		d = &devices[n_devices++];
	memset(d, 0, sizeof(*d));
	c = d->capabilities;
	memcpy(d->name, name, strlen(name));
	d->context.device = d;
	d->context.ops = &operations;
	describe_suites(d->suites, options);
	if (!options->no_outbound)
		describe(d, c++, 1, options);
	if (!options->no_inbound)
		describe(d, c++, 0, options);
	c->action = RTE_SECURITY_ACTION_TYPE_NONE;
	return 0;
}

void wholedev_withdraw(const char *name)
{
	struct device *d = named(name);

	if (d != NULL)
		memset(d, 0, sizeof(*d));
}

void wholedev_fail_sessions(const char *name, uint32_t nth, int late)
{
	struct device *d = named(name);

	d->nth = nth;
	d->asked = 0;
	d->late = late != 0;
}

void wholedev_keep_sessions(const char *name, int keep)
{
	named(name)->keep = keep != 0;
}

uint32_t wholedev_sessions(const char *name)
{
	return named(name)->sessions;
}

/* In place of the library's, since the binary comes first. */
void *rte_cryptodev_get_sec_ctx(uint8_t id)
{
	void *(*next)(uint8_t);
	const char *name = rte_cryptodev_name_get(id);
	struct device *d = name == NULL ? NULL : named(name);

	if (d != NULL)
		return &d->context;
	*(void **)&next = dlsym(RTLD_NEXT, "rte_cryptodev_get_sec_ctx");
	if (next == NULL)
		abort();
	return next(id);
}

/* ---- operations ---- */

static struct device *of_pair(void *driver, struct pair **pair)
{
	for (uint32_t i = 0; i < n_devices; i++)
		for (uint32_t j = 0; j < devices[i].n_pairs; j++)
			if (devices[i].pairs[j].driver == driver) {
				*pair = &devices[i].pairs[j];
				return &devices[i];
			}
	abort();
}

static void work(struct rte_crypto_op *op)
{
	op->status = wholedev_work(SECURITY_GET_SESS_PRIV((struct rte_security_session *)op->sym->session), op->sym->m_src);
}

static uint16_t enqueue(void *driver, struct rte_crypto_op **ops, uint16_t n)
{
	struct pair *p;
	const struct device *d = of_pair(driver, &p);
	uint16_t taken = 0;

	for (; taken < n; taken++) {
		if (ops[taken]->sess_type != RTE_CRYPTO_OP_SECURITY_SESSION) {
			if (d->enqueue(driver, ops + taken, 1) == 0)
				break;
			continue;
		}
		if (p->n == ROOM)
			break;
		work(ops[taken]);
		p->done[p->n++] = ops[taken];
	}
	return taken;
}

static uint16_t dequeue(void *driver, struct rte_crypto_op **ops, uint16_t n)
{
	struct pair *p;
	const struct device *d = of_pair(driver, &p);
	const uint16_t own = (uint16_t)RTE_MIN(n, p->n);

	memcpy(ops, p->done, own * sizeof(*ops));
	p->n -= own;
	memmove(p->done, p->done + own, p->n * sizeof(*ops));
	return (uint16_t)(own + d->dequeue(driver, ops + own, (uint16_t)(n - own)));
}

int wholedev_attach(const char *name, uint16_t queue_pairs)
{
	const int id = rte_cryptodev_get_dev_id(name);
	struct device *d = named(name);
	struct rte_crypto_fp_ops *functions;

	if (id < 0 || d == NULL || queue_pairs > PAIRS)
		return -EINVAL;
	functions = &rte_crypto_fp_ops[id];
	d->n_pairs = queue_pairs;
	for (uint16_t i = 0; i < queue_pairs; i++)
		d->pairs[i] = (struct pair){.driver = functions->qp.data[i]};
	d->enqueue = functions->enqueue_burst;
	d->dequeue = functions->dequeue_burst;
	functions->enqueue_burst = enqueue;
	functions->dequeue_burst = dequeue;
	return 0;
}
