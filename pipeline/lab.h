/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SP_LAB_H
#define SP_LAB_H

/* What the benchmark (perf/bench) and tests need beyond fastpath.h, and a gateway never calls. */

#include <stdint.h>

#include "acl.h"

struct rte_ring;
struct sp_dataplane;
struct sp_sa_in;
struct sp_sa_out;

/*
 * Runs turns of the worker until `cycles` of the TSC have passed and the packets received are a multiple of `pass`, the length of the endless file that feeds its queue, in whole
 * bursts. The worker stays online from turn to turn of a pass, as in its own loop. After each pass crypto drains and the replay windows of the worker's inbound SAs start anew,
 * because the file brings the same sequence numbers again: within a pass replay protection works as ever. Fills packets received and cycles spent on them, draining included and
 * the windows' new start not. Returns 0, -EINVAL when bursts would not end where the file does, -ENODATA when nothing arrives, or -EPROTO when several inputs bring packets. Same
 * threads as sp_worker_once; other workers may run at the same time. With `forget` every pass begins with no flow known, as after a change of policy.
 */
int sp_lab_run(struct sp_dataplane *dp, uint32_t worker, uint64_t pass, uint64_t cycles, int forget, uint64_t *packets, uint64_t *spent);

/* The workers' clock goes ahead by so many TSC cycles: what ages in a worker ages at once. */
void sp_lab_advance(struct sp_dataplane *dp, uint64_t cycles);

/* The published filters alone, asked in bursts as workers do: for each key the index of its entry + 1, or 0. */
void sp_lab_match(const struct sp_dataplane *dp, const struct sp_acl_key *keys, uint32_t *result, uint32_t n);
void sp_lab_match6(const struct sp_dataplane *dp, const struct sp_acl_key6 *keys, uint32_t *result, uint32_t n);
/* Parts of the published table of an IP version. */
uint32_t sp_lab_parts(const struct sp_dataplane *dp, enum sp_ip ip);

/* Marks a received frame as one whose tag the device has taken off. */
void sp_lab_strip(struct rte_mbuf *m, uint16_t tag);

/* What a driver does whose NIC opens packets: gives them a place for their SA's userdata. Returns 0 or a negative errno. */
int sp_lab_userdata(void);
/* Marks a received frame as one that a NIC has opened, or failed to. */
void sp_lab_opened(struct rte_mbuf *m, int failed, uint64_t userdata);
/* What a driver says that tells whether the next descriptor of a port's transmit queues is taken; -1: it does not tell. */
void sp_lab_descriptors(uint16_t device, int taken);
/* A port's driver tells of a transmit queue's descriptors what is in a ring, until the port is stopped. */
void sp_lab_ring(uint16_t device, uint16_t worker, const struct rte_ring *ring);
/* Workers take so many numbers of an SA that no packet has. */
void sp_lab_skip(struct sp_sa_out *sa, uint64_t numbers);
/* An SA is held as one is that another comes for: its workers take no number from `first` on. Returns 0 when they may have taken one already. */
int sp_lab_hold(struct sp_sa_out *sa, uint64_t first);
/* An SA's NIC has opened so many packets. */
void sp_lab_has_opened(const struct sp_sa_in *sa, uint64_t packets);
/* Bytes of link layer of a frame that is left to the NIC, 0 for all others. */
uint32_t sp_lab_left(const struct rte_mbuf *m);

/* What an SA with this encapsulation writes outside of an inner header of either version: TOS or traffic class, TTL, and the flags of an IPv4 header. */
struct sp_lab_outer {
	uint8_t tos, ttl;
	uint16_t flags;
};
struct sp_lab_outer sp_lab_outer_fields(const struct sp_encapsulation *e, const uint8_t *inner);
/* mss.c's function by itself. */
void sp_lab_mss_lower(uint8_t *tcp, uint32_t length, uint16_t mss);

/* Operations ever given to crypto devices by all workers, which should rest. */
uint64_t sp_lab_operations(const struct sp_dataplane *dp);

#endif
