/* SPDX-License-Identifier: Apache-2.0 */

/*
 * All of ESP by a crypto device (rte_security, lookaside protocol): outbound it gets the inner packet and gives back the outer one, inbound the other way around. Number, IV and replay
 * window are the device's. Numbers are reserved here all the same, one for each packet that it is offered, so that none of the device's is beyond the SA's limit. Nobody else seals or
 * opens packets of such an SA: without the device there is none.
 */

#include "crypt.h"
#include "fragment.h"
#include "inline.h"
#include "mss.h"
#include "parse.h"
#include "parse6.h"
#include "sequence.h"
#include "whole.h"

static struct rte_crypto_op *prepare(struct rte_mbuf *m, void *session)
{
	struct sp_mbuf_priv *priv = sp_priv(m);

	priv->op = (struct rte_crypto_op){
		.type = RTE_CRYPTO_OP_TYPE_SYMMETRIC,
		.status = RTE_CRYPTO_OP_STATUS_NOT_PROCESSED,
		.sess_type = RTE_CRYPTO_OP_SECURITY_SESSION,
		.phys_addr = m->buf_iova + (rte_iova_t)((const uint8_t *)&priv->op - (const uint8_t *)m->buf_addr),
	};
	priv->sym = (struct rte_crypto_sym_op){.m_src = m, .session = session};
	return &priv->op;
}

/* ---- outbound ---- */

void sp_whole_seal(struct sp_worker *w, struct sp_sa_out *sa, const struct sp_adjacency *next, struct sp_packet **packets, uint32_t n)
{
	const int ipv6 = sp_is_ipv6(packets[0]->l3); /* a burst has one IP version */
	const struct sp_fields fields = sp_fields_of(&sa->encapsulation);
	const uint16_t mtu = sp_sa_out_mtu(sa, next), mss = sp_mss_out(sa, mtu, ipv6);
	const uint64_t sequence = sp_reserve(w, sa, packets, &n);
	struct rte_crypto_op *ops[SP_BURST];
	uint64_t bytes = 0;
	uint32_t good = 0;

	for (uint32_t i = 0; i < n; i++) {
		struct sp_packet *p = packets[i];
		struct sp_mbuf_priv *priv = sp_priv(p->mbuf);
		const uint32_t total = sp_whole_total(sa, p->length);

		priv->cut = total > mtu;
		if (unlikely(!sp_whole_enters(sa, p, ipv6, total) || (priv->cut && !sp_cut_after(w, sa, &fields, p)))) {
			sp_outbound_reject(w, sa, mtu, p, total);
			continue;
		}
		sp_mbuf_bounds(p->mbuf, p->l3, p->length);
		sp_set_mark_sa(p->mbuf, sa->subject); /* as long as it is with the device */
		sp_mss_clamp(p, mss);
		sp_whole_take_hop(p, ipv6);
		priv->decrypted = 0;
		priv->sa = sa;
		priv->sequence = sequence + good;
		bytes += p->length;
		ops[good++] = prepare(p->mbuf, sa->transform.session);
	}
	sp_reserved(sa, sequence, good);
	if (unlikely(good == 0))
		return;
	sp_add(sa->shared, &sa->packets, good);
	sp_add(sa->shared, &sa->bytes, bytes);
	__atomic_store_n(&sa->last_use, w->now, __ATOMIC_RELAXED);
	sp_queue_put(w, sa->transform.device, ops, good);
}

static uint32_t outer_length(const struct sp_sa_out *sa)
{
	return sa->outer == SP_IPV6 ? SP_IPV6_LENGTH : SP_IPV4_LENGTH;
}

static uint32_t addresses_length(const struct sp_sa_out *sa)
{
	return sa->outer == SP_IPV6 ? 2 * SP_IPV6_ADDRESS : 8;
}

