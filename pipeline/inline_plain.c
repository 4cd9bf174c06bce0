/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Inline protocol of the packets that most are: IPv4 without options, no fragments, of one SA. What holds for a run of them is read once and stays in registers: no loop here calls
 * anything. A run ends at the first packet that something is the matter with, which is as it came, and inline.c's.
 */

#include "inline.h"

#include "esp.h"
#include "mbuf.h"
#include "mss.h"
#include "parse.h"
#include "sequence.h"

/* ---- inbound ---- */

/* The SA of an opened packet, if it has its session on the port and its owner is this worker. NULL: inline.c knows why. */
static __rte_always_inline struct sp_sa_in *opened_by(const struct sp_worker *w, const struct sp_port *port, uint64_t userdata)
{
	struct sp_sa_in *sa = __atomic_load_n(&w->dp->sad[userdata & w->dp->sad_mask], __ATOMIC_ACQUIRE);
	const struct sp_inline *in;

	if (unlikely(sa == NULL || sa->spi != userdata || !sa->inlined || sa->owner != w->id || sa->expired || sa->heir))
		return NULL;
	in = *sp_sa_in_inline_place(sa);
	return likely(in->protocol && in->device == port->device) ? sa : NULL;
}

uint32_t sp_inline_open_plain(struct sp_worker *w, const struct sp_port *port, struct rte_mbuf **mbufs, uint32_t n, struct sp_packet *inner)
{
	const uint64_t userdata = *rte_security_dynfield(mbufs[0]), taken = SP_SECURED | w->dp->reassembled_flag, mac = port->mac;
	struct sp_sa_in *sa = opened_by(w, port, userdata);
	const struct sp_selector_lanes *selectors;
	uint32_t n_selectors, i;
	uint64_t origin, bytes = 0;
	uint16_t mss;

	if (unlikely(sa == NULL))
		return 0;
	selectors = sa->selectors;
	n_selectors = sa->n_selectors;
	origin = sp_key_origin(port->role, sa->cell);
	for (i = 0; i < n; i++) {
		struct rte_mbuf *m = mbufs[i];
		uint8_t *frame = rte_pktmbuf_mtod(m, uint8_t *);
		struct sp_header h;

		if (unlikely((m->ol_flags & SP_SECURED) != RTE_MBUF_F_RX_SEC_OFFLOAD || *rte_security_dynfield(m) != userdata || !sp_frame_plain(m, frame, mac, 0, &h) ||
			     !sp_packet_plain(&inner[i], m, frame + SP_L2_LENGTH, &h, origin) || !sp_selected_key(selectors, n_selectors, inner[i].words)))
			break;
		m->ol_flags &= ~taken;
		bytes += h.total;
	}
	if (unlikely(i == 0))
		return 0;
	if (unlikely(sp_sa_in_clamps(sa))) {
		mss = sp_mss_in(w, sa, 0);
		for (uint32_t k = 0; k < i; k++)
			sp_mss_clamp(&inner[k], mss);
	}
	sp_add(0, &w->unopened[mbufs[0]->port].done, i);
	sp_add(0, &(*sp_sa_in_inline_place(sa))->packets, i);
	sp_carried_in(w, sa, i, bytes);
	return i;
}

/* ---- outbound ---- */

/* The bits that a range of lanes of a width asks for; 0 and *ok cleared if bits cannot tell. */
static uint32_t bits_of(uint32_t first, uint32_t span, int *ok)
{
	*ok &= (span & (span + 1)) == 0 && (first & span) == 0;
	return ~span;
}

void sp_inline_select(struct sp_inline *in, const struct sp_selector_lanes *s, uint32_t n)
{
	struct sp_selector_lanes asked = {0};
	int ok = n == 1;

	for (uint32_t i = 0; ok && i < RTE_DIM(asked.first_address); i++)
		asked.first_address[i] = bits_of(s->first_address[i], s->span_address[i], &ok);
	for (uint32_t i = 0; ok && i < RTE_DIM(asked.first); i++)
		asked.first[i] = (uint16_t)bits_of(s->first[i], s->span[i], &ok);
	if (!ok)
		return;
	memcpy(in->asked, &asked, sizeof(in->asked));
	memcpy(in->wanted, s, sizeof(in->wanted));
	in->asked[1] &= SP_SELECTOR_FIELDS;
	in->by_bits = 1;
}

