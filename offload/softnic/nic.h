/* A network card that does ESP, in software: what sessions, rules and callbacks share. */
#ifndef SALLYPORT_SOFTNIC_NIC_H
#define SALLYPORT_SOFTNIC_NIC_H

#include <stdint.h>

#include <immintrin.h>
#include <rte_cryptodev.h>
#include <rte_cycles.h>
#include <rte_ethdev.h>
#include <rte_flow.h>
#include <rte_hash.h>
#include <rte_rwlock.h>
#include <rte_security.h>
#include <rte_security_driver.h>
#include <rte_spinlock.h>

#include "cipher.h"

#define SP_NIC_QUEUES_MAX 64
#define SP_NIC_WINDOW_MAX 2048 /* packets */
#define SP_NIC_WINDOW_WORDS (2 * SP_NIC_WINDOW_MAX / 64)

/* What one direction of one SA has in the memory of its rte_security session. */
struct sp_nic_session {
	struct sp_nic_cipher cipher;
	uint32_t slot;   /* place in the table, from 1 on; 0: given back */
	uint32_t spi_be;
	struct rte_flow *rules; /* that lead to it */
	uint8_t egress, protocol, transport, udp, esn, ipv6, ecn, copy_dscp, copy_df, df, dscp, ttl;
	uint16_t source_port_be, destination_port_be;
	uint32_t flow_label;
	uint8_t source[16], destination[16]; /* of the outer header; IPv4 in the first 4 */
	uint64_t userdata;
	rte_spinlock_t lock;
	uint64_t next;   /* egress: number of the next packet */
	uint64_t top;    /* ingress: the highest number that was authentic */
	uint32_t window; /* packets, 0: no replay protection */
	uint64_t seen[SP_NIC_WINDOW_WORDS];
};

#define SP_NIC_TAGGED 0x8000 /* beside a VLAN */
#define SP_NIC_VLAN_MASK 0x0fff /* of a tag */

/* IPv4 addresses are mapped into IPv6. */
struct sp_nic_key {
	uint8_t destination[16];
	uint32_t spi_be;
	uint32_t vlan; /* with SP_NIC_TAGGED; 0: frames with any tags, and without */
};

/* Faults that a test has asked for. Numbers: every nth; 0: none. */
struct sp_nic_fault {
	uint32_t lack; /* suites that are reported and refused, bits of enum sp_nic_suite */
	uint32_t fail_sessions, mangle, undecrypted;
	uint8_t full, vanished;
};

struct sp_nic_counters {
	uint64_t tx_secured, tx_failed, rx_secured, rx_passed, rx_failed, replayed, dummies, cycles;
};

struct sp_nic;

struct sp_nic_queue {
	struct sp_nic *nic;
	IMB_MGR *library;
	const struct rte_eth_rxtx_callback *callback;
	uint32_t packets; /* for the faults that want every nth */
	struct sp_nic_counters counters;
} __rte_cache_aligned;

struct sp_nic_slot {
	struct sp_nic_session *session;
	uint32_t generation; /* so that metadata of a session that is gone names none */
	uint32_t free;       /* stack of free places, by depth */
};

struct sp_nic {
	struct rte_security_ctx context;
	uint16_t port, queues;
	uint32_t suites; /* bits of enum sp_nic_suite */
	uint8_t no_vlan; /* rules match no VLAN */
	uint64_t clock;  /* cycles that it takes to read the clock */
	/* Callbacks hold it for reading while they work on a burst, so whoever has it for writing may take away what they use. */
	rte_rwlock_t lock;
	struct sp_nic_fault fault;
	uint32_t capacity, live, flows, created; /* created counts asked-for sessions, for the fault that wants every nth */
	uint64_t made, refused;
	struct sp_nic_slot *slots;
	struct rte_hash *rules;
	struct rte_flow *first; /* all rules */
	struct rte_cryptodev_capabilities crypto[5]; /* with what ends the list */
	struct rte_security_capability security[9];
	struct sp_nic_queue rx[SP_NIC_QUEUES_MAX], tx[SP_NIC_QUEUES_MAX];
};

