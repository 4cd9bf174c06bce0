/* SPDX-License-Identifier: Apache-2.0 */

/* SAs: made, changed and freed by the control thread, used by workers until a grace period has passed. */

#include <stdlib.h>
#include <string.h>

#include <rte_malloc.h>

#include "ah.h"
#include "inline.h"
#include "outer.h"

static uint32_t replay_words(uint16_t window)
{
	return (window + 63u) / 64u + 1u;
}

static size_t selectors_size(uint32_t n_selectors, uint32_t n_selectors6)
{
	return n_selectors * sizeof(struct sp_selector_lanes) + n_selectors6 * sizeof(struct sp_selector6);
}

size_t sp_sa_in_size(uint16_t window, uint32_t n_selectors, uint32_t n_selectors6)
{
	return RTE_CACHE_LINE_ROUNDUP(offsetof(struct sp_sa_in, selectors) + (replay_words(window) + 1) * sizeof(uint64_t) + SP_IPV6_ADDRESS + sizeof(struct sp_inline *) + sizeof(struct sp_sa_in *) + selectors_size(n_selectors, n_selectors6));
}

size_t sp_sa_out_size(uint32_t n_selectors, uint32_t n_selectors6, int ah)
{
	return RTE_CACHE_LINE_ROUNDUP(offsetof(struct sp_sa_out, selectors) + selectors_size(n_selectors, n_selectors6) + (ah ? sizeof(struct sp_ah) : 0));
}

/* Memory for an SA, zeroed: that behind its key, if it has room, so that what a packet needs of both is side by side; else its own. */
static void *sa_memory(const struct sp_dataplane *dp, const struct sp_sa_config *c, const char *type, size_t size)
{
	if (c->room == NULL || c->room_size < size)
		return rte_zmalloc_socket(type, size, RTE_CACHE_LINE_SIZE, dp->socket);
	memset(c->room, 0, size);
	return c->room;
}

static int device_known(const struct sp_dataplane *dp, uint8_t device)
{
	const struct sp_worker *w = dp->workers[0];

	for (uint32_t i = 0; i < w->n_devices; i++)
		if (w->devices[i].device == device)
			return 1;
	return 0;
}

/* 1 when the crypto stages can work with these lengths. */
static int lengths_valid(const struct sp_sa_config *c)
{
	static const uint8_t iv_length[SP_CIPHER_COUNT] = {
		[SP_CIPHER_GCM] = 8, [SP_CIPHER_CCM] = 8, [SP_CIPHER_CTR] = 8, [SP_CIPHER_GMAC] = 8, [SP_CIPHER_GMAC_AH] = 8,
	};

	if (c->cipher >= SP_CIPHER_COUNT || c->icv_length < 8 || c->icv_length > SP_ICV_MAX)
		return 0;
	if (c->cipher == SP_CIPHER_CBC)
		return c->iv_length == c->block && (c->block == 8 || c->block == SP_IV_MAX);
	return c->iv_length == iv_length[c->cipher] && c->block == 4;
}

/* 1 when the session, its kind and its lengths fit, else 0 with the reason in error. */
static int transform_valid(const struct sp_dataplane *dp, const struct sp_sa_config *c, char *error, size_t size)
{
	if (c->session == NULL || c->kind > SP_SA_JOB || !lengths_valid(c)) {
		sp_fail(error, size, "SA %08x: session missing, or kind %u, cipher %u with IV %u, ICV %u, block %u bytes", c->spi, c->kind, c->cipher,
			c->iv_length, c->icv_length, c->block);
		return 0;
	}
	if ((c->gcm != NULL) != (c->kind == SP_SA_AEAD_DIRECT)) {
		sp_fail(error, size, "SA %08x: a function of AES-GCM belongs to kind %u alone, found kind %u", c->spi, SP_SA_AEAD_DIRECT, c->kind);
		return 0;
	}
	if (c->kind == SP_SA_JOB && dp->workers[0]->job.manager == NULL) {
		sp_fail(error, size, "SA %08x: a session of libIPSec_MB's jobs, but the library failed its self-test or lacks what it needs of the processor", c->spi);
		return 0;
	}
	if (sp_kind_async(c->kind) && !device_known(dp, c->device)) {
		sp_fail(error, size, "SA %08x: crypto device %u has no queue pairs for the workers", c->spi, c->device);
		return 0;
	}
	if (c->protocol == SP_SA_AH && c->kind != SP_SA_JOB) {
		sp_fail(error, size, "SA %08x: AH by kind %u: want libIPSec_MB's jobs, kind %u", c->spi, c->kind, SP_SA_JOB);
		return 0;
	}
	if (c->spi < 256) {
		sp_fail(error, size, "SA %08x: want an SPI of at least 256 (RFC 4303 2.1)", c->spi);
		return 0;
	}
	return 1;
}

