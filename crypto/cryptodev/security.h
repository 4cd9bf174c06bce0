/* rte_security of a port or of a crypto device. Results are 0 or a negative errno. */
#ifndef SALLYPORT_CRYPTODEV_SECURITY_H
#define SALLYPORT_CRYPTODEV_SECURITY_H

#include <stdint.h>

#include <rte_crypto_sym.h>
#include <rte_mempool.h>

/* One entry of what a driver can do with ESP. */
struct spcrypto_capability {
	uint32_t action; /* enum rte_security_session_action_type */
	uint32_t window;
	const void *suites; /* struct rte_cryptodev_capabilities, the driver's */
	uint8_t outbound, transport;
	uint8_t esn, udp, copy_dscp, copy_df, ecn;
	uint8_t metadata;
};

/* What a session is of: one direction of an SA of ESP. */
struct spcrypto_esp {
	uint32_t action;
	uint32_t spi, window;
	uint16_t source_port, destination_port;
	uint8_t outbound, transport, udp, esn, ipv6;
	uint8_t copy_df, df, copy_dscp, dscp, ecn, ttl;
	uint8_t salt[4];
	uint8_t source[16], destination[16]; /* IPv4 in the first 4 octets */
	uint64_t sequence; /* outbound: the first number, of whoever numbers */
	uint64_t userdata;
};

/* The context of a crypto device, NULL if it has no security. */
void *spcrypto_security_of(uint8_t device);

/* The entry of ESP at a place of the driver's table, counted from 0: -ENOENT behind the last, -ENOTSUP for one of something else. */
int spcrypto_capability(void *context, uint32_t place, struct spcrypto_capability *out);

/* Memory for sessions, NULL and *error if there is none. */
struct rte_mempool *spcrypto_security_sessions(void *context, const char *name, uint32_t count, int socket, int *error);

/* NULL if the driver refuses. The xform is read and not kept. */
void *spcrypto_security_create(void *context, struct rte_mempool *sessions, const struct spcrypto_esp *sa, struct rte_crypto_sym_xform *xform);

/* Takes a session away and clears its memory. */
int spcrypto_security_destroy(void *context, void *session);

/* Clears the memory of a session that the driver has not taken back and will not be asked for again. */
void spcrypto_security_forget(void *context, void *session);

#endif
