/* SPDX-License-Identifier: Apache-2.0 */

/* Packets cut into fragments (RFC 791 3.2, RFC 8200 4.5): in clear for a link, within a tunnel for its room, and outer packets where an SA says so. Few are: each fragment is a copy. */

#include "fragment.h"
#include "mbuf.h"
#include "outer.h"

#include <rte_random.h>

#define FRAGMENT_HEADER 8
#define OPTION_END 0
#define OPTION_NOP 1
#define OPTION_COPIED 0x80 /* RFC 791 3.1: such options stand in every fragment */
#define HEADER_MAX 60      /* of IPv4 */

int sp_may_fragment(const struct sp_worker *w, const struct sp_packet *p, uint32_t room, struct sp_cut *cut)
{
	const struct sp_fragment *f = &sp_priv(p->mbuf)->fragment;
	const int arrived_so = (p->mbuf->ol_flags & w->dp->reassembled_flag) != 0, ipv6 = sp_is_ipv6(p->l3);
	const int fixed = ipv6 || sp_load16(p->l3 + 6) & RTE_BE16(SP_IPV4_DF);
	const uint32_t asked = ipv6 ? RTE_MAX(room, (uint32_t)SP_IPV6_MINIMUM) : room; /* no error makes its sender cut smaller */

	if (fixed && (!arrived_so || f->largest > asked))
		return 0;
	*cut = (struct sp_cut){.l3 = p->l3, .length = p->length, .size = arrived_so ? RTE_MIN(room, f->largest) : room};
	if (ipv6) {
		cut->id = f->id;
		cut->header = f->header;
		cut->next_at = f->next_at;
	}
	return 1;
}

int sp_may_fragment_own(const struct sp_packet *p, uint32_t room, struct sp_cut *cut)
{
	*cut = (struct sp_cut){.l3 = p->l3, .length = p->length, .size = room};
	if (!sp_is_ipv6(p->l3))
		return !(sp_load16(p->l3 + 6) & RTE_BE16(SP_IPV4_DF));
	cut->header = SP_IPV6_LENGTH;
	cut->next_at = SP_IPV6_NEXT_HEADER;
	cut->id = (uint32_t)rte_rand();
	return p->l3[SP_IPV6_NEXT_HEADER] == SP_PROTOCOL_UDP;
}

/* The low half of the number of a packet that the SA has sealed, as it stands in AH, or in ESP when that comes first; `header` is what follows its IP headers. */
static uint32_t sequence_be(const struct sp_sa_out *sa, const uint8_t *header)
{
	if (sa->ah != NULL)
		return sp_load32(header + 8);
	return sp_load32(header + (sa->udp ? SP_UDP_LENGTH : 0) + 4);
}

int sp_may_fragment_outer(const struct sp_sa_out *sa, struct rte_mbuf *m, uint32_t mtu, struct sp_cut *cut)
{
	const uint8_t *l3 = rte_pktmbuf_mtod_offset(m, uint8_t *, SP_L2_LENGTH);
	uint32_t names;

	*cut = (struct sp_cut){.l3 = l3, .length = m->data_len - SP_L2_LENGTH, .size = mtu};
	if (!sp_is_ipv6(l3))
		return !(sp_load16(l3 + 6) & RTE_BE16(SP_IPV4_DF));
	cut->header = (uint16_t)sp_ipv6_unprotected(l3, &names);
	cut->next_at = (uint16_t)names;
	/* other SAs between the two addresses have other SPIs, which who is not on the path cannot know (RFC 7739 3) */
	cut->id = sa->transform.spi_be ^ sequence_be(sa, l3 + cut->header);
	return 1;
}

/* ---- headers ---- */

/* What every fragment has in front of its part of the payload. `later` is the header of those but the first, which IPv4 has options of its own for. */
struct shape {
	uint8_t options[HEADER_MAX]; /* IPv4: the later header */
	const uint8_t *later;
	uint32_t first_length, later_length; /* an IPv6 fragment header not counted */
	uint32_t added;              /* bytes of fragment header */
};

/* The header without the options that only the first fragment has; returns its length. */
static uint32_t later_header(uint8_t *out, const uint8_t *l3)
{
	const uint8_t *option = l3 + SP_IPV4_LENGTH, *end = l3 + sp_ipv4_header_length(l3);
	uint32_t length = SP_IPV4_LENGTH;

	memcpy(out, l3, SP_IPV4_LENGTH);
	while (option < end && *option != OPTION_END) {
		uint32_t n = *option == OPTION_NOP ? 1 : option[1];

		if (*option & OPTION_COPIED) {
			memcpy(out + length, option, n);
			length += n;
		}
		option += n;
	}
	while (length % 4 != 0)
		out[length++] = OPTION_END;
	out[0] = (uint8_t)(0x40 | length / 4);
	return length;
}

static void shape_of(struct shape *s, const struct sp_cut *cut)
{
	if (sp_is_ipv6(cut->l3)) {
		*s = (struct shape){.later = cut->l3, .first_length = cut->header, .later_length = cut->header, .added = FRAGMENT_HEADER};
		return;
	}
	*s = (struct shape){.later = s->options, .first_length = sp_ipv4_header_length(cut->l3)};
	s->later_length = later_header(s->options, cut->l3);
}

