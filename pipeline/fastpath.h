/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SP_FASTPATH_H
#define SP_FASTPATH_H

/*
 * What Go calls. Unless a line says otherwise a function returns 0 or a negative errno, and may be called by any one control thread at a time (Go holds one lock);
 * workers never wait for it.
 */

#include <stddef.h>
#include <stdint.h>

#include "tables.h"

struct sp_dataplane;
struct sp_snapshot;
struct sp_sa_in;
struct sp_sa_out;

/* ---- life ---- */

/* NULL on failure, with the reason in error. Ports must be configured with n_workers queues each way; they may be started before or after. */
struct sp_dataplane *sp_dataplane_create(const struct sp_config *config, char *error, size_t error_size);
/* No worker may be running. Frees tables, snapshot, SAs still published and every packet in a ring; sessions and the pool remain the caller's. */
void sp_dataplane_destroy(struct sp_dataplane *dp);

/* The poll loop: returns after sp_dataplane_stop and after in-flight crypto has drained. The thread should be registered with EAL and pinned. */
void sp_worker_loop(struct sp_dataplane *dp, uint32_t worker);
/* One turn of the same loop; returns the number of packets it took from any input. One thread at a time per worker, and none in sp_worker_loop. */
uint32_t sp_worker_once(struct sp_dataplane *dp, uint32_t worker);
/* Takes back what crypto devices hold for the worker, and nothing new. Same threads as sp_worker_once. */
void sp_worker_drain(struct sp_dataplane *dp, uint32_t worker);
void sp_dataplane_stop(struct sp_dataplane *dp);
/* Sets the stop flag back, so that workers may start again. */
void sp_dataplane_resume(struct sp_dataplane *dp);
/* Operations of this worker that are with crypto devices or wait for one: 0 at rest. Call from the worker's thread or while it is stopped. */
uint32_t sp_worker_in_flight(const struct sp_dataplane *dp, uint32_t worker);

/* ---- crypto devices ---- */

/* enum sp_device_loss of a device of sp_config. The SAs of one that does not work carry nothing any more. */
int sp_device_lost(const struct sp_dataplane *dp, uint8_t device);
/* Frees the packets that a lost device had, which is stopped now: a grace period after it was found lost no worker is using it. */
void sp_device_release(struct sp_dataplane *dp, uint8_t device);
void sp_device_read(const struct sp_dataplane *dp, uint8_t device, struct sp_device_counters *out);

/* ---- grace ---- */

/* A token for "every worker has passed a quiescent state since now". A worker that is in neither loop nor once counts as passed. */
uint64_t sp_grace_start(struct sp_dataplane *dp);
/* 1 when the grace period of token is over, 0 when not yet. Never waits. */
int sp_grace_passed(struct sp_dataplane *dp, uint64_t token);
/* Waits for a whole grace period. */
void sp_synchronise(struct sp_dataplane *dp);

/* ---- policy and routes ---- */

/* Touches nothing that is published: it may run beside other calls, but not beside itself. */
struct sp_snapshot *sp_snapshot_build(struct sp_dataplane *dp, const struct sp_snapshot_config *config, char *error, size_t error_size);
void sp_snapshot_free(struct sp_snapshot *snapshot);
/* Publishes and bumps the generation; returns the former snapshot (the first time the closed one of creation), to be freed after a grace period. */
struct sp_snapshot *sp_snapshot_publish(struct sp_dataplane *dp, struct sp_snapshot *snapshot);
/* Forgets every memo of the flow caches. */
void sp_generation_bump(struct sp_dataplane *dp);
uint32_t sp_generation(const struct sp_dataplane *dp);

/* Copies the published snapshot's entries in match order, from index first on; returns how many. */
uint32_t sp_snapshot_entries(const struct sp_dataplane *dp, uint32_t first, struct sp_entry *out, uint32_t n);
/* What would become of a packet that in_port received or, with key->in_cell, the tunnel of a cell brought there. The role of what comes in clear is the port's. */
void sp_explain(const struct sp_dataplane *dp, const struct sp_flow_key *key, const uint8_t *addresses, uint16_t in_port, struct sp_explanation *out);
/* Copies what a worker's flow cache holds for the key, of whatever generation, the newest first; returns how many, at most 2. */
uint32_t sp_flow_find(const struct sp_dataplane *dp, uint32_t worker, const struct sp_flow_key *key, struct sp_flow_entry out[2]);
uint32_t sp_flow_find6(const struct sp_dataplane *dp, uint32_t worker, const struct sp_flow_key *key, const uint8_t *addresses, struct sp_flow_entry6 out[2]);

