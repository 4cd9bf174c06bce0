/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Fragments of received and of decrypted packets, put together by rte_ip_frag before any stage asks for ports. What a worker's tables hold is bounded in number and in time, and what is in
 * clear takes no room from what is authentic.
 *
 * To the library every fragment is one of IPv6, because IPv6's key has room for what must not be mixed in IPv4 either: protocol, port and tunnel of arrival. It sees eight bytes of fragment
 * header and the payload. How a packet failed it does not say, but it hands all its fragments back, and they tell.
 */

#include "inline.h"
#include "mbuf.h"
#include "reassembly.h"

#define FRAGMENT_HEADER 8 /* RFC 8200 4.5 */
#define UDP_PORTS 4       /* bytes of UDP that say whom it is for */
#define OVERWRITTEN 48    /* bytes from the fragment header on that the library reads or writes as if they were IPv6's */

static struct sp_fragment *fragment_of(struct rte_mbuf *m)
{
	return &sp_priv(m)->fragment;
}

/* ---- fragments that go ---- */

/* All of a chain are out of the table. */
static void leave(struct sp_worker *w, uint32_t table, const struct rte_mbuf *head)
{
	for (const struct rte_mbuf *m = head; m != NULL; m = m->next) {
		w->reassembly->waiting[table]--;
		w->n_fragments--;
		w->counters[m->port].reassembling--;
	}
}

static uint16_t cell_of(uint64_t origin)
{
	return (uint16_t)(origin >> 48);
}

/* Drops a fragment that is described, and whole: who has sent it in clear may be a peer with a message for IKE, and is not silent (S-051). */
static void drop_fragment(struct sp_worker *w, struct rte_mbuf *m, uint8_t *l3, uint8_t reason)
{
	const struct sp_fragment *f = fragment_of(m);
	const uint8_t *payload = l3 + f->header + (f->ipv6 ? FRAGMENT_HEADER : 0);

	if (f->protocol != SP_PROTOCOL_UDP && !(f->ipv6 && sp_ipv6_extension(f->protocol)))
		sp_drop(w, m, reason);
	else
		sp_punt_unheard(w, m, l3, f->protocol == SP_PROTOCOL_UDP && f->offset == 0 && f->length >= UDP_PORTS ? payload : NULL, reason);
}

/* The same for those of a chain, or for one alone, as the library gives them back. */
static void drop_chain(struct sp_worker *w, struct rte_mbuf *head, uint8_t reason)
{
	for (struct rte_mbuf *m = head, *next; m != NULL; m = next) {
		const struct sp_fragment *f = fragment_of(m);
		const uint32_t headers = f->header + (f->ipv6 ? FRAGMENT_HEADER : 0u);
		uint8_t *payload = (uint8_t *)m->buf_addr + f->at;

		next = m->next;
		m->next = NULL;
		m->nb_segs = 1;
		sp_mbuf_unpoison(m);
		sp_store64(payload - FRAGMENT_HEADER, f->covered);
		sp_mbuf_bounds(m, payload - headers - SP_L2_LENGTH, SP_L2_LENGTH + headers + f->length);
		if (f->clear)
			drop_fragment(w, m, payload - headers, reason);
		else
			sp_drop(w, m, reason);
	}
}

static void bury(struct sp_worker *w, uint32_t table, uint8_t reason)
{
	struct rte_ip_frag_death_row *dead = &w->reassembly->dead;

	for (uint32_t i = 0; i < dead->cnt; i++) {
		leave(w, table, dead->row[i]);
		drop_chain(w, dead->row[i], reason);
	}
	dead->cnt = 0;
}

/* Drops what the table has held since before `timeout` cycles ago, seen from `when`. */
static void expire(struct sp_worker *w, uint32_t table, uint64_t when, uint8_t reason)
{
	struct sp_reassembly *r = w->reassembly;

	do {
		bury(w, table, reason);
		rte_ip_frag_table_del_expired_entries(r->table[table], &r->dead, when);
	} while (r->dead.cnt > 0);
}

