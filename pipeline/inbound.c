/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Stage 7: ESP for us (RFC 4303 3.4). SPI to SA, replay check, ICV and decryption, replay update, trailer, inner header, negotiated selectors; then the inner packet
 * is classified as having come out of its tunnel. Other packets of the burst move the window between check and update, which is why both ask.
 */

#include "ipv4.h"
#include "mbuf.h"
#include "replay.h"
#include "stages.h"

/* Bytes of ESP that are not ciphertext: header, IV, ICV. */
static inline uint32_t esp_overhead(const struct sp_sa_in *sa)
{
	return SP_ESP_LENGTH + (uint32_t)sa->iv_length + sa->icv_length;
}

static void sa_drop(struct sp_worker *w, struct sp_sa_in *sa, struct rte_mbuf *m, uint8_t reason, enum sp_sa_drop which)
{
	sa->drops[which]++;
	sp_drop(w, m, reason);
}

static void replay_drop(struct sp_worker *w, struct sp_sa_in *sa, struct rte_mbuf *m, uint8_t reason)
{
	sa_drop(w, sa, m, reason, reason == SP_DROP_REPLAY_DUPLICATE ? SP_SA_DROP_REPLAY_DUPLICATE : SP_SA_DROP_REPLAY_OLD);
}

/* Everything that can be known before the ICV. Returns 1 when the packet deserves crypto. */
static __rte_always_inline int admit(struct sp_worker *w, struct sp_sa_in *sa, struct sp_esp *p)
{
	uint32_t overhead = esp_overhead(sa);
	uint8_t reason;

	if (unlikely(p->udp != sa->udp)) {
		sa_drop(w, sa, p->mbuf, SP_DROP_ENCAPSULATION, SP_SA_DROP_MALFORMED);
		return 0;
	}
	if (unlikely(p->length < overhead + sa->block_mask + 1u)) {
		sa_drop(w, sa, p->mbuf, SP_DROP_ESP_TRUNCATED, SP_SA_DROP_MALFORMED);
		return 0;
	}
	if (unlikely((p->length - overhead) & sa->block_mask)) {
		sa_drop(w, sa, p->mbuf, SP_DROP_ESP_LENGTH, SP_SA_DROP_MALFORMED);
		return 0;
	}
	p->sequence = sp_replay_sequence(&sa->replay, rte_be_to_cpu_32(sp_load32(p->esp + 4)), sa->esn);
	reason = sp_replay_check(&sa->replay, p->sequence);
	if (unlikely(reason != SP_PASS)) {
		replay_drop(w, sa, p->mbuf, reason);
		return 0;
	}
	return 1;
}

/* AES-GCM (RFC 4106). Packets whose ICV is right come to the front; returns their number. */
static uint32_t decrypt_cpu(struct sp_worker *w, struct sp_sa_in *sa, struct sp_esp *packets, uint32_t n)
{
	struct sp_cpu_vector *v = &w->cpu;
	uint32_t overhead = esp_overhead(sa);
	uint32_t good;

	for (uint32_t i = 0; i < n; i++) {
		struct sp_esp *p = &packets[i];
		uint32_t cipher = p->length - overhead;
		uint8_t *payload = p->esp + SP_ESP_LENGTH + 8;

		v->data[i].base = payload;
		v->data[i].len = cipher;
		v->digest[i].va = payload + cipher;
		sp_store32(v->iv_bytes[i], sa->salt_be);
		sp_store64(v->iv_bytes[i] + 4, sp_load64(p->esp + SP_ESP_LENGTH));
		if (likely(!sa->esn)) {
			v->aad[i].va = p->esp;
		} else {
			v->aad[i].va = v->aad_bytes[i];
			sp_store32(v->aad_bytes[i], sp_load32(p->esp));
			sp_store64(v->aad_bytes[i] + 4, rte_cpu_to_be_64(p->sequence));
		}
	}
	good = sp_cpu_process(w, sa->device, sa->session, n);
	if (likely(good == n))
		return n;
	good = 0;
	for (uint32_t i = 0; i < n; i++) {
		if (v->status[i] == 0)
			packets[good++] = packets[i];
		else if (v->status[i] == EBADMSG)
			sa_drop(w, sa, packets[i].mbuf, SP_DROP_AUTH_FAILED, SP_SA_DROP_AUTH_FAILED);
		else
			sa_drop(w, sa, packets[i].mbuf, SP_DROP_CRYPTO_ERROR, SP_SA_DROP_CRYPTO);
	}
	return good;
}

/* Inner packet and its length from the decrypted payload (RFC 4303 2.4 to 2.6); SP_PASS or the reason to drop. */
static __rte_always_inline uint8_t open_trailer(const struct sp_sa_in *sa, const struct sp_esp *p, uint8_t **inner, uint32_t *length)
{
	uint8_t *payload = p->esp + SP_ESP_LENGTH + sa->iv_length;
	uint32_t cipher = p->length - esp_overhead(sa);
	uint32_t pad = payload[cipher - 2];
	uint8_t next_header = payload[cipher - 1];

	if (unlikely(pad + 2 > cipher))
		return SP_DROP_BAD_PADDING;
	for (uint32_t i = 1; i <= pad; i++)
		if (unlikely(payload[cipher - 2 - pad + i - 1] != i))
			return SP_DROP_BAD_PADDING;
	if (unlikely(next_header != SP_NEXT_HEADER_IPV4))
		return next_header == SP_PROTOCOL_NONE ? SP_DROP_DUMMY : SP_DROP_NEXT_HEADER;
	*inner = payload;
	*length = cipher - 2 - pad;
	return SP_PASS;
}

