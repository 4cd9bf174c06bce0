/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SP_SA_H
#define SP_SA_H

/* SAs of either direction as workers read them, and the cells that they stand in. As in dataplane.h, hot fields stand together in whole cache lines. */

#include <intel-ipsec-mb.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <rte_common.h>

#include "fastpath.h"
#include "lengths.h"

struct sp_inline;

/* What the crypto stages know of an SA, whatever its packets' headers are. In an SA a cache line begins with the session: AES-GCM in a tunnel needs nothing in front of it. */
struct sp_transform {
	uint32_t spi_be;
	uint8_t device;
	uint8_t cipher;            /* enum sp_cipher */
	uint8_t iv_length;
	uint8_t block_mask;        /* padded length = (n + mask) & ~mask, mask = block - 1 */
	void *session;
	aes_gcm_enc_dec_t gcm;     /* DIRECT */
	uint32_t salt_be;
	uint8_t kind;
	uint8_t icv_length;
	uint8_t esn;
	uint8_t key_lines;         /* DIRECT: cache lines of round keys */
};

/*
 * A selector as vector lanes in the layout of sp_flow_key: addresses as 32-bit lanes, ports and protocol as 16-bit lanes. A value v lies in its range when
 * v - first <= span, unsigned; an open lane has the full span.
 */
struct sp_selector_lanes {
	uint32_t first_address[2];
	uint16_t first[4];
	uint32_t span_address[2];
	uint16_t span[4];
};
_Static_assert(sizeof(struct sp_selector_lanes) == 2 * sizeof(struct sp_flow_key), "two vectors");

/* How packets get their AH header: the whole of an SA of AH, the outer half of a bundle. */
struct sp_ah {
	struct sp_transform transform;
	uint8_t length; /* bytes of the header: IV, ICV and padding included */
};

#define SP_FRONT_SUM UINT64_C(0xffff0000) /* of the first word of an outbound SA's `front`: a checksum's place */
#define SP_DUE_SHIFT 24 /* due_bytes of an SA counts in 16 MiB: runs of packets in the last of these look at the exact figure too */

/*
 * Of thousands of SAs none is in the nearest caches when its packet comes, and each cache line of it is waited for: what a packet of a tunnel needs is two lines, the first
 * selector included, of which it writes one. In front of them stands what other packets need, and the control thread.
 */
struct sp_sa_out {
	uint64_t sequence_limit;   /* last number that may be sent */
	uint64_t soft_sequence, near_sequence, soft_bytes, hard_bytes; /* UINT64_MAX: none */
	struct sp_ah *ah;          /* behind the selectors, NULL without */
	uint64_t dummies;          /* sent */
	uint16_t cell;
	uint8_t limit_reason;      /* enum sp_drop_reason of packets beyond sequence_limit */
	uint8_t outer;             /* enum sp_ip */
	uint8_t transport;
	uint8_t protocol;          /* enum sp_sa_protocol */
	uint8_t hosted;            /* its memory is that of its session */
	uint8_t unused1;

	/* what packets with an IPv6 header inside or outside need as well is one line */
	uint8_t *moved;            /* written by the control thread: in place of `header` since the peer has moved, of an SA that is not plain; NULL before */
	/*
	 * Outer IP and UDP header and, in an IPv4 tunnel, the SPI as they are sent; lengths, traffic class, DF, ID and checksum are filled in per packet. In transport mode the
	 * addresses in it are those that the packets must have.
	 */
	uint8_t header[SP_IPV6_LENGTH + SP_UDP_LENGTH + 4];
	uint16_t n_selectors6;     /* behind those of IPv4 */
	struct sp_encapsulation encapsulation;
	uint8_t owner;             /* the only worker that sends by it, or SP_ANY_WORKER */
	uint8_t told;              /* set of enum sp_event_kind */

