/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SP_FUZZ_FRAMES_H
#define SP_FUZZ_FRAMES_H

/* The program that an input of the fuzzer is, and the frames that are built by it. */

#include <stdint.h>

#define FRAME_MAX 2048

struct program {
	const uint8_t *next, *end;
};

struct frame {
	uint8_t bytes[FRAME_MAX];
	uint32_t length;
};

/* The next bytes of the program as a number; zeros when it is over. */
uint32_t take(struct program *p, uint32_t bytes);
void take_bytes(struct program *p, uint8_t *out, uint32_t n);

void ethernet(uint8_t *frame, const uint8_t *mac);
void checksum(uint8_t *l3);
void build(struct program *p, struct frame *f, const uint8_t *mac, uint32_t source, uint32_t destination);
void make_wide(struct frame *f, uint32_t extensions);
/* One fragment of a packet, of which the program says where it is cut and whether it is sound. */
void cut(struct program *p, const struct frame *whole, struct frame *f);

#endif