/* 1 when the parts that both directions share make sense, else 0 with the reason in error. */
static int config_valid(const struct sp_dataplane *dp, const struct sp_sa_config *c, char *error, size_t size)
{
	if (!transform_valid(dp, c, error, size))
		return 0;
	if (c->outer > SP_IPV6 || c->protocol > SP_SA_AH || (c->protocol == SP_SA_AH && (c->udp || c->ah != NULL)) || (c->ah != NULL && c->udp)) {
		sp_fail(error, size, "SA %08x: protocol %u in IP of version index %u%s%s: AH goes neither in UDP (RFC 3948 1) nor around AH", c->spi, c->protocol, c->outer,
			c->udp ? " and UDP" : "", c->ah != NULL ? " with AH around it" : "");
		return 0;
	}
	if (c->subject != 0 && c->subject < dp->max_counters) {
		sp_fail(error, size, "SA %08x: subject %u of its drops is a filter's: want %u or more", c->spi, c->subject, dp->max_counters);
		return 0;
	}
	if (c->cell >= dp->max_cells || c->n_selectors + c->n_selectors6 == 0 || c->n_selectors > UINT16_MAX || c->n_selectors6 > UINT16_MAX) {
		sp_fail(error, size, "SA %08x: cell %u of %u, %u IPv4 and %u IPv6 selectors (want at least 1)", c->spi, c->cell, dp->max_cells, c->n_selectors,
			c->n_selectors6);
		return 0;
	}
	return 1;
}

/* AES of 10, 12 or 14 rounds has a key of 16 bytes for each and one more (FIPS 197 5). */
static uint8_t key_lines(uint32_t key_length)
{
	uint32_t rounds = key_length / 4 + 6;

	return (uint8_t)((16 * (rounds + 1) + RTE_CACHE_LINE_SIZE - 1) / RTE_CACHE_LINE_SIZE);
}

struct sp_transform sp_transform_of(const struct sp_sa_config *c)
{
	return (struct sp_transform){
		.spi_be = rte_cpu_to_be_32(c->spi),
		.session = c->session,
		.gcm = (aes_gcm_enc_dec_t)c->gcm,
		.salt_be = c->salt_be,
		.kind = c->kind,
		.device = c->device,
		.cipher = c->cipher,
		.iv_length = c->iv_length,
		.icv_length = c->icv_length,
		.block_mask = (uint8_t)(c->block - 1),
		.esn = c->esn != 0,
		.key_lines = key_lines(c->key_length),
	};
}

/* What the hot paths of both directions do by themselves, where the outer header is one that they know: inbound it is behind them, whatever it was. */
static int plain(const struct sp_sa_config *c)
{
	return c->protocol == SP_SA_ESP && !c->transport && (c->kind == SP_SA_AEAD_DIRECT || c->kind == SP_SA_AEAD_CPU);
}

