package config

import (
	"log/slog"
	"net/netip"
	"time"

	"sallyport/ike"
	"sallyport/policy"
)

// The structure of the file. Tags: mapstructure is the key; default is its value in YAML where the file has none;
// required is what was expected, for the message where the file has none.

type fileRoot struct {
	Name          string             `mapstructure:"name" required:"the gateway's name"`
	Dataplane     fileDataplane      `mapstructure:"dataplane"`
	Ports         []filePort         `mapstructure:"ports" required:"at least one port"`
	Routes        []fileRoute        `mapstructure:"routes"`
	Peers         []filePeer         `mapstructure:"peers"`
	FilterLists   []fileFilterList   `mapstructure:"filter_lists"`
	FilterActions []fileFilterAction `mapstructure:"filter_actions"`
	Policies      []filePolicy       `mapstructure:"policies" required:"at least one policy"`
	ActivePolicy  string             `mapstructure:"active_policy" required:"the name of the policy in force"`
	Control       fileControl        `mapstructure:"control"`
	Metrics       fileMetrics        `mapstructure:"metrics"`
	Log           fileLog            `mapstructure:"log"`
}

type fileDataplane struct {
	HugePages     hugePages    `mapstructure:"huge_pages" default:"auto"`
	MemoryMB      int          `mapstructure:"memory_mb" default:"512"`
	MainCore      int          `mapstructure:"main_core" default:"0"`
	Workers       []int        `mapstructure:"workers" default:"[1]"`
	Idle          idleMode     `mapstructure:"idle" default:"poll"`
	FlowEntries   int          `mapstructure:"flow_entries" default:"65536"`
	MaxSAs        int          `mapstructure:"max_sas" default:"4096"`
	MaxTunnels    int          `mapstructure:"max_tunnels" default:"1024"`
	MaxNeighbours int          `mapstructure:"max_neighbours" default:"1024"`
	CryptoDevices []string     `mapstructure:"crypto_devices"`
	LogLevel      dpdkLogLevel `mapstructure:"log_level" default:"notice"`
}

type filePort struct {
	Name      string        `mapstructure:"name" required:"a name for the port"`
	Device    string        `mapstructure:"device" required:"a PCI address (0000:00:05.0) or a virtual device (net_af_packet0,iface=lan0)"`
	Role      portRole      `mapstructure:"role" required:"protected or unprotected"`
	Addresses []portAddress `mapstructure:"addresses" required:"at least one address with its prefix length (10.1.0.1/24)"`
	MTU       int           `mapstructure:"mtu" default:"1500"`
}

type fileRoute struct {
	To  network    `mapstructure:"to" required:"a prefix (10.9.0.0/16, 0.0.0.0/0)"`
	Via netip.Addr `mapstructure:"via" required:"the address of the next router"`
}

type filePeer struct {
	Name         string        `mapstructure:"name" required:"a name for the peer"`
	Local        netip.Addr    `mapstructure:"local" required:"the gateway's own address toward the peer"`
	Remote       netip.Addr    `mapstructure:"remote" required:"the peer's address"`
	LocalID      ike.Identity  `mapstructure:"local_id"`
	RemoteID     ike.Identity  `mapstructure:"remote_id"`
	Auth         fileAuth      `mapstructure:"auth" required:"auth: {psk_file: FILE}"`
	IKEProposals []ikeProposal `mapstructure:"ike_proposals"`
	Start        ike.Start     `mapstructure:"start" default:"always"`
	DPDDelay     time.Duration `mapstructure:"dpd_delay" default:"30s"`
	IKERekey     time.Duration `mapstructure:"ike_rekey" default:"8h"`
	ChildRekey   time.Duration `mapstructure:"child_rekey" default:"1h"`
	IdleTimeout  time.Duration `mapstructure:"idle_timeout" default:"5m"`
	ReplayWindow int           `mapstructure:"replay_window" default:"1024"`
}

type fileAuth struct {
	PSKFile      string `mapstructure:"psk_file" required:"a file that holds the preshared key"`
	AllowWeakPSK bool   `mapstructure:"allow_weak_psk" default:"false"`
}

type fileFilterList struct {
	Name    string       `mapstructure:"name" required:"a name for the filter list"`
	Updated reviewDate   `mapstructure:"updated"`
	Filters []fileFilter `mapstructure:"filters" required:"at least one filter"`
}

type fileFilter struct {
	Name            string             `mapstructure:"name"`
	Source          policy.AddressSpec `mapstructure:"source" required:"an address, prefix, range, my or any"`
	Destination     policy.AddressSpec `mapstructure:"destination" required:"an address, prefix, range, my or any"`
	Protocol        protocol           `mapstructure:"protocol" default:"any"`
	SourcePort      policy.PortRange   `mapstructure:"source_port" default:"any"`
	DestinationPort policy.PortRange   `mapstructure:"destination_port" default:"any"`
	Mirrored        bool               `mapstructure:"mirrored" default:"true"`
}

type fileFilterAction struct {
	Name         string            `mapstructure:"name" required:"a name for the filter action"`
	Action       policy.ActionKind `mapstructure:"action" required:"permit, block or negotiate"`
	ESPProposals []espProposal     `mapstructure:"esp_proposals"`
}

type filePolicy struct {
	Name          string            `mapstructure:"name" required:"a name for the policy"`
	Description   string            `mapstructure:"description"`
	Rules         []fileRule        `mapstructure:"rules"`
	DefaultAction policy.ActionKind `mapstructure:"default_action" default:"block"`
}

type fileRule struct {
	Name         string           `mapstructure:"name" required:"a name for the rule"`
	FilterList   string           `mapstructure:"filter_list" required:"the name of a filter list"`
	FilterAction string           `mapstructure:"filter_action" required:"the name of a filter action"`
	Peer         string           `mapstructure:"peer"`
	Ports        policy.PortGroup `mapstructure:"ports" default:"all"`
}

type fileControl struct {
	Socket socketPath `mapstructure:"socket" default:"/run/sallyport/control.sock"`
}

type fileMetrics struct {
	Listen netip.AddrPort `mapstructure:"listen"`
}

type fileLog struct {
	Level  slog.Level `mapstructure:"level" default:"info"`
	Format logFormat  `mapstructure:"format" default:"text"`
}

// refusedKeys are keys that people look for and that do not exist for a reason.
var refusedKeys = map[string]string{
	"peers[].auth.psk":                  "a key in this file would be read by everyone who reads the configuration, its backups and its history: put it alone into a file with mode 0600 and name that with psk_file",
	"policies[].rules[].priority":       "the order of rules has no effect: the most specific filter decides",
	"policies[].rules[].order":          "the order of rules has no effect: the most specific filter decides",
	"filter_lists[].filters[].priority": "the order of filters has no effect: the most specific filter decides",
}