void sp_reassembly_expire(struct sp_worker *w)
{
	for (uint32_t table = 0; table < SP_REASSEMBLY_TABLES; table++)
		if (w->reassembly->waiting[table] > 0)
			expire(w, table, w->now, SP_DROP_FRAGMENT_TIMEOUT);
}

/* A flood fills a table with what is never completed, while the fragments of a sound packet follow each other: the older ones give way, as few as halving the age finds. */
static int make_room(struct sp_worker *w, uint32_t table)
{
	struct sp_reassembly *r = w->reassembly;

	for (uint64_t age = r->timeout / 2; r->waiting[table] >= r->limit && age > 0; age /= 2)
		expire(w, table, w->now + r->timeout - age, SP_DROP_FRAGMENT_TABLE_FULL);
	return r->waiting[table] < r->limit;
}

/* Why the library gave up a packet, from its fragments on the death row: the one that came last, and those that it freed with it. */
static uint8_t diagnose(const struct rte_ip_frag_death_row *dead)
{
	const struct sp_fragment *list[SP_FRAGMENTS_MAX_IN + 1];
	uint32_t n = 0;

	for (uint32_t i = 0; i < dead->cnt; i++)
		for (struct rte_mbuf *m = dead->row[i]; m != NULL && n < RTE_DIM(list); m = m->next)
			list[n++] = fragment_of(m);
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t j = 0; j < n; j++) {
			const struct sp_fragment *a = list[i], *b = list[j];

			if (i != j && a->offset <= b->offset && (a->offset + a->length > b->offset || !a->more))
				return SP_DROP_FRAGMENT_OVERLAP;
		}
	return n == 1 ? SP_DROP_FRAGMENT_TABLE_FULL : SP_DROP_FRAGMENT_COUNT;
}

/* ---- the library ---- */

/* What tells packets apart. A key of IPv4 has for source a group, which IPv6 cannot have. */
static void fill_key(struct rte_ipv6_hdr *key, struct rte_ipv6_fragment_ext *extension, const struct sp_fragment *f, const uint8_t *l3)
{
	if (f->ipv6) {
		memcpy(key->src_addr, l3 + 8, SP_IPV6_ADDRESS);
		memcpy(key->dst_addr, l3 + 24, SP_IPV6_ADDRESS);
		/* the key has no room for the origin: what differs in it mostly differs here too, and join compares */
		extension->id = f->id ^ (uint32_t)(f->origin * 0x9e3779b97f4a7c15 >> 32);
	} else {
		*key = (struct rte_ipv6_hdr){.src_addr = {0xff}};
		key->src_addr[1] = f->protocol;
		memcpy(key->src_addr + 4, &f->origin, sizeof(f->origin));
		memcpy(key->dst_addr, l3 + 12, 8);
		extension->id = f->id;
	}
	key->payload_len = rte_cpu_to_be_16((uint16_t)(FRAGMENT_HEADER + f->length));
	extension->frag_data = rte_cpu_to_be_16(RTE_IPV6_SET_FRAG_DATA(f->offset, f->more));
}

/* Adds a fragment to its packet; returns the chain of all when it is complete. */
static struct rte_mbuf *collect(struct sp_worker *w, uint32_t table, struct rte_mbuf *m, const uint8_t *l3, uint8_t *payload)
{
	struct sp_reassembly *r = w->reassembly;
	struct sp_fragment *f = fragment_of(m);
	struct rte_ipv6_fragment_ext extension;
	struct rte_ipv6_hdr key;
	struct rte_mbuf *chain;

	fill_key(&key, &extension, f, l3);
	f->at = (uint16_t)sp_mbuf_before(m, payload);
	f->covered = sp_load64(payload - FRAGMENT_HEADER);
	sp_mbuf_bounds(m, payload - FRAGMENT_HEADER, FRAGMENT_HEADER + (uint32_t)f->length);
	m->l2_len = 0;
	m->l3_len = FRAGMENT_HEADER;
	r->waiting[table]++;
	w->n_fragments++;
	w->counters[m->port].reassembling++;
	chain = rte_ipv6_frag_reassemble_packet(r->table[table], &r->dead, m, w->now, &key, &extension);
	if (r->dead.cnt > 0)
		bury(w, table, diagnose(&r->dead));
	return chain;
}

