/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Stage 6 for every SA that outbound.c does not do by itself: ESP and AH and AH around ESP, tunnel and transport mode, outer IPv4 and IPv6, every cipher (RFC 4301 5.1,
 * RFC 4302 3.3, RFC 4303 3.3). Compiled once and driven by the SA. What it makes, only the first and the payload of it in every packet:
 *
 *	IP, extension headers | AH | UDP | ESP, IV | payload | TFC padding | padding, trailer | ICV
 *
 * The payload stays where it is: in tunnel mode it is the packet, in transport mode what follows its IP header, which moves to the front.
 *
 * Dummy packets (RFC 4303 2.6) of every SA go this way too. Go makes them as packets between the SA's ends of protocol 59, no next header: a tunnel says so in ESP's trailer,
 * in transport mode the packet itself does.
 */

#include "ah.h"
#include "checksum.h"
#include "esp.h"
#include "inline.h"
#include "mbuf.h"
#include "mss.h"
#include "outer.h"
#include "sequence.h"
#include "whole.h"

/* Lengths of a packet to be, in bytes. */
struct shape {
	uint32_t stays;   /* transport mode: headers that stay in front */
	uint32_t front;   /* all in front of the payload */
	uint32_t payload; /* TFC padding included (RFC 4303 2.7) */
	uint32_t sealed;  /* with ESP's padding and trailer */
	uint32_t total;   /* IP packet */
	uint8_t content;  /* what the payload of a tunnel is: a protocol number */
};

/* An IP header that counts the payload's own length leaves room for padding behind it; in transport mode nothing else does. */
static uint32_t with_tfc_padding(const struct sp_sa_out *sa, uint32_t length, uint16_t mtu)
{
	uint32_t padded = RTE_MIN((uint32_t)sa->encapsulation.tfc_pad, sp_outbound_largest(sa, mtu, 0));

	return sa->transport ? length : RTE_MAX(length, padded);
}

static struct shape shape_of(const struct sp_sa_out *sa, const uint8_t *l3, uint32_t length, uint16_t mtu, int dummy)
{
	const uint32_t mask = sa->transform.block_mask;
	struct shape s = {.stays = sa->transport ? sp_unprotected(l3) : 0};

	s.content = sp_is_ipv6(l3) ? SP_PROTOCOL_IPV6 : SP_NEXT_HEADER_IPV4;
	if (dummy)
		s.content = SP_PROTOCOL_NONE;
	s.front = s.stays + sa->header_length;
	s.payload = length - s.stays;
	if (sa->protocol == SP_SA_AH) {
		s.sealed = s.payload;
		s.total = s.front + s.payload;
		return s;
	}
	s.payload = with_tfc_padding(sa, s.payload, mtu);
	s.sealed = (s.payload + SP_ESP_TRAILER + mask) & ~mask;
	s.total = s.front + s.sealed + sa->transform.icv_length;
	return s;
}

/* Transport mode is for packets between the ends of the SA only (RFC 4301 4.1). */
static int between_ends(const struct sp_sa_out *sa, const uint8_t *l3)
{
	if (sp_is_ipv6(l3))
		return sa->outer == SP_IPV6 && memcmp(l3 + 8, sa->header + 8, 2 * SP_IPV6_ADDRESS) == 0;
	return sa->outer == SP_IPV4 && sp_load64(l3 + 12) == sp_load64(sa->header + 12);
}

static int has_room(const struct sp_packet *p, const struct shape *s)
{
	return sp_mbuf_before(p->mbuf, p->l3) + s->stays >= SP_L2_LENGTH + s->front && sp_mbuf_after(p->mbuf, p->l3 + s->stays) >= s->total - s->front + SP_AH_ESN_ROOM;
}

/* Whether the packet to be fits the path, or may be cut for it, and the buffer. */
static int fits(const struct sp_worker *w, const struct sp_sa_out *sa, const struct sp_fields *fields, uint32_t mtu, const struct sp_packet *p, const struct shape *s)
{
	if (s->total > mtu && !sp_cut_after(w, sa, fields, p))
		return 0;
	return has_room(p, s);
}