/* Whether a header has the ends of the tunnel. The device knows them as they were when the SA was made, as `header` does. */
static int is_between(const struct sp_sa_out *sa, const uint8_t *ip)
{
	const uint32_t n = addresses_length(sa), at = outer_length(sa) - n;

	return memcmp(ip + at, sa->header + at, n) == 0;
}

/*
 * Whether the device has made ESP of the SA, as it says: what it left as it was must not leave. A host of ours may send what looks like ESP of the SA, but not between the ends of the
 * tunnel; and a driver that has its addresses the wrong way around would send all to nowhere.
 */
static int is_sealed(const struct sp_sa_out *sa, const struct rte_mbuf *m)
{
	const uint8_t *ip = rte_pktmbuf_mtod(m, const uint8_t *);
	const uint32_t esp = outer_length(sa) + (sa->udp ? SP_UDP_LENGTH : 0);

	if (m->nb_segs != 1 || m->data_off < SP_L2_LENGTH || m->data_len < sa->header_length + SP_ESP_TRAILER + sa->transform.icv_length)
		return 0;
	return sp_is_ipv6(ip) == (sa->outer == SP_IPV6) && sp_ip_length(ip) == m->data_len && sp_load32(ip + esp) == sa->transform.spi_be && is_between(sa, ip) &&
	       ip[sa->outer == SP_IPV6 ? SP_IPV6_NEXT_HEADER : SP_IPV4_PROTOCOL] == (sa->udp ? SP_PROTOCOL_UDP : SP_PROTOCOL_ESP);
}

static void readdress(const struct sp_sa_out *sa, uint8_t *ip)
{
	const uint8_t *header = sp_outer_header(sa);
	const uint32_t length = outer_length(sa), addresses = addresses_length(sa);

	memcpy(ip + length - addresses, header + length - addresses, addresses);
	if (sa->udp)
		memcpy(ip + length, header + length, 4);
	if (sa->outer == SP_IPV4)
		sp_ipv4_set_checksum(ip);
}

/* What is cut has an ID (RFC 6864 4). */
static void let_cut(const struct sp_sa_out *sa, uint8_t *ip, uint64_t sequence)
{
	if (sa->outer == SP_IPV6)
		return;
	sp_store16(ip + 4, rte_cpu_to_be_16((uint16_t)sequence));
	sp_store16(ip + 6, 0);
	sp_ipv4_set_checksum(ip);
}

void sp_whole_sealed(struct sp_worker *w, struct sp_sa_out *sa, struct rte_crypto_op **ops, uint32_t n)
{
	struct rte_mbuf *mbufs[SP_BURST];
	uint32_t good = 0, failed = 0;

	for (uint32_t i = 0; i < n; i++) {
		struct rte_mbuf *m = ops[i]->sym->m_src;
		const struct sp_mbuf_priv *priv = sp_priv(m);
		uint8_t *ip = rte_pktmbuf_mtod(m, uint8_t *);

		sp_mbuf_unpoison(m);
		if (unlikely(ops[i]->status != RTE_CRYPTO_OP_STATUS_SUCCESS || !is_sealed(sa, m))) {
			failed++;
			sp_drop_out(w, sa, m, SP_DROP_CRYPTO_ERROR);
			continue;
		}
		failed = 0;
		if (unlikely(__atomic_load_n(&sa->moved, __ATOMIC_RELAXED) != NULL))
			readdress(sa, ip);
		if (unlikely(priv->cut))
			let_cut(sa, ip, priv->sequence);
		sp_mbuf_bounds(m, ip - SP_L2_LENGTH, SP_L2_LENGTH + (uint32_t)m->data_len);
		sp_set_mark_sa(m, 0);
		mbufs[good++] = m;
	}
	sp_queue_failed(w, sa->transform.device, n, failed);
	sp_outbound_sealed(w, sa, mbufs, good);
}

/* ---- inbound ---- */

