/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SP_DATAPLANE_H
#define SP_DATAPLANE_H

/* The C side's own structures: what a worker reads per packet, hot fields of a structure together in whole cache lines. Go sees none of this. */

#include <intel-ipsec-mb.h>
#include <rte_crypto.h>
#include <rte_cryptodev.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_rcu_qsbr.h>
#include <rte_ring.h>

#include "fastpath.h"
#include "lengths.h"
#include "profile.h"
#include "sa.h"

struct rte_hash;
struct rte_fib;
struct sp_acl;
struct sp_packet;
struct sp_reassembly;
struct rte_fib6;
struct sp_tally;

_Static_assert(SP_MAX_DEVICES == RTE_MAX_ETHPORTS, "DPDK port ids are port ids");
_Static_assert(SP_PORT_SLOTS <= 64, "ports are bits of a word");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "header fields are composed for little-endian");

#define SP_TX_BUFFER 64
#define SP_TOLD 1024 /* places to remember who was told of, a power of two */
#define SP_EVENTS 256 /* of a worker that wait for the control thread */

/* ---- next hops and policy ---- */

/* A resolved next hop. Immutable: a change publishes another one. */
struct sp_adjacency {
	uint8_t l2[16];
	uint16_t port;
	uint16_t mtu;
};

/* Keys of the neighbour hashes. */
struct sp_neighbour_key {
	uint32_t port;
	uint32_t next_hop;
};

struct sp_neighbour_key6 {
	uint32_t port;
	uint8_t next_hop[16];
};

struct sp_port_addresses {
	uint32_t n;
	uint8_t role;        /* of packets that arrive here, as a flow key has it: SP_KEY_NO_IKE included */
	uint32_t address[SP_PORT_ADDRESSES];
	uint32_t first6, n6; /* its own addresses of IPv6 in local6 */
};

struct sp_own {
	uint32_t address;
	uint32_t broadcast;  /* of the attached subnet, UINT32_MAX where it has none (S-104) */
	uint16_t port;
};

/* Immutable after publication. */
struct sp_snapshot {
	struct sp_port_addresses port[SP_MAX_PORTS];
	uint8_t default_verdict;
	uint32_t n_entries, n_routes, n_own, n_exemptions;
	struct sp_acl *acl, *acl6; /* filters of IPv4 and IPv6, NULL: none */
	struct rte_fib *fib;       /* NULL: no routes; finds an index into routes, n_routes where there is none */
	struct sp_entry *entries;
	struct sp_route *routes;
	struct sp_own *own;        /* ascending addresses */
	struct sp_exemption *exemptions;
	struct rte_fib6 *fib6;     /* as fib, of IPv6 */
	struct sp_route6 *routes6;
	struct sp_own_address6 *local6; /* those of a port side by side */
	uint32_t n_routes6, n_local6;
	uint8_t ipv6;              /* an own address or a filter is IPv6; if not, every IPv6 frame is dropped unread */
};

/* ---- mbuf private area: what crosses a ring or a crypto device with a packet ---- */

/* One fragment while it waits for the others. Of a packet put together from fragments, what it takes to cut it again as it was: valid where ol_flags say so. */
struct sp_fragment {
	uint64_t origin;      /* port, tunnel and its incarnation: those of all fragments of a packet */
	uint64_t covered;     /* what stands in front of the payload and rte_ip_frag writes to */
	uint32_t id;          /* IPv6: as it stands on the wire */
	uint16_t header;      /* bytes from the IP header to the payload, an IPv6 fragment header not counted */
	uint16_t offset;      /* of the payload in that of the packet */
	uint16_t length;      /* of the payload */
	uint16_t next_at;     /* IPv6: which byte of the headers says what follows them */
	uint16_t largest;     /* whole packets: bytes of the largest fragment, headers included */
	uint16_t at;          /* where in its buffer the payload is while it waits */
	uint8_t protocol;     /* of the payload's first header */
	uint8_t ecn;
	uint8_t more;         /* more fragments: not the last one */
	uint8_t ipv6;
	uint8_t clear;        /* it came in clear */
};

