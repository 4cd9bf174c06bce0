/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SP_TABLES_H
#define SP_TABLES_H

/*
 * The shapes that Go and C share: configuration that Go hands over as flat arrays, packets that cross a ring, counters. Addresses and ports are in host byte
 * order unless a name ends in _be. Sizes are asserted here and in layout.go.
 */

#include <stdint.h>

#include "drop_reasons.h"
#include "exceptions.h"
#include "flow_entry.h"

struct rte_mbuf;
struct rte_mempool;

#define SP_MAX_DEVICES 32               /* DPDK port ids, RTE_MAX_ETHPORTS of the distribution's build */
#define SP_MAX_PORTS 63                 /* port ids: an untagged port has its device's, the ports of VLANs have those from SP_MAX_DEVICES on */
#define SP_PORT_LOCAL SP_MAX_PORTS      /* pseudo in-port of packets that our own slow path originates */
#define SP_PORT_SLOTS (SP_MAX_PORTS + 1)
#define SP_MAX_WORKERS 64
#define SP_MAX_CRYPTO_DEVICES 8
#define SP_QUEUE_FAILURES 64  /* outbound packets that a device may fail one after the other, of each worker, until it is lost */
#define SP_QUEUE_WAITING 1024 /* operations that may wait for room in a device, of each worker: a power of two */
#define SP_PORT_ADDRESSES 8             /* own addresses per port */
#define SP_BURST 32

#define SP_COUNTER_NONE 0               /* filter counter slot of what no filter is asked about */
#define SP_COUNTER_DEFAULT 1            /* and of what none matches: the default action */
#define SP_SUBJECTS (1u << 24)          /* numbers by which drops are counted: filters, soft SAs, SAs */
#define SP_NO_CELL UINT16_MAX           /* arrived in clear, or no tunnel */
#define SP_NO_ADJACENCY UINT16_MAX
#define SP_GROWTH 192                   /* bytes behind a packet that ESP may need, padding, trailer and ICV, and a crypto device beside them */
#define SP_FRAGMENTS_MAX_IN 8           /* of one packet that rte_ip_frag puts together, RTE_LIBRTE_IP_FRAG_MAX_FRAG of the distribution's build */
#define SP_MBUF_PRIVATE_SIZE 256        /* bytes the mbuf pool must reserve for struct sp_mbuf_priv */
#define SP_EARLY_EACH 64                /* packets that may wait for one inbound SA */
#define SP_WINDOW_MAX 65472             /* largest replay window in packets: multiples of 32 */

/* One bit each, so that a filter can name a set of them. */
enum sp_role {
	SP_ROLE_PROTECTED = 1,
	SP_ROLE_UNPROTECTED = 2,
	SP_ROLE_LOCAL = 4,
};

/*
 * A bit beside the role in a flow key: the packet arrived by a port where the gateway takes no IKE (S-041). A memo is keyed by role, not by port, so what a port decides
 * must stand in the key.
 */
#define SP_KEY_NO_IKE 0x80

enum sp_verdict {
	SP_VERDICT_PERMIT,
	SP_VERDICT_BLOCK,
	SP_VERDICT_PROTECT,
	SP_VERDICT_REQUIRE,
	SP_VERDICT_PASSTHROUGH, /* as REQUIRE, but in clear too while its cell waits for an SA (S-026) */
	SP_VERDICT_STALE,       /* the tunnel's own end has vanished (S-011) */
};

enum sp_cell_state {
	SP_CELL_CLOSED, /* no SA: drop no_outbound_sa */
	SP_CELL_HOLD,   /* no SA: punt ACQUIRE */
	SP_CELL_FAILED, /* no SA: drop blocked_negotiation_failed (S-024) */
};

/* What an exempt packet is addressed to: never a host behind the gateway (S-033). */
enum sp_target {
	SP_TARGET_OWN,
	SP_TARGET_MULTICAST,
	SP_TARGET_BROADCAST,
};

enum sp_idle {
	SP_IDLE_POLL,  /* never leave the core */
	SP_IDLE_YIELD, /* sched_yield after an empty loop */
	SP_IDLE_SLEEP, /* nap 50 to 200 us after a run of empty loops */
};