/* An IPv4 packet that is ready for the classifier, or the reason to drop it; SP_TAKEN for a fragment that waits. */
static uint8_t open_ipv4(struct sp_worker *w, const struct sp_sa_in *sa, struct sp_esp *p, uint8_t *inner, struct sp_packet *out, uint64_t origin)
{
	struct sp_header h;
	uint8_t reason;

	if (unlikely(p->length < SP_IPV4_LENGTH || !sp_header_plain(&h, inner, p->length, 0) || !sp_packet_plain(out, p->mbuf, inner, &h, origin))) {
		reason = sp_parse_ipv4(out, p->mbuf, inner, p->length, origin);
		if (reason == SP_FRAGMENT) {
			sp_set_mark_sa(p->mbuf, sa->subject); /* as long as it waits */
			reason = sp_reassemble(w, out, p->mbuf, inner, origin);
			if (reason == SP_PASS) {
				p->mbuf = out->mbuf;
				sp_set_mark_sa(p->mbuf, 0);
			}
		} else if (reason != SP_PASS) {
			reason = SP_DROP_INNER_HEADER;
		}
		if (reason != SP_PASS)
			return reason;
	}
	return likely(sp_selected(sa->selectors, sa->n_selectors, out)) ? SP_PASS : SP_DROP_SELECTOR_MISMATCH;
}

/* The same of IPv6. */
static uint8_t open_ipv6(struct sp_worker *w, const struct sp_sa_in *sa, struct sp_esp *p, uint8_t *inner, struct sp_packet6 *out, uint64_t origin)
{
	struct sp_header6 h;
	uint8_t reason;

	if (unlikely(p->length < SP_IPV6_LENGTH || !sp_header6_plain(&h, inner, p->length) || !sp_packet6_plain(out, p->mbuf, inner, &h, origin))) {
		reason = sp_parse_ipv6(out, p->mbuf, inner, p->length, origin);
		if (reason == SP_FRAGMENT) {
			sp_set_mark_sa(p->mbuf, sa->subject);
			reason = sp_reassemble6(w, out, p->mbuf, inner, origin);
			if (reason == SP_PASS) {
				p->mbuf = out->p.mbuf;
				sp_set_mark_sa(p->mbuf, 0);
			}
		} else if (reason != SP_PASS) {
			reason = SP_DROP_INNER_HEADER;
		}
		if (reason != SP_PASS)
			return reason;
	}
	return likely(sp_selected6(sp_sa_in_selectors6(sa), sa->n_selectors6, out)) ? SP_PASS : SP_DROP_SELECTOR_MISMATCH;
}

/* What one opened packet holds: SP_PASS, and written to where either counter stands, or the reason to drop it. */
static uint8_t open_one(struct sp_worker *w, const struct sp_sa_in *sa, struct sp_esp *p, struct sp_packet *inner, uint32_t *n_inner, struct sp_packet6 *wide, uint32_t *n_wide,
			uint64_t origin, uint64_t *bytes)
{
	uint8_t *l3 = p->esp + SP_ESP_LENGTH;
	uint8_t reason;

	p->mbuf->ol_flags &= ~(SP_SECURED | w->dp->reassembled_flag); /* how the outer packet came says nothing of the inner one */
	if (unlikely(p->length == 0))
		return SP_DROP_NO_PAYLOAD;
	if (sp_is_ipv6(l3)) {
		reason = open_ipv6(w, sa, p, l3, &wide[*n_wide], origin);
		if (reason == SP_PASS) {
			if (unlikely(sp_sa_in_clamps(sa)))
				sp_mss_clamp(&wide[*n_wide].p, sp_mss_in(w, sa, 1));
			*bytes += wide[(*n_wide)++].p.length;
		}
		return reason;
	}
	reason = open_ipv4(w, sa, p, l3, &inner[*n_inner], origin);
	if (likely(reason == SP_PASS)) {
		if (unlikely(sp_sa_in_clamps(sa)))
			sp_mss_clamp(&inner[*n_inner], sp_mss_in(w, sa, 0));
		*bytes += inner[(*n_inner)++].length;
	}
	return reason;
}

