/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SP_FUZZ_CHANGES_H
#define SP_FUZZ_CHANGES_H

/* What the control plane does while packets are under way. */

#include "frames.h"

/* SAs, neighbours, policies, clocks and questions. */
void op_tables(struct program *p);
/* What happens to SAs while packets have them: in crypto queues, in rings between workers, as fragments that wait. Soft SAs too. */
void op_sas(struct program *p);
/* An operation of somebody else's has changed tables. */
void changes_made(void);
/* Every input begins in the same state. */
void changes_undo(void);

#endif
