/*
 * AES-GCM (SP 800-38D) with VAES and VPCLMULQDQ. A packet is a few vectors of four blocks: three are encrypted side by side while those before them are multiplied, or two
 * decrypted, the last one under a mask instead of block by block, and what is added up for the tag is reduced once for up to 46 blocks. Nothing depends on what is secret but data: no branch, no address.
 *
 * Blocks are multiplied in reversed octet order by powers of the hash key as the library keeps them: doubled modulo the polynomial (Gueron, Kounaves: Intel carry-less multiplication
 * and its usage for computing the GCM mode).
 */
#include "gcm.h"

#include <immintrin.h>
#include <string.h>

#define VECTORS __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,aes,pclmul,bmi2")))
#define INLINE static inline __attribute__((always_inline)) VECTORS

#define BLOCK 16
#define VECTOR 64
#define LANES 4        /* blocks of a vector */
#define POWERS 48      /* of the hash key that the library computes, the highest first */
#define GROUP 3        /* vectors that are encrypted side by side */
#define PART 44        /* blocks that a part takes of a longer text: whole vectors, so that its powers are there */
#define LAST_PART 46   /* blocks that the last part may have, with AAD and lengths beside them */
#define ROUND_KEYS 15
#define NARROW 252     /* blocks of which the counter's last octet does not wrap */

_Static_assert(LAST_PART + 2 == POWERS && PART % LANES == 0 && PART + 1 <= POWERS, "all powers are there");
_Static_assert(GROUP == 3 && PART % (GROUP * LANES) != 0 && PART > 2 * GROUP * LANES, "seal_end and seal_part");
_Static_assert(sizeof(((struct gcm_key_data *)0)->ghash_keys.vaes_avx512.shifted_hkey) == POWERS * BLOCK, "the library's table");

/* Counters of the first blocks of a text, in the last octet of each: a load where addition would take a vector unit, which the rounds and products keep busy. */
#define COUNTER(n) 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, (n) + 2
#define COUNTERS(n) COUNTER(n), COUNTER((n) + 1), COUNTER((n) + 2), COUNTER((n) + 3)
#define COUNTERS_4(n) COUNTERS(n), COUNTERS((n) + 4), COUNTERS((n) + 8), COUNTERS((n) + 12)
#define COUNTERS_16(n) COUNTERS_4(n), COUNTERS_4((n) + 16), COUNTERS_4((n) + 32), COUNTERS_4((n) + 48)
static const uint8_t narrow_counters[NARROW * BLOCK] __attribute__((aligned(VECTOR))) = {
	COUNTERS_16(0), COUNTERS_16(64), COUNTERS_16(128), COUNTERS_4(192), COUNTERS_4(208), COUNTERS_4(224), COUNTERS(240), COUNTERS(244), COUNTERS(248),
};

/* Products that are not reduced: their halves, and what lies across. */
struct sum {
	__m512i low, across, high;
};

/* What does not change from block to block. */
struct stream {
	__m512i reversed;      /* octets of each block */
	__m512i counters;      /* wide: of the next blocks. Narrow: what those of all blocks have in common, with the first round's key */
	__m512i round_keys[ROUND_KEYS];
	const uint8_t *narrow; /* what the next blocks add to it */
	const struct gcm_key_data *key;
	unsigned int rounds;
	int encrypt, wide;     /* wide: counters stand reversed, so that they carry */
};

/* Where the power stands, and after it the lower ones. */
INLINE const uint8_t *power(const struct stream *s, uint32_t exponent)
{
	return s->key->ghash_keys.vaes_avx512.shifted_hkey + (size_t)(POWERS - exponent) * BLOCK;
}

INLINE void multiply(struct sum *sum, __m512i blocks, __m512i powers)
{
	__m512i one = _mm512_clmulepi64_epi128(blocks, powers, 0x01), other = _mm512_clmulepi64_epi128(blocks, powers, 0x10);

	sum->low = _mm512_xor_si512(sum->low, _mm512_clmulepi64_epi128(blocks, powers, 0x00));
	sum->high = _mm512_xor_si512(sum->high, _mm512_clmulepi64_epi128(blocks, powers, 0x11));
	sum->across = _mm512_ternarylogic_epi64(sum->across, one, other, 0x96);
}

