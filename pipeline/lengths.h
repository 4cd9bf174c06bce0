/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SP_LENGTHS_H
#define SP_LENGTHS_H

/* Lengths of headers and of what stands around a payload, in bytes. */

#define SP_L2_LENGTH 14
#define SP_TAG_LENGTH 4     /* of a VLAN (IEEE 802.1Q 9.3) */
#define SP_IPV4_LENGTH 20
#define SP_UDP_LENGTH 8
#define SP_IPV6_LENGTH 40   /* the fixed header */
#define SP_PACKET_MAX 65535  /* bytes of an IP packet */
#define SP_IPV6_MINIMUM 1280 /* bytes of a packet that every link takes (RFC 8200 5) */
#define SP_ESP_LENGTH 8     /* SPI and sequence number (RFC 4303 2) */
#define SP_AH_LENGTH 12     /* AH up to its sequence number (RFC 4302 2) */
#define SP_IV_MAX 16
#define SP_ICV_MAX 32
#define SP_AAD_ROOM 32      /* CCM: 18 bytes are the device's, then at most 12 (rte_crypto_sym_op) */

#endif
