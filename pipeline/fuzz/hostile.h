/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SP_FUZZ_HOSTILE_H
#define SP_FUZZ_HOSTILE_H

/* What no sound peer sends. */

#include "frames.h"

/* Anything at all under ESP, AH or both, by someone who has the keys: ICVs are right, trailers, inner and outer headers are as the program says. */
void op_forge(struct program *p);
/* UDP for port 4500 from a peer's address: keepalives, IKE, ESP, checksums of every kind. */
void op_udp(struct program *p);

#endif