/* ---- whole packets ---- */

/* What the fragments of a packet say together. */
struct sum {
	uint32_t fragments, payload, largest;
	uint8_t congested, not_capable; /* some fragment is CE, some is not-ECT */
	uint8_t mixed;                  /* origins differ */
};

static struct sum add_up(struct rte_mbuf *head)
{
	struct sum sum = {0};

	for (struct rte_mbuf *m = head; m != NULL; m = m->next) {
		const struct sp_fragment *f = fragment_of(m);

		sum.fragments++;
		sum.payload += f->length;
		sum.largest = RTE_MAX(sum.largest, f->header + (f->ipv6 ? FRAGMENT_HEADER : 0u) + f->length);
		sum.congested |= f->ecn == SP_ECN_CE;
		sum.not_capable |= f->ecn == 0;
		sum.mixed |= f->origin != fragment_of(head)->origin;
	}
	return sum;
}

/* A buffer of the larger kind with the frame's headers, and room for all of it; NULL when there is none. */
static struct rte_mbuf *large_buffer(struct sp_worker *w, struct rte_mbuf *first, const uint8_t *frame, uint32_t length)
{
	struct rte_mempool *pool = w->dp->large_pool;
	struct rte_mbuf *m;

	if (pool == NULL || RTE_PKTMBUF_HEADROOM + length + SP_GROWTH > rte_pktmbuf_data_room_size(pool))
		return NULL;
	m = rte_pktmbuf_alloc(pool);
	if (m == NULL)
		return NULL;
	m->port = first->port;
	sp_copy_marks(m, first);
	*fragment_of(m) = *fragment_of(first);
	sp_mbuf_bounds(m, (uint8_t *)m->buf_addr + RTE_PKTMBUF_HEADROOM, length);
	memcpy(rte_pktmbuf_mtod(m, uint8_t *), frame, SP_L2_LENGTH + (uint32_t)fragment_of(m)->header);
	return m;
}

/* One frame of a chain: in the buffer of its first fragment if there is room behind, else in a larger one. Frees the other buffers; NULL, and nothing done, when there is none large enough. */
static struct rte_mbuf *flatten(struct sp_worker *w, struct rte_mbuf *head, uint32_t payload_length)
{
	const struct sp_fragment *f = fragment_of(head);
	uint8_t *payload = rte_pktmbuf_mtod(head, uint8_t *), *frame = payload - f->header - SP_L2_LENGTH;
	uint32_t length = SP_L2_LENGTH + f->header + payload_length;
	struct rte_mbuf *whole = head, *others = head->next;

	sp_store64(payload - FRAGMENT_HEADER, f->covered);
	sp_mbuf_unpoison(head);
	if (f->ipv6) /* up to the payload, over the fragment header */
		memmove(frame, frame - FRAGMENT_HEADER, SP_L2_LENGTH + (uint32_t)f->header);
	if (sp_mbuf_after(head, frame) >= length + SP_GROWTH) {
		head->next = NULL;
		head->nb_segs = 1;
		sp_mbuf_bounds(head, frame, length);
	} else {
		whole = large_buffer(w, head, frame, length);
		if (whole == NULL) {
			if (f->ipv6)
				memmove(frame - FRAGMENT_HEADER, frame, SP_L2_LENGTH + (uint32_t)f->header);
			return NULL;
		}
		others = head;
	}
	payload = rte_pktmbuf_mtod_offset(whole, uint8_t *, SP_L2_LENGTH + f->header);
	for (struct rte_mbuf *m = others; m != NULL; m = m->next)
		memcpy(payload + fragment_of(m)->offset, rte_pktmbuf_mtod(m, void *), fragment_of(m)->length);
	rte_pktmbuf_free(others);
	return whole;
}

