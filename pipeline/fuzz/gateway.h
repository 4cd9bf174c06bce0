/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SP_FUZZ_GATEWAY_H
#define SP_FUZZ_GATEWAY_H

/*
 * Two gateways in one process for the fuzzer: `ours`, which is under test, and `peer`, its mirror image, which seals what ours must open and opens what ours sealed. Each
 * has a protected and an unprotected port made of rings, and one tunnel of every kind. Our protected port is a VLAN of its device, which has no other port.
 */

#include "../dataplane.h"

/* In the order of the generator of seeds, ../fuzz/seeds. */
enum tunnel {
	TUNNEL_GCM,        /* libIPSec_MB itself */
	TUNNEL_GCM_ESN,    /* libIPSec_MB itself */
	TUNNEL_GCM_UDP,    /* cpu-crypto */
	TUNNEL_GCM_ASYNC,  /* enqueue and dequeue, as CBC */
	TUNNEL_CBC_SHA1,
	TUNNEL_CBC_SHA256,
	TUNNEL_CBC_SHA256_ESN,
	TUNNEL_LAST,       /* cpu-crypto; first sequence number near the end of the counter */
	TUNNEL_GCM_SHORT,  /* libIPSec_MB itself, ICV of 8 bytes */
	TUNNEL_PADDED,     /* ICV of 12 bytes, TFC padding, smallest window */
	TUNNEL_JOB_CBC,    /* jobs of libIPSec_MB from here on, but for those that say GCM */
	TUNNEL_JOB_CCM,
	TUNNEL_JOB_CHACHA, /* in UDP */
	TUNNEL_JOB_CTR,    /* fields of the outer header, segment size of its own */
	TUNNEL_JOB_3DES,
	TUNNEL_JOB_NULL,   /* ends after few packets */
	TUNNEL_JOB_GMAC,
	TUNNEL_WIDE,       /* GCM over IPv6 */
	TUNNEL_WIDE_UDP,   /* GCM in UDP over IPv6 */
	TUNNEL_TRANSPORT,  /* GCM between two hosts */
	TUNNEL_TRANSPORT6,
	TUNNEL_AH,
	TUNNEL_AH6,        /* GMAC over IPv6 */
	TUNNEL_AH_TRANSPORT6,
	TUNNEL_BUNDLE,     /* GCM in AH */
	TUNNEL_BUNDLE6,    /* transport mode */
	TUNNEL_BEFORE,     /* narrow path: inner packets are fragmented */
	TUNNEL_AFTER,      /* outer ones */
	TUNNEL_CLAMP,      /* segment size that fits */
	TUNNEL_INLINE,     /* GCM whose crypto is the NIC's */
	TUNNEL_INLINE_CBC, /* in UDP, with ESN */
	TUNNEL_CARD,       /* GCM that is the NIC's altogether */
	TUNNEL_CARD6,      /* CBC over IPv6 */
	TUNNELS,
	CELL_HOLD = TUNNELS, /* never has an SA; soft SAs may take its place */
	CELL_CLOSED,
	CELLS
};

/* Networks that PEER_NET leads to beside those of the cells. */
enum network {
	NET_PASSTHROUGH = CELLS, /* accepted in clear while TUNNEL_GCM has no SA to answer by */
	NET_STALE,               /* its tunnel's own end has vanished */
	NETWORKS
};

/* How a policy is published. */
#define WITHOUT_EXEMPTIONS 1
#define WITHOUT_IKE 2 /* on the unprotected port */

#define MAX_FILTERS 128
#define MAX_SOFT 8  /* twice as many as there are at once: places come back after a grace period */
#define MAX_COUNTERS (MAX_FILTERS + SP_SOFT_COUNTERS * MAX_SOFT)
#define ADJACENCY_LAN 0
#define ADJACENCY_WAN 1
#define ADJACENCY_LAN6 2
#define ADJACENCY_WAN6 3
#define MTU 1500
#define VLAN 7
#define FRAGMENT_TIMEOUT 4000000000u /* TSC cycles: only the fuzzer makes them pass */
#define OUR_NET 0x0a010000u        /* 10.1.0.0/24; tunnel t leads to 10.(16 + t).0.0/24 */
#define PEER_NET(t) (0x0a100000u + ((uint32_t)(t) << 16))
#define GROUP_NET(n) (0xe0000000u + ((uint32_t)(n) << 24))
#define CLEAR_NET 0xc6336400u      /* 198.51.100.0/24: permitted in clear */
#define BLOCKED_HOST (OUR_NET | 66)
#define OUR_WAN 0xc0000201u        /* 192.0.2.1 */
#define PEER_WAN 0xc0000202u
#define OUR_LAN (OUR_NET | 1)
#define NEXT_LAN (OUR_NET | 9)  /* a host behind us; the peer's host has the same last byte */

