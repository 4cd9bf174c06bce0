package peerbench

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"sallyport/perf/report"
)

// Options says what Run does. The zero value is the whole comparison.
type Options struct {
	Rounds   int       // in which each has a turn; 0 is 5
	Peers    int       // that connect to a gateway in its turn; 0 is 1000
	Secgw    string    // DPDK's ipsec-secgw; empty: where scripts/secgw builds it
	VPP      string    // the vpp program; empty: where scripts/vpp builds it
	Quick    bool      // one round of a few rows: proves that it works and measures nothing
	JSON     string    // file for the report, or empty
	HTML     string    // file for it as a page, or empty
	Command  []string  // as it was given, for the report
	Binary   string    // the sallyport program; this one when empty
	Out      io.Writer // for the table; nil is standard output
	Progress io.Writer // for what is under way; nil is nowhere

	measured report.Machine // what lab bench had
}

// Defaults, and what there can be.
const (
	defaultRounds = 5
	maxRounds     = 100
	defaultPeers  = 1000
	quickPeers    = 20
	maxPeers      = 5000 // of which each round needs twice as many
)

func (o Options) withDefaults() (Options, error) {
	if o.Quick {
		o.Rounds, o.Peers = cmp.Or(o.Rounds, 1), cmp.Or(o.Peers, quickPeers)
	}
	o.Rounds, o.Peers = cmp.Or(o.Rounds, defaultRounds), cmp.Or(o.Peers, defaultPeers)
	if o.Out == nil {
		o.Out = os.Stdout
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	if len(o.Command) == 0 {
		o.Command = []string{"sallyport", "lab", "peers"}
	}
	if o.Binary == "" {
		var err error
		if o.Binary, err = os.Executable(); err != nil {
			return o, fmt.Errorf("peerbench: finding the sallyport program: %w", err)
		}
	}
	cache, err := os.UserCacheDir()
	if err != nil && (o.Secgw == "" || o.VPP == "") {
		return o, fmt.Errorf("peerbench: %w", err)
	}
	o.Secgw = cmp.Or(o.Secgw, filepath.Join(cache, "sallyport", "ipsec-secgw", "ipsec-secgw"))
	o.VPP = cmp.Or(o.VPP, filepath.Join(cache, "sallyport", "vpp", "bin", "vpp"))
	var errs []error
	for _, number := range []struct {
		what       string
		given, max int
	}{{"rounds", o.Rounds, maxRounds}, {"peers", o.Peers, maxPeers}} {
		if number.given < 1 || number.given > number.max {
			errs = append(errs, fmt.Errorf("peerbench: %d %s: want 1 to %d", number.given, number.what, number.max))
		}
	}
	return o, errors.Join(errs...)
}
