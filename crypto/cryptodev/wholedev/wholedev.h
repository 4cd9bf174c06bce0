/* A crypto device that does all of ESP, in software: sessions, and a place between the driver and whoever uses it. */
#ifndef SALLYPORT_CRYPTODEV_WHOLEDEV_H
#define SALLYPORT_CRYPTODEV_WHOLEDEV_H

#include <stdint.h>

#include <rte_mbuf.h>

#define WHOLEDEV_WINDOW_MAX 1024 /* packets */
#define WHOLEDEV_KEYMAT_MAX 96

/* The algorithms of a session. */
enum wholedev_suite { WHOLEDEV_GCM, WHOLEDEV_CBC_SHA1, WHOLEDEV_CBC_SHA256 };

/* One direction of an SA, in the memory of its rte_security session. */
struct wholedev_session {
	uint32_t spi, window;
	uint16_t source_port, destination_port;
	uint8_t outbound, udp, esn, ipv6, ecn, copy_dscp, copy_df, df, dscp, ttl;
	uint8_t suite; /* enum wholedev_suite */
	uint8_t key_length, keymat_length;
	uint8_t keymat[WHOLEDEV_KEYMAT_MAX]; /* as crypto.NewESP takes it */
	uint8_t source[16], destination[16]; /* IPv4 in the first 4 */
	uint64_t next; /* outbound: number of the next packet */
	uint64_t top;  /* inbound: the highest number that was authentic */
	uint64_t seen[WHOLEDEV_WINDOW_MAX / 64];
};

/* What a device lacks or refuses. */
struct wholedev_options {
	uint8_t no_esn, no_udp, no_ecn, no_copy_dscp, no_copy_df, no_inbound, no_outbound, no_chain, no_key_256;
	uint32_t window; /* packets at most, 0: WHOLEDEV_WINDOW_MAX */
};

/* A device of that name, whenever there is one, has a security context. Negative errno on failure, else 0. */
int wholedev_offer(const char *name, const struct wholedev_options *options);
/* It has none any more. */
void wholedev_withdraw(const char *name);

/* Takes the place between the driver, which is started, and its users; stopping the device ends that. */
int wholedev_attach(const char *name, uint16_t queue_pairs);

/* Each nth session is refused, 0: none. With `late` the driver has written the keys by then. */
void wholedev_fail_sessions(const char *name, uint32_t nth, int late);
/* Sessions are not taken back while it is set. */
void wholedev_keep_sessions(const char *name, int keep);
uint32_t wholedev_sessions(const char *name);

/* work.go: what becomes of a packet, and its status. */
uint8_t wholedev_work(void *session, void *mbuf);

#endif
