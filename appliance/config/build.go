package config

import (
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"log/slog"
	"math/bits"
	"regexp"
	"slices"
	"strings"
	"time"

	"sallyport/pki"
	"sallyport/policy/soft"
)

// Bounds that the data plane has too; here they are reported with the key.
const (
	minMTU       = 68      // bytes, RFC 791 section 3.2
	minMTUIPv6   = 1280    // bytes, RFC 8200 section 5
	minMTUTunnel = 576     // bytes: what any path of IPv4 is taken to carry (RFC 791 section 3.2), and IKE needs at the least (RFC 7383 section 2.5.1)
	maxMTU       = 9728    // bytes: jumbo frames of all common equipment
	minPuntQueue = 32      // one burst of a worker
	maxPuntQueue = 8192    // what does not fit by then waits in vain
	minMemoryMB  = 64      // below it the tables of the data plane have no room
	maxMemoryMB  = 1 << 20 // a slip of the finger rather than a machine
	maxTable     = 1 << 28 // entries
	maxSlots     = 1 << 24 // inbound SAs: the rest of the SPI is random
	maxIDs       = 65534   // tunnels, neighbours: 16-bit numbers with one reserved
	maxWorkers   = 64
	maxDevices   = 32
	maxVLANPorts = 31
	maxVLAN      = 4094 // IEEE 802.1Q reserves 4095; 0 is no VLAN
	maxAddresses = 8    // of a port
	maxReplay    = 8192 // packets

	maxSchedulerWorkers = 8 // DPDK's

	maxSoft        = 1 << 16 // soft SAs
	maxSoftQueue   = 1024    // packets: as many as may wait for all SAs together
	maxInboundRate = 60_000  // negotiations a minute

	maxFragmentMB   = 1024
	minFragmentTime = 100 * time.Millisecond
	maxFragmentTime = time.Minute // RFC 1122 section 3.3.2 and RFC 8200 section 4.5 wait no longer
)

// builder turns a decoded file into a Config. A zero value has been reported already where it is not valid.
type builder struct {
	*report
	raw     *fileRoot
	options Options
	config  *Config
	active  int            // index of the active policy, -1 without one
	peers   map[string]int // index by name
	sas     map[string]int // index by name

	encapsulations map[string]Encapsulation // by filter action
	credentials    map[credentialFiles]*pki.Credential
	authorities    map[string][]*x509.Certificate // by file
	ways           []ways                         // by index of the peer
	keyOwners      map[[sha256.Size]byte]string   // by digest: whose preshared keys there are
	weakKeys       int                            // preshared keys that pass although they are weak
}

func (b *builder) build() {
	b.config.Name, b.config.State = b.raw.Name, string(b.raw.StateDir)
	b.config.Exemptions, b.config.IKEEnabled = b.raw.Exemptions.Level, b.raw.IKE.Enabled
	b.name("name", b.raw.Name, nil)
	b.active = slices.IndexFunc(b.raw.Policies, func(p filePolicy) bool { return p.Name == b.raw.ActivePolicy })
	b.dataplane()
	b.ports()
	b.routes()
	b.fragments()
	b.rekeyRate()
	b.soft()
	b.limits()
	b.checks()
	b.buildPeers()
	b.warnOfChecks()
	b.manualSAs()
	b.policy()
	b.uselessDevices()
	b.config.Control.Socket = string(b.raw.Control.Socket)
	b.config.Metrics.Listen = b.raw.Metrics.Listen
	b.config.Log = Log{Level: slog.Level(b.raw.Log.Level), Format: string(b.raw.Log.Format)}
}

func (b *builder) warn(format string, args ...any) {
	b.config.Warnings = append(b.config.Warnings, fmt.Sprintf(format, args...))
}

// warnedInLab is how many peers of a lab have a warning of one kind for themselves; a last one counts the others, which may be thousands.
const warnedInLab = 4

var nameForm = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// name checks a name that commands, metrics and logs show, and that no other of its kind has. others maps the names seen
// so far to their keys; nil where it does not matter here.
func (b *builder) name(key, name string, others map[string]string) {
	switch {
	case !b.has(key): // missing: reported, or allowed
	case !nameForm.MatchString(name):
		b.add(key, "expected a name of 1 to 64 letters, digits, dots, hyphens and underscores, found %q", name)
	case others[name] != "":
		b.add(key, "expected a name of its own, found %q, which %s has already", name, others[name])
	case others != nil:
		others[name] = key
	}
}

