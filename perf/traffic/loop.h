/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRAFFIC_LOOP_H
#define TRAFFIC_LOOP_H

#include "traffic.h"

/* One turn of a sender: sends what is due, and returns how many frames were sent. Streams have begun at start, unless it is 0, and send no more after halt. */
uint32_t traffic_send(struct traffic_sender *sender, uint64_t start, int halt);

/* One turn of a receiver: takes a burst, and returns how many frames that were. */
uint32_t traffic_receive(struct traffic_receiver *receiver);

#endif
