/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SP_FUZZ_INVARIANTS_H
#define SP_FUZZ_INVARIANTS_H

/* What must hold of every packet, whatever the input. */

#include "gateway.h"

/* Every soft SA that an input has had. */
#define SOFT_SEEN 32
struct soft {
	uint32_t local, remote;
};
extern struct soft soft_seen[SOFT_SEEN];
extern uint32_t n_soft_seen;

/* Each packet that a port received has ended in exactly one way. */
void check_conservation(const struct gateway *g);
/* Nothing of a protected network in clear on the unprotected side, but what a filter permits in words. */
void check_clear(const struct gateway *sender, const uint8_t *frame, uint32_t length);
/* Whether a frame of our unprotected port is a tunnel's, for the peer. */
int from_tunnel(const uint8_t *frame, uint32_t length);
/* Groups end at the gateway (RFC 2644): nothing for one leaves by any port. */
void check_group(const uint8_t *frame);

#endif
