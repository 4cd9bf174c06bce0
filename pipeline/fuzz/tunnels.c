/* SPDX-License-Identifier: Apache-2.0 */

/* The SAs of the two gateways: one tunnel of every kind, all in a table. */

#include <stdio.h>
#include <stdlib.h>

#include "../inline.h"
#include "keys.h"
#include "nic.h"

#define SALT_BE 0x01020304
#define NARROW 600 /* bytes of outer packet */
#define AH_SLOT 64 /* from a bundle's SPI to that of its AH */

#define CARD_CRYPTO 1
#define CARD_PROTOCOL 2

#define PLAIN .dscp = SP_DSCP_COPY, .ttl = 64
#define AES_GCM(how, tag) .kind = SP_SA_AEAD_##how, .cipher = SP_CIPHER_GCM, .key = 16, .iv = 8, .icv = (tag), .block = 4
#define CHAIN(authentication, tag) .kind = SP_SA_CHAIN_ASYNC, .cipher = SP_CIPHER_CBC, .key = 16, .integ_key = (authentication), .iv = 16, .icv = (tag), .block = 16
#define JOB(cipher_mode, hash_alg, shape, key_length, hash_key, tag) \
	.kind = SP_SA_JOB, .mode = IMB_CIPHER_##cipher_mode, .hash = IMB_AUTH_##hash_alg, .cipher = SP_CIPHER_##shape, .key = (key_length), .integ_key = (hash_key), .icv = (tag)
#define NONCE .iv = 8, .block = 4, .salted = 1
#define ITSELF .iv = 0, .block = 4

static const struct form forms[TUNNELS] = {
	[TUNNEL_GCM] = {AES_GCM(DIRECT, 16)},
	[TUNNEL_GCM_ESN] = {AES_GCM(DIRECT, 16), .esn = 1},
	[TUNNEL_GCM_UDP] = {AES_GCM(CPU, 16), .udp = 1},
	[TUNNEL_GCM_ASYNC] = {AES_GCM(ASYNC, 16)},
	[TUNNEL_CBC_SHA1] = {CHAIN(20, 12)},
	[TUNNEL_CBC_SHA256] = {CHAIN(32, 16)},
	[TUNNEL_CBC_SHA256_ESN] = {CHAIN(32, 16), .esn = 1},
	[TUNNEL_LAST] = {AES_GCM(CPU, 16)},
	[TUNNEL_GCM_SHORT] = {AES_GCM(DIRECT, 8)},
	[TUNNEL_PADDED] = {AES_GCM(DIRECT, 12), .window = 32, .encapsulation = {PLAIN, .tfc_pad = 300}},
	[TUNNEL_JOB_CBC] = {JOB(CBC, HMAC_SHA_256, CBC, 16, 32, 16), .iv = 16, .block = 16, .esn = 1, .window = 64},
	[TUNNEL_JOB_CCM] = {JOB(CCM, AES_CCM, CCM, 16, 0, 8), NONCE},
	[TUNNEL_JOB_CHACHA] = {JOB(CHACHA20_POLY1305, CHACHA20_POLY1305, GCM, 32, 0, 16), NONCE, .udp = 1},
	[TUNNEL_JOB_CTR] = {JOB(CNTR, HMAC_SHA_1, CTR, 16, 20, 12), NONCE, .encapsulation = {.dscp = 46, .ecn_off = 1, .df = SP_DF_SET, .ttl = 9, .mss = 900}},
	[TUNNEL_JOB_3DES] = {JOB(DES3, MD5, CBC, 24, 16, 12), .iv = 8, .block = 8},
	[TUNNEL_JOB_NULL] = {JOB(NULL, AES_XCBC, NULL, 0, 16, 12), ITSELF, .hard = 8},
	[TUNNEL_JOB_GMAC] = {JOB(NULL, AES_GMAC_128, GMAC, 16, 0, 16), NONCE, .esn = 1},
	[TUNNEL_WIDE] = {AES_GCM(DIRECT, 16), .wide = 1},
	[TUNNEL_WIDE_UDP] = {AES_GCM(CPU, 16), .wide = 1, .udp = 1},
	[TUNNEL_TRANSPORT] = {AES_GCM(DIRECT, 16), .transport = 1},
	[TUNNEL_TRANSPORT6] = {JOB(CBC, HMAC_SHA_1, CBC, 16, 20, 12), .iv = 16, .block = 16, .wide = 1, .transport = 1, .udp = 1},
	[TUNNEL_AH] = {JOB(NULL, HMAC_SHA_256, NULL, 0, 32, 16), ITSELF, .protocol = SP_SA_AH, .window = 32},
	[TUNNEL_AH6] = {JOB(NULL, AES_GMAC_128, GMAC_AH, 16, 0, 16), NONCE, .protocol = SP_SA_AH, .wide = 1, .esn = 1},
	[TUNNEL_AH_TRANSPORT6] = {JOB(NULL, AES_CMAC, NULL, 0, 16, 12), ITSELF, .protocol = SP_SA_AH, .wide = 1, .transport = 1},
	[TUNNEL_BUNDLE] = {AES_GCM(CPU, 16), .bundle = 1},
	[TUNNEL_BUNDLE6] = {JOB(NULL, HMAC_SHA_256, NULL, 0, 32, 16), ITSELF, .bundle = 1, .wide = 1, .transport = 1, .esn = 1},
	[TUNNEL_BEFORE] = {AES_GCM(DIRECT, 16), .path = NARROW, .encapsulation = {PLAIN, .df = SP_DF_CLEAR}},
	[TUNNEL_AFTER] = {AES_GCM(DIRECT, 16), .path = NARROW, .encapsulation = {PLAIN, .df = SP_DF_CLEAR, .fragment_after = 1}},
	[TUNNEL_CLAMP] = {AES_GCM(DIRECT, 16), .encapsulation = {PLAIN, .mss_automatic = 1}},
	[TUNNEL_INLINE] = {AES_GCM(DIRECT, 16), .card = CARD_CRYPTO},
	[TUNNEL_INLINE_CBC] = {JOB(CBC, HMAC_SHA_256, CBC, 16, 32, 16), .iv = 16, .block = 16, .esn = 1, .udp = 1, .card = CARD_CRYPTO},
	[TUNNEL_CARD] = {AES_GCM(DIRECT, 16), .hard = 12, .card = CARD_PROTOCOL},
	[TUNNEL_CARD6] = {JOB(CBC, HMAC_SHA_1, CBC, 16, 20, 12), .iv = 16, .block = 16, .wide = 1, .card = CARD_PROTOCOL},
};