/* IPv4 selectors as lanes, IPv6 ones as they are behind them. */
static void fill_selectors(struct sp_selector_lanes *lanes, const struct sp_sa_config *c)
{
	if (c->n_selectors6 > 0)
		memcpy(lanes + c->n_selectors, c->selectors6, c->n_selectors6 * sizeof(*c->selectors6));
	for (uint32_t i = 0; i < c->n_selectors; i++) {
		const struct sp_selector *s = &c->selectors[i];

		lanes[i] = (struct sp_selector_lanes){
			.first_address = {s->source_first, s->destination_first},
			.first = {s->source_port_first, s->destination_port_first, s->protocol, 0},
			.span_address = {s->source_last - s->source_first, s->destination_last - s->destination_first},
			.span = {(uint16_t)(s->source_port_last - s->source_port_first), (uint16_t)(s->destination_port_last - s->destination_port_first),
				 s->protocol ? 0 : UINT16_MAX, 0},
		};
	}
}

int sp_selected_typed(const struct sp_selector_lanes *s, uint32_t n, const struct sp_packet *p)
{
	const uint32_t header = sp_ipv4_header_length(p->l3);
	struct sp_flow_key key = p->key;
	uint64_t words[2];

	if (key.protocol != SP_PROTOCOL_ICMP || p->length < header + 2)
		return 0;
	key.source_port = rte_be_to_cpu_16(sp_load16(p->l3 + header));
	key.destination_port = SP_ICMP_TYPED;
	memcpy(words, &key, sizeof(words));
	return sp_selected_key(s, n, words);
}

static uint8_t form_of(const struct sp_sa_config *c)
{
	if (c->protocol == SP_SA_AH)
		return SP_FORM_AH;
	if (c->partner != 0)
		return SP_FORM_BUNDLED;
	return c->udp ? SP_FORM_UDP : SP_FORM_ESP;
}

/* What workers know of a session of a port; 0, or -ENOMEM. Without a session there is nothing to know. */
static int make_inline(const struct sp_dataplane *dp, const struct sp_sa_config *c, struct sp_inline **out)
{
	struct sp_inline *in;

	*out = NULL;
	if (c->inline_session == NULL)
		return 0;
	in = rte_zmalloc_socket("sp_inline", sizeof(*in), RTE_CACHE_LINE_SIZE, dp->socket);
	if (in == NULL)
		return -ENOMEM;
	in->session = c->inline_session;
	in->context = c->inline_context;
	in->device = c->inline_device;
	in->port = c->inline_port;
	in->protocol = c->inline_protocol != 0;
	in->metadata = c->inline_metadata != 0;
	*out = in;
	return 0;
}

/* What is plain stays so with inline crypto of an AEAD of the library's: its crypto alone is another. With inline protocol nothing is. */
static int plain_with(const struct sp_inline *in, struct sp_transform *t)
{
	if (in == NULL)
		return 1;
	if (in->protocol || t->kind != SP_SA_AEAD_DIRECT)
		return 0;
	t->kind = SP_SA_AEAD_INLINE;
	return 1;
}

int sp_inline_userdata(void)
{
	return rte_security_dynfield_is_registered();
}

void sp_inline_expect(struct sp_dataplane *dp, uint16_t device)
{
	for (uint32_t i = 0; i < SP_MAX_PORTS; i++)
		if (dp->ports[i].present && dp->ports[i].device == device)
			__atomic_store_n(&dp->ports[i].opens, (uint8_t)sp_inline_userdata(), __ATOMIC_RELAXED);
}

struct sp_sa_in *sp_sa_in_create(struct sp_dataplane *dp, const struct sp_sa_config *c, char *error, size_t error_size)
{
	struct sp_inline *in;
	struct sp_sa_in *sa;