/* As accepted, of a dummy packet: nobody is told of one that does not fit. */
static int dummy_accepted(struct sp_worker *w, const struct sp_sa_out *sa, uint32_t mtu, const struct sp_packet *p, const struct shape *s)
{
	uint8_t reason = SP_PASS;

	if (sa->transport && !between_ends(sa, p->l3))
		reason = SP_DROP_SELECTOR_MISMATCH;
	else if (s->total > mtu)
		reason = SP_DROP_MTU_EXCEEDED;
	else if (!has_room(p, s))
		reason = SP_DROP_NO_ROOM;
	if (reason != SP_PASS)
		sp_drop_out(w, sa, p->mbuf, reason);
	return reason == SP_PASS;
}

/* Asks all that can speak against a packet, before a byte of it changes. Returns 1, or disposes of it and returns 0. */
static int accepted(struct sp_worker *w, struct sp_sa_out *sa, const struct sp_fields *fields, uint32_t mtu, struct sp_packet *p, const struct shape *s)
{
	const int transit = p->key.role != SP_ROLE_LOCAL;

	if (sa->transport && !between_ends(sa, p->l3)) {
		sp_drop_out(w, sa, p->mbuf, SP_DROP_SELECTOR_MISMATCH);
		return 0;
	}
	if (sa->ah != NULL && s->stays > SP_AH_HEADERS_MAX) {
		sp_drop_out(w, sa, p->mbuf, SP_DROP_AH_HEADERS);
		return 0;
	}
	if (!sp_selected_out(sa, p, sp_is_ipv6(p->l3)) || (*sp_hops_left(p->l3) <= 1 && transit) || !fits(w, sa, fields, mtu, p, s)) {
		sp_outbound_reject(w, sa, mtu, p, s->total);
		return 0;
	}
	return 1;
}

/* The crypto stages write the IV behind it. */
static void write_esp(const struct sp_sa_out *sa, uint8_t *esp, uint64_t sequence)
{
	sp_store32(esp, sa->transform.spi_be);
	sp_store32(esp + 4, rte_cpu_to_be_32((uint32_t)sequence));
}

/* What makes a payload of `length` bytes one of s->payload and then one of whole blocks. */
static void write_trailer(uint8_t *payload, const struct shape *s, uint32_t length, uint8_t next_header)
{
	uint8_t *trailer = payload + s->payload;
	uint32_t pad = s->sealed - s->payload - SP_ESP_TRAILER;

	if (unlikely(s->payload > length))
		memset(payload + length, 0, s->payload - length);
	for (uint32_t i = 0; i < pad; i++)
		trailer[i] = (uint8_t)(i + 1);
	trailer[pad] = (uint8_t)pad;
	trailer[pad + 1] = next_header;
}

/* The headers from the IP header to the payload. Returns what ESP's trailer says: what the payload is, in transport mode as its header has it. */
static uint8_t write_headers(const struct sp_sa_out *sa, const struct sp_outer *outer, uint8_t *ip, uint8_t *l3, const struct shape *s, uint64_t sequence)
{
	const uint8_t esp = sa->udp ? SP_PROTOCOL_UDP : SP_PROTOCOL_ESP;
	uint8_t next_header = s->content, *at = ip + (sa->transport ? s->stays : sa->outer == SP_IPV6 ? SP_IPV6_LENGTH : SP_IPV4_LENGTH);

	if (sa->transport) {
		memmove(ip, l3, s->stays);
		if (sa->udp)
			sp_outer_readdress(outer, ip);
		next_header = sp_header_relabel(ip, s->stays, s->total, sa->ah != NULL ? SP_PROTOCOL_AH : esp);
	} else {
		sp_outer_write(outer, ip, l3, s->total, sequence);
	}
	if (sa->ah != NULL) {
		sp_ah_write(sa->ah, at, sequence, sa->protocol == SP_SA_AH ? next_header : SP_PROTOCOL_ESP);
		at += sa->ah->length;
	}
	if (sa->udp) {
		sp_outer_udp(outer, at, s->total - (uint32_t)(at - ip));
		at += SP_UDP_LENGTH;
	}
	if (sa->protocol == SP_SA_ESP)
		write_esp(sa, at, sequence);
	return next_header;
}

