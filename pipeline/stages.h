/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SP_STAGES_H
#define SP_STAGES_H

/* What the stages hand to each other, and their entry points in packet order. */

#include <smmintrin.h>

#include "dataplane.h"

/* The second half of a flow-cache entry, copied as a whole. */
struct sp_decision {
	uint32_t generation;
	uint32_t filter;
	uint32_t cell;
	uint16_t adjacency;
	uint8_t action, reason;
};
_Static_assert(sizeof(struct sp_decision) == sizeof(struct sp_flow_entry) - offsetof(struct sp_flow_entry, generation), "a verdict is what an entry holds");
_Static_assert(offsetof(struct sp_decision, reason) == offsetof(struct sp_flow_entry, reason) - offsetof(struct sp_flow_entry, generation), "in the same places");

/* One IPv4 packet between parse and its verdict. `words` are the key: composed as two words, because a wide load after narrow stores would stall. */
struct sp_packet {
	union {
		struct sp_flow_key key;
		uint64_t words[2];
	};
	struct sp_decision verdict;
	uint8_t *l3;
	uint32_t next_hop;     /* FORWARD without an adjacency: what must be resolved */
	uint16_t out_port;
	uint16_t length;       /* IP total length; the mbuf may hold more, before and behind */
	struct rte_mbuf *mbuf;
	uint32_t hash;         /* of the key, sp_flow_hash */
} __rte_cache_aligned;
_Static_assert(sizeof(struct sp_packet) == 64, "sp_packet is one cache line");

/* The part of a key that both IP versions have. Ports are 0 where there are none. */
struct sp_ports_key {
	uint16_t source_port, destination_port;
	uint8_t protocol;
	uint8_t role; /* as in a flow key */
};

/* What stands between the IP header and the SPI of a packet for us. */
enum sp_form {
	SP_FORM_ESP,
	SP_FORM_UDP,     /* ESP in UDP (RFC 3948) */
	SP_FORM_AH,      /* the first word of AH */
	SP_FORM_BUNDLED, /* ESP behind an AH that has been checked and taken away */
	SP_FORM_OPENED,  /* opened by the NIC: the inner packet follows 4 bytes of no meaning */
};

/* One ESP or AH packet for us. In both, 4 bytes of sequence number follow the SPI. */
struct sp_esp {
	struct rte_mbuf *mbuf;
	uint8_t *esp;          /* SPI */
	uint64_t sequence;
	uint32_t length;       /* from the SPI to the end of the packet, at least SP_ESP_LENGTH */
	uint16_t headers;      /* bytes of the IP header and of the extension headers behind it */
	uint8_t outer_tos;
	uint8_t form;          /* enum sp_form */
};
_Static_assert(sizeof(struct sp_esp) == 32, "two to a cache line");

/*
 * One packet for the crypto stages. ESP: what is authenticated in front of the payload ends with the IV. AH: everything from the IP header to the end is authenticated
 * as it stands, so that the mutable fields and the ICV are zero, and the payload is empty; with ESN the buffer has 4 bytes more behind the packet.
 */
struct sp_crypt {
	const struct sp_transform *transform;
	struct rte_mbuf *mbuf;
	uint8_t *start;        /* first authenticated byte: ESP's SPI, for AH the IP header */
	uint8_t *payload;      /* first byte to be en- or decrypted; AH: end of the packet */
	uint32_t payload_length;
	uint8_t *icv;          /* ESP: right behind the payload. AH: outbound where it goes, inbound a copy of what was received; GMAC: the 8 bytes before it are the IV */
	uint64_t sequence;     /* all 64 bits */
};

/* What opening packets came to: a bit for each whose ICV is wrong, and one for each whose ICV the library or the device failed to compute. No packet has both. */
struct sp_opened {
	uint32_t forged;
	uint32_t broken;
};

