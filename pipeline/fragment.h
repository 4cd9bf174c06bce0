/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SP_FRAGMENT_H
#define SP_FRAGMENT_H

/* Fragments (RFC 791 3.2, RFC 8200 4.5): packets put together before any stage needs to see all of them, and cut again where a link or a tunnel has no room for them. */

#include "ipv6.h"

#define SP_FRAGMENTS_MAX 64 /* that one packet is cut into */

/*
 * A fragment at l3 that sp_parse_ipv4 or sp_parse_ipv6 answered with SP_FRAGMENT. SP_PASS: it was the last one missing, and packet is the whole, parsed as if it had arrived so,
 * in a buffer that need not be m. SP_TAKEN: it waits for the others, or has gone with them. Otherwise the reason for the caller to drop m.
 */
uint8_t sp_reassemble(struct sp_worker *w, struct sp_packet *packet, struct rte_mbuf *m, uint8_t *l3, uint64_t origin);
uint8_t sp_reassemble6(struct sp_worker *w, struct sp_packet6 *packet, struct rte_mbuf *m, uint8_t *l3, uint64_t origin);

/* Drops the fragments that have waited too long. */
void sp_reassembly_expire(struct sp_worker *w);

/* Control side. -1 with the reason in error; sp_reassembly_destroy undoes it, done or not. */
int sp_reassembly_create(struct sp_worker *w, const struct sp_config *config, char *error, size_t size);
void sp_reassembly_destroy(struct sp_worker *w);

/* How a packet is cut. */
struct sp_cut {
	const uint8_t *l3;
	uint32_t length;  /* of the packet */
	uint32_t size;    /* bytes of a fragment at most, header included */
	uint32_t id;      /* IPv6: one that the two addresses have not used lately, as it stands on the wire */
	uint16_t header;  /* IPv6: bytes that stand in front of each fragment header, SP_IPV6_LENGTH at least */
	uint16_t next_at; /* IPv6: which of them says what follows */
};

/*
 * Whether a packet that is longer than `room` may be sent in fragments of at most that size, and how. IPv4 without DF may; what arrived in fragments may if those would have passed,
 * because its sender chose their size: then none is larger than the largest that came. IPv6 with fragments of SP_IPV6_MINIMUM bytes always may: its sender cannot be asked for less.
 */
int sp_may_fragment(const struct sp_worker *w, const struct sp_packet *p, uint32_t room, struct sp_cut *cut);
/* The same for a packet of our own: its DF says for IPv4, and IKE over IPv6 may be cut, whose sender is the only one that may (RFC 8200 4.5). */
int sp_may_fragment_own(const struct sp_packet *p, uint32_t room, struct sp_cut *cut);

/*
 * Copies the packet in m into fragments, each in a buffer of its own with SP_L2_LENGTH void bytes in front, and frees m. Returns how many, in order, at most SP_FRAGMENTS_MAX; 0 when
 * m was dropped.
 */
uint32_t sp_fragment(struct sp_worker *w, struct rte_mbuf *m, const struct sp_cut *cut, struct rte_mbuf **fragments);
/* The same for a packet that goes on through the stages: `list` has the fragments, which stand in `fragments` and keep the packet's key and verdict. */
uint32_t sp_fragment_packet(struct sp_worker *w, const struct sp_packet *p, const struct sp_cut *cut, struct sp_packet6 *fragments, struct sp_packet **list);
/* How an outer packet that is too long is cut; 0 if it may not be. IPv4 may without DF; whoever adds ESP or AH to IPv6 may cut what became of it (RFC 4303 3.3.4, RFC 2473 7.1). */
int sp_may_fragment_outer(const struct sp_sa_out *sa, struct rte_mbuf *m, uint32_t mtu, struct sp_cut *cut);
/* The same for a packet that leaves: its hop count and all but the frame's header are as they shall be sent. */
void sp_fragment_and_send(struct sp_worker *w, const struct sp_adjacency *next, struct rte_mbuf *m, const struct sp_cut *cut);

#endif
