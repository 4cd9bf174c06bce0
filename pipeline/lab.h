/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SP_LAB_H
#define SP_LAB_H

/* What the benchmark (perf/bench) needs beyond fastpath.h, and a gateway never calls. */

#include <stdint.h>

struct sp_dataplane;

/*
 * Runs turns of the worker until `cycles` of the TSC have passed and the packets received are a multiple of `pass`, the length of the endless file that feeds its port.
 * After each pass crypto drains and every inbound SA's replay window starts anew, because the file brings the same sequence numbers again: within a pass replay
 * protection works as ever. Fills packets received and cycles spent, draining included. Returns 0, -ENODATA when nothing arrives, or -EPROTO when a burst straddles the end of
 * the file. Same threads as sp_worker_once; no other worker may run, because SAs of every owner are rewound.
 */
int sp_lab_run(struct sp_dataplane *dp, uint32_t worker, uint64_t pass, uint64_t cycles, uint64_t *packets, uint64_t *spent);

#endif