/* ---- SAs and cells ---- */

struct sp_sa_in *sp_sa_in_create(struct sp_dataplane *dp, const struct sp_sa_config *config, char *error, size_t error_size);
struct sp_sa_out *sp_sa_out_create(struct sp_dataplane *dp, const struct sp_sa_config *config, char *error, size_t error_size);
/* -EEXIST when the slot of the SPI is taken. */
int sp_sa_in_publish(struct sp_dataplane *dp, struct sp_sa_in *sa);
/* Takes the SA out of its slot; NULL when the SPI is not there. Free it after a grace period. */
struct sp_sa_in *sp_sa_in_retire(struct sp_dataplane *dp, uint32_t spi);
/* The pairs of addresses between which ESP and AH is for us although the destination is not ours, instead of those set before. The caller bumps the generation. */
int sp_transit_set(struct sp_dataplane *dp, const struct sp_pair *pairs, uint32_t n);
/* Whether any inbound SA is of ESP in UDP, which then is for us like ESP itself. The caller bumps the generation. */
void sp_esp_in_udp(struct sp_dataplane *dp, int any);
/* Puts sa (NULL: none) into the cell and returns the former one, to be freed after a grace period. */
struct sp_sa_out *sp_cell_publish(struct sp_dataplane *dp, uint16_t cell, struct sp_sa_out *sa);
struct sp_sa_out *sp_cell_current(const struct sp_dataplane *dp, uint16_t cell);
/* As sp_cell_publish, for the SA that one worker alone sends by, in place of the one that all others have. */
struct sp_sa_out *sp_cell_publish_own(struct sp_dataplane *dp, uint16_t cell, uint32_t worker, struct sp_sa_out *sa);
void sp_cell_set_state(struct sp_dataplane *dp, uint16_t cell, uint8_t state);
/* Gives a closed cell to another tunnel: no SA, no held packet and no memo of the former one speaks for the new one. After a grace period since the former one's end. */
void sp_cell_reuse(struct sp_dataplane *dp, uint16_t cell);
/* From now on packets of a reserved inbound SPI wait for its SA, with Go; a slot has one such SPI. */
void sp_early_expect(struct sp_dataplane *dp, uint32_t spi);

/* ---- SAs whose work is done elsewhere from now on ---- */

/*
 * Makes of an SA that no worker knows the successor of one with the same keys, SPI and, inbound, window. Outbound the counter of numbers stays the former one's until
 * sp_sa_out_settle; a jump, if it is not 0, is the first number instead: workers that still send by the former one stay below it. Where they may have come that far already it returns 0, and
 * the former one goes on alone. It fills `carried`. Inbound the owner takes the window over when the next packet comes.
 */
int sp_sa_out_succeed(struct sp_sa_out *sa, struct sp_sa_out *former, uint64_t jump, struct sp_sa_counters *carried);
void sp_sa_in_succeed(struct sp_sa_in *sa, struct sp_sa_in *former);
/* A grace period after the successor was published: it counts by itself. `carried` is what sp_sa_out_succeed has filled. The former one is free a grace period later. */
void sp_sa_out_settle(struct sp_sa_out *sa, struct sp_sa_out *former, const struct sp_sa_counters *carried);
/* Whether the successor has the window: the former SA is free a grace period after it was replaced, but no sooner. */
int sp_sa_in_settled(const struct sp_sa_in *sa);
/* Publishes the successor in the place of the former SA, whose SPI it has. */
void sp_sa_in_replace(struct sp_dataplane *dp, struct sp_sa_in *sa);

/* No packet of the SPI waits any more that does not yet. Before sp_sa_in_retire, so that none waits for an SA that is gone. */
void sp_early_forget(struct sp_dataplane *dp, uint32_t spi);
/* A packet that waited for the SA of the SPI is given back, or will be freed. */
void sp_early_left(struct sp_dataplane *dp, uint32_t spi);
void sp_sa_in_free(struct sp_sa_in *sa);
void sp_sa_out_free(struct sp_sa_out *sa);
/* Next hop of the outer packets; takes effect at once. */
void sp_sa_out_set_adjacency(struct sp_sa_out *sa, uint16_t adjacency);
/* Largest outer packet that the path takes, in bytes, 0 when only the link is known; takes effect at once. */
void sp_sa_out_set_path_mtu(struct sp_sa_out *sa, uint16_t mtu);
/*
 * Where the two ends of an SA are now, addresses of its IP version as they stand in a packet, and with UDP the peer's port; -EOPNOTSUPP in transport mode without UDP. Keys and
 * numbers go on. A packet that is being made has addresses of before, of now, or of a plain SA one of each.
 */