/* The AH of bundles. */
static const struct form around = {JOB(NULL, HMAC_SHA_1, NULL, 0, 20, 12), ITSELF, .protocol = SP_SA_AH};

static uint8_t limits[TUNNELS]; /* types of ICMP, 0: none */
static uint64_t own_sequence;   /* the peer has one window for all SAs of a tunnel */

/* SAs that are out of their tables. */
static struct {
	struct sp_sa_in *in[512];
	struct sp_sa_out *out[512];
	uint32_t n_in, n_out;
} grave;

int tunnel_transport(enum tunnel t)
{
	return forms[t].transport;
}

int tunnel_wide(enum tunnel t)
{
	return forms[t].wide;
}

uint8_t tunnel_protocol(enum tunnel t)
{
	if (forms[t].bundle || forms[t].protocol == SP_SA_AH)
		return SP_PROTOCOL_AH;
	return forms[t].udp ? SP_PROTOCOL_UDP : SP_PROTOCOL_ESP;
}

uint32_t tunnel_end(const struct gateway *g, enum tunnel t)
{
	if (!forms[t].transport)
		return g->wan;
	return (g == &ours ? OUR_NET : PEER_NET(t)) | TRANSPORT_HOST;
}

/* ---- SAs ---- */

void tunnels_bury(void)
{
	while (grave.n_in > 0)
		sp_sa_in_free(grave.in[--grave.n_in]);
	while (grave.n_out > 0) {
		struct sp_sa_out *sa = grave.out[--grave.n_out];

		if (sa->inlined)
			nic_close(sa->inline_->session);
		sp_sa_out_free(sa);
	}
}

static void bury_in(struct sp_sa_in *sa)
{
	CHECK(grave.n_in < RTE_DIM(grave.in), "too many SAs");
	if (sa != NULL)
		grave.in[grave.n_in++] = sa;
}

