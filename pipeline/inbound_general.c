/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Stage 7 for every SA that inbound.c does not do by itself: ESP and AH and AH around ESP, tunnel and transport mode, outer IPv4 and IPv6, every cipher (RFC 4301 5.2,
 * RFC 4302 3.4, RFC 4303 3.4). The same steps as there, driven by the SA. A packet of a bundle takes them twice: AH hands what it vouches for to the ESP that it names.
 */

#include "ah.h"
#include "checksum.h"
#include "crypt.h"
#include "esp.h"
#include "fragment.h"
#include "inline.h"
#include "mss.h"
#include "outer.h"
#include "replay.h"
#include "sequence.h"

static uint32_t esp_overhead(const struct sp_sa_in *sa)
{
	return SP_ESP_LENGTH + (uint32_t)sa->transform.iv_length + sa->transform.icv_length;
}

/* Why a packet that comes in another form than the SA's is none of its. */
static uint8_t wrong_form(const struct sp_sa_in *sa, uint8_t form)
{
	if ((sa->form == SP_FORM_AH) != (form == SP_FORM_AH))
		return SP_DROP_NO_INBOUND_SA;
	if (sa->form == SP_FORM_BUNDLED || form == SP_FORM_BUNDLED)
		return SP_DROP_BUNDLE;
	return SP_DROP_ENCAPSULATION;
}

static uint8_t check_esp(const struct sp_sa_in *sa, const struct sp_esp *p)
{
	uint32_t overhead = esp_overhead(sa), block_mask = sa->transform.block_mask;

	if (p->length < overhead + block_mask + 1)
		return SP_DROP_ESP_TRUNCATED;
	return (p->length - overhead) & block_mask ? SP_DROP_ESP_LENGTH : SP_PASS;
}

/* Everything that can be known before the ICV: SP_PASS or the reason to drop. */
static uint8_t admit(const struct sp_sa_in *sa, struct sp_esp *p)
{
	uint8_t reason;

	if (p->form != sa->form)
		return wrong_form(sa, p->form);
	reason = sa->form == SP_FORM_AH ? sp_ah_check(sa, p) : check_esp(sa, p);
	if (reason != SP_PASS)
		return reason;
	p->sequence = sp_replay_sequence(&sa->replay, rte_be_to_cpu_32(sp_load32(p->esp + 4)), sa->transform.esn);
	return sp_replay_check(&sa->replay, p->sequence);
}

/* Adds to the batch the packets that deserve crypto; returns their number. */
static uint32_t admit_run(struct sp_worker *w, struct sp_opening *o, struct sp_sa_in *sa, const struct sp_esp *packets, uint32_t n)
{
	const uint32_t before = o->n;

	if (unlikely(sa->inlined))
		sp_inline_catch_up(sa);
	for (uint32_t i = 0; i < n; i++) {
		struct sp_esp *p = &o->packets[o->n];
		uint8_t reason;

		*p = packets[i];
		reason = admit(sa, p);
		if (reason == SP_PASS)
			o->sas[o->n++] = sa;
		else
			sp_sa_in_drop(w, sa, p->mbuf, reason);
	}
	return o->n - before;
}

void sp_inbound_general(struct sp_worker *w, struct sp_opening *o, struct sp_sa_in *sa, const struct sp_esp *packets, uint32_t n)
{
	const int async = sa->form != SP_FORM_AH && sp_kind_async(sa->transform.kind);

	if (sa->expired) {
		sp_expired_in(w, sa, packets, n);
		return;
	}
	if (o->n > 0 && (async || (sa->form == SP_FORM_AH) != (o->sas[0]->form == SP_FORM_AH)))
		sp_inbound_open(w, o);
	n = admit_run(w, o, sa, packets, n);
	if (async && n > 0) {
		if (sa->transform.kind == SP_SA_WHOLE_ASYNC)
			sp_whole_open(w, sa, o->packets, n);
		else
			sp_async_decrypt(w, sa, o->packets, n);
		o->n = 0;
	}
}