enum sp_sa_kind {
	SP_SA_AEAD_DIRECT, /* libIPSec_MB's function with an expanded key */
	SP_SA_AEAD_CPU,    /* rte_cryptodev_sym_cpu_crypto_process */
	SP_SA_AEAD_ASYNC,  /* enqueue and dequeue */
	SP_SA_CHAIN_ASYNC, /* a cipher with an integrity algorithm, or integrity alone, enqueue and dequeue */
	SP_SA_WHOLE_ASYNC, /* all of ESP, enqueue and dequeue */
	SP_SA_JOB,         /* libIPSec_MB's multi-buffer jobs: any transform */
	SP_SA_AEAD_INLINE, /* as DIRECT, but the NIC of a port does most of it; an SA becomes so, no session is */
};

/* What a packet's IV is and which bytes are authenticated where. */
enum sp_cipher {
	SP_CIPHER_GCM,     /* nonce of salt and IV; SPI and number are associated data (RFC 4106). ChaCha20-Poly1305 is the same (RFC 7634) */
	SP_CIPHER_CCM,     /* so too, with a salt of 3 bytes (RFC 4309) */
	SP_CIPHER_CBC,     /* AES, 3DES, DES: outbound the IV field is encrypted as well (RFC 3602, RFC 2451, RFC 2405) */
	SP_CIPHER_CTR,     /* counter block of salt, IV and 1 (RFC 3686) */
	SP_CIPHER_NULL,    /* integrity alone, in ESP (RFC 2410) or AH */
	SP_CIPHER_GMAC,    /* nonce of salt and IV; all from the SPI to the trailer is associated data (RFC 4543 3) */
	SP_CIPHER_GMAC_AH, /* the IV stands in front of the ICV (RFC 4543 4) */
	SP_CIPHER_COUNT
};

enum sp_sa_protocol {
	SP_SA_ESP,
	SP_SA_AH,
};

/* Of the outer IPv4 header's DF bit (RFC 4301 8.1). */
enum sp_df {
	SP_DF_COPY,
	SP_DF_SET,
	SP_DF_CLEAR,
};

#define SP_DSCP_COPY 0xff /* in place of a fixed code point (RFC 2983) */
#define SP_ANY_WORKER 0xff

/* What workers tell of an SA. */
enum sp_event_kind {
	SP_EVENT_SOFT,     /* a soft lifetime is used up */
	SP_EVENT_HARD,     /* a hard one, or the last sequence number: nothing passes any more */
	SP_EVENT_SEQUENCE, /* outbound: its sequence numbers come to their end (S-080) */
	SP_EVENT_MOVED,    /* inbound: `address` and `port` are where the peer sends from now */
	SP_EVENT_INLINE,   /* inbound, inline protocol: authentic packets come that the port has not opened */
};

struct sp_event {
	uint32_t spi;
	uint16_t cell;
	uint16_t port;
	uint8_t address[16]; /* as in a packet, IPv4 in the first 4 bytes and zeros behind */
	uint8_t kind;        /* enum sp_event_kind */
	uint8_t outbound;
	uint8_t outer;       /* enum sp_ip, of address */
	uint8_t reserved;
};
_Static_assert(sizeof(struct sp_event) == 28, "sp_event layout");

/* What a flow-cache entry decided. */
enum sp_action {
	SP_ACTION_DROP,     /* `reason` */
	SP_ACTION_FORWARD,  /* through `adjacency`, in clear */
	SP_ACTION_OUTBOUND, /* into the tunnel of `cell` */
	SP_ACTION_LOCAL,    /* deliver to the slow path */
	SP_ACTION_IKE,      /* deliver to IKE */
	SP_ACTION_INBOUND,  /* ESP, or ESP in UDP, for an own address */
	SP_ACTION_GROUP,    /* delivered to the gateway as one of a group: it has nothing to say there */
};

/* ---- start-up ---- */

