/* Sessions of ports: rte_security and rte_flow. Results are 0 or a negative errno. */
#ifndef SALLYPORT_OFFLOAD_SECURITY_H
#define SALLYPORT_OFFLOAD_SECURITY_H

#include <stddef.h>
#include <stdint.h>

#include <rte_crypto_sym.h>
#include <rte_mempool.h>

struct rte_flow;

/* One entry of what a port can do with ESP. */
struct sp_offload_capability {
	uint8_t protocol; /* inline protocol, else inline crypto */
	uint8_t outbound, transport;
	uint8_t esn, udp, copy_dscp, copy_df, ecn;
	uint8_t metadata;
	uint32_t window;
	const void *suites; /* struct rte_cryptodev_capabilities, the driver's */
};

/* What a session is of: one direction of an SA of ESP. */
struct sp_offload_sa {
	uint8_t protocol, outbound, transport, udp, esn, ipv6;
	uint8_t copy_df, df, copy_dscp, dscp, ecn, ttl;
	uint8_t salt[4];
	uint8_t source[16], destination[16]; /* IPv4 in the first 4 octets */
	uint16_t source_port, destination_port;
	uint32_t spi, window;
	uint64_t sequence; /* outbound: the first number */
	uint64_t userdata;
};

/* The port's context, NULL if it has no security. */
void *sp_offload_context(uint16_t port);

/* The entry of ESP at a place of the port's table, counted from 0: -ENOENT behind the last, -ENOTSUP for one of something else. */
int sp_offload_capability(void *context, uint32_t place, struct sp_offload_capability *out);

/* Memory for sessions, NULL and *error if there is none. */
struct rte_mempool *sp_offload_sessions(void *context, const char *name, uint32_t count, int socket, int *error);

/* NULL if the driver refuses. The xform is read and not kept. */
void *sp_offload_create(void *context, struct rte_mempool *sessions, const struct sp_offload_sa *sa, struct rte_crypto_sym_xform *xform);

/* Takes a session away and clears its memory. */
int sp_offload_destroy(void *context, void *session);

/* Clears the memory of a session that the driver has not taken back and will not be asked for again. */
void sp_offload_forget(void *context, void *session);

/* The rule that leads inbound packets of the SA to the session. On failure NULL and the driver's words. */
struct rte_flow *sp_offload_rule(uint16_t port, const struct sp_offload_sa *sa, void *session, char *text, size_t length);
int sp_offload_unrule(uint16_t port, struct rte_flow *rule);

/* Whether received packets of inline protocol can say whose they are. */
int sp_offload_names_sas(void);

#endif
