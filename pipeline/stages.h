/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SP_STAGES_H
#define SP_STAGES_H

/* What the stages hand to each other, and their entry points in packet order. */

#include "dataplane.h"

/* One IPv4 packet between parse and its verdict. `key` is composed as two words, because a wide load after narrow stores would stall. */
struct sp_packet {
	struct rte_mbuf *mbuf;
	uint8_t *l3;
	union {
		struct sp_flow_key key;
		uint64_t words[2];
	};
	uint32_t filter;       /* from here on: the verdict */
	uint16_t cell;
	uint16_t adjacency;
	uint8_t action, reason;
	uint16_t length;       /* IP total length */
	uint8_t header_length; /* IP header, bytes */
	uint8_t tos;
	uint8_t pad_length;    /* outbound: ESP padding, bytes */
	uint8_t link_group;    /* arrived as link-layer multicast or broadcast */
	uint32_t next_hop;     /* FORWARD without an adjacency: what must be resolved */
	uint16_t out_port;
} __rte_cache_aligned;
_Static_assert(sizeof(struct sp_packet) == 64, "sp_packet is one cache line");

/* One ESP packet for us. */
struct sp_esp {
	struct rte_mbuf *mbuf;
	uint8_t *esp;          /* SPI */
	uint64_t sequence;
	uint32_t length;       /* from the SPI to the last byte of the ICV */
	uint8_t outer_tos;
	uint8_t udp;
};

/* parse.c: frames as received from a port; count is 0 for packets that were counted before (handed over, released). */
void sp_ingest(struct sp_worker *w, uint16_t port, struct rte_mbuf **mbufs, uint32_t n, int count);
/* parse.c: a packet without a link-layer header of its own (decrypted or ours); fills all of packet but the verdict. */
uint8_t sp_parse_inner(struct sp_worker *w, struct sp_packet *packet, struct rte_mbuf *m, uint8_t *l3, uint32_t available, uint8_t role, uint16_t in_cell);
/* parse.c: ESP or ESP-in-UDP to an own address; fills esp and returns 1, or disposes of the packet and returns 0. */
int sp_demux_esp(struct sp_worker *w, const struct sp_packet *packet, struct sp_esp *esp);

/* flow_cache.c: fills in the verdicts, from the cache or through sp_classify_miss. */
void sp_flow_verdicts(struct sp_worker *w, struct sp_packet *packets, uint32_t n);

/* classify.c: policy, route and next hop; packets[i] is a miss for each index in misses. Sets the verdict; returns in memo whether it may be remembered. */
void sp_classify_misses(struct sp_worker *w, struct sp_packet **misses, uint8_t *memo, uint32_t n);
uint8_t sp_route(struct sp_worker *w, struct sp_packet *p, int require_protected);

/* worker.c: verdicts, then each packet to its next stage. Packets end forwarded, punted or dropped. */
void sp_process(struct sp_worker *w, struct sp_packet *packets, uint32_t n);

/* outbound.c, inbound.c */
void sp_outbound(struct sp_worker *w, struct sp_packet **packets, uint32_t n);
void sp_inbound(struct sp_worker *w, struct sp_esp *packets, uint32_t n);
/* The half after crypto: packets whose ICV was right, all of one SA. */
void sp_inbound_finish(struct sp_worker *w, struct sp_sa_in *sa, struct sp_esp *packets, uint32_t n);

/* crypto_cpu.c: the vector's first n elements; returns the number that succeeded, failures in status. */
uint32_t sp_cpu_process(struct sp_worker *w, uint8_t device, void *session, uint32_t n);
/* crypto_async.c: mbufs with priv->sa, sequence, payload and payload_length filled. */
void sp_async_encrypt(struct sp_worker *w, struct sp_sa_out *sa, struct rte_mbuf **mbufs, uint32_t n);
void sp_async_decrypt(struct sp_worker *w, struct sp_sa_in *sa, struct sp_esp *packets, uint32_t n);
/* crypto_async.c: takes what the devices have finished; returns the number of operations. */
uint32_t sp_async_complete(struct sp_worker *w);

/* transmit.c */
void sp_forward(struct sp_worker *w, struct sp_packet **packets, uint32_t n);
/* Encrypted packets whose outer IP header begins SP_L2_LENGTH into the frame. */
void sp_transmit_esp(struct sp_worker *w, const struct sp_sa_out *sa, struct rte_mbuf **mbufs, uint32_t n);
void sp_tx_flush_port(struct sp_worker *w, uint16_t port);
void sp_tx_flush(struct sp_worker *w);

/* punt.c */
void sp_punt_delivered(struct sp_worker *w, struct rte_mbuf *m, enum sp_punt kind, uint16_t in_cell, uint32_t filter);
void sp_punt_held(struct sp_worker *w, const struct sp_packet *packet, enum sp_punt kind);
/* Counts the drop and lets Go have the packet for an ICMP error if the ring has room. */
void sp_punt_dropped(struct sp_worker *w, const struct sp_packet *packet, enum sp_punt kind, uint16_t mtu);
/* Packets from Go. */
uint32_t sp_inject_poll(struct sp_worker *w);

/* ---- helpers of every stage ---- */

static inline void sp_drop(struct sp_worker *w, struct rte_mbuf *m, uint8_t reason)
{
	w->counters[m->port].drops[reason]++;
	rte_pktmbuf_free(m);
}

static inline void sp_transmit(struct sp_worker *w, uint16_t port, struct rte_mbuf *m)
{
	struct sp_tx_buffer *tx = &w->tx[port];

	if (unlikely(tx->n == SP_TX_BUFFER))
		sp_tx_flush_port(w, port);
	tx->mbufs[tx->n] = m;
	tx->in_port[tx->n] = m->port;
	tx->length[tx->n] = m->data_len;
	tx->n++;
}

static inline struct sp_adjacency *sp_adjacency_get(const struct sp_worker *w, uint16_t index)
{
	if (unlikely(index >= w->dp->max_adjacencies))
		return NULL;
	return __atomic_load_n(&w->dp->adjacencies[index], __ATOMIC_ACQUIRE);
}

/* Adds to a counter that the control thread reads and, if shared, other workers write. */
static inline void sp_add(const struct sp_worker *w, uint64_t *counter, uint64_t n)
{
	if (w->shared)
		__atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
	else
		__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

static inline int sp_selector_matches(const struct sp_selector *s, const struct sp_flow_key *k)
{
	/* one subtraction and comparison per range: below the first wraps around above the last */
	return (k->source - s->source_first <= s->source_last - s->source_first) &
	       (k->destination - s->destination_first <= s->destination_last - s->destination_first) &
	       ((uint16_t)(k->source_port - s->source_port_first) <= (uint16_t)(s->source_port_last - s->source_port_first)) &
	       ((uint16_t)(k->destination_port - s->destination_port_first) <= (uint16_t)(s->destination_port_last - s->destination_port_first)) &
	       ((s->protocol == 0) | (s->protocol == k->protocol));
}

static inline int sp_selected(const struct sp_selector *s, uint32_t n, const struct sp_flow_key *k)
{
	for (uint32_t i = 0; i < n; i++)
		if (likely(sp_selector_matches(&s[i], k)))
			return 1;
	return 0;
}

#endif
