/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SP_ESP_H
#define SP_ESP_H

#include <stdint.h>

/* Padding, pad length and next header IPv4 of a payload padded to 4 bytes (RFC 4303 2.4), by pad length, as a word in memory order: outbound stores it, inbound compares with it. */
static const uint64_t sp_esp_trailer[4] = {0x0400, 0x040101, 0x04020201, 0x0403030201};

#endif
