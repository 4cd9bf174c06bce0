package rfc2544

import (
	"context"
	"time"
)

// LossRate is what is lost at a load (RFC 2544, section 26.3).
type LossRate struct {
	Wished float64 // frames a second
	Rate   float64 // that were offered
	Share  float64 // lost, of what was offered
}

// lossStep is how far apart the loads are, as a share of the highest: the coarsest that RFC 2544 allows.
const lossStep = 0.1

// measureLossRate begins at the highest load and goes down until two trials in a row lose nothing.
func (r *runner) measureLossRate(ctx context.Context, highest float64, duration time.Duration) ([]LossRate, error) {
	var list []LossRate
	clean := 0
	for step := 0; step < int(1/lossStep) && clean < 2; step++ {
		rate := highest * (1 - float64(step)*lossStep)
		result, err := r.trial(ctx, rate, duration, time.Duration(int(1/lossStep)-step)*(duration+r.overhead()))
		if err != nil {
			return list, err
		}
		loss := LossRate{Wished: rate, Rate: result.offered(duration), Share: float64(result.Lost()) / float64(max(result.Sent, 1))}
		list = append(list, loss)
		if clean++; loss.Share > 0 {
			clean = 0
		}
	}
	return list, nil
}