struct sp_port_config {
	uint16_t port;      /* the data plane's own id */
	uint16_t device;    /* DPDK port id; worker w owns rx and tx queue w of every device */
	uint16_t vlan;      /* whose frames are tagged; 0: untagged frames, and `port` is `device` */
	uint8_t role;       /* SP_ROLE_PROTECTED or SP_ROLE_UNPROTECTED */
	uint8_t rx_checksum; /* not 0: the port's IPv4 checksum verdict in ol_flags can be trusted */
	uint8_t mac[6];
	uint16_t mtu;       /* bytes of IP packet */
};

/* Of one crypto device, all workers together. */
struct sp_device_counters {
	uint64_t operations; /* that it ever took */
	uint64_t unknown;    /* that it gave back and did not have */
	uint32_t held;       /* that it has */
	uint32_t waiting;    /* that wait for room in it */
	uint8_t lost;
};

struct sp_config {
	uint32_t n_ports;
	struct sp_port_config ports[SP_MAX_PORTS];
	uint32_t n_workers;
	uint32_t flow_entries;    /* per worker, power of two */
	uint32_t max_sas;         /* inbound slots, power of two: slot = SPI & (max_sas - 1) */
	uint32_t max_cells;       /* < 65535 */
	uint32_t max_adjacencies; /* < 65535 */
	uint32_t max_filters;     /* filter counters, SP_COUNTER_DEFAULT included */
	uint32_t max_soft;        /* soft SAs */
	uint32_t punt_entries;    /* of each class, per worker */
	uint32_t inject_entries;  /* per worker, power of two */
	uint32_t handover_entries; /* per worker, power of two */
	uint32_t early_limit;      /* packets that may wait for inbound SAs, of all together */
	uint32_t tally_entries;    /* per worker, power of two: drops by filter and by SA, one entry of 16 bytes for each reason that one of them has */
	uint32_t n_crypto_devices; /* those used with enqueue and dequeue; worker w owns queue pair w of each */
	uint8_t crypto_devices[SP_MAX_CRYPTO_DEVICES];
	uint32_t crypto_descriptors; /* of each queue pair, from 2 on */
	uint8_t idle;             /* enum sp_idle */
	uint8_t secured;          /* not 0: SAs may have sessions of ports */
	int32_t socket;           /* NUMA node of the tables */
	struct rte_mempool *pool; /* private size >= SP_MBUF_PRIVATE_SIZE */
	struct rte_mempool *large_pool; /* the same with larger buffers, for packets put together from fragments; NULL: only those that fit a buffer of `pool` */
	uint64_t fragment_memory; /* bytes, of all workers together: what fragments that wait for others take, buffers and tables */
	uint64_t fragment_timeout; /* TSC cycles that they wait */
	uint64_t secret[2];       /* random, of this process alone */
};

/* ---- snapshot ---- */

enum sp_ip {
	SP_IPV4,
	SP_IPV6,
};

/*
 * What rte_acl compares: a range for each word of the addresses, most significant word first (IPv4 has one, IPv6 four), ports and protocol. Several rules may lead to
 * one entry: an IPv6 range that is no prefix takes up to seven.
 */
struct sp_rule {
	uint32_t source_first[4], source_last[4];
	uint32_t destination_first[4], destination_last[4];
	uint16_t source_port_first, source_port_last;
	uint16_t destination_port_first, destination_port_last;
	uint8_t protocol; /* 0 any */
	uint8_t roles;    /* set of enum sp_role */
	uint32_t entry;   /* index into entries; the lowest matching index wins */
};

struct sp_rules {
	const struct sp_rule *rule;
	uint32_t n;
};

struct sp_entry {
	uint32_t counter; /* filter counter slot, from SP_COUNTER_DEFAULT + 1 on */
	uint16_t cell;    /* PROTECT and REQUIRE */
	uint8_t verdict;  /* enum sp_verdict */
	uint8_t protocol; /* the filter's protocol, 0 any */
	uint8_t fallback; /* not 0: a soft SA may take the place of the cell's SA */
	uint8_t reserved[3];
};
_Static_assert(sizeof(struct sp_entry) == 12, "sp_entry layout");

