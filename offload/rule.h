/* Ports that do IPsec, and the rules that lead packets to their sessions (rte_flow). Results are 0 or a negative errno. */
#ifndef SALLYPORT_OFFLOAD_RULE_H
#define SALLYPORT_OFFLOAD_RULE_H

#include <stddef.h>
#include <stdint.h>

struct rte_flow;

/* The packets of one inbound SA. */
struct sp_offload_rule {
	uint8_t udp, ipv6;
	uint8_t destination[16]; /* IPv4 in the first 4 octets */
	uint16_t destination_port;
	uint16_t vlan; /* of their tag, 0: without one */
	uint32_t spi;
};

/* The port's context, NULL if it has no security. */
void *sp_offload_context(uint16_t port);

/* The rule that leads packets to the session. On failure NULL and the driver's words. */
struct rte_flow *sp_offload_rule(uint16_t port, const struct sp_offload_rule *to, void *session, char *text, size_t length);
int sp_offload_unrule(uint16_t port, struct rte_flow *rule);

/* Listens, or not any more, for a port that is taken out of the machine (RTE_ETH_EVENT_INTR_RMV); whether that has happened since. */
void sp_offload_listen(uint16_t port, int on);
int sp_offload_removed(uint16_t port);

/* Whether received packets of inline protocol can say whose they are. */
int sp_offload_names_sas(void);

#endif
