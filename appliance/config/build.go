package config

import (
	"fmt"
	"log/slog"
	"math/bits"
	"net/netip"
	"regexp"
	"slices"

	"sallyport/policy"
)

// Bounds that the data plane has too; here they are reported with the key.
const (
	minMTU      = 68      // bytes, RFC 791 section 3.2
	maxMTU      = 9728    // bytes: jumbo frames of all common equipment
	minMemoryMB = 64      // below it the tables of the data plane have no room
	maxTable    = 1 << 28 // entries
	maxSlots    = 1 << 24 // inbound SAs: the rest of the SPI is random
	maxIDs      = 65534   // tunnels, neighbours: 16-bit numbers with one reserved
	maxWorkers  = 64
	maxPorts    = 32
	maxReplay   = 8192 // packets
)

// builder turns a decoded file into a Config. A zero value has been reported already where it is not valid.
type builder struct {
	*report
	raw     *fileRoot
	machine Machine
	config  *Config
	peers   map[string]int // index by name
}

func (b *builder) build() {
	b.config.Name = b.raw.Name
	b.name("name", b.raw.Name, nil)
	b.dataplane()
	b.ports()
	b.routes()
	b.buildPeers()
	b.policy()
	b.config.Control.Socket = string(b.raw.Control.Socket)
	b.config.Metrics.Listen = b.raw.Metrics.Listen
	b.config.Log = Log{Level: slog.Level(b.raw.Log.Level), Format: string(b.raw.Log.Format)}
}

func (b *builder) warn(format string, args ...any) {
	b.config.Warnings = append(b.config.Warnings, fmt.Sprintf(format, args...))
}

var nameForm = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// name checks a name that commands, metrics and logs show, and that no other of its kind has. others maps the names seen
// so far to their keys; nil where it does not matter here.
func (b *builder) name(key, name string, others map[string]string) {
	switch {
	case b.lines[key] == 0: // missing: reported, or allowed
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
		MemoryMB:      b.within("dataplane.memory_mb", raw.MemoryMB, minMemoryMB, 1<<20, "MiB"),
		MainCore:      raw.MainCore,
		Workers:       raw.Workers,
		Idle:          string(raw.Idle),
		FlowEntries:   b.powerOfTwo("dataplane.flow_entries", raw.FlowEntries, maxTable, "flows"),
		MaxSAs:        b.powerOfTwo("dataplane.max_sas", raw.MaxSAs, maxSlots, "SAs"),
		MaxTunnels:    b.within("dataplane.max_tunnels", raw.MaxTunnels, 1, maxIDs, "tunnels"),
		MaxNeighbours: b.within("dataplane.max_neighbours", raw.MaxNeighbours, 1, maxIDs, "neighbours"),
		CryptoDevices: raw.CryptoDevices,
		LogLevel:      string(raw.LogLevel),
	}
	b.cores()
	for i, device := range raw.CryptoDevices {
		if !pciForm.MatchString(device) && !cryptoForm.MatchString(device) {
			b.add(fmt.Sprintf("dataplane.crypto_devices[%d]", i), "expected a virtual device (crypto_aesni_gcm0) or a PCI address, found %q", device)
		}
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
		case core == d.MainCore && len(b.machine.Cores) > 1:
			b.add(key, "expected another core than main_core, found %d for both: a worker would starve the slow path, and this machine has %d cores", core, len(b.machine.Cores))
		case core == d.MainCore && d.Idle == "poll":
			b.warn("the worker on core %d shares it with everything else and never rests: set dataplane.idle to sleep", core)
		}
	}
}

