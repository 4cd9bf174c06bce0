/* What a session encrypts with: AES-GCM, or AES-CBC and an HMAC, by libIPSec_MB. */
#ifndef SALLYPORT_SOFTNIC_CIPHER_H
#define SALLYPORT_SOFTNIC_CIPHER_H

#include <stdint.h>

#include <intel-ipsec-mb.h>
#include <rte_common.h>
#include <rte_crypto_sym.h>

#define SP_NIC_ESP_HEADER 8
#define SP_NIC_IV_MAX 16
#define SP_NIC_ICV_MAX 16

enum sp_nic_suite {
	SP_NIC_GCM_128,
	SP_NIC_GCM_192,
	SP_NIC_GCM_256,
	SP_NIC_CBC_128_SHA1,
	SP_NIC_CBC_192_SHA1,
	SP_NIC_CBC_256_SHA1,
	SP_NIC_CBC_128_SHA256,
	SP_NIC_CBC_192_SHA256,
	SP_NIC_CBC_256_SHA256,
	SP_NIC_SUITES,
};

struct sp_nic_cipher {
	union {
		struct gcm_key_data gcm;
		struct {
			uint8_t schedule[15 * 16] __rte_aligned(16); /* in the session's direction */
			uint8_t inner[32] __rte_aligned(16), outer[32] __rte_aligned(16);
		} chain;
	} __rte_aligned(64);
	uint8_t salt[4];
	uint8_t suite, key_length, encrypt, gcm_used;
	uint8_t iv_length, icv_length, block; /* octets */
};

/* The suite of the transforms, or -ENOTSUP for what no suite is. */
int sp_nic_suite_of(const struct rte_crypto_sym_xform *xform);

/* Expands the keys of transforms that sp_nic_suite_of knows. */
void sp_nic_cipher_init(struct sp_nic_cipher *c, const IMB_MGR *library, const struct rte_crypto_sym_xform *xform, uint32_t salt, int encrypt);

/*
 * Encrypts in place a packet from its ESP header on: header, IV, `length` octets of text, room for the ICV. With ESN the upper half of the number is `high`, else `esn` is 0. With
 * make_iv a CBC session makes the IV out of the number that stands in its place in clear.
 */
void sp_nic_seal(const struct sp_nic_cipher *c, IMB_MGR *library, uint8_t *esp, uint32_t length, int esn, uint32_t high, int make_iv);

/* Decrypts in place, and says whether the ICV was right. The ICV stays as it was. */
int sp_nic_open(const struct sp_nic_cipher *c, IMB_MGR *library, uint8_t *esp, uint32_t length, int esn, uint32_t high);

#endif
