package config

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os"

	"sallyport/ike"
	"sallyport/policy"
)

// DefaultSocket is the control socket of a gateway whose configuration names none.
const DefaultSocket = "/run/sallyport/control.sock"

// Config is a checked configuration. It holds keys, which never print.
type Config struct {
	Path      string // of the file
	Name      string
	Dataplane Dataplane
	Ports     []Port
	Routes    []Route

	Peers       []ike.Peer         // each with a Child for every rule of the active policy that names it
	Policy      *policy.Set        // every policy of the file
	Environment policy.Environment // the addresses of all ports
	SPD         *policy.SPD        // the active policy, compiled

	Control Control
	Metrics Metrics
	Log     Log

	Warnings []string // what an operator should know of at every start
}

// Dataplane sizes the data plane.
type Dataplane struct {
	HugePages     string // auto, on or off
	MemoryMB      int
	MainCore      int
	Workers       []int  // core of each worker
	Idle          string // poll, yield or sleep
	FlowEntries   int    // of each worker, a power of two
	MaxSAs        int    // inbound SAs, a power of two
	MaxTunnels    int
	MaxNeighbours int
	CryptoDevices []string // empty: chosen by the program
	LogLevel      string   // of DPDK
}

// Port is an Ethernet port.
type Port struct {
	Name      string
	Device    string           // DPDK devargs of a virtual device, or a PCI address
	Role      policy.PortGroup // PortsLAN for protected, PortsWAN for unprotected
	Addresses []netip.Prefix   // own address with the length of the attached subnet
	MTU       int              // bytes of an IP packet
}

// Route sends packets for a prefix to a neighbour on the subnet of a port.
type Route struct {
	To  netip.Prefix
	Via netip.Addr
}

// Control is the control API.
type Control struct {
	Socket string // path of a Unix socket
}

// Metrics is the Prometheus endpoint, off where Listen is not valid.
type Metrics struct {
	Listen netip.AddrPort
}

// Log says what is logged and how.
type Log struct {
	Level  slog.Level
	Format string // text or json
}

// Load reads and checks a configuration file for this machine. Its error joins an *Error for every mistake.
func Load(path string) (*Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w; name the file with -c FILE", err)
	}
	return Parse(path, data, ThisMachine())
}

// Parse checks a configuration for a machine. Key files are read relative to the folder of path.
func Parse(path string, data []byte, machine Machine) (*Config, error) {
	report := newReport(path)
	root := report.parse(data)
	if root == nil {
		return nil, report.err()
	}
	raw := report.decode(report.checkKeys(root))
	b := &builder{report: report, raw: raw, machine: machine, config: &Config{Path: path}}
	b.build()
	if err := report.err(); err != nil {
		for i := range b.config.Peers {
			b.config.Peers[i].PSK.Wipe()
		}
		return nil, err
	}
	return b.config, nil
}
