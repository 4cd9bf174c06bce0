/* Faults of a crypto device, between its driver and whoever uses it. */
#ifndef SALLYPORT_CRYPTODEV_FAULTY_H
#define SALLYPORT_CRYPTODEV_FAULTY_H

#include <stdint.h>

enum faulty_kind {
	FAULTY_NONE,
	FAULTY_MUTE,    /* takes operations and gives none back */
	FAULTY_KEEP,    /* keeps the first operation, and gives back those after it */
	FAULTY_SHUFFLE, /* gives back in another order */
	FAULTY_ERROR,   /* says of each second operation that it failed */
	FAULTY_BROKEN,  /* says of all operations that they failed */
	FAULTY_REPEAT,  /* gives back twice */
	FAULTY_REFUSE,  /* takes nothing */
	FAULTY_FEW,     /* takes one of a burst */
};

/* Negative errno on failure, else 0. The device must be configured and at rest. */
int faulty_attach(uint8_t device, uint16_t queue_pairs);
/* Gives up what it has kept: operations of the packets in it never come back. */
int faulty_detach(uint8_t device);
/* What was kept comes back when it is set to FAULTY_NONE. */
void faulty_set(uint8_t device, enum faulty_kind kind);
/* Lets each nth session fail, 0: none. With `late` the driver has written the keys by then. */
void faulty_sessions(uint8_t device, uint32_t nth, int late);
/* What the device says is the most sessions that it can have, 0: what its driver says. */
void faulty_most_sessions(uint8_t device, uint32_t most);
/* What the device says it needs free in front of a packet and behind it, 0: what its driver says. */
void faulty_room(uint8_t device, uint16_t front, uint16_t behind);
/* Whether a device that is to stop goes on with that for as long as this is on. */
void faulty_stops_slowly(uint8_t device, int on);
int faulty_is_stopping(uint8_t device);
/* How often so many octets, at least 1, stand in DPDK's memory. */
uint32_t faulty_traces(const uint8_t *octets, uint32_t length);

#endif