/* The same of two vectors, in fewer additions. */
INLINE void multiply_two(struct sum *sum, const __m512i blocks[2], __m512i first, __m512i second)
{
	sum->low = _mm512_ternarylogic_epi64(sum->low, _mm512_clmulepi64_epi128(blocks[0], first, 0x00), _mm512_clmulepi64_epi128(blocks[1], second, 0x00), 0x96);
	sum->across = _mm512_ternarylogic_epi64(sum->across, _mm512_clmulepi64_epi128(blocks[0], first, 0x01), _mm512_clmulepi64_epi128(blocks[0], first, 0x10), 0x96);
	sum->across = _mm512_ternarylogic_epi64(sum->across, _mm512_clmulepi64_epi128(blocks[1], second, 0x01), _mm512_clmulepi64_epi128(blocks[1], second, 0x10), 0x96);
	sum->high = _mm512_ternarylogic_epi64(sum->high, _mm512_clmulepi64_epi128(blocks[0], first, 0x11), _mm512_clmulepi64_epi128(blocks[1], second, 0x11), 0x96);
}

/* Modulo x^128 + x^127 + x^126 + x^121 + 1, a half at a time, and all lanes in one. */
INLINE __m128i reduce(const struct sum *sum)
{
	const __m512i polynomial = _mm512_set1_epi64((long long)0xc200000000000000);
	__m512i folded = _mm512_clmulepi64_epi128(polynomial, sum->low, 0x00);
	__m512i across = _mm512_ternarylogic_epi64(sum->across, _mm512_shuffle_epi32(sum->low, 0x4e), folded, 0x96);
	__m512i lanes;
	__m256i pair;

	folded = _mm512_clmulepi64_epi128(polynomial, across, 0x00);
	lanes = _mm512_ternarylogic_epi64(sum->high, _mm512_shuffle_epi32(across, 0x4e), folded, 0x96);
	pair = _mm256_xor_si256(_mm512_castsi512_si256(lanes), _mm512_extracti64x4_epi64(lanes, 1));
	return _mm_xor_si128(_mm256_castsi256_si128(pair), _mm256_extracti128_si256(pair, 1));
}

INLINE __m512i next_counters(struct stream *s)
{
	__m512i counters = s->counters;

	if (s->wide) {
		s->counters = _mm512_add_epi32(counters, _mm512_broadcast_i32x4(_mm_set_epi32(0, 0, 0, LANES)));
		return _mm512_xor_si512(_mm512_shuffle_epi8(counters, s->reversed), s->round_keys[0]);
	}
	counters = _mm512_xor_si512(counters, _mm512_load_si512(s->narrow));
	s->narrow += VECTOR;
	return counters;
}

/* The next n vectors of counters, behind all rounds but the last. */
INLINE void all_but_last(struct stream *s, __m512i *vectors, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		vectors[i] = next_counters(s);
	for (uint32_t round = 1; round < s->rounds; round++)
		for (uint32_t i = 0; i < n; i++)
			vectors[i] = _mm512_aesenc_epi128(vectors[i], s->round_keys[round]);
}

/* The last round, of which the text takes the key along. */
INLINE __m512i last(const struct stream *s, __m512i vector, __m512i text)
{
	return _mm512_aesenclast_epi128(vector, _mm512_xor_si512(text, s->round_keys[s->rounds]));
}

/* En- or decrypts a vector; the ciphertext, as it is multiplied. */
INLINE __m512i apply(const struct stream *s, __m512i vector, uint8_t *out, const uint8_t *in)
{
	__m512i text = _mm512_loadu_si512(in), made = last(s, vector, text);

	_mm512_storeu_si512(out, made);
	return _mm512_shuffle_epi8(s->encrypt ? made : text, s->reversed);
}

/*
 * The powers of the last blocks of a text, at most four, and anything in the lanes that have none. Nothing is loaded across the end of the table, not even under a mask: the cache
 * line behind it is one that nobody has asked for.
 */
