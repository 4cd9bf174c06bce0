/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SP_AH_H
#define SP_AH_H

/* The Authentication Header (RFC 4302): next header, length, two bytes of zero, SPI, sequence number, ICV. The ICV covers the packet as the receiver will see it. */

#include "ipv6.h"

#define SP_AH_HEADERS_MAX 256 /* bytes of IP and extension headers in front of AH, of which a copy is kept while the ICV is computed */
#define SP_AH_SPI 4           /* bytes in front of the SPI */
#define SP_AH_ESN_ROOM 4      /* bytes behind the packet, where the upper half of an extended sequence number stands while the ICV is computed (RFC 4302 2.5.1) */

/* Bytes of a header with this transform: a multiple of 4, for IPv6 of 8 (RFC 4302 2.2). */
static inline uint32_t sp_ah_length(const struct sp_transform *t, int ipv6)
{
	uint32_t length = SP_AH_LENGTH + (uint32_t)t->iv_length + t->icv_length;

	return ipv6 ? RTE_ALIGN_CEIL(length, 8u) : RTE_ALIGN_CEIL(length, 4u);
}

/* ah.c: the header with its number; IV and ICV are still zero. */
void sp_ah_write(const struct sp_ah *ah, uint8_t *header, uint64_t sequence, uint8_t next_header);
/*
 * ah.c: fills in the ICV of packets whose outer IP header begins SP_L2_LENGTH into the frame. Of an sp_crypt it takes the mbuf, AH's transform and the number. Returns a bit for each that
 * failed.
 */
uint32_t sp_ah_seal(struct sp_worker *w, struct sp_crypt *packets, uint32_t n);
/* ah.c: SP_PASS or why the header of a packet of form AH cannot be the SA's. */
uint8_t sp_ah_check(const struct sp_sa_in *sa, const struct sp_esp *p);
/* ah.c: as sp_crypt_open. All have passed sp_ah_check; the headers of those that are opened are left as they came. */
struct sp_opened sp_ah_open(struct sp_worker *w, struct sp_sa_in *const *sas, const struct sp_esp *packets, uint32_t n);

#endif
