package bench

import (
	"context"
	"errors"
	"testing"
)

// Ctrl-C while a bed is built, which takes long for many tunnels, ends it.
func TestInterruptedBed(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	b := &bed{load: load{tunnels: 60000, workers: 1}, files: []string{"none"}, interrupted: ctx.Err}
	if _, err := b.apply(); !errors.Is(err, context.Canceled) {
		t.Errorf("cells: %v", err)
	}
}