/* The header of the first fragment becomes that of the whole packet. Congestion that any fragment met is kept (RFC 3168 5.3). */
static void finish_ipv4(uint8_t *l3, uint32_t length, int congested)
{
	l3[1] |= congested ? SP_ECN_CE : 0;
	sp_store16(l3 + 2, rte_cpu_to_be_16((uint16_t)length));
	sp_store16(l3 + 6, sp_load16(l3 + 6) & RTE_BE16(SP_IPV4_DF));
	sp_store16(l3 + 10, 0);
	sp_store16(l3 + 10, (uint16_t)~sp_fold(sp_ipv4_sum(l3, sp_ipv4_header_length(l3) / 4)));
}

static void finish_ipv6(uint8_t *l3, uint32_t length, const struct sp_fragment *f, int congested)
{
	l3[1] |= congested ? SP_ECN_CE << 4 : 0;
	sp_store16(l3 + 4, rte_cpu_to_be_16((uint16_t)(length - SP_IPV6_LENGTH)));
	l3[f->next_at] = f->protocol;
}

/* The whole packet of a complete chain, which is out of its table; NULL when it was dropped. */
static struct rte_mbuf *join(struct sp_worker *w, struct rte_mbuf *head)
{
	const struct sum sum = add_up(head);
	uint32_t length = fragment_of(head)->header + sum.payload;
	uint8_t reason = SP_DROP_FRAGMENT_TOO_LONG;
	struct rte_mbuf *whole = NULL;
	uint8_t *l3;

	if (sum.mixed)
		reason = SP_DROP_FRAGMENT_MIXED;
	else if (length > SP_PACKET_MAX) /* by options that only the first fragment has */
		reason = SP_DROP_FRAGMENT_OVERRUN;
	else if (sum.congested && sum.not_capable)
		reason = SP_DROP_ECN;
	else
		whole = flatten(w, head, sum.payload);
	if (whole == NULL) {
		drop_chain(w, head, reason);
		return NULL;
	}
	l3 = rte_pktmbuf_mtod_offset(whole, uint8_t *, SP_L2_LENGTH);
	if (fragment_of(whole)->ipv6)
		finish_ipv6(l3, length, fragment_of(whole), sum.congested);
	else
		finish_ipv4(l3, length, sum.congested);
	fragment_of(whole)->largest = (uint16_t)sum.largest;
	whole->ol_flags |= w->dp->reassembled_flag;
	w->counters[whole->port].merged += sum.fragments - 1;
	return whole;
}

/* ---- what fragments must be like ---- */

/* Bytes of a transport header that filters and hosts read: what is shorter in a first fragment hides something (RFC 1858 3, RFC 7112 5). */
static uint32_t least_header(uint8_t protocol)
{
	switch (protocol) {
	case SP_PROTOCOL_TCP:
		return 20;
	case SP_PROTOCOL_SCTP:
	case SP_PROTOCOL_DCCP:
		return 12;
	default:
		return 8; /* as all fragments but the last have */
	}
}

static uint8_t check(const struct sp_fragment *f)
{
	if (f->length == 0 || (f->more && f->length % 8 != 0))
		return SP_DROP_FRAGMENT_LENGTH;
	if ((uint32_t)f->header + f->offset + f->length > SP_PACKET_MAX)
		return SP_DROP_FRAGMENT_OVERRUN;
	return SP_PASS;
}

