/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The peer's side of ESP (RFC 4303) in tunnel mode, by libIPSec_MB: AES-GCM by one call a packet, all else as a burst of jobs. It shares no code with the gateway's: two that
 * err alike would find each other faultless.
 */

#include <stdlib.h>
#include <string.h>

#include <intel-ipsec-mb.h>
#include <rte_ip.h>
#include <rte_mbuf.h>

#include "packet.h"

#define HIGHEST 0xffffffffULL /* sequence number without ESN */
#define HIGH 4 /* octets of its upper half */

struct traffic_crypto {
	IMB_MGR *manager;
	struct gcm_context_data context;
	uint8_t nonces[TRAFFIC_BURST][TRAFFIC_IV];
	uint8_t heads[TRAFFIC_BURST][ESP_LENGTH + HIGH]; /* of ESP with the whole number, for combined modes */
	uint8_t tags[TRAFFIC_BURST][TRAFFIC_ICV * 2];
	uint8_t received[TRAFFIC_BURST][TRAFFIC_ICV];
};

static const uint8_t zeros[TRAFFIC_IV];

struct traffic_crypto *traffic_crypto_create(void)
{
	struct traffic_crypto *c = aligned_alloc(TRAFFIC_LINE, (sizeof(*c) + TRAFFIC_LINE - 1) / TRAFFIC_LINE * TRAFFIC_LINE);

	if (c == NULL)
		return NULL;
	memset(c, 0, sizeof(*c));
	c->manager = alloc_mb_mgr(0);
	if (c->manager != NULL) {
		init_mb_mgr_auto(c->manager, NULL);
		if (imb_get_errno(c->manager) == 0)
			return c;
	}
	traffic_crypto_free(c);
	return NULL;
}

void traffic_crypto_free(struct traffic_crypto *c)
{
	if (c == NULL)
		return;
	if (c->manager != NULL)
		free_mb_mgr(c->manager);
	explicit_bzero(c, sizeof(*c));
	free(c);
}

struct traffic_sa *traffic_find(const struct traffic_sas *sas, uint32_t spi_be)
{
	if (sas == NULL)
		return NULL;
	for (uint32_t step = 0, at = (spi_be * 0x9e3779b1U) >> 7; step <= sas->mask; step++, at++) {
		uint64_t place = __atomic_load_n(&sas->spis[at & sas->mask], __ATOMIC_ACQUIRE);
		uint32_t number = (uint32_t)(place >> 32);

		if (number == 0)
			return NULL;
		if ((uint32_t)place == spi_be && number <= sas->n)
			return &sas->sas[number - 1];
	}
	return NULL;
}

/* One packet of ESP while its crypto is done: from its SPI to its ICV. */
struct work {
	const struct traffic_sa *sa;
	uint8_t *esp;
	uint64_t sequence;
	uint32_t text, end; /* where the ciphertext begins and ends */
};

/* Salt and IV: 12 octets, of CCM 11. */
static uint8_t *nonce(uint8_t *to, const struct work *w)
{
	memcpy(to, w->sa->salt, w->sa->salt_length);
	memcpy(to + w->sa->salt_length, w->esp + ESP_LENGTH, w->sa->iv_length);
	return to;
}

/* What a combined mode authenticates beside the ciphertext: with ESN the whole number stands in the place of its lower half (RFC 4106 section 5, RFC 4309 section 5, RFC 7634
 * section 2.1). */
static const uint8_t *head(struct traffic_crypto *c, const struct work *w, uint32_t i)
{
	uint64_t sequence_be = rte_cpu_to_be_64(w->sequence);

	if (!w->sa->esn)
		return w->esp;
	memcpy(c->heads[i], w->esp, 4);
	memcpy(c->heads[i] + 4, &sequence_be, 8);
	return c->heads[i];
}

static void run_gcm(struct traffic_crypto *c, const struct work *w, uint32_t i, uint8_t *tag)
{
	aes_gcm_enc_dec_t gcm;

	memcpy(&gcm, &w->sa->gcm, sizeof(gcm));
	gcm(w->sa->session, &c->context, w->esp + w->text, w->esp + w->text, w->end - w->text, nonce(c->nonces[i], w), head(c, w, i), ESP_LENGTH + (w->sa->esn ? HIGH : 0), tag, w->sa->icv_length);
}

/* The IV of CBC outbound is made by encryption of the number under an IV of zeros, so that nobody can predict it (SP 800-38A appendix C). */
static void fill_cbc(const struct work *w, IMB_JOB *job, int encrypt)
{
	job->iv = w->esp + ESP_LENGTH;
	if (!encrypt)
		return;
	job->iv = zeros;
	job->dst -= w->sa->iv_length;
	job->cipher_start_src_offset_in_bytes -= w->sa->iv_length;
	job->msg_len_to_cipher_in_bytes += w->sa->iv_length;
}

