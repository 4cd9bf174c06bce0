/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SP_INLINE_H
#define SP_INLINE_H

/*
 * SAs that have a session of a port's NIC beside the CPU's (rte_security). Inline crypto: the NIC encrypts or decrypts what is ESP already, or still. Inline protocol: it makes
 * ESP of inner packets and inner packets of ESP, and keeps sequence numbers and replay window by itself. What it cannot take, or leaves as it was, is the CPU's.
 */

#include <rte_security.h>

#include "ipv6.h"

/* The NIC says that it has opened a packet, or failed to. */
#define SP_SECURED (RTE_MBUF_F_RX_SEC_OFFLOAD | RTE_MBUF_F_RX_SEC_OFFLOAD_FAILED)

#define SP_INLINE_TX_OFFLOAD ((uint64_t)SP_L2_LENGTH << RTE_MBUF_L2_LEN_OFS) /* of packets for the NIC: l2_len, and no other */

/* What workers need to know of a session. Made with its SA, and gone with it. */
struct sp_inline {
	struct rte_security_ctx *context;
	void *session;
	uint64_t packets;  /* that the NIC has sealed or opened */
	uint16_t device;   /* DPDK port id */
	uint8_t protocol;  /* inline protocol */
	uint8_t metadata;  /* outbound: each packet is announced to the driver */
	/*
	 * Outbound: the CPU seals from now on. With inline protocol that is for good: the NIC counts its packets by itself, so that two who number the same SA would use a number
	 * twice; each number is reserved here before the NIC gives it, and those of the CPU come behind.
	 */
	uint8_t stopped;
	/*
	 * Outbound: the only selector as bits of a packet's key, those that it asks for and what they must be, where bits can tell: addresses are prefixes, ports and protocol one or any,
	 * as those of most tunnels are.
	 */
	uint8_t by_bits;
	uint16_t port;     /* the workers': inbound, the NIC finds what comes by this one, and in other VLANs if it looks at no tag */
	uint64_t asked[2], wanted[2];
};
_Static_assert(sizeof(struct sp_inline) <= RTE_CACHE_LINE_SIZE, "what a run reads of a session is one cache line");

static inline int sp_secured(const struct rte_mbuf *m)
{
	return (m->ol_flags & SP_SECURED) != 0;
}

/* The NIC says that its ICV is wrong. */
static inline int sp_found_forged(const struct rte_mbuf *m)
{
	return (m->ol_flags & RTE_MBUF_F_RX_SEC_OFFLOAD_FAILED) != 0;
}

/* NULL: none */
static inline struct sp_inline *sp_sa_in_inline(const struct sp_sa_in *sa)
{
	return sa->inlined ? *sp_sa_in_inline_place(sa) : NULL;
}

/*
 * Whether the NIC of a port has the session, whatever VLAN the port is: some NICs look at no tag, and outbound none has to. What it leaves as it came it could have opened in its own
 * VLAN alone (`port`).
 */
static inline int sp_inline_on(const struct sp_worker *w, const struct sp_inline *in, uint16_t port)
{
	return w->dp->ports[port].device == in->device;
}

/* Takes the marks off a packet that is about to be opened by an SA with a session: whether its NIC has decrypted it. Whatever else the marks say, the CPU looks at the ICV. */
static inline int sp_inline_decrypted(const struct sp_worker *w, const struct sp_inline *in, struct rte_mbuf *m)
{
	const uint64_t marks = m->ol_flags & SP_SECURED;

	m->ol_flags &= ~SP_SECURED;
	return marks == RTE_MBUF_F_RX_SEC_OFFLOAD && !in->protocol && sp_inline_on(w, in, m->port);
}

/* Whether the NIC of a port has the session of an outbound SA, and still seals. */
static inline int sp_inline_by(const struct sp_worker *w, const struct sp_inline *in, uint16_t port)
{
	return sp_inline_on(w, in, port) && !__atomic_load_n(&in->stopped, __ATOMIC_SEQ_CST);
}

/* Leaves a complete frame but for its encryption, or an inner packet, to the NIC. Returns 0, and nothing done, when the driver does not want it. */
static inline int sp_inline_leave(const struct sp_inline *in, struct rte_mbuf *m, uint64_t sequence)
{
	m->tx_offload = SP_INLINE_TX_OFFLOAD;
	if (in->metadata && rte_security_set_pkt_metadata(in->context, in->session, m, &sequence) != 0)
		return 0;
	m->ol_flags |= RTE_MBUF_F_TX_SEC_OFFLOAD;
	return 1;
}

/* inline_lost.c: so many packets of a worker's that the NIC of a port was to encrypt and has not taken, or has the window of and has not opened. */
void sp_inline_refused(struct sp_worker *w, uint16_t port, uint32_t n);
void sp_inline_unopened(struct sp_worker *w, uint16_t port, uint32_t n);