/* parse.c: frames as received from a port; count is 0 for packets that were counted before (handed over, released). */
void sp_ingest(struct sp_worker *w, uint16_t port, struct rte_mbuf **mbufs, uint32_t n, int count);
/* parse.c: the header at l3, of which `available` bytes are in the buffer, checked in full: SP_PASS and all of packet but the verdict, or the reason to drop. */
uint8_t sp_parse_ipv4(struct sp_packet *packet, struct rte_mbuf *m, uint8_t *l3, uint32_t available, uint64_t origin);
/* parse.c: ESP, AH or ESP-in-UDP for us; fills esp and returns 1, or disposes of the packet and returns 0. */
int sp_demux_esp(struct sp_worker *w, const struct sp_packet *packet, struct sp_esp *esp);

/* flow_cache.c: fills in the verdicts, from the cache or through sp_classify_miss. */
void sp_flow_verdicts(struct sp_worker *w, struct sp_packet *packets, uint32_t n);

/* classify.c: policy, route and next hop of at most SP_BURST packets. Sets the verdicts; returns in memo which may be remembered. Changes nothing else. */
void sp_classify_misses(const struct sp_dataplane *dp, const struct sp_snapshot *s, struct sp_packet **misses, uint8_t *memo, uint32_t n);
uint8_t sp_route(const struct sp_dataplane *dp, const struct sp_snapshot *s, struct sp_packet *p, int require_protected);
/* classify.c: the exemption of a packet that arrived in clear for such a target, NULL when it has none. */
const struct sp_exemption *sp_exempt(const struct sp_snapshot *s, enum sp_ip ip, enum sp_target target, const struct sp_ports_key *k);

/* worker.c: a turn of the poll loop, of a worker that is online: until it goes offline it may hold what is published, and RCU waits for its turns to end. */
void sp_worker_online(struct sp_worker *w);
uint32_t sp_worker_turn(struct sp_worker *w);
/* worker.c: verdicts, then each packet to its next stage. All packets have the same in-port; they end forwarded, punted or dropped. */
void sp_process(struct sp_worker *w, struct sp_packet *packets, uint32_t n);

/* outbound.c, inbound.c */
void sp_outbound(struct sp_worker *w, struct sp_packet **packets, uint32_t n);
/* relocate.c: an inbound SA that has come in the place of another takes over its window and its counts, which are the same worker's. */
void sp_sa_in_adopt(struct sp_sa_in *sa);
/* outbound.c: a packet of ours that hides when there are others, by the SA of verdict.cell. */
void sp_outbound_dummy(struct sp_worker *w, struct sp_packet *packet);
void sp_inbound(struct sp_worker *w, struct sp_esp *packets, uint32_t n);
/* inbound.c: disposes of ESP or AH whose SPI no SA has. */
void sp_inbound_stray(struct sp_worker *w, const struct sp_esp *p, uint32_t spi);
/* outbound.c: disposes of a packet that may not or cannot enter the SA; it would become one of `total` bytes, and `mtu` pass. */
void sp_outbound_reject(struct sp_worker *w, struct sp_sa_out *sa, uint32_t mtu, struct sp_packet *p, uint32_t total);
/* outbound.c: the longest packet that the SA makes fit into mtu bytes, 0 when none does. In transport mode `stays` bytes of it stay in front of what is protected. */
uint16_t sp_outbound_largest(const struct sp_sa_out *sa, uint16_t mtu, uint32_t stays);

/*
 * What of a burst is on its way through crypto within the call: packets of any SAs, because ciphers and hashes that are serial in a packet take many packets side by side. All
 * have one in-port, and take the same of the steps ESP and AH.
 */
struct sp_sealing {
	uint32_t n;
	struct sp_sa_out *sas[SP_BURST];
	struct sp_crypt crypts[SP_BURST];
};
struct sp_opening {
	uint32_t n;
	struct sp_sa_in *sas[SP_BURST];
	struct sp_esp packets[SP_BURST];
};

