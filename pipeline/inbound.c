/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Stage 7: ESP and AH for us (RFC 4303 3.4): by itself ESP with AES-GCM in tunnels, all else in inbound_general.c. SPI to SA, replay check, ICV and decryption, replay update, trailer, inner header, negotiated selectors; then the inner packet
 * is classified as having come out of its tunnel. Other packets of the burst move the window between check and update, which is why both ask.
 */

#include "esp.h"
#include "fields.h"
#include "fragment.h"
#include "inline.h"
#include "parse.h"
#include "replay.h"
#include "sequence.h"

#define PASS_IPV6 0xfe /* in place of a reason: an IPv6 packet is inside */
_Static_assert(PASS_IPV6 != SP_PASS && SP_DROP_COUNT < PASS_IPV6, "no reason is taken for it");

/* Of every AEAD that is decrypted here. */
#define AEAD_IV 8 /* bytes in the packet */
#define AEAD_HEAD (SP_ESP_LENGTH + AEAD_IV)
#define AEAD_BLOCK_MASK 3

/* Bytes of ESP that are not ciphertext: header, IV, ICV. */
static inline uint32_t esp_overhead(const struct sp_sa_in *sa)
{
	return AEAD_HEAD + (uint32_t)sa->transform.icv_length;
}

/* Everything that can be known before the ICV: SP_PASS or the reason to drop. */
static __rte_always_inline uint8_t admit(const struct sp_replay *replay, struct sp_esp *p, uint32_t overhead, uint32_t form, int esn)
{
	if (unlikely(p->form != form))
		return p->form == SP_FORM_AH ? SP_DROP_NO_INBOUND_SA : SP_DROP_ENCAPSULATION;
	if (unlikely(p->length < overhead + AEAD_BLOCK_MASK + 1))
		return SP_DROP_ESP_TRUNCATED;
	if (unlikely((p->length - overhead) & AEAD_BLOCK_MASK))
		return SP_DROP_ESP_LENGTH;
	p->sequence = sp_replay_sequence(replay, rte_be_to_cpu_32(sp_load32(p->esp + 4)), esn);
	return sp_replay_check(replay, p->sequence);
}

/* AES-GCM (RFC 4106): nonce = salt and IV, AAD = SPI and sequence number, with ESN its high half between them (section 5). */
static __rte_always_inline void fill_vector(struct sp_cpu_vector *v, const struct sp_sa_in *sa, const struct sp_esp *packets, uint32_t n)
{
	const uint32_t salt_be = sa->transform.salt_be, overhead = esp_overhead(sa);
	const int esn = sa->transform.esn;

	for (uint32_t i = 0; i < n; i++) {
		const struct sp_esp *p = &packets[i];
		uint32_t cipher = p->length - overhead;
		uint8_t *payload = p->esp + AEAD_HEAD;

		v->data[i].base = payload;
		v->data[i].len = cipher;
		v->digest[i].va = payload + cipher;
		v->aad[i].va = p->esp;
		sp_store32(v->iv_bytes[i], salt_be);
		sp_store64(v->iv_bytes[i] + 4, sp_load64(p->esp + SP_ESP_LENGTH));
		if (unlikely(esn)) {
			v->aad[i].va = v->aad_bytes[i];
			sp_store32(v->aad_bytes[i], sp_load32(p->esp));
			sp_store64(v->aad_bytes[i] + 4, rte_cpu_to_be_64(p->sequence));
		}
	}
}

/* Decrypts. Packets whose ICV is right come to the front; returns their number. */
static uint32_t decrypt_cpu(struct sp_worker *w, struct sp_sa_in *sa, struct sp_esp *packets, uint32_t n)
{
	struct sp_cpu_vector *v = &w->cpu;
	uint32_t good;

	fill_vector(v, sa, packets, n);
	good = sp_cpu_process(w, sa->transform.device, sa->transform.session, n);

	if (likely(good == n))
		return n;
	good = 0;
	for (uint32_t i = 0; i < n; i++) {
		if (v->status[i] == 0)
			packets[good++] = packets[i];
		else if (v->status[i] == EBADMSG)
			sp_sa_in_drop(w, sa, packets[i].mbuf, SP_DROP_AUTH_FAILED);
		else
			sp_sa_in_drop(w, sa, packets[i].mbuf, SP_DROP_CRYPTO_ERROR);
	}
	return good;
}