/* An HMAC takes the upper half of the number behind the packet (RFC 4303 section 2.2.1), where the ICV is, which is longer. */
static void append_high(const struct work *w, IMB_JOB *job)
{
	uint32_t high_be = rte_cpu_to_be_32((uint32_t)(w->sequence >> 32));

	memcpy(w->esp + w->end, &high_be, HIGH);
	job->msg_len_to_hash_in_bytes += HIGH;
}

static void fill_job(struct traffic_crypto *c, IMB_JOB *job, const struct work *w, uint32_t i, int encrypt)
{
	*job = *(const IMB_JOB *)w->sa->session;
	job->src = w->esp;
	job->dst = w->esp + w->text;
	job->cipher_start_src_offset_in_bytes = w->text;
	job->msg_len_to_cipher_in_bytes = w->end - w->text;
	job->msg_len_to_hash_in_bytes = w->end;
	job->auth_tag_output = c->tags[i];
	switch (w->sa->cipher) {
	case TRAFFIC_CBC:
		fill_cbc(w, job, encrypt);
		break;
	case TRAFFIC_CTR:
		job->iv = nonce(c->nonces[i], w);
		break;
	case TRAFFIC_GMAC:
		job->u.GMAC._iv = nonce(c->nonces[i], w);
		break;
	case TRAFFIC_CCM:
	case TRAFFIC_CHACHA:
		job->iv = nonce(c->nonces[i], w);
		job->hash_start_src_offset_in_bytes = w->text;
		job->msg_len_to_hash_in_bytes = w->end - w->text;
		if (w->sa->cipher == TRAFFIC_CCM)
			job->u.CCM.aad = head(c, w, i);
		else
			job->u.CHACHA20_POLY1305.aad = head(c, w, i);
		return;
	default:
		break;
	}
	if (w->sa->esn)
		append_high(w, job);
}

/* Does the crypto of all packets and returns a mask of those that failed; the tags are in c->tags. */
static uint32_t run(struct traffic_crypto *c, const struct work *work, uint32_t n, int encrypt)
{
	uint32_t which[TRAFFIC_BURST], jobs = 0, done, failed = 0;
	IMB_JOB *list[TRAFFIC_BURST];

	for (uint32_t i = 0; i < n; i++) {
		if (work[i].sa->cipher == TRAFFIC_GCM)
			run_gcm(c, &work[i], i, c->tags[i]);
		else
			which[jobs++] = i;
	}
	if (jobs == 0)
		return 0;
	IMB_GET_NEXT_BURST(c->manager, jobs, list);
	for (uint32_t at = 0; at < jobs; at++)
		fill_job(c, list[at], &work[which[at]], which[at], encrypt);
	done = IMB_SUBMIT_BURST_NOCHECK(c->manager, jobs, list);
	if (done < jobs)
		IMB_FLUSH_BURST(c->manager, jobs - done, list + done);
	for (uint32_t at = 0; at < jobs; at++)
		failed |= (uint32_t)(list[at]->status != IMB_STATUS_COMPLETED) << which[at];
	return failed;
}

/* ---- sending ---- */

/* Padding of 1, 2, 3 ..., its length and the next header (RFC 4303 section 2.4), and room for the ICV. */
static int append_trailer(const struct traffic_sa *sa, struct rte_mbuf *m)
{
	uint32_t length = m->data_len, padding = (sa->block - (length + 2) % sa->block) % sa->block;
	uint8_t next = (*rte_pktmbuf_mtod(m, uint8_t *) >> 4) == 6 ? NEXT_IPV6 : NEXT_IPV4;
	uint8_t *at = (uint8_t *)rte_pktmbuf_append(m, (uint16_t)(padding + 2 + sa->icv_length));

	if (at == NULL)
		return -1;
	for (uint32_t i = 0; i < padding; i++)
		*at++ = (uint8_t)(i + 1);
	*at++ = (uint8_t)padding;
	*at = next;
	return 0;
}

/* The lengths and the checksum that depend on the packet. */
static void write_outer(const struct traffic_sa *sa, uint8_t *outer, uint32_t length)
{
	uint32_t ip = sa->ipv6 ? IPV6_LENGTH : IPV4_LENGTH;
	uint16_t sum;

	memcpy(outer, sa->outer, sa->outer_length);
	if (sa->udp)
		store16(outer + ip + 4, length - ip);
	if (sa->ipv6) {
		store16(outer + 4, length - IPV6_LENGTH);
		return;
	}
	store16(outer + 2, length);
	store16(outer + 10, 0);
	sum = (uint16_t)~rte_raw_cksum(outer, IPV4_LENGTH);
	memcpy(outer + 10, &sum, 2);
}

static void write_iv(const struct traffic_sa *sa, uint8_t *iv)
{
	uint64_t sequence_be = rte_cpu_to_be_64(sa->sequence);

	memset(iv, 0, sa->iv_length);
	if (sa->iv_length >= 8)
		memcpy(iv, &sequence_be, 8);
}