/*
 * outbound_general.c, inbound_general.c: packets of one SA that is not plain, prepared, or dummy packets of any. The batch must be empty or of packets of the same burst; it may be
 * worked off, to have room.
 */
void sp_outbound_general(struct sp_worker *w, struct sp_sealing *s, struct sp_sa_out *sa, const struct sp_adjacency *next, struct sp_packet **packets, uint32_t n, int dummy);
void sp_inbound_general(struct sp_worker *w, struct sp_opening *o, struct sp_sa_in *sa, const struct sp_esp *packets, uint32_t n);
/* The same: crypto and all that follows, for a batch with packets, which is empty then. */
void sp_outbound_seal(struct sp_worker *w, struct sp_sealing *s);
void sp_inbound_open(struct sp_worker *w, struct sp_opening *o);
/* The halves after asynchronous crypto: packets that were sealed, or whose ICV was right, all of one SA and in-port. */
void sp_outbound_sealed(struct sp_worker *w, struct sp_sa_out *sa, struct rte_mbuf **mbufs, uint32_t n);
void sp_inbound_opened(struct sp_worker *w, struct sp_sa_in *sa, struct sp_esp *packets, uint32_t n);

/* crypto_cpu.c: the vector's first n elements; returns the number that succeeded, failures in status. */
uint32_t sp_cpu_process(struct sp_worker *w, uint8_t device, void *session, uint32_t n);
/* crypto_direct.c: packets that are ESP but for the encryption, in mbufs, numbered from `sequence` on. */
void sp_direct_encrypt(struct sp_worker *w, const struct sp_sa_out *sa, struct rte_mbuf **mbufs, uint64_t sequence, uint32_t n);
/* crypto_direct.c: returns a bit for each packet whose ICV was wrong. */
uint32_t sp_direct_decrypt(struct sp_worker *w, const struct sp_sa_in *sa, const struct sp_esp *packets, uint32_t n);
/*
 * crypto_sync.c: the synchronous kinds, 1 to SP_BURST packets of any SAs. sp_crypt_seal writes IV and ICV, and returns a bit for each packet that failed, which may be half
 * encrypted. Payloads of no byte, or not of whole blocks, fail.
 */
uint32_t sp_crypt_seal(struct sp_worker *w, const struct sp_crypt *packets, uint32_t n);
struct sp_opened sp_crypt_open(struct sp_worker *w, const struct sp_crypt *packets, uint32_t n);
/* crypto_job.c: of the packets whose bits are set in `which`, at least one, ICVs into w->job.tag, payloads encrypted or decrypted. Returns a bit for each packet that failed. */
uint32_t sp_job_run(struct sp_worker *w, const struct sp_crypt *packets, uint32_t which, int encrypt);
/* crypto_job.c: the IVs of packets of CBC, of one SA, as encryption leaves them: where IVs stand are the number and zeros. Returns a bit for each that failed. */
uint32_t sp_job_ivs(struct sp_worker *w, const struct sp_crypt *packets, uint32_t which);
/* crypto_async.c: mbufs with priv->sa, sequence, payload and payload_length filled. */
void sp_async_encrypt(struct sp_worker *w, struct sp_sa_out *sa, struct rte_mbuf **mbufs, uint32_t n);
void sp_async_decrypt(struct sp_worker *w, struct sp_sa_in *sa, struct sp_esp *packets, uint32_t n);
/* crypto_async.c: operations that a device has given back, each of its own SA and in-port. */
void sp_async_finish(struct sp_worker *w, struct rte_crypto_op **ops, uint32_t n);
/* crypto_queue.c: operations of one SA for the worker's queue pair of a device, behind those that wait for it. */
void sp_queue_put(struct sp_worker *w, uint8_t device, struct rte_crypto_op **ops, uint32_t n);
/* A device has given back n outbound operations, of which so many at the end have failed. No peer can have brought that about: one that fails all is lost. */
void sp_queue_failed(struct sp_worker *w, uint8_t device, uint32_t n, uint32_t failed);
/* crypto_queue.c: takes what the devices have finished, and gives them what waits; returns the number of operations that came back. */
uint32_t sp_queue_poll(struct sp_worker *w);

