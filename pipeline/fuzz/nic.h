/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SP_FUZZ_NIC_H
#define SP_FUZZ_NIC_H

/*
 * A NIC that does ESP, at our gateway's unprotected port. What it is left to send it seals, with the SA as the CPU would have it, and checks that this can be done. What it receives is
 * marked as the program says, which is how a NIC of any driver may err.
 */

#include "wire.h"

void nic_start(void);
/* Says how the NIC marks the packets of the next operation, rightly or not, and what becomes of itself. Returns whether it lost a tunnel's SA, or took one away that comes again. */
int op_nic(struct program *p, struct arrival *next);
/* struct rte_security_ctx; fast: its driver need not be told of packets. */
void *nic_context(int fast);
/* A session for what an SA sends; `twin` is the same SA without one, and the session's from now on. */
void *nic_open(enum tunnel t, struct sp_sa_out *twin, int protocol, uint64_t first_sequence);
/* The SA that has a session, before it sends. */
void nic_attach(void *session, const struct sp_sa_out *sa);
void nic_close(void *session);
/* So many packets that are announced from now on it does not want. */
void nic_refuse(uint32_t n);
/* A tunnel's inbound SA comes once the marks of the next packets have been looked at, before their SAs are; TUNNELS: none. */
void nic_awaits(enum tunnel t);
/* A packet that leaves our gateway by any port was not found forged. */
void nic_check(const struct rte_mbuf *m);
/* A frame that is left to the NIC, as it goes to the wire. */
void nic_send(struct rte_mbuf *m, struct frame *f);
/* A frame of the wire, as it comes to the gateway. */
void nic_receive(struct rte_mbuf *m);

#endif