INLINE __m512i last_powers(const struct stream *s, uint32_t exponent)
{
	const uint32_t from = exponent < LANES ? LANES : exponent;
	const __m512i words = _mm512_add_epi64(_mm512_set1_epi64(2LL * (from - exponent)), _mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0));

	return _mm512_permutexvar_epi64(words, _mm512_loadu_si512(power(s, from)));
}

/* The same of the last octets of a text, at most a vector, with zeros behind them. */
INLINE __m512i apply_end(const struct stream *s, __m512i vector, uint8_t *out, const uint8_t *in, uint32_t octets)
{
	const __mmask64 mask = _bzhi_u64(~0ULL, octets);
	__m512i text = _mm512_maskz_loadu_epi8(mask, in), made = _mm512_maskz_mov_epi8(mask, last(s, vector, text));

	_mm512_mask_storeu_epi8(out, mask, made);
	return _mm512_shuffle_epi8(s->encrypt ? made : text, s->reversed);
}

/* n vectors, of which the first block has the exponent. */
INLINE void multiply_all(const struct stream *s, struct sum *sum, const __m512i *blocks, uint32_t exponent, uint32_t n)
{
	uint32_t i = 0;

	for (; i + 2 <= n; i += 2)
		multiply_two(sum, blocks + i, _mm512_loadu_si512(power(s, exponent - i * LANES)), _mm512_loadu_si512(power(s, exponent - (i + 1) * LANES)));
	if (i < n)
		multiply(sum, blocks[i], _mm512_loadu_si512(power(s, exponent - i * LANES)));
}

/* What is decrypted is there to be multiplied from the beginning. In both directions `exponent` is that of the first block. */
INLINE void open_vectors(struct stream *s, struct sum *sum, uint8_t *out, const uint8_t *in, uint32_t exponent, uint32_t n)
{
	__m512i vectors[2], blocks[2];

	all_but_last(s, vectors, n);
	for (uint32_t i = 0; i < n; i++)
		blocks[i] = apply(s, vectors[i], out + i * VECTOR, in + i * VECTOR);
	multiply_all(s, sum, blocks, exponent, n);
}

/*
 * What is encrypted has first to be made: a group of vectors is encrypted while the one before it is multiplied, `before` vectors that stand in `blocks`. Then those of this one do, at
 * most GROUP.
 */
INLINE void seal_group(struct stream *s, struct sum *sum, __m512i *blocks, uint8_t *out, const uint8_t *in, uint32_t exponent, uint32_t before, uint32_t n)
{
	__m512i vectors[GROUP];

	all_but_last(s, vectors, n);
	multiply_all(s, sum, blocks, exponent + before * LANES, before);
	for (uint32_t i = 0; i < n; i++)
		blocks[i] = apply(s, vectors[i], out + i * VECTOR, in + i * VECTOR);
}

/* The end of a text in n vectors, multiplied to the end. Opening, no vector is before it. */
INLINE void end(struct stream *s, struct sum *sum, __m512i *blocks, uint8_t *out, const uint8_t *in, uint32_t length, uint32_t exponent, uint32_t before, uint32_t n)
{
	const uint32_t whole = (n - 1) * VECTOR;
	__m512i vectors[GROUP];

	all_but_last(s, vectors, n);
	multiply_all(s, sum, blocks, exponent + before * LANES, before);
	for (uint32_t i = 0; i + 1 < n; i++)
		blocks[i] = apply(s, vectors[i], out + i * VECTOR, in + i * VECTOR);
	multiply_all(s, sum, blocks, exponent, n - 1);
	multiply(sum, apply_end(s, vectors[n - 1], out + whole, in + whole, length - whole), last_powers(s, exponent - (n - 1) * LANES));
}

INLINE void seal_end(struct stream *s, struct sum *sum, __m512i *blocks, uint8_t *out, const uint8_t *in, uint32_t length, uint32_t exponent, uint32_t before)
{
	if (length <= VECTOR)
		end(s, sum, blocks, out, in, length, exponent, before, 1);
	else if (length <= 2 * VECTOR)
		end(s, sum, blocks, out, in, length, exponent, before, 2);
	else
		end(s, sum, blocks, out, in, length, exponent, before, 3);
}

