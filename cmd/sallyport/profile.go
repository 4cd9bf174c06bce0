//go:build profile

package main

import (
	"sallyport/perf/bench"
	"sallyport/pipeline"
)

func init() {
	benchProfile = func(plane *pipeline.Dataplane, worker int) (stages []bench.Stage, look float64) {
		counted, look := plane.TakeProfile(worker)
		for _, s := range counted {
			stages = append(stages, bench.Stage{Name: s.Name, Cycles: s.Cycles, Looks: float64(s.Looks)})
		}
		return stages, look
	}
}