	uint8_t unused2[6];
	struct sp_inline *inline_; /* NULL without */
	struct sp_sa_out *former;  /* of an heir: it has the numbers still */
	uint8_t unused3[24];       /* the session begins a cache line */
	struct sp_transform transform; /* from here on what every packet needs */
	/*
	 * Of an outer IPv4 header the bytes from the TTL on, and 4 more: as in `header`, but for the checksum, which is the sum of the constant words. They say where the
	 * two ends of a plain SA are now: the control thread writes them (sp_sa_out_move).
	 */
	uint64_t front[2];
	uint64_t due_sequence;     /* when there is something to tell */
	uint32_t due_bytes;        /* likewise, in units of 1 << SP_DUE_SHIFT, UINT32_MAX for all that are more */
	uint32_t subject;          /* of its drops in the tally, 0 none */
	uint16_t adjacency;        /* written by the control thread */
	uint16_t path_mtu;         /* likewise: largest outer packet that the path takes, UINT16_MAX when only the link is known */
	uint16_t n_selectors;
	uint8_t header_length;     /* of all that is put in front of a payload: in a tunnel outer IP, then AH, UDP, ESP and IV */
	uint8_t udp : 1;
	uint8_t plain : 1;         /* what outbound.c does by itself: ESP with AES-GCM in an IPv4 tunnel; the rest is outbound_general.c's */
	uint8_t plain6 : 1;        /* but for this: the same in an IPv6 tunnel */
	uint8_t shared : 1;        /* several workers send by it: its counters need atomics */
	uint8_t inlined : 1;       /* it has a session of a port beside the CPU's */
	uint8_t heir : 1;          /* it has come in the place of `former`, which workers may still send by; written by the control thread */

	uint64_t sequence;         /* last number reserved */
	uint64_t packets, bytes, last_use;
	struct sp_selector_lanes selectors[] __rte_aligned(sizeof(struct sp_selector_lanes));
} __rte_cache_aligned;
_Static_assert(offsetof(struct sp_sa_out, selectors) + 4 * sizeof(struct sp_selector_lanes) <= 512, "an outbound SA takes at most 512 bytes");
_Static_assert(offsetof(struct sp_sa_out, transform.session) == 3 * RTE_CACHE_LINE_SIZE && offsetof(struct sp_sa_out, sequence) == 4 * RTE_CACHE_LINE_SIZE &&
	       offsetof(struct sp_sa_out, moved) == RTE_CACHE_LINE_SIZE && offsetof(struct sp_sa_out, encapsulation) <= 2 * RTE_CACHE_LINE_SIZE &&
	       offsetof(struct sp_sa_out, selectors) + sizeof(struct sp_selector_lanes) == 5 * RTE_CACHE_LINE_SIZE, "what a packet reads, and what it writes");

/* Anti-replay window as a ring of words (RFC 6479), one word more than the window has. */
struct sp_replay {
	uint64_t top;              /* highest sequence number authenticated */
	uint64_t *bitmap;
	uint32_t window;           /* packets; 0: off */
	uint16_t words;
	uint16_t at;               /* the word that holds the top's bit */
};

/* As outbound: what a packet of a tunnel needs is two cache lines, and the word of the window that has its number. */
struct sp_sa_in {
	uint64_t hard_packets, hard_bytes; /* UINT64_MAX: none */
	uint64_t next_bytes;       /* due_bytes in full */
	uint8_t remote[16];        /* where the peer's newest packet came from, with SP_FORM_UDP */
	uint32_t partner;          /* SPI of the other SA of a bundle, 0 none */
	uint32_t subject;          /* of its drops in the tally, 0 none */
	uint16_t remote_port;
	uint16_t n_selectors6;     /* behind those of IPv4 */
	uint16_t mss;              /* as in struct sp_encapsulation, and so is what follows */
	uint8_t mss_automatic;
	uint8_t transport;

	struct sp_transform transform; /* from its session on what every packet needs */
	struct sp_replay replay;
	uint32_t spi;
	uint32_t due_bytes;        /* when there is something to tell, as outbound */
	uint16_t cell;
	uint16_t n_selectors;
	uint8_t owner;
	uint8_t form;              /* enum sp_form: how its packets come */
	uint8_t told;              /* set of enum sp_event_kind */
	uint8_t plain : 1;         /* what inbound.c does by itself: ESP with AES-GCM in a tunnel */
	uint8_t follow : 1;        /* with SP_FORM_UDP: the peer's address may change */
	uint8_t expired : 1;       /* its hard lifetime is over */
	uint8_t hosted : 1;        /* its memory is that of its session */
	uint8_t inlined : 1;       /* it has a session of a port beside the CPU's */
	uint8_t heir : 1;          /* it has come in the place of its kin, which has the window still; not plain as long */
	uint8_t handed : 1;        /* its kin has taken its window over */
	uint8_t plain_then : 1;    /* of an heir: plain once it has the window */