/* Congestion marked outside is carried inside (RFC 6040 4.2); a sender that cannot hear it loses the packet. */
static uint8_t propagate_congestion(struct sp_packet *p)
{
	uint16_t before;
	uint8_t ecn = p->tos & SP_ECN_MASK;

	if (ecn == SP_ECN_CE)
		return SP_PASS;
	if (ecn == 0)
		return SP_DROP_ECN;
	before = sp_load16(p->l3);
	p->tos |= SP_ECN_CE;
	p->l3[1] = p->tos;
	sp_ipv4_checksum_adjust(p->l3, before, sp_load16(p->l3));
	return SP_PASS;
}

/* One authenticated packet: SP_PASS and a packet ready for the classifier, or the reason to drop. */
static __rte_always_inline uint8_t decapsulate(struct sp_worker *w, const struct sp_sa_in *sa, const struct sp_esp *p, struct sp_packet *out)
{
	uint8_t *inner = NULL;
	uint32_t length = 0;
	uint8_t reason = open_trailer(sa, p, &inner, &length);

	if (unlikely(reason != SP_PASS))
		return reason;
	reason = sp_parse_inner(w, out, p->mbuf, inner, length, w->dp->ports[p->mbuf->port].role, sa->cell);
	if (unlikely(reason != SP_PASS))
		return reason == SP_DROP_FRAGMENT ? reason : SP_DROP_INNER_HEADER;
	if (unlikely((p->outer_tos & SP_ECN_MASK) == SP_ECN_CE)) {
		reason = propagate_congestion(out);
		if (reason != SP_PASS)
			return reason;
	}
	sp_mbuf_bounds(p->mbuf, inner - SP_L2_LENGTH, SP_L2_LENGTH + out->length);
	if (unlikely(!sp_selected(sa->selectors, sa->n_selectors, &out->key)))
		return SP_DROP_SELECTOR_MISMATCH;
	return SP_PASS;
}

void sp_inbound_finish(struct sp_worker *w, struct sp_sa_in *sa, struct sp_esp *packets, uint32_t n)
{
	struct sp_packet inner[SP_BURST];
	uint32_t n_inner = 0;
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < n; i++) {
		struct sp_esp *p = &packets[i];
		uint8_t reason = sp_replay_update(&sa->replay, p->sequence);

		if (unlikely(reason != SP_PASS)) {
			replay_drop(w, sa, p->mbuf, reason);
			continue;
		}
		reason = decapsulate(w, sa, p, &inner[n_inner]);
		if (unlikely(reason != SP_PASS)) {
			sa_drop(w, sa, p->mbuf, reason, reason == SP_DROP_SELECTOR_MISMATCH ? SP_SA_DROP_SELECTOR_MISMATCH : SP_SA_DROP_MALFORMED);
			continue;
		}
		bytes += inner[n_inner].length;
		n_inner++;
	}
	sa->packets += n_inner;
	sa->bytes += bytes;
	sa->last_use = w->now;
	if (likely(n_inner > 0))
		sp_process(w, inner, n_inner);
}

/* An SA belongs to one worker, which alone moves its window. The packet is parsed again there. */
static void hand_over(struct sp_worker *w, uint8_t owner, struct sp_esp *packets, uint32_t n)
{
	struct rte_mbuf *mbufs[SP_BURST];
	uint32_t taken;

	for (uint32_t i = 0; i < n; i++)
		mbufs[i] = packets[i].mbuf;
	taken = rte_ring_mp_enqueue_burst(w->dp->workers[owner]->handover, (void **)mbufs, n, NULL);
	for (uint32_t i = taken; i < n; i++)
		sp_drop(w, mbufs[i], SP_DROP_HANDOVER_FULL);
}

/* Packets of one SPI. */
static void inbound_run(struct sp_worker *w, uint32_t spi, struct sp_esp *packets, uint32_t n)
{
	struct sp_sa_in *sa = __atomic_load_n(&w->dp->sad[spi & w->dp->sad_mask], __ATOMIC_ACQUIRE);
	uint32_t admitted = 0;

	if (unlikely(sa == NULL || sa->spi != spi)) {
		for (uint32_t i = 0; i < n; i++)
			sp_drop(w, packets[i].mbuf, SP_DROP_NO_INBOUND_SA);
		return;
	}
	if (unlikely(sa->owner != w->id)) {
		hand_over(w, sa->owner, packets, n);
		return;
	}
	for (uint32_t i = 0; i < n; i++)
		if (likely(admit(w, sa, &packets[i])))
			packets[admitted++] = packets[i];
	if (unlikely(admitted == 0))
		return;
	if (likely(sa->kind == SP_SA_AEAD_CPU)) {
		admitted = decrypt_cpu(w, sa, packets, admitted);
		sp_inbound_finish(w, sa, packets, admitted);
	} else {
		sp_async_decrypt(w, sa, packets, admitted);
	}
}

void sp_inbound(struct sp_worker *w, struct sp_esp *packets, uint32_t n)
{
	uint32_t spi[SP_BURST + 1];
	uint32_t long_enough = 0, start = 0;

	for (uint32_t i = 0; i < n; i++) {
		if (unlikely(packets[i].length < SP_ESP_LENGTH)) {
			sp_drop(w, packets[i].mbuf, SP_DROP_ESP_TRUNCATED);
			continue;
		}
		packets[long_enough] = packets[i];
		spi[long_enough] = rte_be_to_cpu_32(sp_load32(packets[i].esp));
		long_enough++;
	}
	for (uint32_t i = 1; i <= long_enough; i++) {
		if (i < long_enough && spi[i] == spi[start])
			continue;
		inbound_run(w, spi[start], packets + start, i - start);
		start = i;
	}
}