/*
 * What a soft SA lets pass in one direction: packets that a filter decides, between two addresses. Those stand as in sp_pair. The counters of soft SAs follow the filters': with
 * SP_SOFT_COUNTERS for each there can be, those of a soft SA that has ended have time to be forgotten by all workers.
 */
#define SP_SOFT_COUNTERS 4
struct sp_soft_key {
	uint64_t addresses[4];
	uint32_t filter; /* its counter slot */
	uint32_t reserved; /* 0 */
};
_Static_assert(sizeof(struct sp_soft_key) == 40, "sp_soft_key layout");

/* Traffic that passes whatever the filters say (S-031). A row of the exemptions is one or several of these, which share its counter. */
struct sp_exemption {
	uint32_t counter;
	uint16_t source_port_first, source_port_last;
	uint16_t destination_port_first, destination_port_last;
	uint8_t protocol; /* 0 any */
	uint8_t target;   /* enum sp_target */
	uint8_t ike;      /* not 0: for IKE, or for ESP beside it on port 4500 (RFC 3948 2) */
	uint8_t versions; /* set of IP versions: bit n for n of enum sp_ip */
};

struct sp_route {
	uint32_t prefix;
	uint32_t next_hop; /* 0: on link, the destination itself */
	uint16_t port;
	uint8_t bits;
};

struct sp_route6 {
	uint8_t prefix[16];
	uint8_t next_hop[16]; /* 0: on link, the destination itself */
	uint16_t port;
	uint8_t bits;
};

struct sp_own_address6 {
	uint8_t address[16];
	uint16_t port;
};

struct sp_own_address {
	uint32_t address;
	uint16_t port;
	uint8_t bits; /* prefix length of the attached subnet: gives the directed broadcast address */
};

struct sp_snapshot_config {
	struct sp_rules rules, rules6;    /* of IPv4 and of IPv6, both into the same entries */
	const struct sp_entry *entries;   /* descending weight */
	const struct sp_route *routes;    /* attached subnets included */
	const struct sp_own_address *addresses;
	const struct sp_exemption *exemptions; /* those in force, of received packets */
	const struct sp_route6 *routes6;
	const struct sp_own_address6 *addresses6;
	uint32_t n_entries, n_routes, n_addresses, n_exemptions, n_routes6, n_addresses6;
	uint64_t ports_without_ike;       /* bit n: port n takes no IKE (S-041) */
	uint8_t default_verdict;          /* SP_VERDICT_PERMIT or SP_VERDICT_BLOCK */
};

/* ---- SAs ---- */

/*
 * Negotiated traffic selector, in the packet's direction: source and destination as the inner packet of this SA carries them. One that limits the types of ICMP has the range of
 * type and code for the source port (RFC 4301 4.4.1.1) and SP_ICMP_TYPED for the destination's, which no key of a packet without ports has.
 */
#define SP_ICMP_TYPED 1
struct sp_selector {
	uint32_t source_first, source_last;
	uint32_t destination_first, destination_last;
	uint16_t source_port_first, source_port_last;
	uint16_t destination_port_first, destination_port_last;
	uint8_t protocol; /* 0 any */
	uint8_t reserved[3];
};
_Static_assert(sizeof(struct sp_selector) == 28, "sp_selector layout");

/* The same for IPv6; an address is its upper and its lower half. */
struct sp_selector6 {
	uint64_t source_first[2], source_last[2];
	uint64_t destination_first[2], destination_last[2];
	uint16_t source_port_first, source_port_last;
	uint16_t destination_port_first, destination_port_last;
	uint8_t protocol; /* 0 any */
	uint8_t reserved[7];
};
_Static_assert(sizeof(struct sp_selector6) == 80, "sp_selector6 layout");

/* Source and destination of packets that inbound SAs in transport mode take: IPv4 ones as the first 8 bytes of a flow key, IPv6 ones as they stand in a packet. */
struct sp_pair {
	uint64_t addresses[4];
	uint8_t ip; /* enum sp_ip */
	uint8_t reserved[7]; /* 0 */
};

