/* SPDX-License-Identifier: Apache-2.0 */

/* SAs and the cells that hold outbound ones: created and retired by the control thread, used by workers until a grace period has passed. */

#include <string.h>

#include <rte_malloc.h>

#include "fields.h"

static uint32_t replay_words(uint16_t window)
{
	return window / 64u + 1u;
}

static size_t selectors_size(uint32_t n_selectors, uint32_t n_selectors6)
{
	return n_selectors * sizeof(struct sp_selector_lanes) + n_selectors6 * sizeof(struct sp_selector6);
}

size_t sp_sa_in_size(uint16_t window, uint32_t n_selectors, uint32_t n_selectors6)
{
	return RTE_CACHE_LINE_ROUNDUP(sizeof(struct sp_sa_in) + replay_words(window) * sizeof(uint64_t) + selectors_size(n_selectors, n_selectors6));
}

size_t sp_sa_out_size(uint32_t n_selectors, uint32_t n_selectors6)
{
	return RTE_CACHE_LINE_ROUNDUP(sizeof(struct sp_sa_out) + selectors_size(n_selectors, n_selectors6));
}

static int device_known(const struct sp_dataplane *dp, uint8_t device)
{
	const struct sp_worker *w = dp->workers[0];

	for (uint32_t i = 0; i < w->n_devices; i++)
		if (w->devices[i].device == device)
			return 1;
	return 0;
}

static int lengths_valid(const struct sp_sa_config *c)
{
	if (c->kind == SP_SA_CBC_ASYNC)
		return c->iv_length == SP_IV_MAX && c->block == 16 && c->icv_length >= 12 && c->icv_length <= SP_ICV_MAX;
	return c->iv_length == 8 && c->block == 4 && c->icv_length >= 8 && c->icv_length <= 16;
}

