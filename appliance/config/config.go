package config

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"go.yaml.in/yaml/v3"

	"sallyport/ike"
	"sallyport/policy"
	"sallyport/policy/soft"
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
	Fragments Fragments

	Policy      *policy.Set // every policy of the file
	Exemptions  policy.ExemptionLevel
	IKEEnabled  bool
	Soft        Soft
	Limits      ike.Limits         // of IKE
	Refresh     time.Duration      // how often the file is looked at for changes; 0 is never
	Environment policy.Environment // the addresses of all ports
	SPD         *policy.SPD        // the active policy, compiled for Environment
	Peers       []ike.Peer         // those of Compiled, for Environment
	Auth        Authentication
	Manual      []ManualTunnel // likewise

	DefaultResponse []ike.Peer // of Compiled, likewise

	State   string // folder for numbered backups and for what DNS names stand for
	Control Control
	Metrics Metrics
	Log     Log

	Warnings []string // what an operator should know of at every start

	names []ResolvedName
	plan  plan
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
	PuntQueue     int      // packets of each class that may wait for the slow path, of each worker
	CryptoDevices []string // empty: chosen by the program
	Offload       []string // where SAs are worked on, the best first: inline, lookaside, cpu; empty: the program's order
	LogLevel      string   // of DPDK
}

// Port is an Ethernet port.
type Port struct {
	Name      string
	Device    string           // DPDK devargs of a virtual device, or a PCI address; ports of one device differ in VLAN
	VLAN      uint16           // of its frames (IEEE 802.1Q), 0 for those without a tag
	Role      policy.PortGroup // PortsLAN for protected, PortsWAN for unprotected
	Addresses []netip.Prefix   // own address with the length of the attached subnet
	MTU       int              // bytes of an IP packet
	IKE       bool             // IKE answers at these addresses and negotiates from them (S-041)
}

// Route sends packets for a prefix to a neighbour on the subnet of a port.
type Route struct {
	To  netip.Prefix
	Via netip.Addr
}

// Fragments bounds what the data plane keeps of datagrams whose fragments have not all come.
type Fragments struct {
	MemoryMB int
	Timeout  time.Duration
}

// Soft bounds the soft SAs, by which traffic passes in clear, and what leads to one.
type Soft struct {
	QueueMax int // packets that wait for an SA, of one selector
	soft.Limits
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

// Options is what a configuration is checked against besides itself.
type Options struct {
	Machine Machine
	Lab     bool // a policy that is a sample may be the active one (S-010), SAs may have keys of the operator's, and workers the main core

	// Known is what DNS names stand for already: a name that is in it is not asked for again (S-020).
	Known map[string][]netip.Addr
	// Resolver finds the addresses of other names; without one they are mistakes.
	Resolver Resolver
	// Now is the time at which they are asked for.
	Now time.Time
}

// Load reads and checks a configuration file for this machine, and asks the system's resolver for DNS names. Its error
// joins an *Error for every mistake.
func Load(path string) (*Config, error) {
	return LoadWith(path, Options{Machine: ThisMachine(), Resolver: net.DefaultResolver, Now: time.Now()})
}

// LoadWith reads a configuration file and checks it as ParseWith does.
func LoadWith(path string, o Options) (*Config, error) {
	data, err := ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	return ParseWith(path, data, o)
}

// Parse checks a configuration for a machine, without asking for DNS names.
func Parse(path string, data []byte, machine Machine) (*Config, error) {
	return ParseWith(path, data, Options{Machine: machine})
}

// ParseWith checks a configuration. Key files are read relative to the folder of path. Its error joins an *Error for
// every mistake.
func ParseWith(path string, data []byte, o Options) (*Config, error) {
	report := newReport(path)
	root := report.parse(data)
	if root == nil {
		return nil, report.err()
	}
	if root.Kind != yaml.MappingNode {
		report.addAt(root.Line, "", "expected keys with values, found %s", found(root, ""))
		return nil, report.err()
	}
	tree := report.checkKeys(root)
	if tree == nil {
		return nil, report.err()
	}
	raw := report.decode(tree)
	b := &builder{report: report, raw: raw, options: o, config: &Config{Path: path}}
	b.build()
	if err := report.err(); err != nil {
		b.config.Wipe()
		return nil, err
	}
	return b.config, nil
}

// Wipe forgets the keys of a configuration that is no longer used. Peers that Compile has given share them.
func (c *Config) Wipe() {
	for i := range c.plan.peers {
		c.plan.peers[i].PSK.Wipe()
	}
	for i := range c.plan.templates {
		c.plan.templates[i].PSK.Wipe()
	}
	for i := range c.plan.sas {
		c.plan.sas[i].wipe()
	}
}