// within checks a number against its bounds.
func (b *builder) within(key string, value, low, high int, unit string) int {
	if value < low || value > high {
		b.add(key, "expected %d to %d %s, found %d", low, high, unit, value)
	}
	return value
}

func (b *builder) powerOfTwo(key string, value, high int, unit string) int {
	if value < 2 || value > high || bits.OnesCount(uint(value)) != 1 {
		b.add(key, "expected a power of two from 2 to %d %s, found %d", high, unit, value)
	}
	return value
}

func (b *builder) dataplane() {
	raw := &b.raw.Dataplane
	b.config.Dataplane = Dataplane{
		HugePages:     string(raw.HugePages),
		MemoryMB:      b.within("dataplane.memory_mb", raw.MemoryMB, minMemoryMB, maxMemoryMB, "MiB"),
		MainCore:      raw.MainCore,
		Workers:       raw.Workers,
		Idle:          string(raw.Idle),
		FlowEntries:   b.powerOfTwo("dataplane.flow_entries", raw.FlowEntries, maxTable, "flows"),
		MaxSAs:        b.powerOfTwo("dataplane.max_sas", raw.MaxSAs, maxSlots, "SAs"),
		MaxTunnels:    b.within("dataplane.max_tunnels", raw.MaxTunnels, 1, maxIDs, "tunnels"),
		MaxNeighbours: b.within("dataplane.max_neighbours", raw.MaxNeighbours, 1, maxIDs, "neighbours"),
		PuntQueue:     b.within("dataplane.punt_queue", raw.PuntQueue, minPuntQueue, maxPuntQueue, "packets"),
		CryptoDevices: raw.CryptoDevices,
		Offload:       raw.Offload,
		LogLevel:      string(raw.LogLevel),
	}
	if total := b.options.Machine.MemoryMB; total > 0 && raw.MemoryMB > total && raw.MemoryMB <= maxMemoryMB { // DPDK does not survive it
		b.add("dataplane.memory_mb", "expected less than this machine has, %d MiB, found %d", total, raw.MemoryMB)
	}
	b.cores()
	b.offload()
	b.cryptoDevices()
}

// offload checks where SAs may be worked on. A port leaves some packets of an SA undone, which somebody has to do.
func (b *builder) offload() {
	words := b.raw.Dataplane.Offload
	for i, word := range words {
		key := fmt.Sprintf("dataplane.offload[%d]", i)
		switch {
		case !slices.Contains([]string{"inline", "lookaside", "cpu"}, word):
			b.add(key, "expected inline, lookaside or cpu, found %q", word)
		case slices.Contains(words[:i], word):
			b.add(key, "expected each at most once, found %s twice", word)
		}
	}
	switch {
	case words != nil && len(words) == 0:
		b.add("dataplane.offload", "expected some of inline, lookaside and cpu, or no such key, found none")
	case slices.Contains(words, "inline") && !slices.Contains(words, "cpu"):
		b.add("dataplane.offload", "expected cpu beside inline, found %s: what a port leaves undone is the CPU's, because the queue of a crypto device would put it behind what the port does itself", strings.Join(words, ", "))
	}
}

// fragments checks the bounds of reassembly.
func (b *builder) fragments() {
	raw := &b.raw.Fragments
	if raw.Timeout < minFragmentTime || raw.Timeout > maxFragmentTime {
		b.add("fragments.timeout", "expected a time from %s to %s, found %s", minFragmentTime, maxFragmentTime, raw.Timeout)
	}
	b.config.Fragments = Fragments{MemoryMB: b.within("fragments.memory_mb", raw.MemoryMB, 1, maxFragmentMB, "MiB"), Timeout: raw.Timeout}
	if most := b.raw.Dataplane.MemoryMB / 2; raw.MemoryMB > most && raw.MemoryMB <= maxFragmentMB && !b.anyWithin("dataplane.memory_mb") {
		b.add("fragments.memory_mb", "expected at most half of dataplane.memory_mb, %d MiB, found %d: packets and tables need room too", most, raw.MemoryMB)
	}
}

