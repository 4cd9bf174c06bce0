/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SP_SIPHASH_H
#define SP_SIPHASH_H

/* SipHash-2-4 (Aumasson and Bernstein, 2012) of whole words, little-endian: short inputs under a secret key, so that nobody outside can tell what is hashed to what. */

#include <stdint.h>

static inline uint64_t sp_sip_rotate(uint64_t x, uint32_t bits)
{
	return x << bits | x >> (64 - bits);
}

static inline void sp_sip_rounds(uint64_t v[4], uint32_t n)
{
	while (n-- > 0) {
		v[0] += v[1];
		v[2] += v[3];
		v[1] = sp_sip_rotate(v[1], 13) ^ v[0];
		v[3] = sp_sip_rotate(v[3], 16) ^ v[2];
		v[0] = sp_sip_rotate(v[0], 32) + v[3];
		v[2] += v[1];
		v[3] = sp_sip_rotate(v[3], 21) ^ v[0];
		v[1] = sp_sip_rotate(v[1], 17) ^ v[2];
		v[2] = sp_sip_rotate(v[2], 32);
	}
}

static inline uint64_t sp_siphash(const uint64_t key[2], const uint64_t *words, uint32_t n)
{
	uint64_t v[4] = {key[0] ^ 0x736f6d6570736575, key[1] ^ 0x646f72616e646f6d, key[0] ^ 0x6c7967656e657261, key[1] ^ 0x7465646279746573};

	for (uint32_t i = 0; i <= n; i++) {
		const uint64_t word = i < n ? words[i] : (uint64_t)n * 8 << 56; /* at the end, how many bytes there were */

		v[3] ^= word;
		sp_sip_rounds(v, 2);
		v[0] ^= word;
	}
	v[2] ^= 0xff;
	sp_sip_rounds(v, 4);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

#endif