/* What a run of packets has in common. */
struct run {
	uint32_t longest;       /* bytes of a packet, that the NIC's fits the path */
	uint32_t front, behind; /* room around a frame for what the NIC adds, whatever the packet has to be filled up to */
	uint32_t subject;
	uint64_t l2_first, l2_last, mark;
	int offset;             /* of the mark that the driver finds its session by, 0: it asks for none */
	const struct sp_selector_lanes *selectors;
	uint32_t n_selectors;
};

/* Sends packets until one is not plain. Returns how many, and adds their bytes to *bytes. */
static __rte_always_inline uint32_t leave_run(const struct run *r, struct sp_packet **packets, uint32_t n, struct rte_mbuf **out, uint64_t *bytes, const struct sp_inline *in, int by_bits)
{
	const __m128i asked = _mm_loadu_si128((const __m128i *)in->asked), wanted = _mm_loadu_si128((const __m128i *)in->wanted);
	uint64_t sum = 0;
	uint32_t i;

	for (i = 0; i < n; i++) {
		struct sp_packet *p = packets[i];
		struct rte_mbuf *m = p->mbuf;
		uint8_t *l3 = p->l3, *frame = l3 - SP_L2_LENGTH;
		const uint32_t length = p->length, before = sp_mbuf_before(m, frame);

		if (unlikely(length > r->longest || l3[SP_IPV4_TTL] <= 1 || before < r->front || m->buf_len < before + length + r->behind))
			break;
		if (by_bits ? unlikely(!_mm_testz_si128(_mm_xor_si128(sp_key_halves(p->words), wanted), asked)) : unlikely(!sp_selected_key(r->selectors, r->n_selectors, p->words)))
			break;
		sp_mbuf_bounds(m, frame, SP_L2_LENGTH + length);
		m->ol_flags |= RTE_MBUF_F_TX_SEC_OFFLOAD;
		m->tx_offload = SP_INLINE_TX_OFFLOAD;
		if (likely(r->offset != 0))
			*RTE_MBUF_DYNFIELD(m, r->offset, uint64_t *) = r->mark;
		sp_set_mark_sa(m, r->subject);
		sp_store64(frame, r->l2_first);
		sp_store64(frame + SP_L2_LENGTH - 8, r->l2_last);
		sp_ipv4_decrement_ttl(l3);
		sum += length;
		out[i] = m;
	}
	*bytes += sum;
	return i;
}

uint32_t sp_inline_enter_plain(struct sp_worker *w, const struct sp_sa_out *sa, const struct sp_adjacency *next, struct sp_packet **packets, uint32_t n, uint64_t *bytes)
{
	const struct sp_inline *in = sa->inline_;
	const uint16_t mtu = sp_sa_out_mtu(sa, next), mss = sp_mss_out(sa, mtu, 0);
	const struct run r = {
		.longest = sp_sa_out_largest_inner(sa, mtu),
		.front = SP_TAG_LENGTH + (uint32_t)sa->header_length, /* behind a tag, if the port is a VLAN's */
		.behind = SP_L2_LENGTH + SP_ESP_TRAILER + (uint32_t)sa->transform.block_mask + sa->transform.icv_length,
		.subject = sa->subject,
		.l2_first = sp_load64(next->l2),
		.l2_last = sp_load64(next->l2 + SP_L2_LENGTH - 8),
		.mark = in->metadata ? rte_security_session_fast_mdata_get(in->session) : 0,
		.offset = in->metadata ? rte_security_dynfield_offset : 0,
		.selectors = sa->selectors,
		.n_selectors = sa->n_selectors,
	};
	struct sp_tx_buffer *tx;
	uint32_t sent;

	*bytes = 0;
	if (unlikely((in->metadata && !(in->context->flags & RTE_SEC_CTX_F_FAST_SET_MDATA)) || packets[0]->key.role == SP_ROLE_LOCAL || sp_is_ipv6(packets[0]->l3)))
		return 0;
	tx = sp_tx_reserve(w, next->port, packets[0]->mbuf->port, n);
	if (likely(in->by_bits))
		sent = leave_run(&r, packets, n, tx->mbufs + tx->n, bytes, in, 1);
	else
		sent = leave_run(&r, packets, n, tx->mbufs + tx->n, bytes, in, 0);
	tx->n += sent;
	tx->bytes += *bytes + (uint64_t)sent * SP_L2_LENGTH;
	if (unlikely(mss != 0))
		for (uint32_t i = 0; i < sent; i++)
			sp_mss_clamp(packets[i], mss);
	return sent;
}
