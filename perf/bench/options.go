package bench

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"sallyport/crypto"
	"sallyport/pmd/eal"
)

// Direction is the side of the tunnel that is measured.
type Direction string

const (
	Outbound Direction = "outbound" // clear packets in on the protected port, ESP out on the unprotected one
	Inbound  Direction = "inbound"  // ESP in on the unprotected port, clear packets out on the protected one
)

// Options says what Run measures. Algorithms, Sizes, Flows and Tunnels are those of the first table, which has a row for every
// combination of them; the other tables are what they are. The zero value is all of them, the first for AES-GCM-128.
type Options struct {
	Tables     []string      // of Tables; none: all
	Algorithms []string      // suites in the words of the configuration, such as "aes256-sha256"; "all" is every suite that IKE offers. None: aes128gcm16
	Directions []Direction   // none: both
	Sizes      []int         // inner IPv4 packets in bytes, header included. None: 64, 512, 1400
	Flows      []int         // UDP flows that take turns, packet by packet. None: 1, 1000, 100000
	Filters    []int         // sizes of the policy in the table of policies; none: 10, 100, 1000, 10000
	Tunnels    int           // Child SAs over which the flows are spread evenly; 0 is 1
	Window     time.Duration // of one measurement; 0 is 50 ms. It lasts longer when one pass over all flows does
	Windows    int           // measurements of each kind per row; 0 is 15
	// SourcePackets is how many packets a source has at least in the tables of sizes and transforms, in whole bursts and all flows
	// equally often. 0 is 4096 for sizes and 512 for transforms.
	SourcePackets int
	Core          int                                        // CPU of the measured thread; 0 is the last one that this process may use. A second worker has the last of the others
	HugePages     string                                     // auto, on or off, as in the configuration. Empty is auto, which reserves them for as long as it runs
	NIC           func(port uint16, queues int) (NIC, error) // gives a port of these queues a NIC with inline protocol; nil: its table is left out
	Profile       Profiler                                   // reads the counters of the fast path's stages; nil: its table is left out
	Quick         bool                                       // few short windows and few rows, where the options above are left open: proves that it works and measures nothing
	JSON          string                                     // file for the rows as a JSON array, or empty
	Report        string                                     // file for the report, or empty; it has the rows of all tables but ike
	HTML          string                                     // file for its page, or empty
	Command       []string                                   // as it was given, for the report
	Append        bool                                       // the file's rows stay, and these come behind them
	Out           io.Writer                                  // for the table; nil is standard output
}

// The tables, in their order.
const (
	tableSizes      = "sizes"
	tableTransforms = "transforms"
	tableTunnels    = "tunnels"
	tableWorkers    = "workers"
	tablePolicies   = "policies"
	tableSoft       = "soft"
	tableOffload    = "offload"
	tableInline     = "inline"
	tableProfile    = "profile"
	tableIKE        = "ike"
)

// Tables are the names of all tables.
var Tables = []string{tableSizes, tableTransforms, tableTunnels, tableWorkers, tablePolicies, tableSoft, tableOffload, tableInline, tableProfile, tableIKE}

const (
	minSize = 28   // IPv4 and UDP headers
	maxSize = 1422 // leaves room for every suite's encapsulation in an MTU of 1500

	minSource = 2 * burst // packets
	maxSource = 1 << 16
)

func (o Options) withDefaults() Options {
	sizes, flows, window, windows := []int{64, 512, 1400}, []int{1, 1000, 100000}, 50*time.Millisecond, 15
	filters := []int{10, 100, 1000, 10000}
	if o.Quick {
		sizes, flows, window, windows = []int{64, 1400}, []int{1, 1000}, time.Millisecond, 3
		filters = []int{10, 100}
	}
	if len(o.Tables) == 0 {
		o.Tables = Tables
	}
	if len(o.Algorithms) == 0 {
		o.Algorithms = []string{"aes128gcm16"}
	}
	if len(o.Directions) == 0 {
		o.Directions = []Direction{Outbound, Inbound}
	}
	if len(o.Sizes) == 0 {
		o.Sizes = sizes
	}
	if len(o.Flows) == 0 {
		o.Flows = flows
	}
	if len(o.Filters) == 0 {
		o.Filters = filters
	}
	o.Tunnels = cmp.Or(o.Tunnels, 1)
	o.Window = cmp.Or(o.Window, window)
	o.Windows = cmp.Or(o.Windows, windows)
	o.HugePages = cmp.Or(o.HugePages, eal.HugePagesAuto)
	if o.Out == nil {
		o.Out = os.Stdout
	}
	return o
}

// validate finds all that is wrong with the options.
func (o *Options) validate() ([]crypto.Suite, error) {
	suites, err := o.suites()
	errs := []error{err}
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf("bench: "+format, args...)) }
	for _, table := range o.Tables {
		if !slices.Contains(Tables, table) {
			wrong("table %q: want %s", table, strings.Join(Tables, ", "))
		}
	}
	for _, d := range o.Directions {
		if d != Outbound && d != Inbound {
			wrong("direction %q: want %s or %s", d, Outbound, Inbound)
		}
	}
	for _, size := range o.Sizes {
		if size < minSize || size > maxSize {
			wrong("inner packets of %d bytes: want %d to %d", size, minSize, maxSize)
		}
	}
	for _, flows := range o.Flows {
		if flows < 1 || flows > maxFlows {
			wrong("%d flows: want 1 to %d", flows, maxFlows)
		}
	}
	for _, filters := range o.Filters {
		if filters < minFilters || filters > maxFilters {
			wrong("a policy of %d filters: want %d to %d", filters, minFilters, maxFilters)
		}
	}
	if o.Tunnels < 1 || o.Tunnels > maxTunnels {
		wrong("%d tunnels: want 1 to %d", o.Tunnels, maxTunnels)
	}
	if o.SourcePackets != 0 && (o.SourcePackets < minSource || o.SourcePackets > maxSource) {
		wrong("sources of %d packets: want %d to %d", o.SourcePackets, minSource, maxSource)
	}
	if o.Window < 0 || o.Windows < 1 {
		wrong("%d windows of %s: want at least 1, of a time above 0", o.Windows, o.Window)
	}
	if o.Append && o.JSON == "" {
		wrong("rows to add to: want the file that has them")
	}
	if !slices.Contains([]string{eal.HugePagesAuto, eal.HugePagesOn, eal.HugePagesOff}, o.HugePages) {
		wrong("huge pages %q: want %s, %s or %s", o.HugePages, eal.HugePagesAuto, eal.HugePagesOn, eal.HugePagesOff)
	}
	return suites, errors.Join(errs...)
}

func (o *Options) suites() ([]crypto.Suite, error) {
	if slices.Equal(o.Algorithms, []string{"all"}) {
		return crypto.IKESuites(), nil
	}
	var suites []crypto.Suite
	var errs []error
	for _, word := range o.Algorithms {
		suite, err := crypto.ParseSuite(word)
		suites, errs = append(suites, suite), append(errs, err)
	}
	return suites, errors.Join(errs...)
}
