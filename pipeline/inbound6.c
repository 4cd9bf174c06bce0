/* SPDX-License-Identifier: Apache-2.0 */

/* Stage 7 for IPv6 in a tunnel (RFC 4301 5.2): what inbound.c has decrypted and whose trailer says 41. Header, congestion mark, negotiated selectors; then stage 3. */

#include "fields.h"
#include "fragment.h"
#include "sequence.h"

static int in_range(const uint64_t first[2], const uint64_t last[2], uint64_t high, uint64_t low)
{
	return (high > first[0] || (high == first[0] && low >= first[1])) && (high < last[0] || (high == last[0] && low <= last[1]));
}

static int holds_ports(const struct sp_selector6 *s, uint16_t source, uint16_t destination)
{
	return source >= s->source_port_first && source <= s->source_port_last && destination >= s->destination_port_first && destination <= s->destination_port_last;
}

/* The same of type and code of an ICMPv6 message, for a selector that limits them. */
static int holds_type(const struct sp_selector6 *s, const struct sp_packet6 *p)
{
	return s->protocol == SP_PROTOCOL_ICMPV6 && p->p.length >= p->l4 + 2u && holds_ports(s, rte_be_to_cpu_16(sp_load16(p->p.l3 + p->l4)), SP_ICMP_TYPED);
}

int sp_selected6(const struct sp_selector6 *selectors, uint32_t n, const struct sp_packet6 *p)
{
	const struct sp_flow_key *k = &p->p.key;
	uint64_t address[RTE_DIM(p->addresses)];

	for (uint32_t i = 0; i < RTE_DIM(address); i++)
		address[i] = rte_be_to_cpu_64(p->addresses[i]);
	for (const struct sp_selector6 *s = selectors; s < selectors + n; s++)
		if (in_range(s->source_first, s->source_last, address[0], address[1]) && in_range(s->destination_first, s->destination_last, address[2], address[3]) &&
		    (s->protocol == 0 || s->protocol == k->protocol) && (holds_ports(s, k->source_port, k->destination_port) || holds_type(s, p)))
			return 1;
	return 0;
}

/* SP_PASS and a packet ready for the classifier, which may be one that this was the last fragment of; or the reason to drop, SP_TAKEN among them. */
static uint8_t decapsulate(struct sp_worker *w, struct sp_sa_in *sa, struct sp_esp *p, struct sp_packet6 *out, uint64_t origin)
{
	uint8_t *inner = p->esp + SP_ESP_LENGTH + sa->transform.iv_length;
	uint32_t cipher = p->length - SP_ESP_LENGTH - sa->transform.iv_length - sa->transform.icv_length;
	uint32_t length = cipher - 2 - inner[cipher - 2]; /* check_trailer has compared */
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
	return sp_selected6(sp_sa_in_selectors6(sa), sa->n_selectors6, out) ? SP_PASS : SP_DROP_SELECTOR_MISMATCH;
}

void sp_inbound6(struct sp_worker *w, struct sp_sa_in *sa, struct sp_esp *packets, uint32_t n)
{
	const uint64_t origin = sp_key_origin(w->dp->ports[packets[0].mbuf->port].role, sa->cell);
	struct sp_packet6 inner[SP_BURST], *out = inner;
	uint64_t bytes = 0;

	for (struct sp_esp *p = packets; p < packets + n; p++) {
		uint8_t reason = decapsulate(w, sa, p, out, origin);

		if (reason != SP_PASS) {
			sp_sa_in_drop(w, sa, p->mbuf, reason);
			continue;
		}
		bytes += out->p.length;
		out++;
	}
	sp_carried_in(w, sa, (uint64_t)(out - inner), bytes);
	if (out != inner)
		sp_process6(w, inner, (uint32_t)(out - inner));
}