/* transmit.c */
void sp_forward(struct sp_worker *w, struct sp_packet **packets, uint32_t n);
/* inline_lost.c: where the first packet stands that the NIC is to encrypt, of those that wait to be sent; their number if there is none. */
uint32_t sp_inline_first(const struct sp_tx_buffer *tx);
/* inline_lost.c: a port has taken `sent` packets of those that waited. Called when it has not taken all, or was refusing: `first` is sp_inline_first then, or UINT32_MAX. */
void sp_inline_sent(struct sp_worker *w, uint16_t port, uint32_t first, uint32_t sent);
/* inline_sent.c: says of the worker's transmit queues whether they have sent all that they had. */
void sp_rings_look(struct sp_worker *w);
/* Complete frames of one in-port, `bytes` long together. */
void sp_transmit_run(struct sp_worker *w, uint16_t port, struct rte_mbuf **mbufs, uint32_t n, uint64_t bytes);
/* Packets of one in-port from asynchronous encryption, whose outer IP header begins SP_L2_LENGTH into the frame. */
void sp_transmit_esp(struct sp_worker *w, const struct sp_sa_out *sa, struct rte_mbuf **mbufs, uint32_t n);
void sp_tx_flush_port(struct sp_worker *w, uint16_t port);
void sp_tx_flush(struct sp_worker *w);

/* link.c: ARP in a frame of at least SP_L2_LENGTH bytes; a neighbour solicitation or advertisement. To Go if it can mean anything to us, else dropped. */
struct sp_packet6;
void sp_link_arp(struct sp_worker *w, struct rte_mbuf *m);
void sp_link_discovery(struct sp_worker *w, const struct sp_packet6 *packet);

/* punt.c: frames as received, and packets for us out of the classifier */
void sp_punt_frame(struct sp_worker *w, struct rte_mbuf *m, enum sp_punt kind, uint32_t filter);
void sp_punt_delivered(struct sp_worker *w, const struct sp_packet *packet, enum sp_punt kind);
void sp_punt_held(struct sp_worker *w, const struct sp_packet *packet, enum sp_punt kind);
/* A datagram in clear for one of IKE's ports. */
void sp_punt_ike(struct sp_worker *w, const struct sp_packet *packet);
/* ESP or AH that waits for its SA; returns 0 when its queue has no room. */
int sp_punt_early(struct sp_worker *w, struct rte_mbuf *m, uint32_t spi);
/* Counts the drop and lets Go have the packet for an ICMP error if the queue has room. */
void sp_punt_dropped(struct sp_worker *w, const struct sp_packet *packet, enum sp_punt kind, uint16_t mtu);
/* Drops a packet that a tunnel's filter decided, verdict.cell, and lets Go know if that has not heard of one like it in this tick. */
void sp_punt_noticed(struct sp_worker *w, const struct sp_packet *packet);
/*
 * Drops a packet. If it came in clear from a peer's address to a port of IKE, Go is told once in a tick that something did: whatever keeps it from being IKE, its sender is not
 * silent (S-051).
 */
void sp_punt_heard(struct sp_worker *w, const struct sp_packet *packet, uint8_t reason);
/*
 * The same for what came in clear before or behind the stages that have a packet for it. Its UDP header is at `udp`; NULL: a fragment without one, of UDP or of what may be UDP behind
 * extension headers. Of a peer's to an address of ours it may have been of IKE: that is counted, and its sender's silence in doubt.
 */