int sp_sa_out_move(struct sp_dataplane *dp, struct sp_sa_out *sa, const uint8_t local[16], const uint8_t remote[16], uint16_t port);
uint32_t sp_sa_out_spi(const struct sp_sa_out *sa);
/* Largest inner IP packet that fits an egress MTU after encapsulation, both in bytes; 0 when none does. */
uint16_t sp_sa_out_largest_inner(const struct sp_sa_out *sa, uint16_t mtu);
/* The NIC that has a session of the SA is gone: the CPU seals. Without a session nothing changes. */
void sp_sa_out_lose(struct sp_sa_out *sa);
/* Whether packets say which SA a NIC has opened them by: some driver has asked for the room. */
int sp_inline_userdata(void);
/* A NIC is about to have sessions of inbound SAs: packets that it has taken apart may come, before the SAs do. */
void sp_inline_expect(struct sp_dataplane *dp, uint16_t device);
void sp_sa_in_counters(const struct sp_sa_in *sa, struct sp_sa_counters *out);
/* enum sp_nic_loss of a port, as workers have found since this was last called. */
uint8_t sp_nic_take_loss(struct sp_dataplane *dp, uint16_t port);
void sp_sa_out_counters(const struct sp_sa_out *sa, struct sp_sa_counters *out);

/* A transmit queue of a worker, as its driver tells. */
enum sp_ring {
	SP_RING_UNKNOWN, /* the worker has not answered yet */
	SP_RING_UNTOLD,  /* the driver says nothing */
	SP_RING_SENDING,
	SP_RING_SENT,    /* all that the worker gave it, but for what the driver does not hear of one by one */
};
/* Asks all workers for the state of their transmit queues; returns what sp_ring_state knows the answer by. A worker that takes no turns does not answer: whoever has its place calls sp_rings_answer. */
uint32_t sp_rings_ask(struct sp_dataplane *dp);
void sp_rings_answer(struct sp_dataplane *dp, uint32_t worker);
uint8_t sp_ring_state(const struct sp_dataplane *dp, uint32_t worker, uint16_t device, uint32_t asked);
/* Packets that a worker's transmit queue of a device has ever taken. No ring of DPDK's has more than 65,535 places: what was in it so many packets ago is sent. */
uint64_t sp_ring_taken(const struct sp_dataplane *dp, uint32_t worker, uint16_t device);

/* Bytes of DPDK memory an SA takes beside its session. */
size_t sp_sa_in_size(uint16_t window, uint32_t n_selectors, uint32_t n_selectors6);
size_t sp_sa_out_size(uint32_t n_selectors, uint32_t n_selectors6, int ah);

/* ---- next hops ---- */

/* Sets the frame header of an adjacency (NULL l2: unresolved), its EtherType that of the next hop's IP version. The index keeps its (port, next hop) for life. The former header is freed after a grace period
 * by a later call of this function or of sp_dataplane_destroy. */
int sp_adjacency_set(struct sp_dataplane *dp, uint16_t adjacency, uint16_t port, const uint8_t l2[14]);
/* (port, next hop) -> adjacency, consulted on a flow-cache miss. Removal wants an unresolved adjacency and a generation bump by the caller. */
int sp_neighbour_add(struct sp_dataplane *dp, uint16_t port, uint32_t next_hop, uint16_t adjacency);
int sp_neighbour_remove(struct sp_dataplane *dp, uint16_t port, uint32_t next_hop);
int sp_neighbour_add6(struct sp_dataplane *dp, uint16_t port, const uint8_t next_hop[16], uint16_t adjacency);
int sp_neighbour_remove6(struct sp_dataplane *dp, uint16_t port, const uint8_t next_hop[16]);

/* ---- soft SAs ---- */

/*
 * What the key names passes in clear from the next flow-cache miss on, and counts in the slot `counter`, of those behind the filters'. The caller bumps the generation. An entry
 * without `fallback`, or whose cell has an SA or does not wait for one, never asks. After removal and a grace period nobody counts in the slot any more.
 */
int sp_soft_add(struct sp_dataplane *dp, const struct sp_soft_key *key, uint32_t counter);
void sp_soft_remove(struct sp_dataplane *dp, const struct sp_soft_key *key);
/* What a slot of soft SAs has counted that nobody counts in any more; it counts from zero again. */
void sp_soft_settle(struct sp_dataplane *dp, uint32_t counter, struct sp_filter_counters *hits, uint64_t drops[SP_DROP_COUNT]);