/* 1 when the parts that both directions share make sense, else 0 with the reason in error. */
static int config_valid(const struct sp_dataplane *dp, const struct sp_sa_config *c, char *error, size_t size)
{
	if (c->session == NULL || c->kind > SP_SA_JOB || !lengths_valid(c)) {
		sp_fail(error, size, "SA %08x: session missing, or kind %u with IV %u, ICV %u, block %u bytes", c->spi, c->kind, c->iv_length, c->icv_length, c->block);
		return 0;
	}
	if ((c->gcm != NULL) != (c->kind == SP_SA_AEAD_DIRECT)) {
		sp_fail(error, size, "SA %08x: a function of AES-GCM belongs to kind %u alone, found kind %u", c->spi, SP_SA_AEAD_DIRECT, c->kind);
		return 0;
	}
	if (c->kind != SP_SA_AEAD_DIRECT && c->kind != SP_SA_AEAD_CPU && !device_known(dp, c->device)) {
		sp_fail(error, size, "SA %08x: crypto device %u has no queue pairs for the workers", c->spi, c->device);
		return 0;
	}
	if (c->outer != SP_IPV4 || c->protocol != SP_SA_ESP || c->transport || c->kind == SP_SA_JOB) {
		sp_fail(error, size, "SA %08x: only ESP in IPv4 tunnels is supported", c->spi);
		return 0;
	}
	if (c->subject != 0 && c->subject < dp->max_filters) {
		sp_fail(error, size, "SA %08x: subject %u of its drops is a filter's: want %u or more", c->spi, c->subject, dp->max_filters);
		return 0;
	}
	if (c->cell >= dp->max_cells || c->n_selectors + c->n_selectors6 == 0 || c->n_selectors6 > UINT16_MAX || c->spi < 256) {
		sp_fail(error, size, "SA %08x: cell %u of %u, %u IPv4 and %u IPv6 selectors (want at least 1), SPI at least 256 (RFC 4303 2.1)", c->spi, c->cell,
			dp->max_cells, c->n_selectors, c->n_selectors6);
		return 0;
	}
	return 1;
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

struct sp_sa_in *sp_sa_in_create(struct sp_dataplane *dp, const struct sp_sa_config *c, char *error, size_t error_size)
{
	struct sp_sa_in *sa;

	if (!config_valid(dp, c, error, error_size))
		return NULL;
	if (c->window % 64 != 0 || c->window > SP_WINDOW_MAX || c->owner >= dp->n_workers)
		return sp_fail(error, error_size, "inbound SA %08x: replay window %u (want a multiple of 64, at most %u), owner %u of %u workers", c->spi, c->window,
			       SP_WINDOW_MAX, c->owner, dp->n_workers);
	sa = rte_zmalloc_socket("sp_sa_in", sp_sa_in_size(c->window, c->n_selectors, c->n_selectors6), RTE_CACHE_LINE_SIZE, dp->socket);
	if (sa == NULL)
		return sp_fail(error, error_size, "inbound SA %08x: no DPDK memory for %zu bytes", c->spi,
			       sp_sa_in_size(c->window, c->n_selectors, c->n_selectors6));
	sa->transform.session = c->session;
	sa->transform.gcm = (aes_gcm_enc_dec_t)c->gcm;
	sa->spi = c->spi;
	sa->transform.salt_be = c->salt_be;
	sa->replay.bitmap = sa->bitmap;
	sa->replay.window = c->window;
	sa->replay.words = (uint16_t)replay_words(c->window);
	sa->n_selectors = c->n_selectors;
	sa->n_selectors6 = (uint16_t)c->n_selectors6;
	fill_selectors(sp_sa_in_selectors(sa), c);
	sa->cell = c->cell;
	sa->transform.kind = c->kind;
	sa->transform.device = c->device;
	sa->transform.iv_length = c->iv_length;
	sa->transform.icv_length = c->icv_length;
	sa->transform.block_mask = (uint8_t)(c->block - 1);
	sa->udp = c->udp != 0;
	sa->transform.esn = c->esn != 0;
	sa->owner = c->owner;
	sa->subject = c->subject;
	sp_tally_forget(dp, sa->subject);
	return sa;
}

/* Everything up to the SPI that no packet changes (RFC 4301 5.1.2.1, RFC 3948 2.1). */
static void fill_header(struct sp_sa_out *sa, const struct sp_sa_config *c)
{
	uint8_t *ip = sa->header, *udp = sa->header + SP_IPV4_LENGTH;

	ip[8] = SP_OUTER_TTL;
	ip[9] = c->udp ? SP_PROTOCOL_UDP : SP_PROTOCOL_ESP;
	memcpy(ip + 12, c->source, 4);
	memcpy(ip + 16, c->destination, 4);
	if (c->udp) {
		sp_store16(udp, rte_cpu_to_be_16(c->source_port));
		sp_store16(udp + 2, rte_cpu_to_be_16(c->destination_port));
	}
	sp_store32(c->udp ? udp + SP_UDP_LENGTH : udp, sa->spi_be);
	/* the first 8 bytes are the packet's own */
	sa->checksum = sp_fold((uint64_t)sp_load32(ip + 8) + sp_load32(ip + 12) + sp_load32(ip + 16));
}

struct sp_sa_out *sp_sa_out_create(struct sp_dataplane *dp, const struct sp_sa_config *c, char *error, size_t error_size)
{
	struct sp_sa_out *sa;

	if (!config_valid(dp, c, error, error_size))
		return NULL;
	if (c->first_sequence == 0)
		return sp_fail(error, error_size, "outbound SA %08x: first sequence number 0, want at least 1 (RFC 4303 3.3.3)", c->spi);
	sa = rte_zmalloc_socket("sp_sa_out", sp_sa_out_size(c->n_selectors, c->n_selectors6), RTE_CACHE_LINE_SIZE, dp->socket);
	if (sa == NULL)
		return sp_fail(error, error_size, "outbound SA %08x: no DPDK memory for %zu bytes", c->spi, sp_sa_out_size(c->n_selectors, c->n_selectors6));
	sa->transform.session = c->session;
	sa->transform.gcm = (aes_gcm_enc_dec_t)c->gcm;
	sa->spi_be = rte_cpu_to_be_32(c->spi);
	sa->transform.salt_be = c->salt_be;
	sa->n_selectors = c->n_selectors;
	sa->n_selectors6 = c->n_selectors6;
	fill_selectors(sa->selectors, c);
	sa->cell = c->cell;
	sa->adjacency = c->adjacency;
	sa->path_mtu = UINT16_MAX;
	sa->transform.kind = c->kind;
	sa->transform.device = c->device;
	sa->transform.iv_length = c->iv_length;
	sa->transform.icv_length = c->icv_length;
	sa->transform.block_mask = (uint8_t)(c->block - 1);
	sa->udp = c->udp != 0;
	sa->transform.esn = c->esn != 0;
	sa->header_length = (uint8_t)(SP_IPV4_LENGTH + (sa->udp ? SP_UDP_LENGTH : 0) + SP_ESP_LENGTH + sa->transform.iv_length);
	sa->sequence = c->first_sequence - 1;
	/* reservations beyond the limit are never sent, and leave room for the counter not to wrap at 64 bits either */
	sa->sequence_limit = sa->transform.esn ? UINT64_MAX >> 1 : UINT32_MAX;
	fill_header(sa, c);
	sa->subject = c->subject;
	sp_tally_forget(dp, sa->subject);
	return sa;
}

int sp_sa_in_publish(struct sp_dataplane *dp, struct sp_sa_in *sa)
{
	struct sp_sa_in **slot = &dp->sad[sa->spi & dp->sad_mask];

	if (__atomic_load_n(slot, __ATOMIC_RELAXED) != NULL)
		return -EEXIST;
	__atomic_store_n(slot, sa, __ATOMIC_RELEASE);
	return 0;
}

struct sp_sa_in *sp_sa_in_retire(struct sp_dataplane *dp, uint32_t spi)
{
	struct sp_sa_in **slot = &dp->sad[spi & dp->sad_mask];
	struct sp_sa_in *sa = __atomic_load_n(slot, __ATOMIC_RELAXED);

	if (sa == NULL || sa->spi != spi)
		return NULL;
	__atomic_store_n(slot, NULL, __ATOMIC_RELEASE);
	return sa;
}

struct sp_sa_out *sp_cell_publish(struct sp_dataplane *dp, uint16_t cell, struct sp_sa_out *sa)
{
	return __atomic_exchange_n(&dp->cells[cell].sa, sa, __ATOMIC_ACQ_REL);
}

struct sp_sa_out *sp_cell_current(const struct sp_dataplane *dp, uint16_t cell)
{
	return __atomic_load_n(&dp->cells[cell].sa, __ATOMIC_ACQUIRE);
}

void sp_cell_set_state(struct sp_dataplane *dp, uint16_t cell, uint8_t state)
{
	__atomic_store_n(&dp->cells[cell].state, state, __ATOMIC_RELAXED);
}

void sp_cell_reuse(struct sp_dataplane *dp, uint16_t cell)
{
	sp_cell_set_state(dp, cell, SP_CELL_CLOSED);
	__atomic_fetch_add(&dp->cells[cell].incarnation, 1, __ATOMIC_RELAXED);
	sp_generation_bump(dp);
}

void sp_sa_in_free(struct sp_sa_in *sa)
{
	if (sa == NULL)
		return;
	explicit_bzero(&sa->transform.salt_be, sizeof(sa->transform.salt_be));
	rte_free(sa);
}

void sp_sa_out_free(struct sp_sa_out *sa)
{
	if (sa == NULL)
		return;
	explicit_bzero(&sa->transform.salt_be, sizeof(sa->transform.salt_be));
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

uint32_t sp_sa_out_spi(const struct sp_sa_out *sa)
{
	return rte_be_to_cpu_32(sa->spi_be);
}