/* ---- inbound ---- */

/*
 * What a port with inline protocol has opened, out of a burst as received. Most are ready for the classifier, in `plain`, their number in *n_plain; the others are described in
 * `opened`, their number in *n_opened. Returns how many packets are left, at the front and in their order.
 */
uint32_t sp_inline_take(struct sp_worker *w, const struct sp_port *port, struct rte_mbuf **mbufs, uint32_t n, struct sp_esp *opened, uint32_t *n_opened,
			struct sp_packet *plain, uint32_t *n_plain);

/*
 * inline_plain.c: of n > 0 opened packets of a port with inline protocol, those at the front that are of one SA and plain, checked, counted and ready for the classifier. Returns how
 * many.
 */
uint32_t sp_inline_open_plain(struct sp_worker *w, const struct sp_port *port, struct rte_mbuf **mbufs, uint32_t n, struct sp_packet *inner);

/*
 * Drops ESP and AH that is marked as forged, or as opened by a port without a session of its SA, and disposes of what is marked and has no SA. The others come to the front; returns
 * their number.
 */
uint32_t sp_inline_admit(struct sp_worker *w, struct sp_esp *packets, uint32_t n);

/* Refuses a packet that is marked and no ESP for us: its verdict is to be dropped. */
static __rte_always_inline void sp_inline_refuse(struct sp_packet *p)
{
	if (likely(!sp_secured(p->mbuf)) || p->verdict.action == SP_ACTION_INBOUND)
		return;
	p->verdict.action = SP_ACTION_DROP;
	p->verdict.reason = SP_DROP_INLINE_SESSION;
	p->verdict.cell = SP_NO_CELL;
}

/*
 * Packets of one SA with inline protocol: those that its port has opened are written to inner and to wide; returns how many to inner and adds the others to *n_wide. What came as ESP
 * is left in packets, *n then.
 */
uint32_t sp_inline_unpack(struct sp_worker *w, struct sp_sa_in *sa, struct sp_esp *packets, uint32_t *n, struct sp_packet *inner, struct sp_packet6 *wide, uint32_t *n_wide);

/*
 * Of an SA whose window is the NIC's: what that has opened were at least so many numbers. Those of ESN have their high half by it, and the window here is of what came past the NIC.
 */
void sp_inline_catch_up(struct sp_sa_in *sa);

/*
 * Drops authentic packets of an SA whose window is the NIC's: nobody here can say whether they are new. IKE is asked for another SA. The NIC may be lost if it could have opened them:
 * not if they came in fragments, by another port or VLAN, or once more.
 */
void sp_inline_unnumbered(struct sp_worker *w, struct sp_sa_in *sa, const struct sp_esp *packets, uint32_t n);

/* Takes the marks off packets of an SA with inline crypto and decrypts what has none. Packets whose ICV is right come to the front; returns their number. SP_SA_AEAD_INLINE. */
uint32_t sp_inline_decrypt(struct sp_worker *w, struct sp_sa_in *sa, struct sp_esp *packets, uint32_t n);

/* ---- outbound ---- */

/*
 * Packets of one SA with inline protocol, numbered and sent by its NIC. Returns how many of them are done with; *n is lowered to those that found a number. The rest are the CPU's, and
 * then all that follow.
 */
uint32_t sp_inline_enter(struct sp_worker *w, struct sp_sa_out *sa, const struct sp_adjacency *next, struct sp_packet **packets, uint32_t *n);

/* inline_plain.c: of n > 0 packets that have their numbers, those at the front that are plain, sent, and their bytes in *bytes. Returns how many. */
void sp_inline_select(struct sp_inline *in, const struct sp_selector_lanes *s, uint32_t n);
uint32_t sp_inline_enter_plain(struct sp_worker *w, const struct sp_sa_out *sa, const struct sp_adjacency *next, struct sp_packet **packets, uint32_t n, uint64_t *bytes);

/* Packets of one SA of SP_SA_AEAD_INLINE that lack their encryption. */
void sp_inline_seal(struct sp_worker *w, struct sp_sa_out *sa, const struct sp_adjacency *next, struct rte_mbuf **mbufs, uint64_t sequence, uint32_t n, uint64_t frames);

/* Of packets of one SA with inline crypto, those that the NIC encrypts: a bit for each, with IV and link layer. *failed: those that have no IV. */
uint32_t sp_inline_mark(struct sp_worker *w, struct sp_sa_out *sa, const struct sp_adjacency *next, const struct sp_crypt *crypts, uint32_t n, uint32_t *failed);

/* The CPU is about to number packets of an SA: the NIC gives it no number any more. */
void sp_inline_stop(struct sp_sa_out *sa);

#endif