	uint64_t packets, bytes, last_use;
	uint64_t due_packets;      /* when there is something to tell */
	struct sp_selector_lanes selectors[] __rte_aligned(sizeof(struct sp_selector_lanes)); /* those of IPv6 and the bitmap stand behind them */
} __rte_cache_aligned;
_Static_assert(offsetof(struct sp_sa_in, selectors) + 22 * sizeof(uint64_t) + sizeof(struct sp_selector_lanes) <= 384, "an inbound SA with a window of 1024 packets takes at most 512 bytes, the 128 of DPDK's allocator included");
_Static_assert(offsetof(struct sp_sa_in, transform.session) == RTE_CACHE_LINE_SIZE && offsetof(struct sp_sa_in, packets) == 2 * RTE_CACHE_LINE_SIZE &&
	       offsetof(struct sp_sa_in, selectors) + sizeof(struct sp_selector_lanes) == 3 * RTE_CACHE_LINE_SIZE, "what a packet needs is two cache lines");

/* TSC before which the peer is not heard of another place. */
static inline uint64_t *sp_sa_in_stays_until(const struct sp_sa_in *sa)
{
	return sa->replay.bitmap + sa->replay.words;
}

/* The peer's address when the SA was made, of either IP version. */
static inline uint8_t *sp_sa_in_peer(const struct sp_sa_in *sa)
{
	return (uint8_t *)(sp_sa_in_stays_until(sa) + 1);
}

/* Where the peer was when the SA was made, and where its newest packet came from. */
static inline void sp_sa_in_locate(struct sp_sa_in *sa, const uint8_t peer[16], const uint8_t remote[16], uint16_t remote_port)
{
	memcpy(sp_sa_in_peer(sa), peer, 16);
	memcpy(sa->remote, remote, sizeof(sa->remote));
	sa->remote_port = remote_port;
}

/* Where an SA that is inlined has what workers know of its session. */
static inline struct sp_inline **sp_sa_in_inline_place(const struct sp_sa_in *sa)
{
	return (struct sp_inline **)(sp_sa_in_peer(sa) + 16);
}

/* The SA of the same SPI and keys that has come before this one, until its window is taken over, or after it, since then. NULL: none. */
static inline struct sp_sa_in **sp_sa_in_kin_place(const struct sp_sa_in *sa)
{
	return (struct sp_sa_in **)(sp_sa_in_inline_place(sa) + 1);
}

static inline const struct sp_selector6 *sp_sa_in_selectors6(const struct sp_sa_in *sa)
{
	return (const struct sp_selector6 *)(sa->selectors + sa->n_selectors);
}

static inline const struct sp_selector6 *sp_sa_out_selectors6(const struct sp_sa_out *sa)
{
	return (const struct sp_selector6 *)(sa->selectors + sa->n_selectors);
}

/* Kinds whose packets leave by one function and come back by another. */
static inline int sp_kind_async(uint8_t kind)
{
	return kind == SP_SA_AEAD_ASYNC || kind == SP_SA_CHAIN_ASYNC || kind == SP_SA_WHOLE_ASYNC;
}

/* What inbound SAs in transport mode take for hosts behind us, in the order of sp_pair_compare. Immutable: a change publishes another one. */
struct sp_transit {
	uint32_t n;
	struct sp_pair pairs[];
};

/* As qsort and bsearch want it. */
static inline int sp_pair_compare(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct sp_pair));
}

/* Beside a slot of the inbound SAs, written by the control thread but for the count. */
struct sp_early {
	uint32_t spi;         /* reserved, whose packets wait until its SA is there; 0: none */
	uint32_t waiting;     /* packets of the slot in a punt ring or with Go */
};

struct sp_cell {
	struct sp_sa_out *sa;
	uint32_t incarnation; /* of the tunnels that had this cell one after the other */
	uint8_t state;
	uint8_t told_clear;   /* last bits of `tick` when Go was last told of a packet in clear */
	uint64_t owned;       /* set of workers that have an SA of their own here (RFC 9611), in sp_worker.own */
} __rte_aligned(32);
_Static_assert(sizeof(struct sp_cell) == 32, "two to a cache line");

#endif