void sp_punt_unheard(struct sp_worker *w, struct rte_mbuf *m, uint8_t *l3, const uint8_t *udp, uint8_t reason);
/* Lets Go know that a packet of the gateway's own does not leave, if it is one of IKE's: its receiver's silence says nothing then. Returns whether Go has the packet. */
int sp_punt_unsent(struct sp_worker *w, struct rte_mbuf *m);
/* inject.c: packets from Go. */
uint32_t sp_inject_poll(struct sp_worker *w);

/* early.c: takes ESP or AH that has come before its SA; returns 0, and nothing done, when the SPI is not reserved. */
int sp_early_keep(struct sp_worker *w, struct rte_mbuf *m, uint32_t spi);

/* tally.c: the end of a packet: counted by its in-port, by the filter that decided it and by its SA, and freed. */
void sp_drop(struct sp_worker *w, struct rte_mbuf *m, uint8_t reason);
/*
 * punt.c: takes back what the filter that decided a packet has counted for it in this burst: the packet waits, or goes to another worker, and is decided anew. Its end counts it,
 * whoever brings that about.
 */
void sp_uncount(struct sp_worker *w, uint32_t filter, uint32_t bytes);

/* tally.c: as sp_drop, for a packet that lives on in a message about it. */
void sp_count_drop(struct sp_worker *w, const struct rte_mbuf *m, uint8_t reason);

/* ---- helpers of every stage ---- */

/* The part of a flow key that says where a packet comes from, as sp_parse_ipv4 wants it. */
static inline uint64_t sp_key_origin(uint8_t role, uint16_t in_cell)
{
	return (uint64_t)role << 40 | (uint64_t)in_cell << 48;
}

/* To a group, which the gateway has nothing to say in: it goes no further, so that no flood of it fills the queue that ICMP waits in. */
static inline void sp_deliver_group(struct sp_worker *w, struct rte_mbuf *m)
{
	w->counters[m->port].delivered++;
	rte_pktmbuf_free(m);
}

/*
 * Whose a packet is, for the accounts: the counter slot of the filter that decided it, and the subject of the outbound SA that carries it. Both stand in the mbuf where the
 * driver leaves its RSS hash, from reception until the packet is gone. What is made from a packet inherits them.
 */
static inline uint32_t sp_mark_filter(const struct rte_mbuf *m)
{
	return m->hash.usr;
}

static inline uint32_t sp_mark_sa(const struct rte_mbuf *m)
{
	return m->hash.fdir.hi;
}

static inline void sp_set_mark_filter(struct rte_mbuf *m, uint32_t filter)
{
	m->hash.usr = filter;
}

static inline void sp_set_mark_sa(struct rte_mbuf *m, uint32_t subject)
{
	m->hash.fdir.hi = subject;
}

static inline void sp_clear_marks(struct rte_mbuf *m)
{
	sp_set_mark_filter(m, SP_COUNTER_NONE);
	sp_set_mark_sa(m, 0);
}

static inline void sp_copy_marks(struct rte_mbuf *to, const struct rte_mbuf *from)
{
	to->hash = from->hash;
}

/* What a filter has decided. */
static inline void sp_count_filter(struct sp_worker *w, uint32_t filter, uint64_t packets, uint64_t bytes)
{
	w->filters[filter].packets += packets;
	w->filters[filter].bytes += bytes;
}

/* Of a packet that an outbound SA should carry. */
static inline void sp_drop_out(struct sp_worker *w, const struct sp_sa_out *sa, struct rte_mbuf *m, uint8_t reason)
{
	sp_set_mark_sa(m, sa->subject);
	sp_drop(w, m, reason);
}

/* Of a packet that came in by an SA, before its inner packet is classified; nothing if it was a fragment that reassembly has taken. */
static inline void sp_sa_in_drop(struct sp_worker *w, const struct sp_sa_in *sa, struct rte_mbuf *m, uint8_t reason)
{
	if (reason == SP_TAKEN)
		return;
	sp_set_mark_sa(m, sa->subject);
	sp_drop(w, m, reason);
}