struct sp_mbuf_priv {
	/* slow-path rings */
	uint8_t kind;      /* enum sp_punt */
	uint8_t inject;    /* enum sp_inject, packets of ours */
	uint8_t fresh;     /* packets of ours: not counted as received yet */
	uint8_t decrypted; /* async inbound: which finish function */
	uint8_t outer_tos;
	union {
		uint8_t form; /* async inbound: enum sp_form */
		uint8_t cut;  /* outbound, all of ESP by a device: too long for the path, and may be cut */
	};
	uint16_t in_cell, cell, adjacency, out_port;
	union {
		uint16_t mtu;      /* slow path */
		uint16_t headers;  /* async inbound: as in struct sp_esp */
	};
	uint32_t filter;
	union {
		uint32_t next_hop;
		uint32_t spi;      /* EARLY */
	};
	uint32_t generation; /* that judged the packet, HELD kinds */
	uint32_t incarnation; /* of in_cell */
	/* crypto devices */
	void *sa;
	uint64_t sequence;
	uint8_t *payload;  /* first byte after the IV */
	uint32_t payload_length; /* ciphertext bytes */
	uint16_t slot;     /* of the queue pair, while the device has it */
	uint8_t phase;     /* of the worker's epochs */
	uint8_t share;     /* of its punt queue */

	struct rte_crypto_op op __rte_aligned(64);
	struct rte_crypto_sym_op sym;
	union {
		struct {
			uint8_t iv[SP_IV_MAX];
			union {
				uint8_t aad[SP_AAD_ROOM]; /* AEAD, zero-padded: devices may read whole blocks */
				uint8_t digest[SP_ICV_MAX]; /* a chain with ESN */
			};
		};
		struct sp_fragment fragment; /* never in a device */
	};
};
_Static_assert(sizeof(struct sp_mbuf_priv) <= SP_MBUF_PRIVATE_SIZE, "sp_mbuf_priv fits the private area");
_Static_assert(offsetof(struct sp_mbuf_priv, sym) == offsetof(struct sp_mbuf_priv, op) + sizeof(struct rte_crypto_op), "the symmetric op follows its op");

/* Where sessions find their IV, from the start of the op. */
#define SP_IV_OFFSET (offsetof(struct sp_mbuf_priv, iv) - offsetof(struct sp_mbuf_priv, op))
_Static_assert(SP_IV_OFFSET == sizeof(struct rte_crypto_op) + sizeof(struct rte_crypto_sym_op), "IV offset agreed with crypto/cryptodev");

struct sp_async_queue;

/* Writes a message for the operator into error; returns NULL, so that a constructor can end with it. */
void *sp_fail(char *error, size_t size, const char *format, ...) __rte_format_printf(3, 4);
/* A name that no other DPDK object of this process has, at most 21 characters. */
void sp_object_name(struct sp_dataplane *dp, char name[32]);
/* sa.c: what the crypto stages know of an SA. */
struct sp_transform sp_transform_of(const struct sp_sa_config *config);
/* publish_ipv6.c: routes and own addresses of IPv6, after the filters; -1 with the reason in error. Whatever happens, sp_snapshot_free6 undoes it. */
int sp_snapshot_build6(struct sp_dataplane *dp, struct sp_snapshot *s, const struct sp_snapshot_config *config, char *error, size_t size);
void sp_snapshot_free6(struct sp_snapshot *s);
/* events.c: the lifetimes, and outbound the sequence number, that a new SA starts with. */
void sp_lifetime_out_start(struct sp_sa_out *sa, const struct sp_sa_config *c, int extended);
void sp_lifetime_in_start(struct sp_sa_in *sa, const struct sp_sa_config *c);
/* tally.c: bytes of a worker's table of a power of two entries, at least 4, and the start of one that is zeroed. */
size_t sp_tally_size(uint32_t entries);
void sp_tally_init(struct sp_tally *t, uint32_t entries);
/* tally.c: lets a subject that no worker uses count from zero. */
void sp_tally_forget(struct sp_dataplane *dp, uint32_t subject);
/* The same, and what it has counted by reason, of all workers. */
void sp_tally_take(struct sp_dataplane *dp, uint32_t subject, uint64_t drops[SP_DROP_COUNT]);
/* punt.c: whether a class has shares. */
uint8_t sp_punt_shared(uint32_t punt_class);
/* crypto_devices.c: a worker's end of a device; -1 without memory. Whatever happens, sp_queue_destroy undoes it. */
int sp_queue_create(const struct sp_dataplane *dp, struct sp_async_queue *q, uint8_t device, uint32_t descriptors);
void sp_queue_destroy(struct sp_async_queue *q);
/* Frees an rte_malloc object after a grace period. */
void sp_free_later(struct sp_dataplane *dp, void *object);
/* Frees what waits for one: no worker is left. */
void sp_free_deferred(struct sp_dataplane *dp);