	if (!config_valid(dp, c, error, error_size))
		return NULL;
	if (c->window % 32 != 0 || c->window > SP_WINDOW_MAX || c->owner >= dp->n_workers)
		return sp_fail(error, error_size, "inbound SA %08x: replay window %u (want a multiple of 32, at most %u), owner %u of %u workers", c->spi, c->window,
			       SP_WINDOW_MAX, c->owner, dp->n_workers);
	sa = sa_memory(dp, c, "sp_sa_in", sp_sa_in_size(c->window, c->n_selectors, c->n_selectors6));
	if (sa == NULL || make_inline(dp, c, &in) != 0) {
		if (sa != c->room)
			rte_free(sa);
		return sp_fail(error, error_size, "inbound SA %08x: no DPDK memory for %zu bytes", c->spi,
			       sp_sa_in_size(c->window, c->n_selectors, c->n_selectors6));
	}
	sa->hosted = sa == c->room;
	sa->transform = sp_transform_of(c);
	sa->spi = c->spi;
	sa->replay.bitmap = (uint64_t *)((uint8_t *)sa->selectors + selectors_size(c->n_selectors, c->n_selectors6));
	sa->replay.window = c->window;
	sa->replay.words = (uint16_t)replay_words(c->window);
	sa->n_selectors = (uint16_t)c->n_selectors;
	sa->n_selectors6 = (uint16_t)c->n_selectors6;
	fill_selectors(sa->selectors, c);
	sa->cell = c->cell;
	sa->partner = c->partner;
	sa->owner = c->owner;
	sa->follow = c->udp && c->follow;
	sp_sa_in_locate(sa, c->source, c->source, c->source_port);
	sp_lifetime_in_start(sa, c);
	sa->subject = c->subject;
	if (sa->subject != 0)
		sp_tally_forget(dp, sa->subject);
	sa->transport = c->transport != 0;
	sa->form = form_of(c);
	sa->mss_automatic = c->encapsulation.mss_automatic;
	sa->mss = c->encapsulation.mss;
	sa->inlined = in != NULL;
	*sp_sa_in_inline_place(sa) = in;
	sa->plain = plain(c) && c->partner == 0 && !sa->mss_automatic && sa->mss == 0 && plain_with(in, &sa->transform);
	return sa;
}

/* What follows the outer IP header. */
static uint8_t outer_protocol(const struct sp_sa_config *c)
{
	if (c->protocol == SP_SA_AH || c->ah != NULL)
		return SP_PROTOCOL_AH;
	return c->udp ? SP_PROTOCOL_UDP : SP_PROTOCOL_ESP;
}

/* Everything up to the SPI that no packet changes (RFC 4301 5.1.2, RFC 3948 2.1). */
static void fill_header(struct sp_sa_out *sa, const struct sp_sa_config *c)
{
	const int ipv6 = c->outer == SP_IPV6;
	uint8_t *ip = sa->header, *udp = ip + (ipv6 ? SP_IPV6_LENGTH : SP_IPV4_LENGTH);

	if (ipv6) {
		ip[SP_IPV6_NEXT_HEADER] = outer_protocol(c);
		ip[SP_IPV6_HOP_LIMIT] = c->encapsulation.ttl;
		memcpy(ip + 8, c->source, SP_IPV6_ADDRESS);
		memcpy(ip + 24, c->destination, SP_IPV6_ADDRESS);
	} else {
		ip[SP_IPV4_TTL] = c->encapsulation.ttl;
		ip[SP_IPV4_PROTOCOL] = outer_protocol(c);
		memcpy(ip + 12, c->source, 4);
		memcpy(ip + 16, c->destination, 4);
	}
	if (c->udp) {
		sp_store16(udp, rte_cpu_to_be_16(c->source_port));
		sp_store16(udp + 2, rte_cpu_to_be_16(c->destination_port));
	}
	sp_store32(c->udp ? udp + SP_UDP_LENGTH : udp, sa->transform.spi_be);
	sa->front[0] = sp_front_of(ip);
	sa->front[1] = sp_load64(ip + 16);
}

/* The AH layer stands behind the selectors; returns its length in packets. */
static uint32_t fill_ah(struct sp_sa_out *sa, const struct sp_sa_config *c)
{
	const struct sp_sa_config *of = c->protocol == SP_SA_AH ? c : c->ah;
	struct sp_ah *ah;

	if (of == NULL)
		return 0;
	ah = (struct sp_ah *)((uint8_t *)sa->selectors + selectors_size(c->n_selectors, c->n_selectors6));
	ah->transform = sp_transform_of(of);
	ah->length = (uint8_t)sp_ah_length(&ah->transform, c->outer == SP_IPV6);
	sa->ah = ah;
	return ah->length;
}

