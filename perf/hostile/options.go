package hostile

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

// Options says what Run does. The zero value is every scenario, with 1,000,000 messages each.
type Options struct {
	Scenarios []string      // names; none: all
	Messages  int           // of a flood; 0 is 1,000,000
	Windows   int           // pairs of measurements of a tunnel's throughput, without the flood and with it; 0 is 12
	Window    time.Duration // length of each; 0 is 250 ms
	Load      int           // packets a second that are sent through the tunnel; 0 is 20,000
	Target    *Target       // a gateway that is there already; nil: one of ours is started
	Quick     bool          // 20,000 messages, no throughput, and what depends on the speed of the machine is not judged
	JSON      string        // file for the rows as a JSON array, or empty
	Report    string        // file for a report of the lab, or empty
	HTML      string        // file for it as a page, or empty
	Command   []string      // as it was given, for the report
	Binary    string        // the sallyport program; this one when empty
	Out       io.Writer     // for the report; nil is standard output
	Progress  io.Writer     // for what is under way; nil is nowhere

	askLimit time.Duration // after which a target that does not answer counts as down; 0: askLimit
}

// Defaults, and what there can be.
const (
	defaultMessages = 1_000_000
	quickMessages   = 20_000
	leastMessages   = 1000
	maxMessages     = 1_000_000_000
	defaultWindows  = 12
	maxWindows      = 1000
	defaultWindow   = 250 * time.Millisecond
	maxWindow       = time.Minute
	defaultLoad     = 20_000
	maxLoad         = 1_000_000
	leastPackets    = 100 // in a window
)

func (o Options) withDefaults() (Options, error) {
	if len(o.Scenarios) == 0 {
		for _, name := range Names() {
			if o.Target == nil || foreign(o.Target)[name] != nil {
				o.Scenarios = append(o.Scenarios, name)
			}
		}
	}
	if o.Quick {
		o.Messages = cmp.Or(o.Messages, quickMessages)
	}
	o.Messages = cmp.Or(o.Messages, defaultMessages)
	o.Windows = cmp.Or(o.Windows, defaultWindows)
	o.Window = cmp.Or(o.Window, defaultWindow)
	o.Load = cmp.Or(o.Load, defaultLoad)
	o.askLimit = cmp.Or(o.askLimit, askLimit)
	if len(o.Command) == 0 {
		o.Command = []string{"sallyport", "lab", "hostile"}
	}
	if o.Out == nil {
		o.Out = os.Stdout
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	if o.Binary == "" {
		var err error
		if o.Binary, err = os.Executable(); err != nil {
			return o, fmt.Errorf("hostile: finding the sallyport program: %w", err)
		}
	}
	return o, o.validate()
}

// validate finds all that is wrong with the options.
func (o *Options) validate() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf("hostile: "+format, args...)) }
	for i, name := range o.Scenarios {
		if !slices.Contains(Names(), name) || slices.Contains(o.Scenarios[:i], name) {
			wrong("scenario %q: want each of %s at most once", name, strings.Join(Names(), ", "))
		}
	}
	if o.Target != nil {
		errs = append(errs, o.Target.Validate(o.Target.Peers...))
		for _, name := range o.Scenarios {
			if foreign(o.Target)[name] == nil {
				wrong("scenario %q: against a target want init-random, main-random, and with peers init-forged and main-forged", name)
			}
		}
	}
	if o.Messages < leastMessages || o.Messages > maxMessages {
		wrong("%d messages: want %d to %d", o.Messages, leastMessages, maxMessages)
	}
	if o.Windows < 1 || o.Windows > maxWindows {
		wrong("%d windows: want 1 to %d", o.Windows, maxWindows)
	}
	if o.Window < time.Millisecond || o.Window > maxWindow {
		wrong("a window of %s: want %s to %s", o.Window, time.Millisecond, maxWindow)
	}
	if o.Load < 1 || o.Load > maxLoad {
		wrong("a load of %d packets/s: want 1 to %d", o.Load, maxLoad)
	}
	if packets := float64(o.Load) * o.Window.Seconds(); packets > 0 && packets < leastPackets {
		wrong("a load of %d packets/s in windows of %s: want %d packets in a window or more, or nothing can be said of what gets through", o.Load, o.Window, leastPackets)
	}
	return errors.Join(errs...)
}