/* The transmit buffer of a port with room for n packets of one in-port. */
static inline struct sp_tx_buffer *sp_tx_reserve(struct sp_worker *w, uint16_t port, uint16_t in_port, uint32_t n)
{
	struct sp_tx_buffer *tx = &w->tx[port];

	if (unlikely(tx->n + n > SP_TX_BUFFER || (tx->n > 0 && tx->in_port != in_port)))
		sp_tx_flush_port(w, port);
	tx->in_port = in_port;
	return tx;
}

static __rte_always_inline void sp_tx_append(struct sp_tx_buffer *tx, struct rte_mbuf *m, uint32_t length)
{
	tx->mbufs[tx->n++] = m;
	tx->bytes += length;
}

static inline struct sp_adjacency *sp_adjacency_of(const struct sp_dataplane *dp, uint16_t index)
{
	if (unlikely(index >= dp->max_adjacencies))
		return NULL;
	return __atomic_load_n(&dp->adjacencies[index], __ATOMIC_ACQUIRE);
}

static inline struct sp_adjacency *sp_adjacency_get(const struct sp_worker *w, uint16_t index)
{
	return sp_adjacency_of(w->dp, index);
}

/* The largest outer packet that an SA may send through its next hop. */
static inline uint16_t sp_sa_out_mtu(const struct sp_sa_out *sa, const struct sp_adjacency *next)
{
	return RTE_MIN(next->mtu, __atomic_load_n(&sa->path_mtu, __ATOMIC_RELAXED));
}

/* Workers and cells that are given to another tunnel never meet: a grace period lies between the two tunnels. */
static inline uint32_t sp_cell_incarnation(const struct sp_dataplane *dp, uint16_t cell)
{
	return __atomic_load_n(&dp->cells[cell].incarnation, __ATOMIC_RELAXED);
}

/* The outbound SA of a cell for this worker: its own, or the one of all; NULL when it has none. */
static inline struct sp_sa_out *sp_cell_sa(const struct sp_worker *w, uint32_t index)
{
	struct sp_sa_out *sa = __atomic_load_n(&w->dp->outbound[index], __ATOMIC_ACQUIRE);
	const struct sp_cell *cell = &w->dp->cells[index];

	if (likely(sa != NULL))
		return sa;
	if (unlikely(__atomic_load_n(&cell->owned, __ATOMIC_ACQUIRE) >> w->id & 1)) {
		struct sp_sa_out *own = __atomic_load_n(&w->own[index], __ATOMIC_ACQUIRE);

		if (own != NULL)
			return own;
	}
	return __atomic_load_n(&cell->sa, __ATOMIC_ACQUIRE);
}

/* An outbound SA of a cell, whoever sends by it; NULL when there is none. */
static inline struct sp_sa_out *sp_cell_any(const struct sp_dataplane *dp, uint32_t index)
{
	struct sp_sa_out *sa = __atomic_load_n(&dp->cells[index].sa, __ATOMIC_ACQUIRE);

	for (uint32_t i = 0; sa == NULL && i < dp->n_workers; i++)
		sa = __atomic_load_n(&dp->workers[i]->own[index], __ATOMIC_ACQUIRE);
	return sa;
}

/* Whether any worker can send what belongs to a cell. */
static inline int sp_cell_up(const struct sp_cell *cell)
{
	return __atomic_load_n(&cell->sa, __ATOMIC_ACQUIRE) != NULL || __atomic_load_n(&cell->owned, __ATOMIC_ACQUIRE) != 0;
}

/* What becomes of the packets of a cell that has no SA: the reason to drop them, or SP_PASS when they wait for one. */
static inline uint8_t sp_without_sa(const struct sp_cell *cell)
{
	switch (__atomic_load_n(&cell->state, __ATOMIC_RELAXED)) {
	case SP_CELL_HOLD:
		return SP_PASS;
	case SP_CELL_FAILED:
		return SP_DROP_BLOCKED_NEGOTIATION_FAILED;
	default:
		return SP_DROP_NO_OUTBOUND_SA;
	}
}