/* Whole vectors of a part that is not the last. */
INLINE void seal_part(struct stream *s, struct sum *sum, uint8_t *out, const uint8_t *in)
{
	const uint32_t step = GROUP * LANES, rest = PART % step / LANES;
	uint32_t at = step;
	__m512i blocks[GROUP];

	seal_group(s, sum, blocks, out, in, PART, 0, GROUP);
	for (; at + step <= PART; at += step)
		seal_group(s, sum, blocks, out + (size_t)at * BLOCK, in + (size_t)at * BLOCK, PART - at, GROUP, GROUP);
	seal_group(s, sum, blocks, out + (size_t)at * BLOCK, in + (size_t)at * BLOCK, PART - at, GROUP, rest);
	multiply_all(s, sum, blocks, PART - at, rest);
}

INLINE void open_part(struct stream *s, struct sum *sum, uint8_t *out, const uint8_t *in)
{
	uint32_t at = 0;

	for (; at + 2 * LANES <= PART; at += 2 * LANES)
		open_vectors(s, sum, out + (size_t)at * BLOCK, in + (size_t)at * BLOCK, PART - at, 2);
	if (at < PART)
		open_vectors(s, sum, out + (size_t)at * BLOCK, in + (size_t)at * BLOCK, PART - at, 1);
}

/* The rest of the text, of which the lengths are one block more. */
INLINE void seal_last(struct stream *s, struct sum *sum, uint8_t *out, const uint8_t *in, uint32_t length, uint32_t exponent)
{
	const uint32_t step = GROUP * VECTOR;
	__m512i blocks[GROUP];

	if (length <= step) {
		seal_end(s, sum, blocks, out, in, length, exponent, 0);
		return;
	}
	seal_group(s, sum, blocks, out, in, exponent, 0, GROUP);
	for (;;) {
		out += step;
		in += step;
		length -= step;
		exponent -= GROUP * LANES;
		if (length <= step)
			break;
		seal_group(s, sum, blocks, out, in, exponent, GROUP, GROUP);
	}
	seal_end(s, sum, blocks, out, in, length, exponent, GROUP);
}

INLINE void open_last(struct stream *s, struct sum *sum, uint8_t *out, const uint8_t *in, uint32_t length, uint32_t exponent)
{
	__m512i blocks[2];

	for (; length > 2 * VECTOR; length -= 2 * VECTOR, exponent -= 2 * LANES) {
		open_vectors(s, sum, out, in, exponent, 2);
		out += 2 * VECTOR;
		in += 2 * VECTOR;
	}
	if (length > VECTOR)
		end(s, sum, blocks, out, in, length, exponent, 0, 2);
	else
		end(s, sum, blocks, out, in, length, exponent, 0, 1);
}

/* What has been added up so far, or AAD, and behind the text its lengths: two blocks beside those of a part. */
INLINE struct sum beside(const struct stream *s, __m128i before, uint32_t exponent, __m128i lengths)
{
	const __m256i blocks = _mm256_inserti128_si256(_mm256_castsi128_si256(before), lengths, 1);
	const __m256i powers = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)power(s, exponent))),
						       _mm_loadu_si128((const __m128i *)power(s, 1)), 1);
	const __m256i across = _mm256_xor_si256(_mm256_clmulepi64_epi128(blocks, powers, 0x01), _mm256_clmulepi64_epi128(blocks, powers, 0x10));

	return (struct sum){
		.low = _mm512_zextsi256_si512(_mm256_clmulepi64_epi128(blocks, powers, 0x00)),
		.across = _mm512_zextsi256_si512(across),
		.high = _mm512_zextsi256_si512(_mm256_clmulepi64_epi128(blocks, powers, 0x11)),
	};
}