/* Whether the NIC has decrypted a packet of a batch; takes its mark off. */
static int opened_before(const struct sp_worker *w, const struct sp_sa_in *sa, struct rte_mbuf *m)
{
	if (likely(!sa->inlined) || !sp_inline_decrypted(w, sp_sa_in_inline(sa), m))
		return 0;
	sp_add(0, &sp_sa_in_inline(sa)->packets, 1);
	return 1;
}

/* Bits of packets that stand one behind the other, put to where they stand in the batch: `which`. */
static uint32_t spread(uint32_t bits, uint32_t which)
{
	uint32_t out = 0;

	for (; which != 0; which &= which - 1, bits >>= 1)
		out |= bits & 1 ? which & -which : 0;
	return out;
}

static struct sp_opened open_esp(struct sp_worker *w, const struct sp_opening *o)
{
	struct sp_crypt crypts[SP_BURST];
	struct sp_opened opened = {0};
	uint32_t which = 0, n = 0;

	for (uint32_t i = 0; i < o->n; i++) {
		const struct sp_sa_in *sa = o->sas[i];
		const struct sp_esp *p = &o->packets[i];

		if (unlikely(opened_before(w, sa, p->mbuf)))
			continue;
		which |= 1u << i;
		crypts[n++] = (struct sp_crypt){
			.transform = &sa->transform,
			.mbuf = p->mbuf,
			.start = p->esp,
			.payload = p->esp + SP_ESP_LENGTH + sa->transform.iv_length,
			.payload_length = p->length - esp_overhead(sa),
			.icv = p->esp + p->length - sa->transform.icv_length,
			.sequence = p->sequence,
		};
	}
	if (likely(n > 0))
		opened = sp_crypt_open(w, crypts, n);
	if (likely(n == o->n))
		return opened;
	return (struct sp_opened){.forged = spread(opened.forged, which), .broken = spread(opened.broken, which)};
}

/* Drops the packets that are not authentic or cannot be told to be; moves the others to the front. */
static void keep_authentic(struct sp_worker *w, struct sp_opening *o, struct sp_opened opened)
{
	const uint32_t bad = opened.forged | opened.broken;
	uint32_t good = 0;

	if (likely(bad == 0))
		return;
	for (uint32_t i = 0; i < o->n; i++) {
		if (bad >> i & 1) {
			sp_sa_in_drop(w, o->sas[i], o->packets[i].mbuf, opened.forged >> i & 1 ? SP_DROP_AUTH_FAILED : SP_DROP_CRYPTO_ERROR);
			continue;
		}
		o->sas[good] = o->sas[i];
		o->packets[good++] = o->packets[i];
	}
	o->n = good;
}

/* ---- after crypto ---- */

/* What was under ESP or AH. */
struct content {
	uint8_t *data;
	uint32_t length; /* TFC padding included */
	uint8_t next_header;
};

/* SP_PASS and the content, or the reason to drop (RFC 4303 2.4 to 2.6, RFC 4302 2.1). */
static uint8_t content_of(const struct sp_sa_in *sa, const struct sp_esp *p, struct content *c)
{
	const uint8_t *header = p->esp - SP_AH_SPI;
	uint32_t length;

	if (sa->form == SP_FORM_AH) {
		length = 8 + 4u * header[1];
		*c = (struct content){p->esp - SP_AH_SPI + length, p->length + SP_AH_SPI - length, header[0]};
	} else {
		length = p->length - esp_overhead(sa);
		c->data = p->esp + SP_ESP_LENGTH + sa->transform.iv_length;
		if (!sp_esp_padding_right(c->data, length))
			return SP_DROP_BAD_PADDING;
		c->next_header = c->data[length - 1];
		c->length = length - SP_ESP_TRAILER - c->data[length - SP_ESP_TRAILER];
	}
	return c->next_header == SP_PROTOCOL_NONE ? SP_DROP_DUMMY : SP_PASS;
}