// soft checks the bounds of soft SAs.
func (b *builder) soft() {
	raw := &b.raw.Soft
	if !b.has("soft.alarm") {
		raw.Alarm = min(raw.Alarm, max(raw.Max, 1)) // nobody has asked for one that never comes
	}
	b.config.Soft = Soft{
		QueueMax: b.within("soft.queue_max", raw.QueueMax, 1, maxSoftQueue, "packets"),
		Limits: soft.Limits{
			Allow:            b.raw.SoftSA == "allow",
			Max:              b.within("soft.max", raw.Max, 1, maxSoft, "soft SAs"),
			MaxPerPeer:       b.within("soft.max_per_peer", raw.MaxPerPeer, 1, maxSoft, "soft SAs"),
			Alarm:            b.within("soft.alarm", raw.Alarm, 0, maxSoft, "soft SAs, 0 for no alarm"),
			InboundPerSource: b.within("soft.inbound_per_source", raw.InboundPerSource, 1, maxInboundRate, "negotiations a minute"),
			InboundPerFilter: b.within("soft.inbound_per_filter", raw.InboundPerFilter, 1, maxInboundRate, "negotiations a minute"),
		},
	}
	if raw.Alarm > raw.Max && raw.Alarm <= maxSoft && !b.anyWithin("soft.max") {
		b.add("soft.alarm", "expected at most soft.max, %d soft SAs, found %d: there are never so many", raw.Max, raw.Alarm)
	}
}

// cores checks that the main core and the workers have cores, and each its own where there are enough.
func (b *builder) cores() {
	d := &b.config.Dataplane
	b.core("dataplane.main_core", d.MainCore)
	if len(d.Workers) == 0 || len(d.Workers) > maxWorkers {
		b.add("dataplane.workers", "expected the cores of 1 to %d workers, found %d", maxWorkers, len(d.Workers))
	}
	for i, core := range d.Workers {
		key := fmt.Sprintf("dataplane.workers[%d]", i)
		b.core(key, core)
		switch {
		case slices.Contains(d.Workers[:i], core):
			b.add(key, "expected a core of its own for each worker, found core %d twice", core)
		case core == d.MainCore && len(b.options.Machine.Cores) > 1 && !b.options.Lab:
			b.add(key, "expected another core than main_core, found %d for both: a worker would starve the slow path, and this machine has %d cores (a lab can share them, with --lab)", core, len(b.options.Machine.Cores))
		case core == d.MainCore && d.Idle == "poll":
			b.warn("the worker on core %d shares it with everything else and never rests: set dataplane.idle to sleep", core)
		}
	}
}

func (b *builder) core(key string, core int) {
	if !slices.Contains(b.options.Machine.Cores, core) {
		b.add(key, "expected a core of this machine (%s), found %d", formatCores(b.options.Machine.Cores), core)
	}
}

// formatCores is the short form of a set of cores: 0-3, 8.
func formatCores(cores []int) string {
	text := ""
	for i := 0; i < len(cores); i++ {
		first := i
		for i+1 < len(cores) && cores[i+1] == cores[i]+1 {
			i++
		}
		if text != "" {
			text += ", "
		}
		text += fmt.Sprint(cores[first])
		if i > first {
			text += fmt.Sprintf("-%d", cores[i])
		}
	}
	return text
}

// has reports whether the file has the key, with a value or without.
func (b *builder) has(key string) bool { return b.lines[key] != 0 }

// hasValue reports whether the file says something at the key; without it, what holds without the key does.
func (b *builder) hasValue(key string) bool { return b.has(key) && !b.empty[key] }

// Devices as DPDK names them: PCI addresses, and virtual devices with their arguments.
var (
	pciForm      = regexp.MustCompile(`^([0-9a-fA-F]{4}:)?[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7]$`)
	ethernetForm = regexp.MustCompile(`^(net|eth)_[a-z0-9_]+(,.*)?$`)
	cryptoForm   = regexp.MustCompile(`^crypto_[a-z0-9_]+(,.*)?$`)
)