/* Bytes in front of the payload, where packets of all transforms and modes differ. */
static uint32_t header_length(const struct sp_sa_config *c)
{
	uint32_t length = 0;

	if (!c->transport)
		length += c->outer == SP_IPV6 ? SP_IPV6_LENGTH : SP_IPV4_LENGTH;
	if (c->udp)
		length += SP_UDP_LENGTH;
	if (c->protocol == SP_SA_ESP)
		length += SP_ESP_LENGTH + (uint32_t)c->iv_length;
	return length;
}

static int has_ah(const struct sp_sa_config *c)
{
	return c->protocol == SP_SA_AH || c->ah != NULL;
}

static int extended(const struct sp_sa_config *c)
{
	return c->esn && (c->ah == NULL || c->ah->esn);
}

/* Whether outbound.c can do it but for the outer header. */
static int plain_out(const struct sp_sa_config *c)
{
	const struct sp_encapsulation *e = &c->encapsulation;

	return plain(c) && c->ah == NULL && e->tfc_pad == 0 && !e->fragment_after && !e->mss_automatic && e->mss == 0;
}

struct sp_sa_out *sp_sa_out_create(struct sp_dataplane *dp, const struct sp_sa_config *c, char *error, size_t error_size)
{
	const struct sp_fields fields = sp_fields_of(&c->encapsulation);
	struct sp_inline *in;
	struct sp_sa_out *sa;
	int outer_plain;

	if (!config_valid(dp, c, error, error_size) || (c->ah != NULL && !transform_valid(dp, c->ah, error, error_size)))
		return NULL;
	if (c->owner != SP_ANY_WORKER && c->owner >= dp->n_workers)
		return sp_fail(error, error_size, "outbound SA %08x: worker %u of %u", c->spi, c->owner, dp->n_workers);
	if (c->first_sequence == 0)
		return sp_fail(error, error_size, "outbound SA %08x: first sequence number 0, want at least 1 (RFC 4303 3.3.3)", c->spi);
	sa = sa_memory(dp, c, "sp_sa_out", sp_sa_out_size(c->n_selectors, c->n_selectors6, has_ah(c)));
	if (sa == NULL || make_inline(dp, c, &in) != 0) {
		if (sa != c->room)
			rte_free(sa);
		return sp_fail(error, error_size, "outbound SA %08x: no DPDK memory for %zu bytes", c->spi, sp_sa_out_size(c->n_selectors, c->n_selectors6, has_ah(c)));
	}
	sa->hosted = sa == c->room;
	sa->transform = sp_transform_of(c);
	sa->n_selectors = (uint16_t)c->n_selectors;
	sa->n_selectors6 = (uint16_t)c->n_selectors6;
	fill_selectors(sa->selectors, c);
	sa->cell = c->cell;
	sa->adjacency = c->adjacency;
	sa->path_mtu = UINT16_MAX;
	sa->udp = c->udp != 0;
	sa->protocol = c->protocol;
	sa->outer = c->outer;
	sa->transport = c->transport != 0;
	sa->encapsulation = c->encapsulation;
	sa->header_length = (uint8_t)(header_length(c) + fill_ah(sa, c));
	sa->owner = c->owner;
	sa->shared = dp->n_workers > 1 && c->owner == SP_ANY_WORKER;
	sp_lifetime_out_start(sa, c, extended(c));
	fill_header(sa, c);
	sa->subject = c->subject;
	if (sa->subject != 0)
		sp_tally_forget(dp, sa->subject);
	sa->inlined = in != NULL;
	sa->inline_ = in;
	if (in != NULL)
		sp_inline_select(in, sa->selectors, sa->n_selectors);
	/* over IPv6, UDP has a checksum, of all that was encrypted */
	outer_plain = c->outer == SP_IPV4 ? sp_fields_plain(&fields) : sp_fields_copied(&fields) && !c->udp;
	if (plain_out(c) && outer_plain && plain_with(in, &sa->transform)) {
		sa->plain = c->outer == SP_IPV4;
		sa->plain6 = c->outer == SP_IPV6;
	}
	return sa;
}