uint32_t sp_whole_unpack(struct sp_worker *w, struct sp_sa_in *sa, struct sp_esp *packets, uint32_t *n, struct sp_packet *inner, struct sp_packet6 *wide, uint32_t *n_wide)
{
	const uint64_t origin = sp_key_origin(w->dp->ports[packets[0].mbuf->port].role, sa->cell);
	uint32_t left = 0, n_inner = 0, opened = 0;
	const uint32_t before = *n_wide;
	uint64_t bytes = 0;

	for (struct sp_esp *p = packets; p < packets + *n; p++) {
		uint8_t reason;

		if (unlikely(p->form != SP_FORM_OPENED)) {
			packets[left++] = *p;
			continue;
		}
		opened++;
		reason = open_one(w, sa, p, inner, &n_inner, wide, n_wide, origin, &bytes);
		if (unlikely(reason != SP_PASS))
			sp_sa_in_drop(w, sa, p->mbuf, reason);
	}
	*n = left;
	if (likely(opened > 0))
		sp_carried_in(w, sa, n_inner + *n_wide - before, bytes);
	return n_inner;
}

void sp_whole_open(struct sp_worker *w, struct sp_sa_in *sa, const struct sp_esp *packets, uint32_t n)
{
	struct rte_crypto_op *ops[SP_BURST];

	for (uint32_t i = 0; i < n; i++) {
		const struct sp_esp *p = &packets[i];
		struct sp_mbuf_priv *priv = sp_priv(p->mbuf);
		const uint32_t front = p->headers + (p->form == SP_FORM_UDP ? SP_UDP_LENGTH : 0u);

		sp_mbuf_bounds(p->mbuf, p->esp - front, front + p->length);
		sp_set_mark_sa(p->mbuf, sa->subject);
		priv->decrypted = 1;
		priv->sa = sa;
		ops[i] = prepare(p->mbuf, sa->transform.session);
	}
	sp_queue_put(w, sa->transform.device, ops, n);
}

/* Why a packet that the device gives back is lost, SP_PASS for one that it has opened. The device does not say what was replayed. */
static uint8_t judge(const struct rte_crypto_op *op, const struct rte_mbuf *m)
{
	if (op->status == RTE_CRYPTO_OP_STATUS_AUTH_FAILED)
		return SP_DROP_AUTH_FAILED;
	return op->status == RTE_CRYPTO_OP_STATUS_SUCCESS && m->nb_segs == 1 && m->data_off >= SP_L2_LENGTH ? SP_PASS : SP_DROP_CRYPTO_ERROR;
}

void sp_whole_opened(struct sp_worker *w, struct sp_sa_in *sa, struct rte_crypto_op **ops, uint32_t n)
{
	struct sp_esp packets[SP_BURST];
	struct sp_packet inner[SP_BURST];
	struct sp_packet6 wide[SP_BURST];
	uint32_t good = 0, n_wide = 0;

	for (uint32_t i = 0; i < n; i++) {
		struct rte_mbuf *m = ops[i]->sym->m_src;
		uint8_t *ip = rte_pktmbuf_mtod(m, uint8_t *), reason = judge(ops[i], m);

		sp_mbuf_unpoison(m);
		if (unlikely(reason != SP_PASS)) {
			sp_sa_in_drop(w, sa, m, reason);
			continue;
		}
		packets[good++] = (struct sp_esp){.mbuf = m, .esp = ip - SP_ESP_LENGTH, .length = m->data_len, .form = SP_FORM_OPENED};
		sp_mbuf_bounds(m, ip - SP_L2_LENGTH, SP_L2_LENGTH + (uint32_t)m->data_len);
		sp_set_mark_sa(m, 0);
	}
	if (unlikely(good == 0))
		return;
	n = sp_whole_unpack(w, sa, packets, &good, inner, wide, &n_wide);
	if (n > 0)
		sp_process(w, inner, n);
	if (n_wide > 0)
		sp_process6(w, wide, n_wide);
}
