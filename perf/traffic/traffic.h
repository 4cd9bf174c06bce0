/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRAFFIC_H
#define TRAFFIC_H

/* What Go prepares and the loops of send.c and receive.c work on. Lengths are in octets, times in TSC cycles, fields that end in _be in network order. */

#include <stdint.h>

struct rte_mbuf;
struct rte_mempool;
struct rte_ring;

#define TRAFFIC_BURST 32
#define TRAFFIC_LINE 64     /* of the cache */
#define TRAFFIC_STREAMS 16  /* 4 bits of the payload */
#define TRAFFIC_HEADER 18   /* of the payload: what fits the smallest Ethernet frame behind IPv4 and UDP */
#define TRAFFIC_FILL 9728   /* longest rest of a payload */
#define TRAFFIC_AROUND 18   /* Ethernet header and frame check sequence */
#define TRAFFIC_OUTER 48    /* IPv6 and UDP in front of ESP */
#define TRAFFIC_ICV 32
#define TRAFFIC_IV 16
#define TRAFFIC_COUNTS 25600 /* buckets of a histogram of 1 ns to 10 s with 3 significant figures */
#define TRAFFIC_TRACKABLE 10000000000ULL /* ns */

/* Behind the header every payload has these octets, up to its length. */
struct traffic_fill {
	uint8_t octets[TRAFFIC_FILL];
	uint16_t sums[TRAFFIC_FILL + 1]; /* of so many of them (RFC 1071) */
};

struct traffic_flow {
	uint8_t source[16], destination[16]; /* IPv4 has the first 4 */
	uint16_t source_port_be, destination_port_be;
	uint32_t tunnel;                     /* whose SA it takes */
};

/* One direction of an SA. What packets change is written by one loop alone. */
struct traffic_sa {
	void *session;      /* the key of AES-GCM, else a job that lacks the packet */
	void *gcm;          /* the function that takes the key; NULL: a job */
	uint64_t sequence;  /* the last one sent, or with ESN the highest received */
	uint64_t packets;
	uint32_t spi_be;
	uint32_t tunnel;
	uint8_t salt[4];
	uint8_t salt_length, iv_length, icv_length, block;
	uint8_t cipher;     /* enum traffic_cipher */
	uint8_t esn;        /* extended sequence numbers (RFC 4303 section 2.2.1) */
	uint8_t udp;        /* ESP in UDP (RFC 3948) */
	uint8_t ipv6;       /* outside */
	uint8_t outer_length;
	uint8_t outer[TRAFFIC_OUTER]; /* header to send; lengths and checksum are the packet's */
	uint8_t from[16];   /* whom received packets come from; IPv4 has the first 4 */
};

enum traffic_cipher {
	TRAFFIC_GCM,
	TRAFFIC_NULL, /* integrity alone, with a key that needs no nonce */
	TRAFFIC_GMAC,
	TRAFFIC_CBC,
	TRAFFIC_CTR,
	TRAFFIC_CCM,
	TRAFFIC_CHACHA,
};

/*
 * SAs of one direction. Go adds and removes some while loops look at them: it writes an SA whole before it publishes its place, and uses the place again when all
 * loops have gone round once since nobody can find it any more.
 *
 * spis is open addressing: an SPI is in the first place from its hash on that has it, and an empty place ends the search. A place has the SPI in its low half, in network
 * order, and in its high half the number of the SA from 1 on, 0 when it is empty, TRAFFIC_GONE when an SPI was taken out of it.
 */
struct traffic_sas {
	struct traffic_sa *sas;
	uint64_t *spis;
	struct traffic_sa **of; /* by which to send into each tunnel; NULL: none now */
	uint32_t n, mask;       /* of sas, and of spis */
};

#define TRAFFIC_GONE 0xffffffffU

/* Packets of one way. */
struct traffic_stream {
	const struct traffic_flow *flows;
	const uint32_t *order;   /* flows as they take turns, again and again */
	const uint16_t *lengths; /* of IP packets as they take turns */
	uint64_t *next;          /* sequence numbers by flow */
	struct traffic_sas *sas; /* NULL: in clear */
	const uint8_t *open;     /* by tunnel, whether it is there; NULL: all are, or sas says so */
	uint32_t n_flows, n_order, n_lengths;
	uint32_t extra;          /* lengths to pass over when all of the order has had its turn, so that each flow gets all lengths */
	uint8_t number, ipv6;
	uint16_t source_port;    /* index of the port that it leaves, and of the one that it arrives at */
	uint16_t destination_port;
	uint16_t burst;          /* packets back to back */

	uint64_t limit;          /* packets; 0: until the time is over */
	uint64_t duration;
	double per_packet, per_octet; /* what a packet takes of the time by itself and for each octet of its frame; 0: as fast as it goes */
	double mean;                  /* what packets take on average */
	double catch_up;              /* the sender may be late by so much and still send what was due */