void sp_sa_in_free(struct sp_sa_in *sa)
{
	if (sa == NULL)
		return;
	explicit_bzero(&sa->transform, sizeof(sa->transform));
	rte_free(sp_sa_in_inline(sa));
	if (!sa->hosted)
		rte_free(sa);
}

void sp_sa_out_free(struct sp_sa_out *sa)
{
	if (sa == NULL)
		return;
	explicit_bzero(&sa->transform, sizeof(sa->transform));
	if (sa->ah != NULL)
		explicit_bzero(sa->ah, sizeof(*sa->ah));
	rte_free(sa->moved);
	rte_free(sa->inline_);
	if (!sa->hosted)
		rte_free(sa);
}

void sp_sa_out_set_adjacency(struct sp_sa_out *sa, uint16_t adjacency)
{
	__atomic_store_n(&sa->adjacency, adjacency, __ATOMIC_RELAXED);
}

void sp_sa_out_set_path_mtu(struct sp_sa_out *sa, uint16_t mtu)
{
	__atomic_store_n(&sa->path_mtu, mtu != 0 ? mtu : UINT16_MAX, __ATOMIC_RELAXED);
}

/* The two ends are two words that outbound.c reads for every packet. One that it writes in between has an address of before and one of now, and a checksum that fits. */
static void move_plain(struct sp_sa_out *sa, const uint8_t *header)
{
	__atomic_store_n(&sa->front[0], sp_front_of(header), __ATOMIC_RELAXED);
	__atomic_store_n(&sa->front[1], sp_load64(header + 16), __ATOMIC_RELAXED);
}

/* outbound_general.c reads one pointer for each run of packets. What it pointed to lives until no worker can be reading it. */
static int move_general(struct sp_dataplane *dp, struct sp_sa_out *sa, const uint8_t *header)
{
	uint8_t *former = sa->moved, *moved = rte_malloc_socket("sp_sa_moved", sizeof(sa->header), 0, dp->socket);

	if (moved == NULL)
		return -ENOMEM;
	memcpy(moved, header, sizeof(sa->header));
	__atomic_store_n(&sa->moved, moved, __ATOMIC_RELEASE);
	if (former != NULL)
		sp_free_later(dp, former);
	return 0;
}

int sp_sa_out_move(struct sp_dataplane *dp, struct sp_sa_out *sa, const uint8_t local[16], const uint8_t remote[16], uint16_t port)
{
	const size_t ip = sa->outer == SP_IPV6 ? SP_IPV6_LENGTH : SP_IPV4_LENGTH, address = sa->outer == SP_IPV6 ? SP_IPV6_ADDRESS : 4;
	uint8_t header[sizeof(sa->header)];

	if (sa->transport && !sa->udp)
		return -EOPNOTSUPP; /* its addresses are those of the packets themselves */
	memcpy(header, sa->header, sizeof(header));
	memcpy(header + ip - 2 * address, local, address);
	memcpy(header + ip - address, remote, address);
	if (sa->udp)
		sp_store16(header + ip + 2, rte_cpu_to_be_16(port));
	if (sa->inlined)
		sp_inline_stop(sa); /* its NIC writes the former addresses */
	if (!sa->plain)
		return move_general(dp, sa, header);
	move_plain(sa, header);
	return 0;
}

void sp_esp_in_udp(struct sp_dataplane *dp, int any)
{
	__atomic_store_n(&dp->esp_in_udp, any != 0, __ATOMIC_RELAXED);
}

uint32_t sp_sa_out_spi(const struct sp_sa_out *sa)
{
	return rte_be_to_cpu_32(sa->transform.spi_be);
}
