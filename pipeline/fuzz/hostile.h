/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SP_FUZZ_HOSTILE_H
#define SP_FUZZ_HOSTILE_H

/* What no sound peer sends. */

#include "frames.h"
#include "gateway.h"

/* What stands in an ESP or AH packet beside what its SA says. */
struct forgery {
	enum tunnel tunnel;
	uint32_t shape, sequence, length;
	uint8_t pad, next_header;
	uint8_t plain[FRAME_MAX]; /* `length` bytes, of ESP with its trailer */
};

/* Makes m the frame of it, without a link layer. `sealed`: encrypted and with its ICV. */
void write_packet(const struct sp_sa_out *sa, const struct forgery *f, struct rte_mbuf *m, int sealed);
/* Anything at all under ESP, AH or both, by someone who has the keys: ICVs are right, trailers, inner and outer headers are as the program says. */
void op_forge(struct program *p);
/* UDP for port 4500 from a peer's address: keepalives, IKE, ESP, checksums of every kind. */
void op_udp(struct program *p);

#endif