static inline struct sp_mbuf_priv *sp_priv(struct rte_mbuf *m)
{
	return (struct sp_mbuf_priv *)rte_mbuf_to_priv(m);
}

/* ---- a worker ---- */

struct sp_port {
	uint64_t mac;        /* 6 bytes as loaded from a frame, shifted left to the top */
	uint16_t mtu;
	uint16_t device;     /* DPDK port id */
	uint16_t vlan;       /* tag of its frames, 0 none */
	uint8_t role;
	uint8_t rx_checksum;
	uint8_t present;
	uint8_t secured;     /* SAs may have sessions of its NIC: marks on received packets are looked at */
	uint8_t opens;       /* it may take packets apart, written by the control thread */
};

#define SP_NO_PORT 0xff

/* A device whose frames have tags: the port of each VLAN, 0 for untagged ones. Immutable. */
struct sp_trunk {
	uint16_t other;      /* where frames of other VLANs are counted */
	uint8_t port[4096];  /* SP_NO_PORT: not ours */
};

/*
 * Packets on their way out of one port. After transmission the mbufs are no longer ours, so their in-port is credited for what was noted before, less what the
 * queue did not take. All packets in the buffer have the same in-port: another one flushes it first.
 */
struct sp_tx_buffer {
	uint64_t bytes;
	uint32_t n;
	uint16_t in_port;
	uint8_t refusing;  /* the port has not taken the last packets that its NIC was to encrypt */
	uint8_t unused;
	struct rte_mbuf *mbufs[SP_TX_BUFFER];
};

/* How long a NIC has done nothing of what it was asked for. */
struct sp_nic_silence {
	uint64_t silent;  /* TSC cycles */
	uint64_t looked;  /* TSC when that was last counted */
	uint64_t packets; /* that it has left undone */
	uint64_t done;    /* ever, for this worker */
	uint64_t met;     /* `done` of all workers, when that was last looked at */
};

/* Arguments of one cpu-crypto call. The pointers between the arrays never change: only lengths and contents do. */
struct sp_cpu_vector {
	struct rte_crypto_vec data[SP_BURST];
	struct rte_crypto_sgl sgl[SP_BURST];
	struct rte_crypto_va_iova_ptr iv[SP_BURST], aad[SP_BURST], digest[SP_BURST];
	int32_t status[SP_BURST];
	uint8_t iv_bytes[SP_BURST][SP_IV_MAX];
	uint8_t aad_bytes[SP_BURST][16];
};

/* What a call of libIPSec_MB for one packet needs beside the packet. */
struct sp_gcm_scratch {
	struct gcm_context_data context;
	uint8_t iv[16] __rte_aligned(16);
	uint8_t aad[16] __rte_aligned(16);
	uint8_t icv[16];
};

/* What jobs of libIPSec_MB need beside the packets. */
struct sp_job_scratch {
	IMB_MGR *manager; /* of this worker alone, empty between two bursts; NULL: the library cannot be used on this machine */
	uint8_t tag[SP_BURST][SP_ICV_MAX];
	uint8_t iv[SP_BURST][SP_IV_MAX];
	uint8_t aad[SP_BURST][16];
};

