/* What a program does with an inline card: calls of rte_security and rte_flow that tests make. */
#ifndef SALLYPORT_SOFTNIC_PROGRAM_H
#define SALLYPORT_SOFTNIC_PROGRAM_H

#include <stdint.h>

#include <rte_mbuf.h>
#include <rte_mempool.h>

/* An SA as a test describes it. Lengths in octets. */
struct sp_program_sa {
	uint8_t protocol, outbound, transport, udp, esn, ecn, copy_dscp, copy_df;
	uint8_t gcm, sha256, key_length, integ_key_length, icv_length;
	uint8_t ipv6, dscp, df, ttl;
	uint16_t local_port, remote_port;
	uint8_t source[16], destination[16];
	uint32_t spi, window;
	uint64_t sequence, userdata;
	uint32_t salt;
	const uint8_t *key, *integ_key;
};

struct rte_mempool *sp_program_pool(uint16_t port, const char *name, uint32_t count);
void *sp_program_session(uint16_t port, const struct sp_program_sa *sa, struct rte_mempool *pool);
int sp_program_close(uint16_t port, void *session);

/* A rule for ESP: in UDP if so said, in a VLAN if that is not 0. Returns NULL and in *why the card's words. */
void *sp_program_rule(uint16_t port, void *session, int ipv6, const uint8_t *destination, uint32_t spi, int udp, uint16_t vlan, const char **why);
int sp_program_remove(uint16_t port, void *rule);

/* Asks for the session on transmit. */
int sp_program_mark(uint16_t port, void *session, struct rte_mbuf *mbuf);
void sp_program_set_l2(struct rte_mbuf *mbuf, uint8_t length);
void sp_program_flags(const struct rte_mbuf *mbuf, int *secured, int *failed, uint64_t *userdata);

/* rte_security_ctx */
void *sp_program_context(uint16_t port);
/* Whether the port has a security context, and says that it offers SECURITY both ways. */
int sp_program_offers(uint16_t port);
/* How many algorithms librte_security finds in the port's capabilities for one kind of session. */
uint32_t sp_program_capabilities(uint16_t port, int protocol, int outbound, int transport);

#endif