struct rte_flow {
	struct rte_flow *next, *previous; /* of the NIC */
	struct rte_flow *sibling;         /* next of the session */
	struct sp_nic_key key;
	struct sp_nic_session *session;   /* NULL: it ended while the device was gone */
};

struct sp_nic_options {
	uint8_t crypto, protocol, no_vlan;
	uint32_t suites, sessions;
};

/* Returns 0 or -errno. The port is configured and stopped. */
int sp_nic_attach(uint16_t port, uint16_t queues, const struct sp_nic_options *options);
int sp_nic_detach(uint16_t port);
void sp_nic_inject(uint16_t port, const struct sp_nic_fault *fault);

struct sp_nic_report {
	struct sp_nic_counters packets;
	uint64_t made, refused;
	uint32_t live, flows;
};

void sp_nic_report(uint16_t port, struct sp_nic_report *report);

/* The NIC of a port, NULL if it has none. */
struct sp_nic *sp_nic_of(uint16_t port);

extern const struct rte_security_ops sp_nic_security_ops;

/* Fills the tables of capabilities. */
void sp_nic_describe(struct sp_nic *nic, const struct sp_nic_options *options);

/* The session that a packet's metadata names, NULL if it is gone. The NIC's lock is held. */
static inline struct sp_nic_session *sp_nic_named(const struct sp_nic *nic, uint64_t metadata)
{
	uint32_t slot = (uint32_t)metadata;
	struct sp_nic_session *s;

	if (slot == 0 || slot > nic->capacity || nic->slots[slot - 1].generation != metadata >> 32)
		return NULL;
	s = nic->slots[slot - 1].session;
	return s != NULL && s->slot == slot ? s : NULL; /* a program may have cleared it, which failed to end it */
}

/* flow.c: what rte_flow does on a port with a NIC. */
int sp_nic_flow_validate(struct sp_nic *nic, const struct rte_flow_attr *attributes, const struct rte_flow_item *pattern, const struct rte_flow_action *actions,
			 struct rte_flow_error *error);
struct rte_flow *sp_nic_flow_create(struct sp_nic *nic, const struct rte_flow_attr *attributes, const struct rte_flow_item *pattern, const struct rte_flow_action *actions,
				    struct rte_flow_error *error);
int sp_nic_flow_destroy(struct sp_nic *nic, struct rte_flow *flow, struct rte_flow_error *error);
int sp_nic_flow_flush(struct sp_nic *nic, struct rte_flow_error *error);

/* All rules; the lock is held, or nobody else is there any more. */
void sp_nic_drop_rules(struct sp_nic *nic);

/* Whether this is one of every n of the queue's packets. */
static inline int sp_nic_nth(const struct sp_nic_queue *q, uint32_t n)
{
	return n != 0 && q->packets % n == 0;
}

/*
 * The time stamp counter, read when all that stands before it is done. Read without waiting it charges a callback with what its caller has not finished, and the caller with the last
 * packets of the callback.
 */
static inline uint64_t sp_nic_clock(void)
{
	_mm_lfence();
	return rte_rdtsc();
}

/* Adds to the queue's cycles those of a callback that began at `start`. Of the two readings of the clock one is within what they measure, the other is not. */
static inline void sp_nic_spent(struct sp_nic_queue *q, uint64_t start)
{
	q->counters.cycles += sp_nic_clock() - start + q->nic->clock;
}

/* The callbacks; the argument is the queue. */
uint16_t sp_nic_receive(uint16_t port, uint16_t queue, struct rte_mbuf *packets[], uint16_t n, uint16_t room, void *argument);
uint16_t sp_nic_transmit(uint16_t port, uint16_t queue, struct rte_mbuf *packets[], uint16_t n, void *argument);

#endif
