package lab

import (
	"context"
	"fmt"
	"io"
	"time"
)

// pollInterval is how often Until looks again.
const pollInterval = 25 * time.Millisecond

// Until polls condition until it holds, for at most limit, and says on progress what it waits for.
// A condition's error ends the wait; what it could not see yet is (false, nil).
func Until(ctx context.Context, progress io.Writer, what string, limit time.Duration, condition func() (bool, error)) error {
	if progress != nil {
		fmt.Fprintf(progress, "waiting for %s\n", what)
	}
	deadline, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		ok, err := condition()
		if err != nil {
			return fmt.Errorf("waiting for %s: %w", what, err)
		}
		if ok {
			return nil
		}
		select {
		case <-tick.C:
		case <-deadline.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("expected %s within %v, it did not come", what, limit.Round(time.Millisecond))
		}
	}
}
