/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SP_IPV4_H
#define SP_IPV4_H

/* IPv4 header arithmetic (RFC 791). Fields are read and written in place through memcpy-sized accesses: headers are not aligned. */

#include <stdint.h>
#include <string.h>

#include <rte_atomic.h>
#include <rte_branch_prediction.h>
#include <rte_byteorder.h>

#define SP_PROTOCOL_ICMP 1
#define SP_PROTOCOL_TCP 6
#define SP_PROTOCOL_UDP 17
#define SP_PROTOCOL_DCCP 33
#define SP_PROTOCOL_IPV6 41
#define SP_PROTOCOL_ESP 50
#define SP_PROTOCOL_AH 51
#define SP_PROTOCOL_NONE 59
#define SP_PROTOCOL_SCTP 132
#define SP_PROTOCOL_UDPLITE 136

#define SP_PORT_IKE 500
#define SP_PORT_IKE_NAT 4500 /* IKE shares it with ESP in UDP (RFC 3948 2) */
#define SP_NEXT_HEADER_IPV4 4

#define SP_ICMP_LENGTH 8 /* of the header, of either IP version */

#define SP_IPV4_TTL 8 /* byte of the header */
#define SP_IPV4_DF 0x4000
#define SP_IPV4_MORE 0x2000
#define SP_IPV4_OFFSET 0x1fff /* of a fragment, in units of 8 bytes */
#define SP_IPV4_FRAGMENT 0x3fff /* more fragments, and the offset */

#define SP_ECN_MASK 3
#define SP_ECN_CE 3

/* Bytes of a header whose first byte is there. */
static inline uint32_t sp_ipv4_header_length(const uint8_t *l3)
{
	return (l3[0] & 15u) * 4;
}

static inline uint16_t sp_load16(const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static inline uint32_t sp_load32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static inline uint64_t sp_load64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static inline void sp_store16(uint8_t *p, uint16_t v)
{
	memcpy(p, &v, sizeof(v));
}

static inline void sp_store32(uint8_t *p, uint32_t v)
{
	memcpy(p, &v, sizeof(v));
}

static inline void sp_store64(uint8_t *p, uint64_t v)
{
	memcpy(p, &v, sizeof(v));
}

/*
 * Copies 8 to some dozens of bytes. Of a length that it does not know the compiler makes a call, or a string instruction that takes longer to begin than to copy a header: the
 * barrier hides from it what the loop does. `from` and `to` do not overlap.
 */
static inline void sp_copy_few(uint8_t *to, const uint8_t *from, uint32_t length)
{
	for (uint32_t i = 0; i + 8 < length; i += 8) {
		sp_store64(to + i, sp_load64(from + i));
		rte_compiler_barrier();
	}
	sp_store64(to + length - 8, sp_load64(from + length - 8));
}

/* The same of zeros. */
static inline void sp_clear_few(uint8_t *to, uint32_t length)
{
	for (uint32_t i = 0; i + 8 < length; i += 8) {
		sp_store64(to + i, 0);
		rte_compiler_barrier();
	}
	sp_store64(to + length - 8, 0);
}

/* Folds a one's complement sum to 16 bits (RFC 1071): adding a rotated copy leaves the sum of the halves, carry included, in the high half. */
static inline uint16_t sp_fold(uint64_t sum)
{
	uint32_t half;

	sum += sum >> 32 | sum << 32;
	half = (uint32_t)(sum >> 32);
	half += half >> 16 | half << 16;
	return (uint16_t)(half >> 16);
}

/* Sum of a header of `words` 32-bit words, at least 5. */
static inline uint64_t sp_ipv4_sum(const uint8_t *l3, uint32_t words)
{
	uint64_t sum = (uint64_t)sp_load32(l3) + sp_load32(l3 + 4) + sp_load32(l3 + 8) + sp_load32(l3 + 12) + sp_load32(l3 + 16);

	for (uint32_t i = 5; i < words; i++)
		sum += sp_load32(l3 + 4 * i);
	return sum;
}

/* Corrects a checksum for one 16-bit word that changed, all as they stand in memory (RFC 1624 eqn. 3). */
static inline void sp_checksum_adjust(uint8_t *checksum, uint16_t before, uint16_t after)
{
	uint32_t sum = (uint16_t)~sp_load16(checksum) + (uint32_t)(uint16_t)~before + after;

	sp_store16(checksum, (uint16_t)~sp_fold(sum));
}

/* The same of a header's own checksum. */
static inline void sp_ipv4_checksum_adjust(uint8_t *l3, uint16_t before, uint16_t after)
{
	sp_checksum_adjust(l3 + 10, before, after);
}

/*
 * TTL, protocol and checksum are one word in memory, TTL lowest and checksum highest. TTL falls by one, so the checksum rises by one (RFC 1624): together that is an
 * addition of 0xffff. A checksum that would reach 0xffff, which is no sum's complement, takes one more for the carry that goes around.
 */
static inline void sp_ipv4_decrement_ttl(uint8_t *l3)
{
	uint32_t word = sp_load32(l3 + 8);

	if (unlikely(word >= 0xfffe0000))
		word += 0x10000;
	sp_store32(l3 + 8, word + 0xffff);
}

static inline int sp_has_ports(uint32_t protocol)
{
	return protocol == SP_PROTOCOL_TCP || protocol == SP_PROTOCOL_UDP || protocol == SP_PROTOCOL_DCCP || protocol == SP_PROTOCOL_SCTP || protocol == SP_PROTOCOL_UDPLITE;
}

#endif