static void finish_ipv4(uint8_t *l3, uint32_t length, uint32_t offset, int more)
{
	uint16_t flags = sp_load16(l3 + 6) & RTE_BE16(SP_IPV4_DF);

	sp_store16(l3 + 2, rte_cpu_to_be_16((uint16_t)length));
	sp_store16(l3 + 6, flags | rte_cpu_to_be_16((uint16_t)(offset / 8 | (more ? SP_IPV4_MORE : 0))));
	sp_store16(l3 + 10, 0);
	sp_store16(l3 + 10, (uint16_t)~sp_fold(sp_ipv4_sum(l3, sp_ipv4_header_length(l3) / 4)));
}

static void finish_ipv6(uint8_t *l3, uint32_t length, const struct sp_cut *cut, uint32_t offset, int more)
{
	uint8_t *header = l3 + cut->header;

	header[0] = l3[cut->next_at];
	header[1] = 0;
	sp_store16(header + 2, rte_cpu_to_be_16((uint16_t)(offset | (more ? 1 : 0))));
	sp_store32(header + 4, cut->id);
	l3[cut->next_at] = SP_NEXT_FRAGMENT;
	sp_store16(l3 + 4, rte_cpu_to_be_16((uint16_t)(length - SP_IPV6_LENGTH)));
}

/* ---- fragments ---- */

/* Payload bytes of a fragment with such a header: a multiple of 8. */
static uint32_t share(const struct sp_cut *cut, const struct shape *s, uint32_t header)
{
	return cut->size < header + s->added ? 0 : (cut->size - header - s->added) & ~7u;
}

/* Copies `length` bytes of the payload, from `offset` on, behind a header of their own. */
static void write_fragment(struct rte_mbuf *m, const struct sp_cut *cut, const struct shape *s, uint32_t offset, uint32_t length)
{
	const uint32_t header = offset == 0 ? s->first_length : s->later_length, all = cut->length - s->first_length;
	uint8_t *frame = (uint8_t *)m->buf_addr + RTE_PKTMBUF_HEADROOM, *l3 = frame + SP_L2_LENGTH;
	const uint32_t total = header + s->added + length;

	sp_mbuf_bounds(m, frame, SP_L2_LENGTH + total);
	memset(frame, 0, SP_L2_LENGTH);
	memcpy(l3, offset == 0 ? cut->l3 : s->later, header);
	memcpy(l3 + header + s->added, cut->l3 + s->first_length + offset, length);
	if (s->added > 0)
		finish_ipv6(l3, total, cut, offset, offset + length < all);
	else
		finish_ipv4(l3, total, offset, offset + length < all);
}

uint32_t sp_fragment(struct sp_worker *w, struct rte_mbuf *m, const struct sp_cut *cut, struct rte_mbuf **fragments)
{
	struct shape s;
	uint32_t first, later, all, n, offset = 0;

	shape_of(&s, cut);
	first = share(cut, &s, s.first_length);
	later = share(cut, &s, s.later_length);
	all = cut->length - s.first_length;
	if (first == 0 || later == 0 || all <= first || 1 + (all - first + later - 1) / later > SP_FRAGMENTS_MAX) {
		sp_drop(w, m, SP_DROP_MTU_EXCEEDED);
		return 0;
	}
	n = 1 + (all - first + later - 1) / later;
	if (rte_pktmbuf_alloc_bulk(w->dp->pool, fragments, n) != 0) {
		sp_drop(w, m, SP_DROP_NO_BUFFER);
		return 0;
	}
	for (uint32_t i = 0; i < n; i++) {
		uint32_t length = RTE_MIN(i == 0 ? first : later, all - offset);

		fragments[i]->port = m->port;
		sp_copy_marks(fragments[i], m);
		write_fragment(fragments[i], cut, &s, offset, length);
		offset += length;
	}
	w->counters[m->port].split += n - 1;
	rte_pktmbuf_free(m);
	return n;
}

uint32_t sp_fragment_packet(struct sp_worker *w, const struct sp_packet *p, const struct sp_cut *cut, struct sp_packet6 *fragments, struct sp_packet **list)
{
	const int ipv6 = sp_is_ipv6(p->l3);
	struct rte_mbuf *mbufs[SP_FRAGMENTS_MAX];
	uint32_t n = sp_fragment(w, p->mbuf, cut, mbufs);

	for (uint32_t i = 0; i < n; i++) {
		struct sp_packet *part = &fragments[i].p;

		memcpy(part, p, ipv6 ? sizeof(struct sp_packet6) : sizeof(*part));
		part->mbuf = mbufs[i];
		part->l3 = rte_pktmbuf_mtod_offset(mbufs[i], uint8_t *, SP_L2_LENGTH);
		part->length = (uint16_t)(mbufs[i]->data_len - SP_L2_LENGTH);
		if (ipv6) /* its end, where the transport header is in another one */
			fragments[i].l4 = (uint16_t)(i == 0 ? fragments[i].l4 + FRAGMENT_HEADER : part->length);
		list[i] = part;
	}
	return n;
}

void sp_fragment_and_send(struct sp_worker *w, const struct sp_adjacency *next, struct rte_mbuf *m, const struct sp_cut *cut)
{
	struct rte_mbuf *fragments[SP_FRAGMENTS_MAX];
	uint32_t n = sp_fragment(w, m, cut, fragments);
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < n; i++) {
		memcpy(rte_pktmbuf_mtod(fragments[i], uint8_t *), next->l2, SP_L2_LENGTH);
		bytes += fragments[i]->data_len;
	}
	sp_transmit_run(w, next->port, fragments, n, bytes);
}