/* From a worker to the control thread. */
struct sp_events {
	uint32_t head __rte_cache_aligned; /* events ever told, the worker's */
	uint32_t tail __rte_cache_aligned; /* events ever taken */
	struct sp_event event[SP_EVENTS];
};

/*
 * One class of what waits for the slow path. Of a shared one, each share may have as many packets wait as there are places free (dynamic thresholds: Choudhury and Hahne, 1998):
 * one that fills it has half of the queue, two that do have a third each, and whatever some fill, the next one finds as many places as each of them has.
 */
struct sp_punt_queue {
	uint32_t taken[SP_PUNT_SHARES] __rte_cache_aligned; /* packets ever, the control thread's */
	uint32_t waited[SP_PUNT_SHARES];                    /* the worker's, in other cache lines */
	struct rte_ring *ring;
	uint64_t queued, full; /* as in struct sp_punt_counters */
	uint8_t shared;
};
_Static_assert(offsetof(struct sp_punt_queue, waited) % RTE_CACHE_LINE_SIZE == 0, "two threads, no common line");

/* A packet of the run at hand that is too long for the path until it is cut. */
struct sp_oversize {
	struct sp_packet *packet;
	uint16_t room; /* bytes of the largest inner packet; 0: the outer one is cut */
};

/* A worker's queue pair of a crypto device, and what waits for it. */
struct sp_async_queue {
	struct rte_crypto_op **held;    /* by slot: what the device has, NULL: free */
	uint16_t *slots;                /* the free ones from n on */
	struct rte_crypto_op **waiting; /* a ring */
	uint32_t n, limit;              /* operations that the device has, and can have */
	uint32_t put, taken;            /* operations that ever waited, and those of them that wait no more */
	uint64_t given;                 /* operations that the device ever took */
	uint64_t looked;                /* TSC of the last look that found no sign of life */
	uint64_t silent;                /* TSC cycles since there was one */
	uint64_t unknown;               /* operations that it gave back and did not have */
	uint32_t failed;                /* outbound operations that have failed since one was good */
	uint8_t device;
	uint8_t lost;                   /* this worker is done with the device: what `held` has stays there until the device is stopped */
};

struct sp_worker {
	struct sp_dataplane *dp;
	const struct sp_snapshot *snapshot; /* of this burst */
	uint64_t now;                       /* TSC of this turn */
	uint32_t generation;                /* of this burst */
	uint32_t flow_mask;                 /* buckets - 1 */
	struct sp_flow_entry *flows;        /* two to a bucket */
	struct sp_flow_entry6 *flows6;      /* two to a bucket */
	uint32_t flow6_mask;                /* buckets - 1 */
	uint32_t flow_moves;                /* memos that gave way to others when all places were taken */
	uint32_t n_oversize;
	uint32_t n_aside;
	struct rte_mbuf *aside[SP_BURST];   /* IPv6 frames of the burst at hand, which follow it as one of their own */
	uint16_t id;                        /* also its queue on every port and device, and its RCU thread */
	uint8_t online;
	uint16_t n_ports;
	uint16_t n_sources;
	uint16_t ports[SP_MAX_PORTS];
	uint16_t sources[SP_MAX_DEVICES];   /* DPDK port ids to poll */
	uint32_t n_devices;
	uint32_t in_flight;                 /* operations that are with crypto devices or wait for one */
	uint32_t phase;                     /* of operations that begin now: 0 or 1 */
	uint32_t unfinished[2];             /* operations of each phase, in_flight together */
	uint32_t n_fragments;               /* that wait for others */
	uint32_t rings_looked;              /* `rings_asked` when that was last answered */
	uint64_t pending_epoch;             /* RCU token to report once the operations of its time are done, 0 none */
	struct sp_async_queue devices[SP_MAX_CRYPTO_DEVICES];
	struct rte_ring *inject, *handover;
	uint64_t untold;                    /* packets to groups that Go could not be told of */
	uint64_t unheard;                   /* dropped fragments from peers of what may have been for a port of IKE */
	struct sp_sa_out **own;             /* by cell: outbound SAs that no other worker sends by */
	struct sp_reassembly *reassembly;
	struct sp_oversize oversize[SP_BURST];
	struct sp_filter_counters *filters;
	struct sp_tally *tally;             /* drops by filter and by SA */
	struct sp_port_counters counters[SP_PORT_SLOTS];
	struct sp_job_scratch job;
	struct sp_gcm_scratch gcm;
	uint8_t ring[SP_MAX_DEVICES];       /* enum sp_ring: its transmit queue of each device, when last looked at */
	struct sp_nic_silence refused[SP_PORT_SLOTS], unopened[SP_PORT_SLOTS]; /* by the NIC of a port, since it last did such a thing; whole cache lines */
	struct sp_cpu_vector cpu __rte_cache_aligned;
	struct sp_punt_queue punt[SP_CLASS_COUNT];
	struct sp_events events;
	struct sp_tx_buffer tx[SP_MAX_PORTS] __rte_cache_aligned;
#ifdef SP_PROFILE
	struct sp_profile profile;
#endif
} __rte_cache_aligned;