/* Turns an accepted packet into one that lacks nothing but its crypto. */
static void encapsulate(const struct sp_sa_out *sa, const struct sp_outer *outer, struct sp_packet *p, const struct shape *s, uint64_t sequence, struct sp_crypt *c)
{
	uint8_t *payload = p->l3 + s->stays, *ip = payload - s->front, next_header;

	sp_mbuf_bounds(p->mbuf, ip - SP_L2_LENGTH, SP_L2_LENGTH + s->total);
	sp_set_mark_sa(p->mbuf, sa->subject);
	sp_whole_take_hop(p, sp_is_ipv6(p->l3));
	next_header = write_headers(sa, outer, ip, p->l3, s, sequence);
	if (sa->protocol == SP_SA_ESP)
		write_trailer(payload, s, p->length - s->stays, next_header);
	*c = (struct sp_crypt){
		.transform = &sa->transform,
		.mbuf = p->mbuf,
		.start = payload - sa->transform.iv_length - SP_ESP_LENGTH,
		.payload = payload,
		.payload_length = s->sealed,
		.icv = payload + s->sealed,
		.sequence = sequence,
	};
}

/* Drops the packets whose bits are set; moves the others to the front. A failed one may be half encrypted: it is never sent. */
static void without_failed(struct sp_worker *w, struct sp_sealing *s, uint32_t failed)
{
	uint32_t good = 0;

	if (likely(failed == 0))
		return;
	for (uint32_t i = 0; i < s->n; i++) {
		if (failed >> i & 1) {
			sp_drop_out(w, s->sas[i], s->crypts[i].mbuf, SP_DROP_CRYPTO_ERROR);
			continue;
		}
		s->sas[good] = s->sas[i];
		s->crypts[good++] = s->crypts[i];
	}
	s->n = good;
}

/* RFC 8200 8.1: over IPv6 a UDP checksum is no option to a receiver that knows nothing of RFC 6936. */
static void set_udp_checksum(struct rte_mbuf *m)
{
	uint8_t *ip = rte_pktmbuf_mtod_offset(m, uint8_t *, SP_L2_LENGTH), *udp = ip + sp_unprotected(ip);

	sp_store16(udp + SP_UDP_CHECKSUM, sp_upper_checksum(ip, SP_PROTOCOL_UDP, udp, rte_be_to_cpu_16(sp_load16(udp + 4))));
}

/* Packets of one SA that lack nothing but their next hop. */
static void leave(struct sp_worker *w, const struct sp_sa_out *sa, const struct sp_crypt *crypts, uint32_t n)
{
	struct rte_mbuf *mbufs[SP_BURST];

	for (uint32_t i = 0; i < n; i++) {
		mbufs[i] = crypts[i].mbuf;
		if (unlikely(sa->udp && sa->outer == SP_IPV6))
			set_udp_checksum(mbufs[i]);
	}
	sp_transmit_esp(w, sa, mbufs, n);
}

/* What follows ESP: AH, and the way out. */
static void finish(struct sp_worker *w, struct sp_sealing *s)
{
	uint32_t start = 0;

	if (s->n > 0 && s->sas[0]->ah != NULL) {
		for (uint32_t i = 0; i < s->n; i++)
			s->crypts[i].transform = &s->sas[i]->ah->transform;
		without_failed(w, s, sp_ah_seal(w, s->crypts, s->n));
	}
	for (uint32_t i = 1; i <= s->n; i++) {
		if (i < s->n && s->sas[i] == s->sas[start])
			continue;
		leave(w, s->sas[start], s->crypts + start, i - start);
		start = i;
	}
	s->n = 0;
}

void sp_outbound_seal(struct sp_worker *w, struct sp_sealing *s)
{
	if (s->sas[0]->protocol == SP_SA_ESP)
		without_failed(w, s, sp_crypt_seal(w, s->crypts, s->n));
	finish(w, s);
}

void sp_outbound_sealed(struct sp_worker *w, struct sp_sa_out *sa, struct rte_mbuf **mbufs, uint32_t n)
{
	struct sp_sealing s;

	for (s.n = 0; s.n < n; s.n++) {
		s.sas[s.n] = sa;
		s.crypts[s.n] = (struct sp_crypt){.mbuf = mbufs[s.n], .sequence = sp_priv(mbufs[s.n])->sequence};
	}
	finish(w, &s);
}