/* Where the IP header of a packet for us begins. */
static uint8_t *ip_header(const struct sp_esp *p)
{
	static const uint8_t between[] = {[SP_FORM_ESP] = 0, [SP_FORM_UDP] = SP_UDP_LENGTH, [SP_FORM_AH] = SP_AH_SPI, [SP_FORM_BUNDLED] = 0};

	return p->esp - between[p->form] - p->headers;
}

/* Brings the packet's own headers to its content, as they would be without what was between them and a NAT on the way: from the peer's address that was agreed on. */
static void rejoin(const struct sp_sa_in *sa, const struct sp_esp *p, struct content *c, uint8_t next_header)
{
	uint8_t *ip = c->data - p->headers;

	memmove(ip, ip_header(p), p->headers);
	if (sa->form == SP_FORM_UDP && sp_is_ipv6(ip))
		memcpy(ip + 8, sp_sa_in_peer(sa), SP_IPV6_ADDRESS);
	else if (sa->form == SP_FORM_UDP)
		memcpy(ip + 12, sp_sa_in_peer(sa), 4);
	c->data = ip;
	c->length += p->headers;
	sp_header_relabel(ip, p->headers, c->length, next_header);
}

/* What authenticated packets of any SAs held: packets of either IP version, those of IPv6 in `wide`, and ESP out of AH that it is bundled with. */
struct inner {
	struct sp_packet6 wide[SP_BURST];
	struct sp_packet narrow[SP_BURST];
	uint32_t n_wide, n_narrow;
	uint64_t bytes; /* of the SA at hand */
	struct sp_opening bundled;
};

static uint8_t parse_inner(const struct sp_esp *p, const struct content *c, int ipv6, struct inner *in, uint64_t origin)
{
	uint8_t reason = ipv6 ? sp_parse_ipv6(&in->wide[in->n_wide], p->mbuf, c->data, c->length, origin)
			      : sp_parse_ipv4(&in->narrow[in->n_narrow], p->mbuf, c->data, c->length, origin);

	return reason == SP_PASS || reason == SP_FRAGMENT ? reason : SP_DROP_INNER_HEADER;
}

/* A fragment of an inner packet: as parse_inner, of the whole packet when it is complete, which p then stands for. */
static uint8_t inner_fragment(struct sp_worker *w, const struct sp_sa_in *sa, struct sp_esp *p, uint8_t *l3, int ipv6, struct inner *in, uint64_t origin)
{
	uint8_t reason;

	sp_set_mark_sa(p->mbuf, sa->subject); /* as long as it waits */
	if (ipv6)
		reason = sp_reassemble6(w, &in->wide[in->n_wide], p->mbuf, l3, origin);
	else
		reason = sp_reassemble(w, &in->narrow[in->n_narrow], p->mbuf, l3, origin);
	if (reason != SP_PASS)
		return reason;
	p->mbuf = ipv6 ? in->wide[in->n_wide].p.mbuf : in->narrow[in->n_narrow].mbuf;
	sp_set_mark_sa(p->mbuf, 0);
	return SP_PASS;
}

static int selected(struct sp_sa_in *sa, const struct inner *in, int ipv6)
{
	if (ipv6)
		return sp_selected6(sp_sa_in_selectors6(sa), sa->n_selectors6, &in->wide[in->n_wide]);
	return sp_selected(sa->selectors, sa->n_selectors, &in->narrow[in->n_narrow]);
}