/* ---- the whole ---- */

/* A former adjacency that waits for its grace period. */
struct sp_deferred {
	struct sp_deferred *next;
	void *object;
	uint64_t token;
};

struct sp_dataplane {
	struct sp_port ports[SP_MAX_PORTS];
	struct sp_trunk *trunks[SP_MAX_DEVICES]; /* NULL: the device has one port, untagged */
	struct sp_snapshot *snapshot;
	uint32_t generation;
	uint32_t sad_mask;
	struct sp_sa_in **sad;             /* slot = SPI & sad_mask */
	struct sp_transit *transit;        /* NULL: none */
	uint8_t esp_in_udp;                /* there are inbound SAs of ESP in UDP */
	uint8_t secured;                   /* ports are */
	uint32_t rings_asked;              /* how often workers were asked what their transmit queues have to send */
	struct sp_cell *cells;
	struct sp_sa_out **outbound;       /* by cell: the SA that every worker sends by; NULL: the cell says */
	struct sp_adjacency **adjacencies; /* NULL: unresolved */
	struct rte_hash *neighbours;       /* (port, next hop) -> adjacency */
	struct rte_hash *neighbours6;
	struct rte_hash *soft;             /* sp_soft_key -> counter slot */
	struct rte_hash *peers;            /* addresses of IKE's peers, IPv4 as ::ffff:0:0/96 */
	struct sp_worker *workers[SP_MAX_WORKERS];
	struct rte_rcu_qsbr *rcu;
	struct rte_mempool *pool, *large_pool;
	uint64_t reassembled_flag;         /* in ol_flags: the packet was put together from fragments */
	uint64_t outer_reassembled_flag;   /* so was ESP or AH that it came in */
	uint64_t time_offset;              /* TSC cycles that the workers' clock is ahead, by sp_lab_advance */
	uint32_t n_workers, max_cells, max_adjacencies, max_filters, max_counters, flow_entries, flow6_entries;
	uint8_t idle;
	uint8_t stop;
	uint8_t silent[SP_MAX_PORTS]; /* enum sp_nic_loss: ports whose NIC does no ESP, by what a worker has found */
	uint8_t lost[SP_MAX_CRYPTO_DEVICES]; /* enum sp_device_loss, as a worker has found, in the order of all workers: nothing is given to a lost one any more */
	uint32_t tick;                     /* counts the slow path's ticks: once in each Go is told of the same thing that is dropped */
	uint32_t *heard;                   /* by position in `peers`: `tick` when Go was last told that something came from there to a port of IKE */
	uint64_t told[SP_TOLD];            /* who sent to a group, as a hash whose last bits are those of `tick` when Go was told */
	uint64_t secret[2];

	struct sp_early *early;            /* as sad */
	uint32_t early_limit, early_waiting; /* packets of all its entries: at most, and at this moment */

	struct sp_deferred *deferred;      /* control side only */
	uint32_t serial;                   /* names of DPDK objects */
	int32_t socket;
};

#endif
