package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The first signal ends a command in order; another Ctrl-C, a second later, ends it at once and says what that means. A terminal that closes sends several signals, which are one.
func TestSecondInterrupt(t *testing.T) {
	for name, c := range map[string]struct {
		second os.Signal
		after  time.Duration
		ends   bool
	}{
		"again":             {os.Interrupt, 2 * time.Second, true},
		"too soon":          {os.Interrupt, time.Millisecond, false},
		"the terminal left": {syscall.SIGHUP, 2 * time.Second, false},
	} {
		signals, times := make(chan os.Signal, 2), []time.Time{time.Unix(0, 0), time.Unix(0, 0).Add(c.after)}
		signals <- os.Interrupt
		signals <- c.second
		close(signals)
		ctx, cancel := context.WithCancel(t.Context())
		var said bytes.Buffer
		ended := untilAgain(ctx, signals, cancel, &said, func() time.Time {
			now := times[0]
			times = times[1:]
			return now
		})
		if ended != c.ends || ctx.Err() == nil || strings.Contains(said.String(), "ended at once") != c.ends {
			t.Errorf("%s: ended %v, %v, %q", name, ended, ctx.Err(), said.String())
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if untilAgain(ctx, make(chan os.Signal), func() {}, &bytes.Buffer{}, time.Now) {
		t.Error("a command that has ended by itself is ended again")
	}
}
