package trials

import (
	"context"
	"fmt"

	"sallyport/perf/rfc2544"
	"sallyport/perf/traffic"
)

// checkChanges refuses to change tunnels with keys given by hand, and none.
func (r *run) checkChanges() error {
	if r.reconf() && len(r.target.Peers) == 0 {
		return fmt.Errorf("trials: benchmark %s: expected tunnels that IKE makes, found packets in clear or keys given by hand, which nothing changes", rfc2544.Reconfiguration)
	}
	return nil
}

// changing is how many of so many tunnels change: where there are fewer than wished, all.
func (r *run) changing(tunnels int) int {
	if r.Change > 0 {
		return min(r.Change, tunnels)
	}
	return max(1, tunnels/10)
}

// changing ends the names of streams of tunnels that change.
const changing = ", changing"

// apart has the last tunnels carried by streams of their own, each with its part of the flows.
func apart(streams []traffic.Stream, tunnels, change int) (list []traffic.Stream) {
	for _, s := range streams {
		s.Rate = traffic.Rate{} // a trial has one, of which each flow gets as much
		stay := s
		stay.Name, stay.Tunnels = string(s.Direction), tunnels-change
		s.Name, s.First, s.Tunnels = string(s.Direction)+changing, tunnels-change, change
		s.Flows = max(stay.Flows*change/tunnels, change)
		stay.Flows = max(stay.Flows-s.Flows, stay.Tunnels)
		if stay.Tunnels > 0 {
			list = append(list, stay)
		}
		list = append(list, s)
	}
	return list
}

// changeable is the bed of a case whose last tunnels can be changed.
type changeable struct {
	*oneOf
	tester  changes
	streams []traffic.Stream
	tunnels int
}

// Changes implements rfc2544.Reconfigurer: in the end all is as it was.
func (*changeable) Changes() []string {
	return []string{string(traffic.Rekey), string(traffic.Remove), string(traffic.Add)}
}

// Reconfigure implements rfc2544.Reconfigurer.
func (b *changeable) Reconfigure(ctx context.Context, change string) (int, error) {
	var which []int
	for i := b.streams[len(b.streams)-1].First; i < b.tunnels; i++ {
		which = append(which, i)
	}
	return len(which), b.tester.Change(ctx, traffic.Change(change), which)
}

// changes is a *traffic.Tester.
type changes interface {
	Change(ctx context.Context, kind traffic.Change, tunnels []int) error
}
