/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Stage 6: a tunnel's packets, encapsulated and encrypted (RFC 4303 3.3). Runs of packets of one SA share the sequence reservation, the crypto call and the counters.
 * All that can speak against a packet is asked before its number is reserved and before a byte of it changes, so that whoever answers with ICMP sees it as it came.
 */

#include "ipv4.h"
#include "mbuf.h"
#include "stages.h"

static const uint8_t esp_padding[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};

/* Bytes of the ciphertext: inner packet, padding, pad length and next header. */
static inline uint32_t padded_length(const struct sp_sa_out *sa, uint32_t inner)
{
	return (inner + 2 + sa->block_mask) & ~(uint32_t)sa->block_mask;
}

/* What the trailer stage may write behind the ciphertext: the ICV, or the whole-register store of the padding. */
static inline uint32_t tail_slack(const struct sp_sa_out *sa)
{
	return RTE_MAX((uint32_t)sa->icv_length + 4u * sa->esn, (uint32_t)sizeof(esp_padding));
}

uint16_t sp_sa_out_largest_inner(const struct sp_sa_out *sa, uint16_t mtu)
{
	uint32_t overhead = (uint32_t)sa->header_length + sa->icv_length;
	uint32_t room;

	if (mtu < overhead + sa->block_mask + 1u)
		return 0;
	room = (mtu - overhead) & ~(uint32_t)sa->block_mask;
	return room < SP_IPV4_LENGTH + 2u ? 0 : (uint16_t)(room - 2);
}

/* Asks whether the packet may and can enter the SA. Returns 1, or disposes of it and returns 0. */
static __rte_always_inline int admit(struct sp_worker *w, struct sp_sa_out *sa, const struct sp_adjacency *next, struct sp_packet *p)
{
	uint32_t cipher = padded_length(sa, p->length);

	if (unlikely(!sp_selected(sa->selectors, sa->n_selectors, &p->key))) {
		sp_add(w, &sa->drops[SP_SA_DROP_SELECTOR_MISMATCH], 1);
		sp_drop(w, p->mbuf, SP_DROP_SELECTOR_MISMATCH);
		return 0;
	}
	if (unlikely(p->l3[8] <= 1 && p->key.role != SP_ROLE_LOCAL)) {
		sp_punt_dropped(w, p, SP_PUNT_TTL_EXPIRED, 0);
		return 0;
	}
	if (unlikely(sa->header_length + cipher + sa->icv_length > next->mtu)) {
		sp_punt_dropped(w, p, SP_PUNT_TOO_BIG, sp_sa_out_largest_inner(sa, next->mtu));
		return 0;
	}
	if (unlikely(sp_mbuf_before(p->mbuf, p->l3) < SP_L2_LENGTH + (uint32_t)sa->header_length ||
		     sp_mbuf_after(p->mbuf, p->l3) < cipher + tail_slack(sa))) {
		sp_drop(w, p->mbuf, SP_DROP_NO_ROOM);
		return 0;
	}
	p->pad_length = (uint8_t)(cipher - p->length - 2);
	return 1;
}

