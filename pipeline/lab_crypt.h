/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SP_LAB_CRYPT_H
#define SP_LAB_CRYPT_H

/* The crypto stages by themselves, for tests: every kind of session on packets that no gateway has parsed. */

#include "tables.h"

struct sp_dataplane;

#define SP_LAB_ICV_ROOM 48 /* IV and ICV of AH */

/* One packet as the stages want it: ESP from the SPI to the ICV, AH from the IP header to the end with mutable fields and ICV zero. */
struct sp_lab_packet {
	uint32_t offset, length;  /* in the buffer */
	uint32_t payload;         /* bytes in front of the payload */
	uint32_t payload_length;
	uint64_t sequence;
	uint8_t icv[SP_LAB_ICV_ROOM]; /* AH: IV and ICV, as received or as made */
	uint8_t failed;           /* result: not sealed, or not to be trusted */
	uint8_t reserved[7];
};

/*
 * Seals or opens the packets in place with the SA's session, by worker 0 and for queues with the device's queue pair. Returns 0, -ENOMEM, -EAGAIN when a device did not take or not give
 * back all, or -EFAULT when a byte beside a packet was changed.
 */
int sp_lab_crypt(struct sp_dataplane *dp, const struct sp_sa_config *config, uint16_t queue_pair, uint8_t *buffer, struct sp_lab_packet *packets, uint32_t n, int encrypt);

#endif