/* As decrypt_cpu: a wrong ICV is all that libIPSec_MB can find. */
static __rte_always_inline uint32_t decrypt_direct(struct sp_worker *w, struct sp_sa_in *sa, struct sp_esp *packets, uint32_t n)
{
	uint32_t forged = sp_direct_decrypt(w, sa, packets, n), good = 0;

	if (likely(forged == 0))
		return n;
	for (uint32_t i = 0; i < n; i++) {
		if (forged >> i & 1)
			sp_sa_in_drop(w, sa, packets[i].mbuf, SP_DROP_AUTH_FAILED);
		else
			packets[good++] = packets[i];
	}
	return good;
}

/* The trailer in full: SP_PASS, PASS_IPV6 or the reason to drop (RFC 4303 2.4 to 2.6). */
static __rte_noinline uint8_t check_trailer(const uint8_t *payload, uint32_t cipher)
{
	uint8_t next_header = payload[cipher - 1];

	if (!sp_esp_padding_right(payload, cipher))
		return SP_DROP_BAD_PADDING;
	if (next_header == SP_NEXT_HEADER_IPV4)
		return SP_PASS;
	if (next_header == SP_PROTOCOL_IPV6)
		return PASS_IPV6;
	return next_header == SP_PROTOCOL_NONE ? SP_DROP_DUMMY : SP_DROP_NEXT_HEADER;
}

/* As check_trailer; the shortest padding, which most senders use, takes a comparison or two. The 8 bytes are there: ESP header and IV precede the payload. */
static __rte_always_inline uint8_t open_trailer(const uint8_t *payload, uint32_t cipher)
{
	uint64_t tail = sp_load64(payload + cipher - 8);
	uint32_t pad = tail >> 48 & 0xff;

	if (likely(pad < RTE_DIM(sp_esp_trailer) && tail >> (48 - 8 * pad) == sp_esp_trailer[pad]))
		return SP_PASS;
	/* of IPv4 decapsulate asks for the room */
	if (pad < RTE_DIM(sp_esp_trailer) && tail >> (48 - 8 * pad) == (sp_esp_trailer[pad] ^ sp_esp_ipv6(pad)) && pad + SP_ESP_TRAILER <= cipher)
		return PASS_IPV6;
	return check_trailer(payload, cipher);
}

/* Out of line: few packets bring a mark. */
static __rte_noinline uint8_t carry_mark(uint8_t *inner, uint8_t outer_tos)
{
	return sp_decapsulate_ecn(inner, outer_tos);
}

/* One authenticated packet: SP_PASS and a packet ready for the classifier, PASS_IPV6 for one that inbound6.c takes on, or the reason to drop. */
static __rte_always_inline uint8_t decapsulate(const struct sp_sa_in *sa, const struct sp_selector_lanes *selectors, const struct sp_esp *p, struct sp_packet *out,
					     uint64_t origin, uint32_t overhead)
{
	uint8_t *inner = p->esp + AEAD_HEAD;
	uint32_t cipher = p->length - overhead, length;
	uint8_t reason = open_trailer(inner, cipher);
	struct sp_header h;

	if (unlikely(reason != SP_PASS))
		return reason;
	length = cipher - 2 - inner[cipher - 2];
	if (unlikely(length - SP_IPV4_LENGTH > cipher || !sp_header_plain(&h, inner, length, 0) ||
		     !sp_packet_plain(out, p->mbuf, inner, &h, origin))) {
		if (length > cipher) /* one block of 4, and a byte of the IV that looked like padding before it */
			return SP_DROP_BAD_PADDING;
		if (length == 0)
			return SP_DROP_NO_PAYLOAD;
		reason = sp_parse_ipv4(out, p->mbuf, inner, length, origin);
		if (reason != SP_PASS)
			return reason == SP_FRAGMENT ? reason : SP_DROP_INNER_HEADER;
	}
	if (unlikely(p->outer_tos & SP_ECN_TELLS)) {
		reason = carry_mark(inner, p->outer_tos);
		if (reason != SP_PASS)
			return reason;
	}
	return likely(sp_selected(selectors, sa->n_selectors, out)) ? SP_PASS : SP_DROP_SELECTOR_MISMATCH;
}

