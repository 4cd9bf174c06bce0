/* SPDX-License-Identifier: Apache-2.0 */

/* Stage 7 for IPv6 in a tunnel (RFC 4301 5.2): what inbound.c has decrypted and whose trailer says 41. Header, congestion mark, negotiated selectors; then stage 3. */

#include "fields.h"
#include "fragment.h"
#include "parse6.h"
#include "sequence.h"

typedef unsigned __int128 address;

/* An IPv6 address, or a bound of a selector, as a number. */
static __rte_always_inline address number(const uint64_t halves[2])
{
	return (address)halves[0] << 64 | halves[1];
}

/* Without a branch for each bound, as are all comparisons here: an address differs from a bound in any of its words. */
static __rte_always_inline int in_range(const uint64_t first[2], const uint64_t last[2], address a)
{
	const address from = number(first), to = number(last);

	return (a >= from) & (a <= to);
}

static int holds_ports(const struct sp_selector6 *s, uint16_t source, uint16_t destination)
{
	return (source >= s->source_port_first) & (source <= s->source_port_last) & (destination >= s->destination_port_first) & (destination <= s->destination_port_last);
}

/* The same of type and code of an ICMPv6 message, for a selector that limits them. */
static int holds_type(const struct sp_selector6 *s, const struct sp_packet6 *p)
{
	return s->protocol == SP_PROTOCOL_ICMPV6 && p->p.length >= p->l4 + 2u && holds_ports(s, rte_be_to_cpu_16(sp_load16(p->p.l3 + p->l4)), SP_ICMP_TYPED);
}

int sp_selected6(const struct sp_selector6 *selectors, uint32_t n, const struct sp_packet6 *p)
{
	const struct sp_flow_key *k = &p->p.key;
	uint64_t words[RTE_DIM(p->addresses)];

	for (uint32_t i = 0; i < RTE_DIM(words); i++)
		words[i] = rte_be_to_cpu_64(p->addresses[i]);
	for (const struct sp_selector6 *s = selectors; s < selectors + n; s++) {
		const int between = in_range(s->source_first, s->source_last, number(words)) & in_range(s->destination_first, s->destination_last, number(words + 2)) &
				    ((s->protocol == 0) | (s->protocol == k->protocol));

		if (likely(between & holds_ports(s, k->source_port, k->destination_port)) || (between && holds_type(s, p)))
			return 1;
	}
	return 0;
}

/* A packet that is not plain, as decapsulate has it: what is wrong with it, or a fragment. */
static __rte_noinline uint8_t unusual_packet(struct sp_worker *w, struct sp_sa_in *sa, struct sp_esp *p, struct sp_packet6 *out, uint8_t *inner, uint32_t length, uint64_t origin)
{
	uint8_t reason;
	int fragment;

	if (length == 0)
		return SP_DROP_NO_PAYLOAD;
	reason = sp_parse_ipv6(out, p->mbuf, inner, length, origin);
	fragment = reason == SP_FRAGMENT;
	if (reason != SP_PASS && !fragment)
		return SP_DROP_INNER_HEADER;
	reason = sp_decapsulate_ecn(inner, p->outer_tos);
	if (reason == SP_PASS && fragment) {
		sp_set_mark_sa(p->mbuf, sa->subject); /* as long as it waits */
		reason = sp_reassemble6(w, out, p->mbuf, inner, origin);
	}
	if (reason != SP_PASS)
		return reason;
	p->mbuf = out->p.mbuf;
	sp_set_mark_sa(p->mbuf, 0);
	return SP_PASS;
}

/* Out of line: few packets bring a mark. */
static __rte_noinline uint8_t carry_mark(uint8_t *inner, uint8_t outer_tos)
{
	return sp_decapsulate_ecn(inner, outer_tos);
}

/* SP_PASS and a packet ready for the classifier, which may be one that this was the last fragment of; or the reason to drop, SP_TAKEN among them. */
static __rte_always_inline uint8_t decapsulate(struct sp_worker *w, struct sp_sa_in *sa, const struct sp_selector6 *selectors, struct sp_esp *p, struct sp_packet6 *out,
					     uint64_t origin, uint32_t overhead)
{
	uint8_t *inner = p->esp + SP_ESP_LENGTH + sa->transform.iv_length;
	uint32_t cipher = p->length - overhead, length = cipher - 2 - inner[cipher - 2]; /* inbound.c has compared */
	uint8_t reason = SP_PASS;
	struct sp_header6 h;

	if (unlikely(length < SP_IPV6_LENGTH || !sp_header6_plain(&h, inner, length) || !sp_packet6_plain(out, p->mbuf, inner, &h, origin)))
		reason = unusual_packet(w, sa, p, out, inner, length, origin);
	else if (unlikely(p->outer_tos & SP_ECN_TELLS))
		reason = carry_mark(inner, p->outer_tos);
	if (unlikely(reason != SP_PASS))
		return reason;
	return likely(sp_selected6(selectors, sa->n_selectors6, out)) ? SP_PASS : SP_DROP_SELECTOR_MISMATCH;
}

uint32_t sp_inbound6(struct sp_worker *w, struct sp_sa_in *sa, struct sp_esp *packets, uint32_t n, struct sp_packet6 *inner)
{
	const uint64_t origin = sp_key_origin(w->dp->ports[packets[0].mbuf->port].role, sa->cell);
	const struct sp_selector6 *selectors = sp_sa_in_selectors6(sa);
	const uint32_t overhead = SP_ESP_LENGTH + (uint32_t)sa->transform.iv_length + sa->transform.icv_length;
	struct sp_packet6 *out = inner;
	uint64_t bytes = 0;

	for (struct sp_esp *p = packets; p < packets + n; p++) {
		uint8_t reason = decapsulate(w, sa, selectors, p, out, origin, overhead);

		if (unlikely(reason != SP_PASS)) {
			sp_sa_in_drop(w, sa, p->mbuf, reason);
			continue;
		}
		bytes += out->p.length;
		out++;
	}
	sp_carried_in(w, sa, (uint64_t)(out - inner), bytes);
	return (uint32_t)(out - inner);
}
