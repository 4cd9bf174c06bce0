package negotiate

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"sallyport/ike"
	"sallyport/perf/ikebench"
)

// Kinds of perfect forward secrecy (S-083) and of authentication.
const (
	PFSNone    = "none"
	PFSSession = "session" // a Diffie-Hellman exchange for each quick mode
	PFSMaster  = "master"  // a main mode with authentication for each quick mode

	AuthPSK         = "psk"
	AuthCertificate = "certificate" // of ECDSA P-256
	AuthRSA         = "certificate-rsa"
)

// keys are those that certificates are of.
var keys = map[string]ikebench.Keys{AuthCertificate: ikebench.P256, AuthRSA: ikebench.RSA2048}

// Options says what Run measures: a row for each interval, of each version, kind of PFS and authentication. The zero value is IKEv1 and IKEv2 by preshared
// key without PFS.
type Options struct {
	Intervals   []int         // between initiations, in milliseconds; none: 250, 200, 150, 100, 50, 0
	Versions    []string      // v1, v2; none: both
	PFS         []string      // none: without
	Auth        []string      // none: psk
	QuickModes  int           // of each connection: 0 is 1, and 4 if there is PFS, which the first costs nothing
	Time        time.Duration // of each interval but 0 ms; 0 is 4 s
	Peers       int           // that connect at 0 ms; 0 is 4000
	Outstanding int           // most of them at once; 0 is 1500
	Repeat      int           // how often each interval is measured; 0 is 1
	Target      *Target       // a gateway that is there already; nil: one of ours is started
	JSON        string        // file for the rows as a JSON array, or empty
	Report      string        // file for a report of the lab, or empty
	HTML        string        // file for it as a page, or empty
	Command     []string      // as it was given, for the report
	Binary      string        // the sallyport program; this one when empty
	Out         io.Writer     // for the table; nil is standard output
	Progress    io.Writer     // for what is under way; nil is nowhere

	askLimit time.Duration // after which a target that does not answer counts as down; 0: askLimit
}

// Defaults, and what there can be.
const (
	defaultTime        = 4 * time.Second
	defaultPeers       = 4000
	defaultOutstanding = 1500
	pfsQuickModes      = 4
	maxQuickModes      = 10 // replaced pairs stay for a while, of which a gateway holds 16
	maxPeers           = 20_000
	maxInterval        = 60_000
	maxTime            = 10 * time.Minute
	maxRepeat          = 100
	askLimit           = 30 * time.Second
)

func (o Options) withDefaults() (Options, error) {
	if len(o.Intervals) == 0 {
		o.Intervals = []int{250, 200, 150, 100, 50, 0}
	}
	if len(o.Versions) == 0 {
		o.Versions = []string{ike.V1.String(), ike.V2.String()}
	}
	if len(o.PFS) == 0 {
		o.PFS = []string{PFSNone}
	}
	if len(o.Auth) == 0 {
		o.Auth = []string{AuthPSK}
	}
	if o.QuickModes == 0 {
		o.QuickModes = 1
		if !slices.Equal(o.PFS, []string{PFSNone}) {
			o.QuickModes = pfsQuickModes
		}
	}
	o.Time = cmp.Or(o.Time, defaultTime)
	o.Peers = cmp.Or(o.Peers, defaultPeers)
	o.Outstanding = cmp.Or(o.Outstanding, defaultOutstanding)
	o.Repeat = cmp.Or(o.Repeat, 1)
	o.askLimit = cmp.Or(o.askLimit, askLimit)
	if o.Target != nil {
		own := *o.Target // what is read of files stays here
		o.Target = &own
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
			return o, fmt.Errorf("negotiate: finding the sallyport program: %w", err)
		}
	}
	return o, o.validate()
}

// validate finds all that is wrong with the options.
func (o *Options) validate() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf("negotiate: "+format, args...)) }
	for _, words := range []struct {
		what         string
		given, known []string
	}{
		{"version of IKE", o.Versions, []string{ike.V1.String(), ike.V2.String()}},
		{"PFS", o.PFS, []string{PFSNone, PFSSession, PFSMaster}},
		{"authentication", o.Auth, []string{AuthPSK, AuthCertificate, AuthRSA}},
	} {
		for i, word := range words.given {
			if !slices.Contains(words.known, word) || slices.Contains(words.given[:i], word) {
				wrong("%s %q: want each of %s at most once", words.what, word, strings.Join(words.known, ", "))
			}
		}
	}
	for i, ms := range o.Intervals {
		if ms < 0 || ms > maxInterval || slices.Contains(o.Intervals[:i], ms) {
			wrong("an interval of %d ms: want 0 to %d, each once", ms, maxInterval)
		}
	}
	for _, number := range []struct {
		what              string
		given, least, max int
	}{{"quick modes of each connection", o.QuickModes, 1, maxQuickModes}, {"peers", o.Peers, 1, maxPeers}, {"connections at once", o.Outstanding, 1, maxPeers},
		{"measurements of each interval", o.Repeat, 1, maxRepeat}} {
		if number.given < number.least || number.given > number.max {
			wrong("%d %s: want %d to %d", number.given, number.what, number.least, number.max)
		}
	}
	if o.Time < time.Millisecond || o.Time > maxTime {
		wrong("%s for each interval: want %s to %s", o.Time, time.Millisecond, maxTime)
	}
	if n := o.crowd(); n > maxPeers && len(errs) == 0 {
		wrong("%d peers would be needed, each for one connection: want at most %d: less time, fewer intervals or --peers", n, maxPeers)
	}
	if o.Target != nil {
		errs = append(errs, o.Target.validate(o.crowd(), o.Auth))
	}
	return errors.Join(errs...)
}

// unhurried is how many connections are under way at once in the measurement that 0 ms is compared with: enough to keep the gateway busy, and few enough that it
// never has to turn one away.
const unhurried = 32

// rounds are the measurements of one gateway: a row for each interval, and for that of 0 ms what it is compared with, all as often as wished.
func (o *Options) rounds() (list []plan) {
	for range max(o.Repeat, 1) {
		list = append(list, o.sweep()...)
	}
	return list
}

func (o *Options) sweep() (list []plan) {
	for _, ms := range o.Intervals {
		if ms > 0 {
			interval := time.Duration(ms) * time.Millisecond
			list = append(list, plan{interval: interval, callers: max(1, int((o.Time+interval-1)/interval)), bound: maxPeers})
			continue
		}
		list = append(list, plan{callers: o.Peers, bound: o.Outstanding}, plan{callers: o.Peers, bound: unhurried, reference: true})
	}
	return list
}

// crowd is how many peers they take together; a target has one more that goes before them.
func (o *Options) crowd() (n int) {
	if o.Target != nil {
		n++
	}
	for _, p := range o.rounds() {
		n += p.callers
	}
	return n
}