/* Packets that a device encrypts and gives back later. */
static void seal_async(struct sp_worker *w, struct sp_sa_out *sa, const struct sp_crypt *crypts, uint32_t n)
{
	struct rte_mbuf *mbufs[SP_BURST];

	for (uint32_t i = 0; i < n; i++) {
		struct sp_mbuf_priv *priv = sp_priv(crypts[i].mbuf);

		mbufs[i] = crypts[i].mbuf;
		priv->sequence = crypts[i].sequence;
		priv->payload = crypts[i].payload;
		priv->payload_length = crypts[i].payload_length;
	}
	sp_async_encrypt(w, sa, mbufs, n);
}

/* Packets whose encryption is the NIC's as far as it takes them, in order. */
static void seal_inline(struct sp_worker *w, struct sp_sa_out *sa, const struct sp_adjacency *next, struct sp_crypt *crypts, uint32_t n)
{
	uint32_t failed, marked = sp_inline_mark(w, sa, next, crypts, n, &failed);

	for (uint32_t i = 0; i < n; i++) {
		const int by_port = marked >> i & 1;

		if (!by_port && !(failed >> i & 1))
			failed |= sp_crypt_seal(w, &crypts[i], 1) << i;
		if (unlikely(failed >> i & 1))
			sp_drop_out(w, sa, crypts[i].mbuf, SP_DROP_CRYPTO_ERROR);
		else if (likely(by_port))
			sp_transmit_run(w, next->port, &crypts[i].mbuf, 1, crypts[i].mbuf->pkt_len);
		else
			leave(w, sa, &crypts[i], 1);
	}
}

/* Whether a batch that is not empty has room for n packets of the SA, and they take the same steps. */
static int joins(const struct sp_sealing *s, const struct sp_sa_out *sa, uint32_t n)
{
	return s->n + n <= SP_BURST && sa->protocol == s->sas[0]->protocol && (sa->ah != NULL) == (s->sas[0]->ah != NULL);
}

void sp_outbound_general(struct sp_worker *w, struct sp_sealing *s, struct sp_sa_out *sa, const struct sp_adjacency *next, struct sp_packet **packets, uint32_t n, int dummy)
{
	const struct sp_outer outer = sp_outer_of(sa);
	struct sp_outer without_df = outer; /* of what is cut */
	const int async = sa->protocol == SP_SA_ESP && sp_kind_async(sa->transform.kind);
	const uint16_t mtu = sp_sa_out_mtu(sa, next);
	const uint16_t mss = sp_mss_out(sa, mtu, sp_is_ipv6(packets[0]->l3)); /* a burst has one IP version */
	const int apart = async || sa->inlined;
	uint64_t sequence, bytes = 0;
	uint32_t first, good = 0;

	if (unlikely(sa->inlined))
		sp_inline_stop(sa);
	sequence = sp_reserve(w, sa, packets, &n);

	without_df.fields.df_mask_be = 0;
	without_df.fields.df_set_be = 0;
	if (s->n > 0 && (apart || !joins(s, sa, n)))
		sp_outbound_seal(w, s);
	first = s->n;
	for (uint32_t i = 0; i < n; i++) {
		struct sp_packet *p = packets[i];
		struct shape shape = shape_of(sa, p->l3, p->length, mtu, dummy);

		if (!(dummy ? dummy_accepted(w, sa, mtu, p, &shape) : accepted(w, sa, &outer.fields, mtu, p, &shape)))
			continue;
		sp_mss_clamp(p, mss);
		bytes += p->length;
		s->sas[first + good] = sa;
		encapsulate(sa, shape.total > mtu ? &without_df : &outer, p, &shape, sequence + good, &s->crypts[first + good]);
		good++;
	}
	sp_reserved(sa, sequence, good);
	if (good == 0)
		return;
	sp_add(sa->shared, &sa->packets, good);
	sp_add(sa->shared, &sa->bytes, bytes);
	if (dummy)
		sp_add(sa->shared, &sa->dummies, good);
	__atomic_store_n(&sa->last_use, w->now, __ATOMIC_RELAXED);
	/* of those that go apart the batch stays empty */
	if (async)
		seal_async(w, sa, s->crypts, good);
	else if (unlikely(sa->inlined))
		seal_inline(w, sa, next, s->crypts, good);
	else
		s->n += good;
}
