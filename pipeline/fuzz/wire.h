/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SP_FUZZ_WIRE_H
#define SP_FUZZ_WIRE_H

/* What stands around the gateways: their links, their workers' turns, the slow path's end of the rings. */

#include "frames.h"
#include "gateway.h"

/* What a NIC leaves of ESP. */
enum left {
	LEFT_SEALED,   /* all */
	LEFT_IN_PLACE, /* headers, IV, trailer and the room of the ICV (inline crypto) */
	LEFT_BARE,     /* what was inside (inline protocol) */
};

/* How the frames of an operation arrive at our gateway. */
struct arrival {
	uint32_t queue;
	int stripped;      /* the device takes a VLAN tag off */
	int aside;         /* they come by the protected port */
	enum left left;    /* of what is forged */
	uint32_t cut;      /* bytes that are missing at their ends */
	uint64_t marks;    /* of the NIC, in ol_flags */
	uint64_t userdata; /* of the SA that the NIC names */
};
extern struct arrival arrival;

/* A frame as it is on the wire. */
void receive_wire(const struct gateway *g, enum side side, const struct frame *f, uint32_t headroom);
/* A frame for a port, tagged if the port is a VLAN. */
void receive(const struct gateway *g, enum side side, const struct frame *f, uint32_t headroom);
/* A packet in fragments, sound or not: how many there are, and each, is as the program says. */
void receive_fragments(struct program *p, enum side side, const struct frame *whole);
/* Runs until the devices are empty; a turn takes at most one burst from each input. */
void run(const struct gateway *g);
/* Frees what is delivered; gives held packets back or throws them away. Returns the number of packets it released. */
uint32_t drain_punts(struct gateway *g, int release);
/* The next frame that the peer sent into the tunnels, for our gateway; 0 when there is none. */
int next_sealed(struct frame *f);
/* Takes all frames that left a port; what came from our tunnels goes on to the peer with to_peer. */
void collect(const struct gateway *g, enum side side, int to_peer);

#endif