/* Every IPv4 address here has an IPv6 one, with it in the last word behind 2001:db8:: or, a group, ff02::. Filters, routes, selectors and neighbours are the same for both versions. */
#define WIDE_FIRST(address) ((address) >> 28 == 0xe ? 0xff020000u : 0x20010db8u)

#define WORKERS 2                /* of ours, which takes their turns one after the other; the peer has one */
#define TRANSPORT_HOST 5         /* both ends of transport mode */
#define BUFFER 2048

enum side { PROTECTED, UNPROTECTED, SIDES };

struct gateway {
	struct sp_dataplane *dp;
	uint16_t workers;
	uint16_t port[SIDES], device[SIDES], vlan[SIDES];
	struct rte_ring *rx[SIDES][WORKERS], *tx[SIDES][WORKERS];
	uint8_t mac[SIDES][6];
	uint32_t wan, remote;          /* outer addresses */
	uint32_t spi[TUNNELS];         /* inbound */
	uint32_t ah_spi[TUNNELS];      /* inbound, of the AH of a bundle */
	void *encrypt[TUNNELS], *decrypt[TUNNELS];
	void *ah_make[TUNNELS], *ah_verify[TUNNELS]; /* of a bundle */
	uint64_t discarded[SP_PORT_SLOTS]; /* held packets that the harness, in Go's place, threw away */
	int card;                          /* its unprotected port has a NIC that does ESP */
};

/* The IPv6 address of an IPv4 one, as it stands in a packet. */
static inline void widen(uint8_t wide[16], uint32_t address)
{
	const uint32_t words[4] = {rte_cpu_to_be_32(WIDE_FIRST(address)), 0, 0, rte_cpu_to_be_32(address)};

	memcpy(wide, words, sizeof(words));
}

extern struct gateway ours, peer;
extern struct rte_mempool *pool, *large_pool, *sessions;
extern uint8_t device_gcm, device_mb, device_openssl;

/* gateway.c: EAL, devices, ports, policies. Aborts when something is missing. */
void gateways_start(void);

/* tunnels.c: keys for all. */
void tunnels_start(void);
/* Fresh SAs on both sides of a tunnel. */
void tunnel_reset(enum tunnel t);
void tunnel_close(const struct gateway *g, enum tunnel t);
/* The tunnel has no outbound SA any more. */
void tunnel_withdraw(enum tunnel t);
/* Our end or the peer's is somewhere else from now on. The peer knows nothing of it. */
void tunnel_move(enum tunnel t, uint32_t where);
/* Fresh SAs that are for one type of ICMP messages only, on our side; 0 for all packets again. */
void tunnel_limit(enum tunnel t, uint8_t type);
/* An SA of its own for one of our workers, beside that of all; with none, its end. */
void tunnel_own(enum tunnel t, uint32_t worker, int none);
/* No SA is limited or a worker's own any more. */
void tunnels_forget(void);
/* Frees the SAs that have been replaced, which packets under way may have still. */
void tunnels_bury(void);
/* The NIC sends nothing more for the tunnel's SA: the CPU goes on. */
void tunnel_lose(enum tunnel t);
/* From now on packets that come in by the tunnel wait for its SA, which is gone. */
void tunnel_expect(const struct gateway *g, enum tunnel t);
/* Our inbound SA of a tunnel that is no bundle comes, if there is none. */
void tunnel_come(enum tunnel t);
/* Where a gateway's side of a tunnel ends: its own address, or in transport mode a host's. */
uint32_t tunnel_end(const struct gateway *g, enum tunnel t);
int tunnel_transport(enum tunnel t);
int tunnel_wide(enum tunnel t);         /* outer IPv6 */
uint8_t tunnel_protocol(enum tunnel t); /* outermost */

/* policy.c */
void gateway_publish(struct gateway *g, uint32_t how);
/* Soft SA number n of our CELL_HOLD between two hosts, of both IP versions; with `end`, its end. */
void soft_set(uint32_t n, uint32_t local, uint32_t remote, int end);
/* Resolves (or, with up = 0, forgets) the next hops of both ports. */
void gateway_neighbours(struct gateway *g, int up);

#define CHECK(condition, ...) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #condition); \
			fprintf(stderr, __VA_ARGS__); \
			fputc('\n', stderr); \
			abort(); \
		} \
	} while (0)

#endif