/* SP_PASS and one packet more that is ready for the classifier, or the reason to drop; SP_TAKEN for a fragment that waits. */
static uint8_t decapsulate(struct sp_worker *w, struct sp_sa_in *sa, struct sp_esp *p, struct inner *in, uint64_t origin)
{
	struct content c;
	uint8_t reason = content_of(sa, p, &c);
	int ipv6, fragment;

	if (reason != SP_PASS)
		return reason;
	ipv6 = c.next_header == SP_PROTOCOL_IPV6;
	if (sa->transport) {
		ipv6 = sp_is_ipv6(ip_header(p));
		rejoin(sa, p, &c, c.next_header);
	} else if (!ipv6 && c.next_header != SP_NEXT_HEADER_IPV4) {
		return SP_DROP_NEXT_HEADER;
	} else if (c.length == 0) {
		return SP_DROP_NO_PAYLOAD;
	}
	reason = parse_inner(p, &c, ipv6, in, origin);
	fragment = reason == SP_FRAGMENT;
	if (fragment)
		reason = sa->transport ? SP_DROP_INNER_HEADER : SP_PASS; /* transport mode takes no fragments (RFC 4301 4.1) */
	if (reason == SP_PASS && !sa->transport)
		reason = sp_decapsulate_ecn(c.data, p->outer_tos);
	if (reason == SP_PASS && sa->transport && sa->form == SP_FORM_UDP)
		sp_repair_checksum(ipv6 ? &in->wide[in->n_wide].p : &in->narrow[in->n_narrow]);
	if (reason == SP_PASS && fragment)
		reason = inner_fragment(w, sa, p, c.data, ipv6, in, origin);
	if (reason == SP_PASS && !selected(sa, in, ipv6))
		reason = SP_DROP_SELECTOR_MISMATCH;
	if (reason != SP_PASS)
		return reason;
	in->bytes += ipv6 ? in->wide[in->n_wide++].p.length : in->narrow[in->n_narrow++].length;
	return SP_PASS;
}

/* Packets out of AH that is the outer half of a bundle: what it covers must be the ESP that it is bundled with. Moves them to the front; returns their number. */
static uint32_t unbundle(struct sp_worker *w, struct sp_sa_in *sa, struct sp_esp *packets, uint32_t n)
{
	uint64_t bytes = 0;
	uint32_t good = 0;

	for (uint32_t i = 0; i < n; i++) {
		struct sp_esp *p = &packets[i];
		struct content c;

		content_of(sa, p, &c);
		if (c.next_header != SP_PROTOCOL_ESP || c.length < SP_ESP_LENGTH || rte_be_to_cpu_32(sp_load32(c.data)) != sa->partner) {
			sp_sa_in_drop(w, sa, p->mbuf, SP_DROP_BUNDLE);
			continue;
		}
		bytes += c.length;
		rejoin(sa, p, &c, SP_PROTOCOL_ESP);
		p->esp = c.data + p->headers;
		p->length = c.length - p->headers;
		p->form = SP_FORM_BUNDLED;
		packets[good++] = *p;
	}
	sp_carried_in(w, sa, good, bytes);
	return good;
}

static void open_bundle(struct sp_worker *w, struct sp_opening *bundled, struct sp_sa_in *sa, struct sp_esp *packets, uint32_t n)
{
	struct sp_sa_in *inside = __atomic_load_n(&w->dp->sad[sa->partner & w->dp->sad_mask], __ATOMIC_ACQUIRE);

	n = unbundle(w, sa, packets, n);
	if (inside != NULL && inside->spi == sa->partner && inside->form == SP_FORM_BUNDLED && inside->owner == w->id) {
		sp_inbound_general(w, bundled, inside, packets, n);
		return;
	}
	for (uint32_t i = 0; i < n; i++)
		sp_sa_in_drop(w, sa, packets[i].mbuf, SP_DROP_NO_INBOUND_SA);
}