func (b *builder) core(key string, core int) {
	if !slices.Contains(b.machine.Cores, core) {
		b.add(key, "expected a core of this machine (%s), found %d", formatCores(b.machine.Cores), core)
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

// Devices as DPDK names them: PCI addresses, and virtual devices with their arguments.
var (
	pciForm      = regexp.MustCompile(`^([0-9a-fA-F]{4}:)?[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7]$`)
	ethernetForm = regexp.MustCompile(`^(net|eth)_[a-z0-9_]+(,.*)?$`)
	cryptoForm   = regexp.MustCompile(`^crypto_[a-z0-9_]+(,.*)?$`)
)

func (b *builder) ports() {
	if n := len(b.raw.Ports); n > maxPorts {
		b.add("ports", "expected at most %d ports, found %d", maxPorts, n)
		b.raw.Ports = b.raw.Ports[:maxPorts]
	}
	names, devices := map[string]string{}, map[string]string{}
	for i, raw := range b.raw.Ports {
		key := fmt.Sprintf("ports[%d]", i)
		b.name(key+".name", raw.Name, names)
		switch other := devices[raw.Device]; {
		case b.lines[key+".device"] == 0:
		case !pciForm.MatchString(raw.Device) && !ethernetForm.MatchString(raw.Device):
			b.add(key+".device", "expected a PCI address (0000:00:05.0) or a virtual device (net_af_packet0,iface=lan0), found %q", raw.Device)
		case other != "":
			b.add(key+".device", "expected a device of its own, found %q, which %s has already", raw.Device, other)
		}
		devices[raw.Device] = key
		port := Port{Name: raw.Name, Device: raw.Device, Role: policy.PortGroup(raw.Role), MTU: b.within(key+".mtu", raw.MTU, minMTU, maxMTU, "bytes")}
		if len(raw.Addresses) == 0 && b.lines[key+".addresses"] != 0 {
			b.add(key+".addresses", "expected at least one address with its prefix length (10.1.0.1/24), found none")
		}
		for j, address := range raw.Addresses {
			b.portAddress(fmt.Sprintf("%s.addresses[%d]", key, j), netip.Prefix(address))
			port.Addresses = append(port.Addresses, netip.Prefix(address))
			b.config.Environment.LocalAddresses = append(b.config.Environment.LocalAddresses, netip.Prefix(address).Addr())
		}
		b.config.Ports = append(b.config.Ports, port)
	}
	if len(b.raw.Ports) == 0 && b.lines["ports"] != 0 {
		b.add("ports", "expected at least one port, found none")
	}
	b.config.Environment.LocalAddresses = slices.DeleteFunc(b.config.Environment.LocalAddresses, func(a netip.Addr) bool { return !a.IsValid() })
}

// portAddress checks that an address and its subnet are on no other port; on its own port it may share the subnet.
func (b *builder) portAddress(key string, address netip.Prefix) {
	if !address.IsValid() {
		return
	}
	if slices.Contains(b.config.Environment.LocalAddresses, address.Addr()) {
		b.add(key, "expected an address of its own, found %s for the second time", address.Addr())
	}
	for _, other := range b.config.Ports {
		for _, used := range other.Addresses {
			if used.IsValid() && used.Overlaps(address) {
				b.add(key, "expected a subnet of its own, found %s, which overlaps %s of port %q", address.Masked(), used.Masked(), other.Name)
			}
		}
	}
}

// portOf is the port with an address that matches.
func (b *builder) portOf(matches func(netip.Prefix) bool) *Port {
	for i := range b.config.Ports {
		if slices.ContainsFunc(b.config.Ports[i].Addresses, func(p netip.Prefix) bool { return p.IsValid() && matches(p) }) {
			return &b.config.Ports[i]
		}
	}
	return nil
}

func (b *builder) routes() {
	seen := map[network]string{}
	portsSound := !b.anyWithin("ports") // what follows from a wrong port is no news
	for i, raw := range b.raw.Routes {
		key := fmt.Sprintf("routes[%d]", i)
		to := netip.Prefix(raw.To)
		if other := seen[raw.To]; other != "" && to.IsValid() {
			b.add(key+".to", "expected one route for a prefix, found %s, which %s has already", to, other)
		}
		seen[raw.To] = key
		if raw.Via.IsValid() {
			switch {
			case slices.Contains(b.config.Environment.LocalAddresses, raw.Via):
				b.add(key+".via", "expected the address of another router, found %s, which is the gateway's own", raw.Via)
			case portsSound && b.portOf(func(p netip.Prefix) bool { return p.Contains(raw.Via) }) == nil:
				b.add(key+".via", "expected an address on the subnet of a port (%s), found %s", b.subnets(), raw.Via)
			}
		}
		b.config.Routes = append(b.config.Routes, Route{To: to, Via: raw.Via})
	}
}

// subnets lists the subnets of all ports for a message.
func (b *builder) subnets() string {
	text := ""
	for _, port := range b.config.Ports {
		for _, address := range port.Addresses {
			if text != "" {
				text += ", "
			}
			text += address.Masked().String()
		}
	}
	return text
}