/* Puts headers and trailer around a packet; returns 0, or -1 when its SA has no number or its buffer no room left. */
static int wrap(struct traffic_sa *sa, struct rte_mbuf *m, struct work *w)
{
	uint32_t header = (uint32_t)sa->outer_length + ESP_LENGTH + sa->iv_length, sequence_be;
	uint8_t *outer;

	if (sa->sequence >= (sa->esn ? UINT64_MAX : HIGHEST) || append_trailer(sa, m) != 0)
		return -1;
	outer = (uint8_t *)rte_pktmbuf_prepend(m, (uint16_t)header);
	if (outer == NULL)
		return -1;
	sa->sequence++;
	sa->packets++;
	w->sa = sa;
	w->sequence = sa->sequence;
	w->esp = outer + sa->outer_length;
	w->text = ESP_LENGTH + sa->iv_length;
	w->end = m->data_len - (uint32_t)sa->outer_length - sa->icv_length;
	write_outer(sa, outer, m->data_len);
	sequence_be = rte_cpu_to_be_32((uint32_t)sa->sequence);
	memcpy(w->esp, &sa->spi_be, 4);
	memcpy(w->esp + 4, &sequence_be, 4);
	write_iv(sa, w->esp + ESP_LENGTH);
	return 0;
}

uint32_t traffic_seal(struct traffic_crypto *c, struct traffic_sa **sas, struct rte_mbuf **mbufs, uint32_t n)
{
	struct work work[TRAFFIC_BURST];
	uint32_t which[TRAFFIC_BURST], ready = 0, failed = 0, undone;

	for (uint32_t i = 0; i < n; i++) {
		if (wrap(sas[i], mbufs[i], &work[ready]) != 0)
			failed |= 1U << i;
		else
			which[ready++] = i;
	}
	if (ready == 0)
		return failed;
	undone = run(c, work, ready, 1);
	for (uint32_t i = 0; i < ready; i++) {
		memcpy(work[i].esp + work[i].end, c->tags[i], work[i].sa->icv_length);
		failed |= (undone >> i & 1) << which[i];
	}
	return failed;
}

/* ---- receiving ---- */

/* The whole number of which the packet has the lower half: the one nearest to the highest received (RFC 4303 appendix A2). */
static uint64_t whole_number(const struct traffic_esp *p)
{
	uint32_t low = (uint32_t)load16(p->start + 4) << 16 | load16(p->start + 6);
	int64_t ahead = (int32_t)(low - (uint32_t)p->sa->sequence);

	if (!p->sa->esn || (ahead < 0 && (uint64_t)-ahead > p->sa->sequence))
		return low;
	return p->sa->sequence + (uint64_t)ahead;
}

/* Whether the lengths allow what the library is asked for. */
static int fits(const struct traffic_esp *p)
{
	uint32_t around = ESP_LENGTH + (uint32_t)p->sa->iv_length + p->sa->icv_length;

	return p->length >= around + 2 && (p->length - around) % p->sa->block == 0;
}

/* Takes padding and next header off (RFC 4303 section 2.4). */
static void unwrap(struct traffic_esp *p, const struct work *w)
{
	uint32_t padding = w->esp[w->end - 2];

	if (padding > w->end - w->text - 2) {
		p->malformed = 1;
		return;
	}
	for (uint32_t i = 0; i < padding; i++)
		if (w->esp[w->end - 2 - padding + i] != i + 1)
			p->malformed = 1;
	p->next = w->esp[w->end - 1];
	p->start = w->esp + w->text;
	p->length = w->end - w->text - 2 - padding;
}

void traffic_open(struct traffic_crypto *c, struct traffic_esp *packets, uint32_t n)
{
	struct work work[TRAFFIC_BURST];
	uint32_t which[TRAFFIC_BURST], ready = 0, failed;

	for (uint32_t i = 0; i < n; i++) {
		struct traffic_esp *p = &packets[i];

		p->malformed = !fits(p);
		p->forged = 0;
		if (p->malformed)
			continue;
		p->sequence = whole_number(p);
		work[ready] = (struct work){
			.sa = p->sa, .esp = p->start, .sequence = p->sequence, .text = ESP_LENGTH + (uint32_t)p->sa->iv_length, .end = p->length - p->sa->icv_length,
		};
		memcpy(c->received[ready], p->start + work[ready].end, p->sa->icv_length);
		which[ready++] = i;
	}
	if (ready == 0)
		return;
	failed = run(c, work, ready, 0);
	for (uint32_t i = 0; i < ready; i++) {
		struct traffic_esp *p = &packets[which[i]];

		p->forged = (failed >> i & 1) || memcmp(c->tags[i], c->received[i], p->sa->icv_length) != 0;
		if (p->forged)
			continue;
		if (p->sequence > p->sa->sequence)
			p->sa->sequence = p->sequence;
		unwrap(p, &work[i]);
	}
}
