/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SP_FUZZ_KEYS_H
#define SP_FUZZ_KEYS_H

/* What the tunnels encrypt with. */

#include "../../crypto/cryptodev/gcm.h"
#include "../../crypto/cryptodev/job.h"
#include "gateway.h"

/* Both gateways have both directions of each. Lengths in bytes. */
struct form {
	IMB_CIPHER_MODE mode; /* with `hash`, of jobs alone */
	IMB_HASH_ALG hash;
	uint8_t kind, cipher, protocol;
	uint8_t key, integ_key, iv, icv, block;
	uint8_t salted; /* the library takes the salt with the IV */
	uint8_t esn, udp, wide, transport, bundle;
	uint8_t card;    /* at our end the NIC does: */
	uint16_t window; /* 0: 1024 */
	uint16_t path;   /* MTU, 0: the link's */
	uint16_t hard;   /* packets, 0: no end */
	struct sp_encapsulation encapsulation;
};


void keys_start(void);
/* The key of a direction, expanded for what does its crypto: made of the tunnel and of who sends. */
void *key_session(const struct form *f, enum tunnel t, int encrypt, int from_us);
/* The crypto device of a form. */
uint8_t key_device(const struct form *f);
/* libIPSec_MB's function of a form of SP_SA_AEAD_DIRECT, or on processors that have the instructions what stands in for it, which a sanitizer can see into. */
void *key_function(int stand_in, int encrypt);

#endif