static uint8_t describe_ipv4(struct sp_fragment *f, const uint8_t *l3)
{
	uint32_t field = rte_be_to_cpu_16(sp_load16(l3 + 6));
	uint8_t reason;

	f->header = (uint16_t)sp_ipv4_header_length(l3);
	f->offset = (uint16_t)((field & SP_IPV4_OFFSET) * 8);
	f->length = (uint16_t)(rte_be_to_cpu_16(sp_load16(l3 + 2)) - f->header);
	f->more = (field & SP_IPV4_MORE) != 0;
	f->id = sp_load16(l3 + 4);
	f->protocol = l3[9];
	f->ecn = l3[1] & SP_ECN_MASK;
	f->ipv6 = 0;
	f->next_at = 0;
	reason = check(f);
	/* RFC 3128: TCP at offset 8 could put other flags over those that a filter saw */
	if (reason == SP_PASS && ((f->offset == 0 && f->length < least_header(f->protocol)) || (f->offset == 8 && f->protocol == SP_PROTOCOL_TCP)))
		reason = SP_DROP_FRAGMENT_TINY;
	return reason;
}

/* The first fragment must have all headers up to the transport's (RFC 7112 5, RFC 8200 4.5). */
static uint8_t check_chain(const uint8_t *payload, uint32_t length, uint8_t next)
{
	uint32_t at = 0;

	while (sp_ipv6_extension(next)) {
		if (length - at < 8 || length - at < 8 + 8u * payload[at + 1])
			return SP_DROP_FRAGMENT_TINY;
		next = payload[at];
		at += 8 + 8u * payload[at + 1];
	}
	if (next == SP_NEXT_FRAGMENT) /* a fragment of a fragment */
		return SP_DROP_IPV6_EXTENSION;
	return length - at < least_header(next) && next != SP_PROTOCOL_NONE ? SP_DROP_FRAGMENT_TINY : SP_PASS;
}

/* The parser has walked the headers up to the fragment header. */
static uint8_t describe_ipv6(struct sp_fragment *f, const uint8_t *l3)
{
	uint32_t at = SP_IPV6_LENGTH, field;
	uint8_t next = l3[6], reason;

	f->next_at = 6;
	while (next != SP_NEXT_FRAGMENT) {
		f->next_at = (uint16_t)at;
		next = l3[at];
		at += 8 + 8u * l3[at + 1];
	}
	field = rte_be_to_cpu_16(sp_load16(l3 + at + 2));
	f->header = (uint16_t)at;
	f->offset = (uint16_t)(field & ~7u);
	f->length = (uint16_t)(SP_IPV6_LENGTH + rte_be_to_cpu_16(sp_load16(l3 + 4)) - at - FRAGMENT_HEADER);
	f->more = field & 1;
	f->id = sp_load32(l3 + at + 4);
	f->protocol = l3[at];
	f->ecn = sp_ipv6_traffic_class(l3) & SP_ECN_MASK;
	f->ipv6 = 1;
	if (sp_ipv6_multicast(l3 + 8)) /* keys of IPv4 begin so */
		return SP_DROP_BAD_SOURCE;
	reason = check(f);
	if (reason == SP_PASS && f->offset == 0)
		reason = check_chain(l3 + at + FRAGMENT_HEADER, f->length, f->protocol);
	return reason;
}

/* ---- entry ---- */

/* Receive queues need not keep the fragments of a packet together: one worker has those between two addresses. SP_PASS if it is this one. */
static uint8_t to_owner(struct sp_worker *w, struct rte_mbuf *m, const uint8_t *addresses, uint32_t n)
{
	uint32_t sum = 0;
	struct sp_worker *owner;

	if (w->dp->n_workers == 1)
		return SP_PASS;
	for (uint32_t i = 0; i < n; i += 4)
		sum = sum * 31 + sp_load32(addresses + i);
	owner = w->dp->workers[(sum * 0x9e3779b1 >> 16) % w->dp->n_workers];
	if (owner == w)
		return SP_PASS;
	return rte_ring_mp_enqueue(owner->handover, m) == 0 ? SP_TAKEN : SP_DROP_HANDOVER_FULL;
}