/* How an outbound SA wraps packets. All zero but `dscp` and `ttl` is what RFC 4301, 6040 and 2983 have as default. */
struct sp_encapsulation {
	uint8_t df;             /* enum sp_df */
	uint8_t dscp;           /* code point, or SP_DSCP_COPY */
	uint8_t ecn_off;        /* not 0: compatibility mode of RFC 6040 4.1, the outer field is not-ECT */
	uint8_t ttl;            /* of the outer header */
	uint8_t fragment_after; /* not 0: outer packets are fragmented, not inner ones */
	uint8_t mss_automatic;  /* not 0: TCP's MSS is clamped to what fits; `mss` then counts for nothing */
	uint16_t mss;           /* bytes to clamp TCP's MSS to, 0: left alone */
	uint16_t tfc_pad;       /* inner packets are padded up to so many bytes (RFC 4303 2.7), 0: not */
};

/* Both directions. Selectors are copied. */
struct sp_sa_config {
	void *session;          /* rte_cryptodev session; DIRECT: struct gcm_key_data; JOB: IMB_JOB; alive until the SA's grace period is over */
	void *room;             /* DIRECT: memory behind the key, of whole cache lines, where the SA stands if room_size bytes are enough; NULL: none */
	void *gcm;              /* DIRECT: aes_gcm_enc_dec_t, in the SA's direction; NULL for the others */
	const struct sp_selector *selectors;
	const struct sp_selector6 *selectors6;
	struct sp_encapsulation encapsulation;
	uint64_t first_sequence; /* outbound: first number to send, 1 for a new SA */
	uint32_t room_size;
	uint32_t n_selectors, n_selectors6; /* at least one in all */
	uint32_t spi;
	uint32_t salt_be;       /* the bytes of the salt as they stand in memory (RFC 4106 4), CCM has 3 */
	uint8_t source[16], destination[16];  /* outer addresses as they stand in a packet, IPv4 in the first 4 bytes */
	uint16_t source_port, destination_port; /* UDP encapsulation only */
	uint16_t cell;
	uint16_t adjacency;     /* outbound: next hop of the outer packet, or SP_NO_ADJACENCY */
	uint16_t window;        /* inbound: replay window in packets, a multiple of 32, at most SP_WINDOW_MAX; 0 turns replay protection off */
	uint8_t kind;           /* enum sp_sa_kind */
	uint8_t cipher;         /* enum sp_cipher */
	uint8_t device;         /* cryptodev id */
	uint8_t key_length, iv_length, icv_length, block; /* bytes; the key's is the cipher's, without salt */
	uint8_t udp;            /* not 0: RFC 3948 */
	uint8_t esn;            /* not 0: RFC 4303 2.2.1 */
	uint8_t owner;          /* worker: inbound the one that moves the window; outbound the only one that sends by the SA, or SP_ANY_WORKER */
	uint8_t outer;          /* enum sp_ip */
	uint8_t protocol;       /* enum sp_sa_protocol */
	uint8_t transport;      /* not 0: transport mode, source and destination are the packets' own */
	uint32_t subject;       /* of its drops in the tally, from max_filters + SP_SOFT_COUNTERS * max_soft on; 0: they are not counted by SA */
	uint32_t partner;       /* inbound: SPI of the other SA of a bundle, 0 none */
	const struct sp_sa_config *ah; /* the AH around the ESP of a bundle, NULL none; outbound, of it session, lengths, SPI and esn count */
	uint64_t soft_packets, soft_bytes; /* lifetimes in inner packets and their bytes, 0: none. Told when reached */
	uint64_t hard_packets, hard_bytes; /* never exceeded outbound, by less than a burst inbound */
	uint8_t follow;         /* inbound, with udp: the peer's NAT may give it another address (RFC 7296 2.23) */
	uint8_t inline_protocol; /* not 0: of the session below; else inline crypto */
	uint8_t inline_metadata; /* not 0: outbound, rte_security_set_pkt_metadata for each packet */
	uint16_t inline_device; /* DPDK port id */
	uint16_t inline_port;   /* the workers': the one whose VLAN the session is for */
	void *inline_session, *inline_context; /* of rte_security, alive as long as `session`; NULL: none */
};