/* Outer IPv4 header, UDP and ESP in front of the inner packet, padding behind it (RFC 4301 5.1.2.1, RFC 4303 2). */
static __rte_always_inline void encapsulate(const struct sp_sa_out *sa, struct sp_packet *p, uint64_t sequence)
{
	uint8_t *inner = p->l3;
	uint8_t *outer = inner - sa->header_length;
	uint8_t *esp = inner - sa->iv_length - SP_ESP_LENGTH;
	uint32_t cipher = (uint32_t)p->length + p->pad_length + 2;
	uint32_t total = sa->header_length + cipher + sa->icv_length;
	uint16_t df = sp_load16(inner + 6) & RTE_BE16(SP_IPV4_DF);
	uint16_t id = df ? 0 : rte_cpu_to_be_16((uint16_t)sequence); /* RFC 6864 4: meaningless without fragmentation */
	uint16_t length_be = rte_cpu_to_be_16((uint16_t)total);
	uint8_t *trailer = inner + p->length;
	uint8_t ttl_local = p->key.role == SP_ROLE_LOCAL;
	uint32_t sum;

	sp_mbuf_bounds(p->mbuf, outer - SP_L2_LENGTH, SP_L2_LENGTH + total);
	if (likely(!ttl_local))
		sp_ipv4_decrement_ttl(inner);

	memcpy(outer, sa->header, SP_IPV4_LENGTH);
	outer[1] = p->tos; /* DSCP and ECN copied: RFC 6040 4.1, normal mode */
	sp_store16(outer + 2, length_be);
	sp_store32(outer + 4, id | (uint32_t)df << 16);
	sum = sa->checksum + ((uint32_t)p->tos << 8) + length_be + id + df;
	sp_store16(outer + 10, (uint16_t)~sp_fold(sum));
	if (unlikely(sa->udp)) {
		memcpy(outer + SP_IPV4_LENGTH, sa->header + SP_IPV4_LENGTH, SP_UDP_LENGTH);
		sp_store16(outer + SP_IPV4_LENGTH + 4, rte_cpu_to_be_16((uint16_t)(total - SP_IPV4_LENGTH)));
	}
	sp_store64(esp, sa->spi_be | (uint64_t)rte_cpu_to_be_32((uint32_t)sequence) << 32);
	sp_store64(esp + SP_ESP_LENGTH, rte_cpu_to_be_64(sequence)); /* the IV, or the nonce block that becomes it */
	if (sa->iv_length == SP_IV_MAX)
		sp_store64(esp + SP_ESP_LENGTH + 8, 0);

	memcpy(trailer, esp_padding, p->pad_length);
	trailer[p->pad_length] = p->pad_length;
	trailer[p->pad_length + 1] = SP_NEXT_HEADER_IPV4;
}

/* AES-GCM (RFC 4106): nonce = salt and IV, AAD = SPI and sequence number. */
static uint32_t encrypt_cpu(struct sp_worker *w, struct sp_sa_out *sa, struct sp_packet **packets, struct rte_mbuf **mbufs, uint64_t sequence, uint32_t n)
{
	struct sp_cpu_vector *v = &w->cpu;
	uint32_t good;

	for (uint32_t i = 0; i < n; i++) {
		struct sp_packet *p = packets[i];
		uint32_t cipher = (uint32_t)p->length + p->pad_length + 2;

		mbufs[i] = p->mbuf;
		v->data[i].base = p->l3;
		v->data[i].len = cipher;
		v->digest[i].va = p->l3 + cipher;
		sp_store32(v->iv_bytes[i], sa->salt_be);
		sp_store64(v->iv_bytes[i] + 4, rte_cpu_to_be_64(sequence + i));
		if (likely(!sa->esn)) {
			v->aad[i].va = p->l3 - 8 - SP_ESP_LENGTH;
		} else {
			v->aad[i].va = v->aad_bytes[i];
			sp_store32(v->aad_bytes[i], sa->spi_be);
			sp_store64(v->aad_bytes[i] + 4, rte_cpu_to_be_64(sequence + i)); /* RFC 4106 5: SPI, high, low */
		}
	}
	good = sp_cpu_process(w, sa->device, sa->session, n);
	if (likely(good == n))
		return n;
	good = 0;
	for (uint32_t i = 0; i < n; i++) {
		if (v->status[i] == 0)
			mbufs[good++] = mbufs[i];
		else
			sp_drop(w, mbufs[i], SP_DROP_CRYPTO_ERROR); /* may be half encrypted: never sent */
	}
	sp_add(w, &sa->drops[SP_SA_DROP_CRYPTO], n - good);
	return good;
}

static void encrypt_async(struct sp_worker *w, struct sp_sa_out *sa, struct sp_packet **packets, struct rte_mbuf **mbufs, uint64_t sequence, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		struct sp_packet *p = packets[i];
		struct sp_mbuf_priv *priv = sp_priv(p->mbuf);

		mbufs[i] = p->mbuf;
		priv->sequence = sequence + i;
		priv->payload = p->l3;
		priv->payload_length = (uint32_t)p->length + p->pad_length + 2;
	}
	sp_async_encrypt(w, sa, mbufs, n);
}

