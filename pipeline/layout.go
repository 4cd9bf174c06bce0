package pipeline

/*
#include "fastpath.h"
*/
import "C"

import "unsafe"

// Go and C agree on the shared structs: a difference is a constant index out of range, and the package does not compile.
// The C side asserts the same in tables.h.
var (
	_ = [1]struct{}{}[C.sizeof_struct_sp_flow_key-16]
	_ = [1]struct{}{}[C.sizeof_struct_sp_flow_entry-32]
	_ = [1]struct{}{}[C.sizeof_struct_sp_flow_entry6-64]
	_ = [1]struct{}{}[C.sizeof_struct_sp_selector-28]
	_ = [1]struct{}{}[C.sizeof_struct_sp_selector6-80]
	_ = [1]struct{}{}[C.sizeof_struct_sp_event-28]
	_ = [1]struct{}{}[C.sizeof_struct_sp_entry-12]
	_ = [1]struct{}{}[C.sizeof_struct_sp_soft_key-40]
	_ = [1]struct{}{}[unsafe.Offsetof(C.struct_sp_flow_entry{}.key)]
	_ = [1]struct{}{}[unsafe.Offsetof(C.struct_sp_flow_entry{}.generation)-16]
	_ = [1]struct{}{}[unsafe.Offsetof(C.struct_sp_flow_entry{}.adjacency)-28]
	_ = [1]struct{}{}[unsafe.Offsetof(C.struct_sp_flow_entry{}.reason)-31]
	_ = [1]struct{}{}[unsafe.Offsetof(C.struct_sp_flow_key{}.source_port)-8]
	_ = [1]struct{}{}[unsafe.Offsetof(C.struct_sp_flow_key{}.in_cell)-14]
	_ = [1]struct{}{}[unsafe.Offsetof(C.struct_sp_selector{}.protocol)-24]
)

// Numbers that stand on both sides.
var (
	_ = [1]struct{}{}[C.SP_ROLE_PROTECTED-roleProtected]
	_ = [1]struct{}{}[C.SP_ROLE_UNPROTECTED-roleUnprotected]
	_ = [1]struct{}{}[C.SP_ROLE_LOCAL-roleLocal]
	_ = [1]struct{}{}[C.SP_IDLE_POLL-IdlePoll]
	_ = [1]struct{}{}[C.SP_IDLE_YIELD-IdleYield]
	_ = [1]struct{}{}[C.SP_IDLE_SLEEP-IdleSleep]
	_ = [1]struct{}{}[C.SP_CELL_CLOSED-CellClosed]
	_ = [1]struct{}{}[C.SP_CELL_HOLD-CellHold]
	_ = [1]struct{}{}[C.SP_CELL_FAILED-CellFailed]
	_ = [1]struct{}{}[C.SP_COUNTER_DEFAULT-defaultActionSlot]
	_ = [1]struct{}{}[C.SP_DF_COPY-DFCopy]
	_ = [1]struct{}{}[C.SP_DF_SET-DFSet]
	_ = [1]struct{}{}[C.SP_DF_CLEAR-DFClear]
)