	double due;              /* since the start */
	uint32_t order_at, length_at, burst_at;
	uint8_t ended, exhausted;
	uint64_t built;
	uint64_t sent, sent_octets; /* frames with their check sequence */
	uint64_t unsent;         /* the port did not take them before the end */
	uint64_t missed;         /* were due when the sender was late */
	uint64_t no_buffer;      /* of those missed */
	uint64_t withheld;       /* were due while their tunnel was not there */
	uint64_t last;           /* TSC when the last one was sent */
};

struct traffic_track {
	uint64_t next; /* one more than the highest number seen */
};

/* What has arrived of a stream. */
struct traffic_sink {
	struct traffic_track *tracks; /* by flow */
	uint64_t *bits;               /* by flow, which of the last window numbers have been seen */
	uint64_t *counts;             /* TRAFFIC_COUNTS */
	uint64_t window;              /* a power of two from 64 on */
	uint64_t packets, octets;     /* intact, by the right way; frames with their check sequence, as if in clear */
	uint64_t duplicates, reordered, too_old;
	uint64_t shortest, longest;   /* ns */
	uint64_t last;                /* TSC when the last one arrived */
};

/* Frames by what they are beside those of sinks. */
struct traffic_seen {
	uint64_t frames, octets;
	uint64_t arp, icmp, ike, foreign, fragments;
	uint64_t mangled, reflected, cleartext, other_address, other_tunnel, stale;
	uint64_t unknown_spi, forged, malformed;
	uint64_t unread; /* of arp, icmp and ike: nobody had time to answer them */
};

/* What both loops look at and only Go changes, while they run. */
struct traffic_control {
	uint64_t start; /* TSC at which streams begin; 0: not yet */
	uint32_t halt;  /* streams send no more */
	uint32_t stop;  /* the loops end */
};

struct traffic_crypto;

struct traffic_sender {
	struct rte_mempool *pool;
	struct rte_ring *orders; /* frames from Go */
	struct traffic_stream *streams[TRAFFIC_STREAMS];
	const struct traffic_fill *fill;
	struct traffic_crypto *crypto;
	uint32_t n_streams, turn;
	uint16_t port;
	uint16_t vlan;           /* tag of frames (IEEE 802.1Q); 0: none */
	uint8_t trial;
	uint8_t mac[6], gateway[6];
	uint64_t orders_lost;
	struct rte_mbuf *pending[TRAFFIC_BURST]; /* that the port has not taken yet */
	struct traffic_stream *pending_of;
	uint32_t n_pending, pending_at;
};

struct traffic_receiver {
	struct rte_ring *reports;  /* frames to Go */
	struct traffic_stream *streams[TRAFFIC_STREAMS];
	struct traffic_sink *sinks; /* by stream */
	const struct traffic_fill *fill;
	struct traffic_crypto *crypto;
	struct traffic_sas *sas;   /* inbound; NULL: none */
	struct traffic_sas *own;   /* outbound, to know what was sent here */
	uint64_t nanoseconds;      /* in 2^32 cycles */
	uint32_t n_streams;
	uint16_t port, index;      /* DPDK's number, and that of streams */
	uint16_t listen_be;        /* UDP port of all flows */
	uint16_t vlan;             /* tag of frames; 0: none */
	uint8_t trial;
	uint8_t mac[6];
	struct traffic_seen seen;
};

struct traffic_loop {
	struct traffic_control *control;
	struct traffic_sender *senders[2];
	struct traffic_receiver *receivers[2];
	uint32_t n_senders, n_receivers;
	uint32_t sleep; /* when there is nothing to do */
	uint64_t rounds; /* that the loop has gone */
};

void traffic_fill_make(struct traffic_fill *fill);

/* NULL where libIPSec_MB cannot be used. */
struct traffic_crypto *traffic_crypto_create(void);
void traffic_crypto_free(struct traffic_crypto *crypto);

/* Zeroed memory for tables, on huge pages where the kernel likes to; NULL when there is none. */
void *traffic_memory(uint64_t size);
void traffic_memory_free(void *memory, uint64_t size, int secret);

/* Runs until control->stop. The thread is one that DPDK knows. */
void traffic_run(struct traffic_loop *loop);

/* Gives back what the sender still holds and counts it as unsent. No loop runs. */
void traffic_sender_finish(struct traffic_sender *sender);

/* Builds n packets of a stream as if to send them and returns the cycles that took, 0 without buffers for them. No loop runs. */
uint64_t traffic_rehearse(struct traffic_sender *sender, struct traffic_stream *stream, uint32_t n);

/* Counts a time in ns as a receiver does. */
void traffic_record(struct traffic_sink *sink, uint64_t nanoseconds);

#endif