/* Adds a fragment that is described to the others of its packet. Returns as sp_reassemble; with SP_PASS, *whole is the frame of the packet. */
static uint8_t assemble(struct sp_worker *w, struct rte_mbuf *m, uint8_t *l3, uint16_t in_cell, struct rte_mbuf **whole)
{
	const uint32_t table = in_cell == SP_NO_CELL ? SP_REASSEMBLY_CLEAR : SP_REASSEMBLY_DECRYPTED;
	const uint64_t incarnation = table == SP_REASSEMBLY_CLEAR ? 0 : sp_cell_incarnation(w->dp, in_cell);
	struct sp_fragment *f = fragment_of(m);
	uint8_t *payload = l3 + f->header + (f->ipv6 ? FRAGMENT_HEADER : 0);
	struct rte_mbuf *chain;

	if (sp_mbuf_after(m, payload) < OVERWRITTEN)
		return SP_DROP_NO_ROOM;
	if (!make_room(w, table))
		return SP_DROP_FRAGMENT_TABLE_FULL;
	f->clear = table == SP_REASSEMBLY_CLEAR;
	f->origin = m->port | (uint64_t)in_cell << 16 | incarnation << 32;
	chain = collect(w, table, m, l3, payload);
	if (chain == NULL)
		return SP_TAKEN;
	leave(w, table, chain);
	*whole = join(w, chain);
	return *whole == NULL ? SP_TAKEN : SP_PASS;
}

/* What a whole packet is parsed as is the end of the matter. */
static uint8_t settle(struct sp_worker *w, struct rte_mbuf *whole, uint8_t reason)
{
	if (reason == SP_PASS)
		return SP_PASS;
	sp_drop(w, whole, reason == SP_FRAGMENT ? SP_DROP_IPV6_EXTENSION : reason);
	return SP_TAKEN;
}

/* A fragment that cannot be put together, or has been taken. Returns as sp_reassemble. */
static uint8_t refuse(struct sp_worker *w, struct rte_mbuf *m, uint8_t *l3, uint16_t in_cell, uint8_t reason)
{
	if (reason == SP_TAKEN || reason == SP_DROP_INLINE_SESSION || in_cell != SP_NO_CELL)
		return reason;
	drop_fragment(w, m, l3, reason);
	return SP_TAKEN;
}

uint8_t sp_reassemble(struct sp_worker *w, struct sp_packet *packet, struct rte_mbuf *m, uint8_t *l3, uint64_t origin)
{
	uint8_t reason = sp_secured(m) ? SP_DROP_INLINE_SESSION : describe_ipv4(fragment_of(m), l3); /* no NIC can have opened a fragment */
	struct rte_mbuf *whole;

	if (reason == SP_PASS && cell_of(origin) == SP_NO_CELL)
		reason = to_owner(w, m, l3 + 12, 8);
	if (reason == SP_PASS)
		reason = assemble(w, m, l3, cell_of(origin), &whole);
	if (reason != SP_PASS)
		return refuse(w, m, l3, cell_of(origin), reason);
	l3 = rte_pktmbuf_mtod_offset(whole, uint8_t *, SP_L2_LENGTH);
	return settle(w, whole, sp_parse_ipv4(packet, whole, l3, whole->data_len - SP_L2_LENGTH, origin));
}

uint8_t sp_reassemble6(struct sp_worker *w, struct sp_packet6 *packet, struct rte_mbuf *m, uint8_t *l3, uint64_t origin)
{
	uint8_t reason = sp_secured(m) ? SP_DROP_INLINE_SESSION : describe_ipv6(fragment_of(m), l3);
	struct rte_mbuf *whole;

	if (reason == SP_PASS && cell_of(origin) == SP_NO_CELL)
		reason = to_owner(w, m, l3 + 8, 2 * SP_IPV6_ADDRESS);
	if (reason == SP_PASS)
		reason = assemble(w, m, l3, cell_of(origin), &whole);
	if (reason != SP_PASS)
		return refuse(w, m, l3, cell_of(origin), reason);
	l3 = rte_pktmbuf_mtod_offset(whole, uint8_t *, SP_L2_LENGTH);
	reason = settle(w, whole, sp_parse_ipv6(packet, whole, l3, whole->data_len - SP_L2_LENGTH, origin));
	packet->fragmented = 1;
	return reason;
}