/* A fragment of an inner packet: as decapsulate, of the whole packet when it is complete, which p then stands for. Selectors may name ports, which only the whole has. */
static __rte_noinline uint8_t inner_fragment(struct sp_worker *w, struct sp_sa_in *sa, struct sp_esp *p, struct sp_packet *out, uint64_t origin)
{
	uint8_t *inner = p->esp + AEAD_HEAD;
	uint8_t reason = sp_decapsulate_ecn(inner, p->outer_tos);

	sp_set_mark_sa(p->mbuf, sa->subject); /* as long as it waits */
	if (reason == SP_PASS)
		reason = sp_reassemble(w, out, p->mbuf, inner, origin);
	if (reason != SP_PASS)
		return reason;
	p->mbuf = out->mbuf;
	sp_set_mark_sa(p->mbuf, 0);
	return sp_selected(sa->selectors, sa->n_selectors, out) ? SP_PASS : SP_DROP_SELECTOR_MISMATCH;
}

/* What of a burst goes another way than IPv4 packets out of plain SAs. */
struct others {
	struct sp_opening general; /* of SAs that inbound_general.c takes */
	uint32_t n_wide;
	struct sp_packet6 wide[SP_BURST]; /* came out of plain SAs */
};

/* What authenticated packets of one SA and in-port hold, written to inner; returns how many. IPv6 packets join the others. */
static __rte_always_inline uint32_t unpack(struct sp_worker *w, struct sp_sa_in *sa, struct others *others, struct sp_esp *packets, uint32_t n, struct sp_packet *inner)
{
	const struct sp_selector_lanes *selectors = sa->selectors;
	const uint32_t overhead = esp_overhead(sa);
	uint64_t origin;
	struct sp_packet *out = inner;
	uint32_t n_ipv6 = 0;
	uint64_t bytes = 0;

	SP_ENTER(w, DECAPSULATE);
	if (unlikely(n == 0))
		return 0;
	if (unlikely(sa->follow))
		sp_note_remote(w, sa, packets, n);
	origin = sp_key_origin(w->dp->ports[packets[0].mbuf->port].role, sa->cell);
	for (struct sp_esp *p = packets; p < packets + n; p++) {
		uint8_t reason = sp_replay_update(&sa->replay, p->sequence);

		if (likely(reason == SP_PASS))
			reason = decapsulate(sa, selectors, p, out, origin, overhead);
		if (unlikely(reason != SP_PASS)) {
			if (reason == PASS_IPV6) {
				packets[n_ipv6++] = *p; /* to the front, where none waits to be read */
				continue;
			}
			if (reason == SP_FRAGMENT)
				reason = inner_fragment(w, sa, p, out, origin);
			if (reason != SP_PASS) {
				sp_sa_in_drop(w, sa, p->mbuf, reason);
				continue;
			}
		}
		if (n == 1) /* packets of other SAs are decrypted before it is read */
			sp_flow_fetch(w, out);
		bytes += out->length;
		out++;
	}
	sp_carried_in(w, sa, (uint64_t)(out - inner), bytes);
	if (unlikely(n_ipv6 > 0))
		others->n_wide += sp_inbound6(w, sa, packets, n_ipv6, others->wide + others->n_wide);
	return (uint32_t)(out - inner);
}

/* An SA belongs to one worker, which alone moves its window. The packet is parsed again there. */
static void hand_over(struct sp_worker *w, const struct sp_sa_in *sa, const struct sp_esp *packets, uint32_t n)
{
	struct rte_mbuf *mbufs[SP_BURST];
	uint32_t filters[SP_BURST], bytes[SP_BURST], taken;

	for (uint32_t i = 0; i < n; i++) {
		mbufs[i] = packets[i].mbuf;
		filters[i] = sp_mark_filter(mbufs[i]);
		bytes[i] = sp_ip_length(rte_pktmbuf_mtod_offset(mbufs[i], uint8_t *, SP_L2_LENGTH));
		w->counters[mbufs[i]->port].handed_over++;
	}
	taken = rte_ring_mp_enqueue_burst(w->dp->workers[sa->owner]->handover, (void **)mbufs, n, NULL);
	for (uint32_t i = 0; i < taken; i++)
		sp_uncount(w, filters[i], bytes[i]);
	for (uint32_t i = taken; i < n; i++)
		sp_sa_in_drop(w, sa, mbufs[i], SP_DROP_HANDOVER_FULL);
}

