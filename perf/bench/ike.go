package bench

import (
	"sallyport/perf/ikebench"
	"sallyport/perf/joined"
)

// ikeTable is what IKE costs: engines joined in memory, then two whole gateways.
func (o *Options) ikeTable() table {
	run := func(s *stand) ([]any, error) {
		rows, err := ikebench.Run(s.ctx, o.Out, o.Quick)
		if err != nil {
			return rows, err
		}
		cpus := []int{s.machine.Core}
		if len(s.cores) > 1 {
			cpus = append(cpus, s.machine.SecondCore)
		}
		more, err := joined.Run(s.ctx, cpus, o.Out, o.Quick)
		return append(rows, more...), err
	}
	return table{run: run, extra: joined.MemoryMB}
}