static void bury_out(struct sp_sa_out *sa)
{
	CHECK(grave.n_out < RTE_DIM(grave.out), "too many SAs");
	if (sa != NULL)
		grave.out[grave.n_out++] = sa;
}

/* What an SA of this gateway carries: its own hosts and, through the hub, those of all other tunnels. */
static const struct sp_selector *selector_of(const struct gateway *g, enum tunnel t, int outbound)
{
	static struct sp_selector s;
	uint32_t local_first = g == &ours ? 0x0a000000u : PEER_NET(t), local_last = g == &ours ? 0x0affffffu : PEER_NET(t) + 255;
	uint32_t remote_first = g == &ours ? PEER_NET(t) : 0x0a000000u, remote_last = g == &ours ? PEER_NET(t) + 255 : 0x0affffffu;

	s = (struct sp_selector){.source_port_last = UINT16_MAX, .destination_port_last = UINT16_MAX};
	s.source_first = outbound ? local_first : remote_first;
	s.source_last = outbound ? local_last : remote_last;
	s.destination_first = outbound ? remote_first : local_first;
	s.destination_last = outbound ? remote_last : local_last;
	if (g == &ours && limits[t] != 0) {
		s.protocol = 1;
		s.source_port_first = (uint16_t)(limits[t] << 8);
		s.source_port_last = s.source_port_first | 255;
		s.destination_port_first = s.destination_port_last = SP_ICMP_TYPED;
	}
	return &s;
}

static const struct sp_selector6 *wide_selector(const struct sp_selector *s)
{
	static struct sp_selector6 wide;
	const uint64_t high = (uint64_t)WIDE_FIRST(s->source_first) << 32;
	const uint16_t echo = s->protocol != 0 ? (128 - 8) << 8 : 0; /* of ICMPv6 the requests are type 128 */

	wide = (struct sp_selector6){
		.source_first = {high, s->source_first},
		.source_last = {high, s->source_last},
		.destination_first = {high, s->destination_first},
		.destination_last = {high, s->destination_last},
		.source_port_first = (uint16_t)(s->source_port_first + echo),
		.source_port_last = (uint16_t)(s->source_port_last + echo),
		.destination_port_first = s->destination_port_first,
		.destination_port_last = s->destination_port_last,
		.protocol = s->protocol != 0 ? SP_PROTOCOL_ICMPV6 : 0,
	};
	return &wide;
}

static void fill_ends(struct sp_sa_config *c, const struct gateway *g, enum tunnel t)
{
	const struct gateway *other = g == &ours ? &peer : &ours;

	if (forms[t].wide) {
		widen(c->source, tunnel_end(g, t));
		widen(c->destination, tunnel_end(other, t));
		return;
	}
	sp_store32(c->source, rte_cpu_to_be_32(tunnel_end(g, t)));
	sp_store32(c->destination, rte_cpu_to_be_32(tunnel_end(other, t)));
}

static struct sp_sa_config config_of(const struct form *f, const struct gateway *g, enum tunnel t, int outbound)
{
	struct sp_sa_config c = {
		.selectors = selector_of(g, t, outbound),
		.selectors6 = wide_selector(selector_of(g, t, outbound)),
		.n_selectors = 1,
		.n_selectors6 = 1,
		.encapsulation = f->encapsulation,
		.first_sequence = t == TUNNEL_LAST ? UINT32_MAX - 20 : 1,
		.salt_be = SALT_BE,
		.source_port = 4500,
		.destination_port = 4500,
		.cell = (uint16_t)t,
		.adjacency = forms[t].wide ? ADJACENCY_WAN6 : ADJACENCY_WAN,
		.window = f->window != 0 ? f->window : 1024,
		.kind = f->kind,
		.cipher = f->cipher,
		.device = key_device(f),
		.key_length = f->key,
		.iv_length = f->iv,
		.icv_length = f->icv,
		.block = f->block,
		.udp = f->udp,
		.esn = forms[t].esn,
		.owner = outbound ? SP_ANY_WORKER : (uint8_t)(t % g->workers),
		.outer = forms[t].wide ? SP_IPV6 : SP_IPV4,
		.protocol = f->protocol,
		.transport = forms[t].transport,
		.follow = f->udp && !f->wide,
		.soft_packets = 1000,
		.soft_bytes = 100000,
		.hard_packets = f->hard,
	};

