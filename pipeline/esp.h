/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SP_ESP_H
#define SP_ESP_H

#include <stdint.h>

/* Echoes of ESP, and by analogy of AH (draft-ietf-ipsecme-esp-ping): they belong to no SA. */
#define SP_SPI_ECHO_REQUEST 7
#define SP_SPI_ECHO_REPLY 8

/* Padding, pad length and next header IPv4 of a payload padded to 4 bytes (RFC 4303 2.4), by pad length, as a word in memory order: outbound stores it, inbound compares with it. */
static const uint64_t sp_esp_trailer[4] = {0x0400, 0x040101, 0x04020201, 0x0403030201};

/* What, exclusive-ored with the same word, makes its next header that of IPv6, 41, where it is that of IPv4, 4. */
static inline uint64_t sp_esp_ipv6(uint32_t pad)
{
	return (uint64_t)(41 ^ 4) << (8 * (pad + 1));
}

#define SP_ESP_TRAILER 2 /* pad length and next header */

/* Whether the padding is 1, 2, 3... and lies within the `length` decrypted bytes, at least SP_ESP_TRAILER (RFC 4303 2.4). */
static inline int sp_esp_padding_right(const uint8_t *payload, uint32_t length)
{
	uint32_t pad = payload[length - SP_ESP_TRAILER];
	const uint8_t *first = payload + length - SP_ESP_TRAILER - pad;

	if (pad + SP_ESP_TRAILER > length)
		return 0;
	for (uint32_t i = 0; i < pad; i++)
		if (first[i] != i + 1)
			return 0;
	return 1;
}

#endif