/* Asks for the cache lines of [p, p + length). */
static __rte_always_inline void sp_fetch(const void *p, size_t length)
{
	for (size_t at = 0; at < length; at += RTE_CACHE_LINE_SIZE)
		rte_prefetch0((const uint8_t *)p + at);
}

/* The same for what a packet of a few blocks needs of an SA's expanded key: round keys, and the first powers of the hash key, which stand at the end or behind the round keys. */
static __rte_always_inline void sp_fetch_key(const struct sp_transform *t)
{
	if (t->kind != SP_SA_AEAD_DIRECT)
		return;
	sp_fetch(t->session, (size_t)t->key_lines * RTE_CACHE_LINE_SIZE);
	sp_fetch((const uint8_t *)t->session + 14 * RTE_CACHE_LINE_SIZE, 2 * RTE_CACHE_LINE_SIZE);
}

/* The filter's counter is written when the burst is sorted: of many filters most counters are not in the nearest caches by then. */
static __rte_always_inline void sp_fetch_counter(const struct sp_worker *w, uint32_t filter)
{
	__builtin_prefetch(&w->filters[filter], 1);
}

/* What a packet with such a verdict touches next. */
static __rte_always_inline void sp_fetch_decided(const struct sp_worker *w, uint32_t filter, uint8_t action, uint32_t cell)
{
	sp_fetch_counter(w, filter);
	if (action == SP_ACTION_OUTBOUND) /* of many tunnels the same holds for where their SAs are */
		rte_prefetch0(&w->dp->outbound[cell]);
}

/* Adds to a counter that the control thread reads and, if shared, other workers write. */
static inline void sp_add(int shared, uint64_t *counter, uint64_t n)
{
	if (shared)
		__atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
	else
		__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

#define SP_SELECTOR_FIELDS UINT64_C(0x000000ffffffffff) /* of the second word of a key. Role and tunnel of arrival are no part of a selector */

/* In halves: the two words may have been stored a moment ago, and one wide load would wait for them to reach the cache. */
static __rte_always_inline __m128i sp_key_halves(const uint64_t words[2])
{
	return _mm_castps_si128(_mm_loadh_pi(_mm_castsi128_ps(_mm_loadl_epi64((const __m128i *)&words[0])), (const __m64 *)&words[1]));
}

/* Whether any of n selectors holds the addresses, protocol and ports of a key. */
static __rte_always_inline int sp_selected_key(const struct sp_selector_lanes *s, uint32_t n, const uint64_t words[2])
{
	__m128i key = _mm_and_si128(sp_key_halves(words), _mm_set_epi64x(SP_SELECTOR_FIELDS, -1));

	for (uint32_t i = 0; i < n; i++) {
		__m128i first = _mm_loadu_si128((const __m128i *)&s[i]), span = _mm_loadu_si128((const __m128i *)&s[i] + 1);
		__m128i address = _mm_sub_epi32(key, first), other = _mm_sub_epi16(key, first);
		__m128i address_in = _mm_cmpeq_epi32(_mm_min_epu32(address, span), address);
		__m128i other_in = _mm_cmpeq_epi16(_mm_min_epu16(other, span), other);

		if (likely(_mm_movemask_epi8(_mm_blend_epi16(address_in, other_in, 0xf0)) == 0xffff))
			return 1;
	}
	return 0;
}

/* sa.c: the same of an ICMP message for selectors that limit its type and code. */
int sp_selected_typed(const struct sp_selector_lanes *s, uint32_t n, const struct sp_packet *p);

/* Whether any of n selectors holds the packet. */
static __rte_always_inline int sp_selected(const struct sp_selector_lanes *s, uint32_t n, const struct sp_packet *p)
{
	return likely(sp_selected_key(s, n, p->words)) || sp_selected_typed(s, n, p);
}

#endif