/* What the NIC of a port does not do any more, though it has sessions. */
enum sp_nic_loss {
	SP_NIC_WORKS,
	SP_NIC_REFUSES, /* takes no packet that it is to encrypt */
	SP_NIC_LEAVES,  /* opens no packet that it has the window of */
	SP_NIC_BLOCKED, /* takes none either, and its driver does not say whether there is room for any */
};

/* Why a crypto device is given nothing any more. */
enum sp_device_loss {
	SP_DEVICE_WORKS,
	SP_DEVICE_SILENT, /* has stopped answering */
	SP_DEVICE_FAILS,  /* has failed SP_QUEUE_FAILURES outbound packets of a worker in sequence */
};

struct sp_sa_counters {
	uint64_t packets, bytes; /* inner IP packets that passed, their bytes; dummy packets of ours included */
	uint64_t dummies;        /* outbound: dummy packets sent (RFC 4303 2.6) */
	uint64_t last_use;       /* TSC of the last burst that used it, 0 never */
	uint64_t sequence;       /* outbound: last number reserved; inbound: highest authenticated, 0 where the window is a NIC's */
	uint64_t inlined;        /* packets that a NIC has sealed or opened */
	uint8_t stopped;         /* outbound: the CPU has taken over from the NIC */
};

/* ---- explanations ---- */

/* Where a packet would end that has room to live and to grow. */
enum sp_fate {
	SP_FATE_DROPPED,   /* `reason` */
	SP_FATE_DELIVERED, /* to the gateway */
	SP_FATE_SENT,      /* through `adjacency`, in the tunnel of `cell` if there is one */
	SP_FATE_NEIGHBOUR, /* waits for the next hop's address */
	SP_FATE_ACQUIRE,   /* waits for an SA of `cell` */
};

struct sp_explanation {
	struct sp_flow_key key; /* as the flow cache would have it */
	uint32_t filter;     /* filter counter slot */
	uint32_t spi;        /* of the outbound SA, 0 none */
	uint32_t next_hop;   /* FORWARD */
	uint16_t cell;       /* OUTBOUND */
	uint16_t adjacency;  /* FORWARD and OUTBOUND, or SP_NO_ADJACENCY */
	uint16_t out_port;   /* FORWARD */
	uint8_t action;      /* enum sp_action: what the classifier says */
	uint8_t reason;      /* enum sp_drop_reason */
	uint8_t fate;        /* enum sp_fate */
};

/* ---- counters ---- */

/*
 * At rest: received + split = forwarded + delivered + sum of drops + held - released + reassembling + merged, where Go's own discards of held packets stand beside `released`.
 */
struct sp_port_counters { /* bytes of frames, VLAN tags included */
	uint64_t received, received_bytes;       /* as in-port */
	uint64_t forwarded, forwarded_bytes;     /* as in-port, handed to a transmit queue; bytes as transmitted */
	uint64_t delivered;                      /* as in-port, Go's for good */
	uint64_t held, released;                 /* as in-port, HELD punts and their reinjection */
	uint64_t reassembling;                   /* as in-port, fragments that wait for others, at this moment */
	uint64_t merged;                         /* as in-port, fragments that became part of a packet, but for one of each packet */
	uint64_t split;                          /* as in-port, fragments that packets were cut into, but for one of each packet */
	uint64_t handed_over;                    /* as in-port, ESP and AH that another worker than the SA's owner received */
	uint64_t transmitted, transmitted_bytes; /* as out-port */
	uint64_t drops[SP_DROP_COUNT];           /* as in-port */
};

struct sp_filter_counters {
	uint64_t packets, bytes; /* IP packets that the filter decided, their bytes */
};

struct sp_punt_counters {
	uint64_t queued; /* packets that found room */
	uint64_t full;   /* packets that found none */
	uint64_t waiting; /* packets in the queues, at this moment */
};

/* Drops for one reason of what a filter had decided or what was an SA's. */
struct sp_tally_count {
	uint64_t n;
	uint32_t subject; /* filter counter slot, or the number that an SA was given */
	uint8_t reason;   /* enum sp_drop_reason */
};

#endif
