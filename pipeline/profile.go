//go:build profile

package pipeline

/*
#cgo CFLAGS: -DSP_PROFILE
#include "profile.h"
*/
import "C"

// StageCycles is what a stage of the fast path took of a worker's time since it was last asked for.
type StageCycles struct {
	Name   string
	Cycles float64 // of the TSC, without those of the looks at it
	Looks  uint64
}

var stageNames = [C.SP_STAGE_COUNT]string{
	C.SP_STAGE_HOUSEKEEPING: "housekeeping", C.SP_STAGE_RECEIVE: "receive", C.SP_STAGE_PARSE: "parse", C.SP_STAGE_FLOWS: "flow cache",
	C.SP_STAGE_CLASSIFY: "classify", C.SP_STAGE_SORT: "sort", C.SP_STAGE_SA: "SA", C.SP_STAGE_ENCAPSULATE: "encapsulate", C.SP_STAGE_ENCRYPT: "encrypt",
	C.SP_STAGE_DECRYPT: "decrypt", C.SP_STAGE_DECAPSULATE: "decapsulate", C.SP_STAGE_TRANSMIT: "transmit",
}

// TakeProfile is what a worker has counted since the last call, by stage, and the cycles of one look at the clock, which have been
// taken off: the least of several rows of looks. The worker must rest meanwhile.
func (d *Dataplane) TakeProfile(worker int) (stages []StageCycles, look float64) {
	const rows, looks = 10, 1000
	look = -1
	for range rows {
		if cost := float64(C.sp_profile_cost(looks)) / looks; look < 0 || cost < look {
			look = cost
		}
	}
	var cycles, looked [C.SP_STAGE_COUNT]C.uint64_t
	d.mu.Lock()
	defer d.mu.Unlock()
	C.sp_profile_take(d.c, C.uint32_t(worker), &cycles[0], &looked[0])
	for i, name := range stageNames {
		stages = append(stages, StageCycles{Name: name, Cycles: float64(cycles[i]) - look*float64(looked[i]), Looks: uint64(looked[i])})
	}
	return stages, look
}