	if (c.encapsulation.ttl == 0)
		c.encapsulation = (struct sp_encapsulation){PLAIN};
	if (f->kind == SP_SA_AEAD_DIRECT)
		c.gcm = key_function(g == &ours, outbound); /* so that each is held against the other */
	fill_ends(&c, g, t);
	return c;
}

static struct sp_sa_config tunnel_config(const struct gateway *g, enum tunnel t, int outbound)
{
	const struct gateway *other = g == &ours ? &peer : &ours;
	struct sp_sa_config c = config_of(&forms[t], g, t, outbound);

	c.session = outbound ? g->encrypt[t] : g->decrypt[t];
	c.spi = outbound ? other->spi[t] : g->spi[t];
	c.subject = MAX_COUNTERS + 2 * (uint32_t)t + (uint32_t)outbound;
	c.partner = forms[t].bundle ? (outbound ? other : g)->ah_spi[t] : 0;
	return c;
}

static struct sp_sa_config ah_config(const struct gateway *g, enum tunnel t, int outbound)
{
	const struct gateway *other = g == &ours ? &peer : &ours;
	struct sp_sa_config c = config_of(&around, g, t, outbound);

	c.session = outbound ? g->ah_make[t] : g->ah_verify[t];
	c.spi = outbound ? other->ah_spi[t] : g->ah_spi[t];
	c.partner = g->spi[t];
	return c;
}

/* At our end the SA has a session of the NIC beside the CPU's. */
static void enter_card(const struct gateway *g, enum tunnel t, struct sp_sa_config *c, void *session)
{
	if (!g->card || forms[t].card == 0)
		return;
	c->inline_session = session;
	c->inline_context = nic_context(t == TUNNEL_CARD);
	c->inline_device = c->inline_port = g->device[UNPROTECTED];
	c->inline_protocol = forms[t].card == CARD_PROTOCOL;
	c->inline_metadata = 1;
}

static void install_in(const struct gateway *g, const struct sp_sa_config *c)
{
	char error[256] = "";
	struct sp_sa_in *sa = sp_sa_in_create(g->dp, c, error, sizeof(error));

	CHECK(sa != NULL, "%s", error);
	bury_in(sp_sa_in_retire(g->dp, c->spi));
	CHECK(sp_sa_in_publish(g->dp, sa) == 0, "SPI %08x", c->spi);
}

static struct sp_sa_out *create_out(const struct gateway *g, enum tunnel t, uint64_t first_sequence, uint8_t owner)
{
	struct sp_sa_config c = tunnel_config(g, t, 1), ah = ah_config(g, t, 1);
	char error[256] = "";
	struct sp_sa_out *sa;

	if (forms[t].bundle)
		c.ah = &ah;
	if (first_sequence != 0)
		c.first_sequence = first_sequence;
	c.owner = owner;
	sa = sp_sa_out_create(g->dp, &c, error, sizeof(error));
	if (g->card && forms[t].card != 0 && sa != NULL) {
		enter_card(g, t, &c, nic_open(t, sa, forms[t].card == CARD_PROTOCOL, c.first_sequence));
		sa = sp_sa_out_create(g->dp, &c, error, sizeof(error));
		nic_attach(c.inline_session, sa);
	}
	CHECK(sa != NULL, "%s", error);
	sp_sa_out_set_path_mtu(sa, forms[t].path);
	return sa;
}

static void install(const struct gateway *g, enum tunnel t)
{
	struct sp_sa_config c = tunnel_config(g, t, 0);

	enter_card(g, t, &c, nic_context(0));
	install_in(g, &c);
	if (forms[t].bundle) {
		c = ah_config(g, t, 0);
		install_in(g, &c);
	}
	bury_out(sp_cell_publish(g->dp, (uint16_t)t, create_out(g, t, 0, SP_ANY_WORKER)));
}

void tunnel_reset(enum tunnel t)
{
	install(&ours, t);
	install(&peer, t);
}

void tunnel_withdraw(enum tunnel t)
{
	bury_out(sp_cell_publish(ours.dp, (uint16_t)t, NULL));
}