/* Moves the packets that deserve crypto to the front; returns their number. */
static __rte_always_inline uint32_t admit_run(struct sp_worker *w, struct sp_sa_in *sa, struct sp_esp *packets, uint32_t n)
{
	const struct sp_replay replay = sa->replay; /* nobody moves the window meanwhile */
	const uint32_t overhead = esp_overhead(sa);
	const uint32_t form = sa->form;
	const int esn = sa->transform.esn;
	struct sp_esp *good = packets;

	for (struct sp_esp *p = packets; p < packets + n; p++) {
		uint8_t reason = admit(&replay, p, overhead, form, esn);

		if (unlikely(reason != SP_PASS)) {
			sp_sa_in_drop(w, sa, p->mbuf, reason);
			continue;
		}
		if (unlikely(good != p))
			*good = *p;
		good++;
	}
	return (uint32_t)(good - packets);
}

/* Two SPIs that no SA can have (RFC 4303 2.1) ask whether the path lets the protocol through, and answer that. One that is reserved will have its SA soon. */
void sp_inbound_stray(struct sp_worker *w, const struct sp_esp *p, uint32_t spi)
{
	if ((spi == SP_SPI_ECHO_REQUEST || spi == SP_SPI_ECHO_REPLY) && (p->form == SP_FORM_ESP || p->form == SP_FORM_AH))
		sp_punt_frame(w, p->mbuf, SP_PUNT_ECHO, 0);
	else if (sp_early_keep(w, p->mbuf, spi))
		return;
	else if (p->form == SP_FORM_UDP)
		sp_punt_unheard(w, p->mbuf, p->esp - SP_UDP_LENGTH - p->headers, p->esp - SP_UDP_LENGTH, SP_DROP_NO_INBOUND_SA);
	else
		sp_drop(w, p->mbuf, SP_DROP_NO_INBOUND_SA);
}

/* Packets of an SA that is not plain, or expired: what its NIC has opened, and the rest by the general path. */
static __rte_noinline uint32_t otherwise(struct sp_worker *w, struct others *others, struct sp_sa_in *sa, struct sp_esp *packets, uint32_t n, struct sp_packet *inner)
{
	uint32_t out = 0;

	if (unlikely(sa->heir))
		sp_sa_in_adopt(sa);
	if (sa->inlined && !sa->expired)
		out = sp_inline_unpack(w, sa, packets, &n, inner, others->wide, &others->n_wide);
	if (n > 0)
		sp_inbound_general(w, &others->general, sa, packets, n);
	return out;
}

/*
 * Packets of one SPI; returns how many packets came out of them into inner. What inbound_general.c takes goes its own way. Compiled for a run of one by itself, as most are where
 * tunnels are many: what is asked once for all packets of a run is no saving then.
 */
static __rte_always_inline uint32_t open_run(struct sp_worker *w, struct others *others, struct sp_sa_in *sa, struct sp_esp *packets, uint32_t n, struct sp_packet *inner)
{
	const uint32_t spi = rte_be_to_cpu_32(sp_load32(packets[0].esp));

	if (unlikely(sa == NULL || sa->spi != spi)) {
		for (uint32_t i = 0; i < n; i++)
			sp_inbound_stray(w, &packets[i], spi);
		return 0;
	}
	if (unlikely(sa->owner != w->id)) {
		hand_over(w, sa, packets, n);
		return 0;
	}
	if (unlikely(!sa->plain || sa->expired))
		return otherwise(w, others, sa, packets, n, inner);
	n = admit_run(w, sa, packets, n);
	if (unlikely(n == 0))
		return 0;
	SP_ENTER(w, DECRYPT);
	if (likely(sa->transform.kind == SP_SA_AEAD_DIRECT))
		return unpack(w, sa, others, packets, decrypt_direct(w, sa, packets, n), inner);
	if (sa->transform.kind == SP_SA_AEAD_INLINE)
		return unpack(w, sa, others, packets, sp_inline_decrypt(w, sa, packets, n), inner);
	return unpack(w, sa, others, packets, decrypt_cpu(w, sa, packets, n), inner);
}

