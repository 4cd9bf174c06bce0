/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SP_FUZZ_GATEWAY_H
#define SP_FUZZ_GATEWAY_H

/*
 * Two gateways in one process for the fuzzer: `ours`, which is under test, and `peer`, its mirror image, which seals what ours must open and opens what ours sealed. Each
 * has a protected and an unprotected port made of rings, and one tunnel of every kind. Our protected port is a VLAN of its device, which has no other port.
 */

#include "../dataplane.h"

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
	TUNNELS,
	CELL_HOLD = TUNNELS, /* never has an SA */
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

enum side { PROTECTED, UNPROTECTED, SIDES };

struct gateway {
	struct sp_dataplane *dp;
	uint16_t port[SIDES], device[SIDES], vlan[SIDES];
	struct rte_ring *rx[SIDES], *tx[SIDES];
	uint8_t mac[SIDES][6];
	uint32_t wan, remote;          /* outer addresses */
	uint32_t spi[TUNNELS];         /* inbound */
	void *encrypt[TUNNELS], *decrypt[TUNNELS];
	uint64_t discarded[SP_PORT_SLOTS]; /* held packets that the harness, in Go's place, threw away */
};

/* The IPv6 address of an IPv4 one, as it stands in a packet. */
static inline void widen(uint8_t wide[16], uint32_t address)
{
	const uint32_t words[4] = {rte_cpu_to_be_32(WIDE_FIRST(address)), 0, 0, rte_cpu_to_be_32(address)};

	memcpy(wide, words, sizeof(words));
}

extern struct gateway ours, peer;
extern struct rte_mempool *pool;

/* EAL, devices, ports, policies. Aborts when something is missing. */
void gateways_start(void);
/* Encrypts any plaintext with the peer's key of a tunnel of libIPSec_MB without ESN, behind the ESP header and IV that stand at esp; returns the length from there on. */
uint32_t peer_encrypt(enum tunnel t, uint8_t *esp, const uint8_t *plain, uint32_t length);
/* Fresh SAs on both sides of a tunnel. */
void tunnel_reset(enum tunnel t);
/* Fills in one SA's parameters for a gateway. */
struct sp_sa_config tunnel_config(const struct gateway *g, enum tunnel t, int outbound);
void gateway_publish(struct gateway *g, uint32_t how);
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