/* First number of n reserved ones; lowers *n to those that the SA may still send (RFC 4303 3.3.3). */
static uint64_t reserve(struct sp_worker *w, struct sp_sa_out *sa, struct sp_packet **packets, uint32_t *n)
{
	uint64_t last = w->shared ? __atomic_fetch_add(&sa->sequence, *n, __ATOMIC_RELAXED) : sa->sequence;

	if (!w->shared)
		__atomic_store_n(&sa->sequence, last + *n, __ATOMIC_RELAXED);
	while (unlikely(*n > 0 && last + *n > sa->sequence_limit))
		sp_drop(w, packets[--*n]->mbuf, SP_DROP_SEQ_EXHAUSTED);
	return last + 1;
}

/* Packets of one SA, all admitted. */
static void seal(struct sp_worker *w, struct sp_sa_out *sa, struct sp_packet **packets, uint32_t n)
{
	struct rte_mbuf *mbufs[SP_BURST];
	uint64_t sequence = reserve(w, sa, packets, &n);
	uint64_t bytes = 0;

	if (unlikely(n == 0))
		return;
	for (uint32_t i = 0; i < n; i++) {
		bytes += packets[i]->length;
		encapsulate(sa, packets[i], sequence + i);
	}
	sp_add(w, &sa->packets, n);
	sp_add(w, &sa->bytes, bytes);
	sa->last_use = w->now;
	if (likely(sa->kind == SP_SA_AEAD_CPU)) {
		n = encrypt_cpu(w, sa, packets, mbufs, sequence, n);
		sp_transmit_esp(w, sa, mbufs, n);
	} else {
		encrypt_async(w, sa, packets, mbufs, sequence, n);
	}
}

static void without_sa(struct sp_worker *w, const struct sp_cell *cell, struct sp_packet **packets, uint32_t n)
{
	int hold = __atomic_load_n(&cell->state, __ATOMIC_RELAXED) == SP_CELL_HOLD;

	for (uint32_t i = 0; i < n; i++) {
		if (hold)
			sp_punt_held(w, packets[i], SP_PUNT_ACQUIRE);
		else
			sp_drop(w, packets[i]->mbuf, SP_DROP_NO_OUTBOUND_SA);
	}
}

/* Packets of one cell. */
static void outbound_run(struct sp_worker *w, struct sp_packet **packets, uint32_t n)
{
	const struct sp_cell *cell = &w->dp->cells[packets[0]->cell];
	struct sp_sa_out *sa = __atomic_load_n(&cell->sa, __ATOMIC_ACQUIRE);
	const struct sp_adjacency *next;
	uint16_t adjacency;
	uint32_t admitted = 0;

	if (unlikely(sa == NULL)) {
		without_sa(w, cell, packets, n);
		return;
	}
	adjacency = __atomic_load_n(&sa->adjacency, __ATOMIC_RELAXED);
	next = sp_adjacency_get(w, adjacency);
	if (unlikely(next == NULL)) {
		for (uint32_t i = 0; i < n; i++) {
			packets[i]->adjacency = adjacency;
			sp_punt_held(w, packets[i], SP_PUNT_NEIGHBOUR);
		}
		return;
	}
	for (uint32_t i = 0; i < n; i++)
		if (likely(admit(w, sa, next, packets[i])))
			packets[admitted++] = packets[i];
	if (likely(admitted > 0))
		seal(w, sa, packets, admitted);
}

void sp_outbound(struct sp_worker *w, struct sp_packet **packets, uint32_t n)
{
	uint32_t start = 0;

	for (uint32_t i = 1; i <= n; i++) {
		if (i < n && packets[i]->cell == packets[start]->cell)
			continue;
		outbound_run(w, packets + start, i - start);
		start = i;
	}
}
