/* AES-GCM by vectors of four blocks, with keys that libIPSec_MB has expanded: what its own call does, in less time. */
#ifndef SALLYPORT_CRYPTODEV_GCM_H
#define SALLYPORT_CRYPTODEV_GCM_H

#include <stdint.h>

#include <intel-ipsec-mb.h>

/* Whether the processor has the instructions, and the library the tables of keys that go with them. */
int spcrypto_gcm_vectors(const IMB_MGR *library);

/*
 * In the place of the library's function for keys of so many octets: nonces of 12 octets, AAD of 16 at most in whole words, tags of 8, 12 or 16, less than 4 GiB of text. The
 * context is not touched.
 */
aes_gcm_enc_dec_t spcrypto_gcm_function(unsigned int key_length, int encrypt);

/*
 * Whether the two functions and the library's make the same of one text, in both directions and in place. `room` has space for the text, which ends where that ends; length, AAD and
 * tag in octets.
 */
int spcrypto_gcm_agrees(const IMB_MGR *library, unsigned int key_length, uint8_t *room, uint32_t length, uint32_t aad_length, uint32_t tag_length);

#endif