/* The tag before it is encrypted, in reversed order. */
INLINE __m128i run(struct stream *s, uint8_t *out, const uint8_t *in, uint32_t length, __m128i aad, __m128i lengths)
{
	uint32_t blocks = (length + BLOCK - 1) / BLOCK, first = 1; /* AAD is a block more */
	struct sum sum;

	for (; blocks > LAST_PART; blocks -= PART, first = 0) {
		sum = beside(s, aad, PART + first, _mm_setzero_si128());
		if (s->encrypt)
			seal_part(s, &sum, out, in);
		else
			open_part(s, &sum, out, in);
		aad = reduce(&sum);
		out += PART * BLOCK;
		in += PART * BLOCK;
		length -= PART * BLOCK;
	}
	sum = beside(s, aad, blocks + 1 + first, lengths);
	if (s->encrypt)
		seal_last(s, &sum, out, in, length, blocks + 1);
	else
		open_last(s, &sum, out, in, length, blocks + 1);
	return reduce(&sum);
}

/* The first block's counter is 2, since that of the nonce itself is 1 (7.1). */
INLINE void set_counters(struct stream *s, __m128i first)
{
	if (s->wide) {
		first = _mm_shuffle_epi8(first, _mm512_castsi512_si128(s->reversed));
		s->counters = _mm512_add_epi32(_mm512_broadcast_i32x4(first), _mm512_set_epi32(0, 0, 0, 4, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 1));
	} else {
		s->counters = _mm512_xor_si512(_mm512_broadcast_i32x4(_mm_maskz_mov_epi32(0x7, first)), s->round_keys[0]);
		s->narrow = narrow_counters;
	}
}

/* A packet. Compiled for each length of key and direction. */
INLINE void pass(const struct gcm_key_data *key, uint8_t *out, const uint8_t *in, uint32_t length, const uint8_t *nonce, const uint8_t *aad, uint32_t aad_length, uint8_t *tag,
		 uint32_t tag_length, unsigned int rounds, int encrypt, int wide)
{
	struct stream s = {.key = key, .rounds = rounds, .encrypt = encrypt, .wide = wide};
	const __m128i first = _mm_or_si128(_mm_maskz_loadu_epi32(0x7, nonce), _mm_set_epi32(1 << 24, 0, 0, 0));
	const __m128i lengths = _mm_set_epi64x((long long)aad_length * 8, (long long)length * 8);
	__m128i mask, made;

	s.reversed = _mm512_broadcast_i32x4(_mm_set_epi64x(0x0001020304050607, 0x08090a0b0c0d0e0f));
	for (uint32_t i = 0; i <= rounds; i++)
		s.round_keys[i] = _mm512_broadcast_i32x4(_mm_load_si128((const __m128i *)key->expanded_keys + i));
	set_counters(&s, first);
	mask = _mm_xor_si128(first, _mm512_castsi512_si128(s.round_keys[0]));
	for (uint32_t i = 1; i < rounds; i++)
		mask = _mm_aesenc_si128(mask, _mm512_castsi512_si128(s.round_keys[i]));
	mask = _mm_aesenclast_si128(mask, _mm512_castsi512_si128(s.round_keys[rounds]));
	made = run(&s, out, in, length, _mm_shuffle_epi8(_mm_maskz_loadu_epi32((__mmask8)_bzhi_u32(0xf, aad_length / 4), aad), _mm512_castsi512_si128(s.reversed)), lengths);
	made = _mm_xor_si128(_mm_shuffle_epi8(made, _mm512_castsi512_si128(s.reversed)), mask);
	_mm_mask_storeu_epi8(tag, (__mmask16)_bzhi_u32(0xffff, tag_length), made);
}

/* Texts of more blocks than a packet of the usual MTU has pay for counters that carry. */
#define FUNCTION(name, rounds, encrypt) \
	VECTORS static void name(const struct gcm_key_data *key, __attribute__((unused)) struct gcm_context_data *context, uint8_t *out, const uint8_t *in, uint64_t length, \
				 const uint8_t *nonce, const uint8_t *aad, uint64_t aad_length, uint8_t *tag, uint64_t tag_length) \
	{ \
		if (__builtin_expect(length <= (uint64_t)NARROW * BLOCK, 1)) \
			pass(key, out, in, (uint32_t)length, nonce, aad, (uint32_t)aad_length, tag, (uint32_t)tag_length, rounds, encrypt, 0); \
		else \
			pass(key, out, in, (uint32_t)length, nonce, aad, (uint32_t)aad_length, tag, (uint32_t)tag_length, rounds, encrypt, 1); \
	}