void tunnel_lose(enum tunnel t)
{
	struct sp_sa_out *sa = sp_cell_current(ours.dp, (uint16_t)t);

	if (sa != NULL)
		sp_sa_out_lose(sa);
}

void tunnel_move(enum tunnel t, uint32_t where)
{
	struct sp_sa_out *sa = sp_cell_current(ours.dp, (uint16_t)t);
	uint32_t local = where & 1 ? OUR_WAN + 2 : OUR_WAN, remote = where & 2 ? PEER_WAN + 2 : PEER_WAN;
	uint8_t from[SP_IPV6_ADDRESS] = {0}, to[SP_IPV6_ADDRESS] = {0};

	if (sa == NULL || forms[t].transport)
		return;
	if (forms[t].wide) {
		widen(from, local);
		widen(to, remote);
	} else {
		sp_store32(from, rte_cpu_to_be_32(local));
		sp_store32(to, rte_cpu_to_be_32(remote));
	}
	CHECK(sp_sa_out_move(ours.dp, sa, from, to, where & 4 ? 4501 : 4500) == 0, "tunnel %u", t);
}

void tunnel_limit(enum tunnel t, uint8_t type)
{
	limits[t] = type;
	tunnel_reset(t);
}

/* Its numbers are far above those of the others: the peer's window takes either for old, and none twice. Those of 64 bits would be of another cycle. */
void tunnel_own(enum tunnel t, uint32_t worker, int none)
{
	struct sp_sa_out *sa = NULL;

	if (forms[t].esn || t == TUNNEL_LAST)
		return;
	if (!none)
		sa = create_out(&ours, t, own_sequence += 1 << 16, (uint8_t)worker);
	bury_out(sp_cell_publish_own(ours.dp, (uint16_t)t, worker, sa));
}

void tunnels_forget(void)
{
	memset(limits, 0, sizeof(limits));
	own_sequence = 0;
	for (enum tunnel t = 0; t < TUNNELS; t++)
		for (uint32_t w = 0; w < ours.workers; w++)
			bury_out(sp_cell_publish_own(ours.dp, (uint16_t)t, w, NULL));
}

void tunnel_close(const struct gateway *g, enum tunnel t)
{
	sp_early_forget(g->dp, g->spi[t]);
	bury_in(sp_sa_in_retire(g->dp, g->spi[t]));
	if (forms[t].bundle) {
		sp_early_forget(g->dp, g->ah_spi[t]);
		bury_in(sp_sa_in_retire(g->dp, g->ah_spi[t]));
	}
}

void tunnel_expect(const struct gateway *g, enum tunnel t)
{
	tunnel_close(g, t);
	sp_early_expect(g->dp, g->spi[t]);
	if (forms[t].bundle)
		sp_early_expect(g->dp, g->ah_spi[t]);
}

void tunnel_come(enum tunnel t)
{
	struct sp_sa_config c = tunnel_config(&ours, t, 0);

	if (forms[t].bundle || ours.dp->sad[ours.spi[t] & ours.dp->sad_mask] != NULL)
		return;
	enter_card(&ours, t, &c, nic_context(0));
	install_in(&ours, &c);
}

void tunnels_start(void)
{
	keys_start();
	for (enum tunnel t = 0; t < TUNNELS; t++) {
		ours.spi[t] = 0x10000u + 128 * t + t;
		peer.spi[t] = 0x20000u + 128 * t + (t + 20) % AH_SLOT;
		ours.encrypt[t] = key_session(&forms[t], t, 1, 1);
		ours.decrypt[t] = key_session(&forms[t], t, 0, 0);
		peer.encrypt[t] = key_session(&forms[t], t, 1, 0);
		peer.decrypt[t] = key_session(&forms[t], t, 0, 1);
		if (forms[t].bundle) {
			ours.ah_spi[t] = ours.spi[t] + AH_SLOT;
			peer.ah_spi[t] = peer.spi[t] + AH_SLOT;
			ours.ah_make[t] = key_session(&around, t, 1, 1);
			ours.ah_verify[t] = key_session(&around, t, 0, 0);
			peer.ah_make[t] = key_session(&around, t, 1, 0);
			peer.ah_verify[t] = key_session(&around, t, 0, 1);
		}
		tunnel_reset(t);
	}
}
