/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SP_EXCEPTIONS_H
#define SP_EXCEPTIONS_H

/* What passes between a data core and the slow path: packets that Go is handed, why and in which queue, and those that it gives. */

#include <stdint.h>

struct rte_mbuf;

#define SP_PUNT_SHARES 64 /* of each queue to the slow path, at most */

/* Why a packet is in a punt queue. HELD kinds wait: Go must release or discard them; the others are Go's for good. */
enum sp_punt {
	SP_PUNT_ARP,         /* delivered: whole frame */
	SP_PUNT_IKE,         /* delivered: IKE datagram to an own address */
	SP_PUNT_LOCAL,       /* delivered: other permitted packet to an own address */
	SP_PUNT_NEIGHBOUR,   /* held: `adjacency` unresolved, or SP_NO_ADJACENCY and (out_port, next_hop) needs one; of IPv6 Go finds the next hop itself */
	SP_PUNT_ACQUIRE,     /* held: `cell` has no SA */
	SP_PUNT_TTL_EXPIRED, /* already counted as a drop: answer with ICMP time exceeded, then free */
	SP_PUNT_TOO_BIG,     /* already counted as a drop: answer with ICMP fragmentation needed (`mtu`) if DF is set, then free */
	SP_PUNT_ND,          /* delivered: whole frame, neighbour solicitation or advertisement for an address of the port */
	SP_PUNT_ECHO,        /* delivered: ESP or AH with the SPI of an echo, for an own address */
	SP_PUNT_EARLY,       /* held: ESP or AH with an SPI that is reserved and has no SA yet; each one needs its sp_early_left */
	SP_PUNT_CLEAR,       /* already counted as a drop: came in clear for the tunnel of `cell`, which waits for its SA; then free */
	SP_PUNT_GROUPED,     /* already counted as a drop: for a group, by a filter with fallback; then free */
	SP_PUNT_HEARD,       /* already counted as a drop: in clear from a peer's address to a port of IKE, and for IKE nonetheless not; then free */
	SP_PUNT_UNSENT,      /* already counted as a drop: an IKE message of ours, or a fragment of one, that has not left; then free */
};

/*
 * Each worker has a queue to the slow path for each of these, X(symbol, name), so that whoever floods one takes nothing from the others. What a flood is made of decides the
 * line between two of them. Anybody can send first messages of IKE, in any name: they stand apart from those that go on with an exchange, or a flood in a peer's name would cost
 * that peer the exchanges that it has begun. Later messages can be forged as well, but not the SPI that the gateway gave: those that name no IKE SA of ours are nobody's, whatever
 * address they come from. Whoever is no peer has queues of its own, because there are more forged addresses than peers. A scan of an attached subnet makes packets
 * wait for neighbours; those that wait for an SA must not suffer for it, nor a new tunnel's first packets for either. The order is that in which they are served.
 */
#define SP_PUNT_CLASSES(X) \
	X(LINK, "arp_nd")                             /* ARP and neighbour discovery */ \
	X(IKE, "ike")                                 /* IKE with an SPI that the gateway has given to an IKE SA */ \
	X(EARLY, "early")                             /* ESP and AH that came before its SA */ \
	X(ACQUIRE, "acquire")                         /* packets that wait for an SA */ \
	X(NOTICE, "notice")                           /* dropped packets that IKE is told of: in clear for a tunnel that waits for its SA, for a group, or from a peer to a port of IKE; and what IKE has sent in vain */ \
	X(NEIGHBOUR, "neighbour")                     /* packets that wait for a neighbour */ \
	X(IKE_STRANGER, "ike_stranger")               /* IKE that goes on with something else: its responder's SPI is not zero, and none is ours */ \
	X(IKE_BEGIN, "ike_begin")                     /* other IKE from a peer's address: first messages, and what is none */ \
	X(LOCAL, "local")                             /* ICMP and all else to the gateway, and packets that it answers with ICMP */ \
	X(IKE_BEGIN_STRANGER, "ike_begin_stranger")   /* as IKE_BEGIN, from the address of nobody known */

enum sp_punt_class {
#define SP_PUNT_CLASS_ENUM(symbol, name) SP_CLASS_##symbol,
	SP_PUNT_CLASSES(SP_PUNT_CLASS_ENUM)
#undef SP_PUNT_CLASS_ENUM
	SP_CLASS_COUNT
};

enum sp_inject {
	SP_INJECT_RAW,          /* complete Ethernet frame for `port` */
	SP_INJECT_ROUTE_LOCAL,  /* IP packet of our own IKE: route and adjacency, no filter */
	SP_INJECT_REPLY_TUNNEL, /* IP packet of ours that must leave protected: classified as role LOCAL, only PROTECT is accepted */
	SP_INJECT_REPLY_PROTECTED, /* as REPLY_TUNNEL, to what a tunnel brought: in clear by a soft SA it does not leave either */
	SP_INJECT_DUMMY,        /* IP packet of ours that means nothing, for the ESP SA of `cell`: no filter and no selector is asked */
};

/* One packet from a punt queue. `data` is the frame as received; for a decrypted packet (in_cell set) the IP packet begins at l3_offset and what stands before it is void. */
struct sp_exception {
	struct rte_mbuf *mbuf;
	uint8_t *data;
	uint32_t length;     /* bytes from data */
	uint32_t next_hop;   /* NEIGHBOUR */
	uint32_t spi;        /* EARLY */
	uint32_t filter;     /* filter counter slot that decided, 0 none */
	uint32_t generation; /* that judged it, HELD kinds */
	uint16_t l3_offset;
	uint16_t in_port;
	uint16_t out_port;   /* NEIGHBOUR */
	uint16_t in_cell;
	uint16_t cell;       /* ACQUIRE */
	uint16_t adjacency;  /* NEIGHBOUR */
	uint16_t mtu;        /* TOO_BIG: largest IP packet that would have passed */
	uint8_t kind;        /* enum sp_punt */
	uint8_t punt_class;  /* enum sp_punt_class */
	uint8_t share;       /* of that class, below SP_PUNT_SHARES */
	uint8_t answers_tunnel; /* the gateway's own answer to what a tunnel brought */
};

struct sp_injection {
	const uint8_t *data;
	uint32_t length;
	uint16_t port;    /* RAW: egress */
	uint16_t cell;    /* DUMMY */
	uint8_t kind;     /* enum sp_inject */
	uint8_t reserved[7];
};

#endif