static __rte_noinline uint32_t inbound_run(struct sp_worker *w, struct others *others, struct sp_sa_in *sa, struct sp_esp *packets, uint32_t n, struct sp_packet *inner)
{
	return open_run(w, others, sa, packets, n, inner);
}

/* The SA that has the packet's place among all: it is the packet's if it has its SPI. NULL: none. */
static __rte_always_inline struct sp_sa_in **slot_of(const struct sp_worker *w, const struct sp_esp *p)
{
	return &w->dp->sad[rte_be_to_cpu_32(sp_load32(p->esp)) & w->dp->sad_mask];
}

/* As outbound.c does: what packets need of thousands of SAs is asked for ahead of them, with the key the word of the window. */
#define KEY_AHEAD 8

static __rte_always_inline void fetch_sa(const struct sp_sa_in *sa)
{
	if (sa != NULL)
		sp_fetch(&sa->transform.session, 2 * RTE_CACHE_LINE_SIZE);
}

static __rte_always_inline void fetch_key(const struct sp_sa_in *sa)
{
	if (sa == NULL)
		return;
	sp_fetch_key(&sa->transform);
	rte_prefetch0(&sa->replay.bitmap[__atomic_load_n(&sa->replay.at, __ATOMIC_RELAXED)]); /* which its owner, another worker perhaps, moves */
}

static __rte_noinline uint32_t inbound_mixed(struct sp_worker *w, struct others *others, struct sp_esp *packets, uint32_t n, struct sp_packet *inner)
{
	struct sp_sa_in *sas[SP_BURST + KEY_AHEAD] = {NULL};
	uint32_t start = 0, out = 0;

	for (uint32_t i = 0; i < n; i++)
		rte_prefetch0(slot_of(w, &packets[i]));
	for (uint32_t i = 0; i < n; i++)
		sas[i] = __atomic_load_n(slot_of(w, &packets[i]), __ATOMIC_ACQUIRE);
	for (uint32_t i = 0; i < n; i++)
		fetch_sa(sas[i]);
	for (uint32_t i = 0; i < KEY_AHEAD; i++)
		fetch_key(sas[i]);
	while (start < n) {
		uint32_t spi_be = sp_load32(packets[start].esp), end = start;

		SP_ENTER(w, SA);
		do {
			fetch_key(sas[end + KEY_AHEAD]);
			end++;
		} while (end < n && sp_load32(packets[end].esp) == spi_be);
		if (end - start == 1)
			out += open_run(w, others, sas[start], packets + start, 1, inner + out);
		else
			out += inbound_run(w, others, sas[start], packets + start, end - start, inner + out);
		start = end;
	}
	return out;
}

static int many_sas(const struct sp_esp *packets, uint32_t n)
{
	uint32_t runs = 0;

	for (uint32_t i = 1; i < n; i++)
		runs += sp_load32(packets[i].esp) != sp_load32(packets[i - 1].esp);
	return runs > 1;
}

static uint32_t inbound_runs(struct sp_worker *w, struct others *others, struct sp_esp *packets, uint32_t n, struct sp_packet *inner)
{
	uint32_t start = 0, out = 0;

	while (start < n) {
		uint32_t spi_be = sp_load32(packets[start].esp), end = start + 1;

		while (end < n && sp_load32(packets[end].esp) == spi_be)
			end++;
		out += inbound_run(w, others, __atomic_load_n(slot_of(w, &packets[start]), __ATOMIC_ACQUIRE), packets + start, end - start, inner + out);
		start = end;
	}
	return out;
}

void sp_inbound(struct sp_worker *w, struct sp_esp *packets, uint32_t n)
{
	struct sp_packet inner[SP_BURST];
	struct others others;
	uint32_t out;

	SP_ENTER(w, SA);
	others.general.n = others.n_wide = 0;
	if (unlikely(w->dp->secured)) {
		n = sp_inline_admit(w, packets, n);
		if (n == 0)
			return;
	}
	out = likely(!many_sas(packets, n)) ? inbound_runs(w, &others, packets, n, inner) : inbound_mixed(w, &others, packets, n, inner);
	/* together, whatever their SAs were: their flows are looked up side by side */
	if (likely(out > 0))
		sp_process(w, inner, out);
	if (unlikely(others.n_wide > 0))
		sp_process6(w, others.wide, others.n_wide);
	if (unlikely(others.general.n > 0))
		sp_inbound_open(w, &others.general);
}