FUNCTION(encrypt128, 10, 1)
FUNCTION(decrypt128, 10, 0)
FUNCTION(encrypt192, 12, 1)
FUNCTION(decrypt192, 12, 0)
FUNCTION(encrypt256, 14, 1)
FUNCTION(decrypt256, 14, 0)

aes_gcm_enc_dec_t spcrypto_gcm_function(unsigned int key_length, int encrypt)
{
	switch (key_length) {
	case IMB_KEY_128_BYTES:
		return encrypt ? encrypt128 : decrypt128;
	case IMB_KEY_192_BYTES:
		return encrypt ? encrypt192 : decrypt192;
	default:
		return encrypt ? encrypt256 : decrypt256;
	}
}

/* The library asks the processor alone. A kernel or hypervisor that saves no vectors of 64 octets, or no masks, is found by this, which reads XCR0 too. */
static int registers_are_saved(void)
{
	return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
	       __builtin_cpu_supports("bmi2");
}

int spcrypto_gcm_vectors(const IMB_MGR *library)
{
	const uint64_t needed = IMB_FEATURE_AVX512_SKX | IMB_FEATURE_VAES | IMB_FEATURE_VPCLMULQDQ | IMB_FEATURE_BMI2 | IMB_FEATURE_AESNI | IMB_FEATURE_PCLMULQDQ;

	return (library->features & needed) == needed && registers_are_saved();
}

/* ---- beside the library ---- */

/* The library's functions for keys of a length. */
static void of_library(const IMB_MGR *library, unsigned int key_length, const uint8_t *octets, struct gcm_key_data *key, aes_gcm_enc_dec_t functions[2])
{
	switch (key_length) {
	case IMB_KEY_128_BYTES:
		IMB_AES128_GCM_PRE(library, octets, key);
		functions[0] = library->gcm128_dec;
		functions[1] = library->gcm128_enc;
		break;
	case IMB_KEY_192_BYTES:
		IMB_AES192_GCM_PRE(library, octets, key);
		functions[0] = library->gcm192_dec;
		functions[1] = library->gcm192_enc;
		break;
	default:
		IMB_AES256_GCM_PRE(library, octets, key);
		functions[0] = library->gcm256_dec;
		functions[1] = library->gcm256_enc;
	}
}

int spcrypto_gcm_agrees(const IMB_MGR *library, unsigned int key_length, uint8_t *room, uint32_t length, uint32_t aad_length, uint32_t tag_length)
{
	struct gcm_key_data key = {0}; /* where a library has no powers, there are none */
	struct gcm_context_data context;
	aes_gcm_enc_dec_t functions[2];
	uint8_t octets[32], nonce[12], aad[12], tags[4][16] = {{0}};

	for (uint32_t i = 0; i < sizeof(octets); i++)
		octets[i] = (uint8_t)(i * 29 + key_length + length);
	for (uint32_t i = 0; i < sizeof(nonce); i++)
		nonce[i] = aad[i] = (uint8_t)(i * 53 + length);
	of_library(library, key_length, octets, &key, functions);
	for (uint32_t i = 0; i < length; i++)
		room[i] = (uint8_t)(i * 7 + i / 251);
	spcrypto_gcm_function(key_length, 1)(&key, &context, room, room, length, nonce, aad, aad_length, tags[0], tag_length);
	functions[0](&key, &context, room, room, length, nonce, aad, aad_length, tags[1], tag_length); /* undoes what the other has done */
	for (uint32_t i = 0; i < length; i++)
		if (room[i] != (uint8_t)(i * 7 + i / 251))
			return 0;
	functions[1](&key, &context, room, room, length, nonce, aad, aad_length, tags[2], tag_length);
	spcrypto_gcm_function(key_length, 0)(&key, &context, room, room, length, nonce, aad, aad_length, tags[3], tag_length);
	for (uint32_t i = 0; i < length; i++)
		if (room[i] != (uint8_t)(i * 7 + i / 251))
			return 0;
	return memcmp(tags[0], tags[1], sizeof(tags[0])) == 0 && memcmp(tags[0], tags[2], sizeof(tags[0])) == 0 && memcmp(tags[0], tags[3], sizeof(tags[0])) == 0;
}