/* ---- rings ---- */

/* From now on Go may be told once more of what it was told of: a cell's packets that came in clear, who sends to groups, and peers that are heard. */
void sp_notice_tick(struct sp_dataplane *dp);
/* Takes up to shares[c] packets of each class c, which is what `out` must have room for. One reader thread per worker at a time. */
uint32_t sp_punt_dequeue(struct sp_dataplane *dp, uint32_t worker, const uint16_t shares[SP_CLASS_COUNT], struct sp_exception *out);
/* Packets to groups of which Go was not told, because too many senders had to be: ever, of all workers. */
uint64_t sp_groups_untold(const struct sp_dataplane *dp);
/* Dropped fragments from peers to addresses of ours, without the ports: any may have been of an IKE message. Ever, of all workers. */
uint64_t sp_fragments_unheard(const struct sp_dataplane *dp);
/* Frees packets that came from sp_punt_dequeue, any number. */
void sp_packets_free(struct rte_mbuf **mbufs, uint32_t n);
/* Copies frames into fresh buffers and queues them for the worker; returns how many it took (pool or ring exhausted: fewer). One writer per worker at a time,
 * shared with sp_release. */
uint32_t sp_inject(struct sp_dataplane *dp, uint32_t worker, const struct sp_injection *frames, uint32_t n);
/* Gives held packets back, to be processed again as received; returns how many, the rest remain the caller's. */
uint32_t sp_release(struct sp_dataplane *dp, uint32_t worker, struct rte_mbuf **mbufs, uint32_t n);

/* ---- peers ---- */

/*
 * Makes of 64 random bits an SPI of ours, by which messages are known to be for an IKE SA of ours: it ends with a hash of the rest. Whoever has not seen one can make none, and
 * there is no table to keep. One time of 65,536 what is guessed is right.
 */
uint64_t sp_ike_spi(const uint64_t secret[2], uint64_t random);
/* siphash.h's, for its vectors. */
uint64_t sp_keyed_hash(const uint64_t key[2], const uint64_t *words, uint32_t n);
/*
 * Whose IKE is not a stranger's: the far ends of tunnels, as an IPv6 address or as ::ffff:0:0/96. It decides which queue their datagrams wait in and nothing else, so that an
 * address that finds no room (-ENOSPC) costs its peer no more than the company of strangers.
 */
int sp_peer_add(struct sp_dataplane *dp, const uint8_t address[16]);
int sp_peer_remove(struct sp_dataplane *dp, const uint8_t address[16]);

/* ---- events ---- */

/* Takes up to n of what a worker tells. */
uint32_t sp_event_dequeue(struct sp_dataplane *dp, uint32_t worker, struct sp_event *out, uint32_t n);

/* ---- counters ---- */

/* Adds up all workers. */
void sp_port_counters_read(const struct sp_dataplane *dp, uint16_t port, struct sp_port_counters *out);
void sp_filter_counters_read(const struct sp_dataplane *dp, uint32_t counter, struct sp_filter_counters *out);
/* Adds up all workers. */
void sp_punt_counters_read(const struct sp_dataplane *dp, uint32_t punt_class, struct sp_punt_counters *out);
/* Copies the drops that a worker has counted by filter and by SA, from table index *cursor on; returns the number copied, 0 at the end, and moves *cursor. */
uint32_t sp_tally_dump(const struct sp_dataplane *dp, uint32_t worker, uint32_t *cursor, struct sp_tally_count *out, uint32_t n);
/* Drops of all workers that filters or SAs would have counted, had there been room. */
uint64_t sp_tally_unattributed(const struct sp_dataplane *dp, uint32_t reason);
/* Copies entries of the present generation, from flow-cache index *cursor on; returns the number copied and moves *cursor, which is flow_entries at the end. */
uint32_t sp_flow_dump(const struct sp_dataplane *dp, uint32_t worker, uint32_t *cursor, struct sp_flow_entry *out, uint32_t n);
/* The same of the IPv6 flow cache, which has half as many entries of twice the size. */
uint32_t sp_flow_dump6(const struct sp_dataplane *dp, uint32_t worker, uint32_t *cursor, struct sp_flow_entry6 *out, uint32_t n);
uint32_t sp_flow6_entries(const struct sp_dataplane *dp);
/* NULL past the last one. */
const char *sp_drop_reason_name(uint32_t reason);
const char *sp_punt_class_name(uint32_t punt_class);
const char *sp_action_name(uint32_t action);
uint64_t sp_tsc(void);
uint64_t sp_tsc_hz(void);

#endif