/* Packets whose numbers are new now come to the front: others of the burst may have moved the window since it was asked. Returns their number. */
static uint32_t take_numbers(struct sp_worker *w, struct sp_sa_in *sa, struct sp_esp *packets, uint32_t n)
{
	uint32_t good = 0;

	for (uint32_t i = 0; i < n; i++) {
		uint8_t reason = sp_replay_update(&sa->replay, packets[i].sequence);

		if (reason == SP_PASS)
			packets[good++] = packets[i];
		else
			sp_sa_in_drop(w, sa, packets[i].mbuf, reason);
	}
	return good;
}

/* SYNs announce no more than comes through the tunnel. The packets from the given ones on. */
static void clamp(const struct sp_worker *w, const struct sp_sa_in *sa, struct inner *in, uint32_t narrow, uint32_t wide)
{
	if (!sa->mss_automatic && sa->mss == 0)
		return;
	for (uint32_t i = narrow; i < in->n_narrow; i++)
		sp_mss_clamp(&in->narrow[i], sp_mss_in(w, sa, 0));
	for (uint32_t i = wide; i < in->n_wide; i++)
		sp_mss_clamp(&in->wide[i].p, sp_mss_in(w, sa, 1));
}

/* Adds to `in` what authenticated packets of one SA held. */
static void unpack(struct sp_worker *w, struct sp_sa_in *sa, struct sp_esp *packets, uint32_t n, struct inner *in)
{
	const uint32_t narrow = in->n_narrow, wide = in->n_wide;
	uint64_t origin;

	if (unlikely(sa->handed))
		sa = *sp_sa_in_kin_place(sa); /* while they were with a device, or waited for the rest of the burst */
	if (sa->follow)
		sp_note_remote(w, sa, packets, n);
	if (unlikely(sa->inlined) && sp_sa_in_inline(sa)->protocol) {
		sp_inline_unnumbered(w, sa, packets, n);
		return;
	}
	n = take_numbers(w, sa, packets, n);
	if (n == 0)
		return;
	if (sa->form == SP_FORM_AH && sa->partner != 0) {
		open_bundle(w, &in->bundled, sa, packets, n);
		return;
	}
	origin = sp_key_origin(w->dp->ports[packets[0].mbuf->port].role, sa->cell);
	in->bytes = 0;
	for (uint32_t i = 0; i < n; i++) {
		uint8_t reason = decapsulate(w, sa, &packets[i], in, origin);

		if (reason != SP_PASS)
			sp_sa_in_drop(w, sa, packets[i].mbuf, reason);
	}
	sp_carried_in(w, sa, in->n_narrow - narrow + in->n_wide - wide, in->bytes);
	clamp(w, sa, in, narrow, wide);
}

/* To the classifier together, whatever their SAs were: their flows are looked up side by side. */
static void pass_on(struct sp_worker *w, struct inner *in)
{
	if (in->n_narrow > 0)
		sp_process(w, in->narrow, in->n_narrow);
	if (in->n_wide > 0)
		sp_process6(w, in->wide, in->n_wide);
	if (in->bundled.n > 0)
		sp_inbound_open(w, &in->bundled);
}

void sp_inbound_open(struct sp_worker *w, struct sp_opening *o)
{
	struct inner in;
	uint32_t start = 0;

	in.n_narrow = in.n_wide = in.bundled.n = 0;
	keep_authentic(w, o, o->sas[0]->form == SP_FORM_AH ? sp_ah_open(w, o->sas, o->packets, o->n) : open_esp(w, o));
	for (uint32_t i = 1; i <= o->n; i++) {
		if (i < o->n && o->sas[i] == o->sas[start])
			continue;
		unpack(w, o->sas[start], o->packets + start, i - start, &in);
		start = i;
	}
	o->n = 0;
	pass_on(w, &in);
}

void sp_inbound_opened(struct sp_worker *w, struct sp_sa_in *sa, struct sp_esp *packets, uint32_t n)
{
	struct inner in;

	if (n == 0)
		return;
	in.n_narrow = in.n_wide = in.bundled.n = 0;
	unpack(w, sa, packets, n, &in);
	pass_on(w, &in);
}
