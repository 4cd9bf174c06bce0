package config

import (
	"log/slog"
	"net/netip"
	"time"

	"sallyport/crypto"
	"sallyport/ike"
	"sallyport/policy"
)

// The structure of the file. Tags: mapstructure is the key; default is its value in YAML where the file has none;
// required is what was expected, for the message where the file has none.

type fileRoot struct {
	Name          string             `mapstructure:"name" required:"the gateway's name"`
	Lab           bool               `mapstructure:"lab" default:"false"`
	Legacy        bool               `mapstructure:"legacy_algorithms" default:"false"`
	Dataplane     fileDataplane      `mapstructure:"dataplane"`
	Ports         []filePort         `mapstructure:"ports" required:"at least one port"`
	Routes        []fileRoute        `mapstructure:"routes"`
	Fragments     fileFragments      `mapstructure:"fragments"`
	Rekey         fileRekey          `mapstructure:"rekey"`
	Auth          fileChecks         `mapstructure:"auth"`
	Peers         []filePeer         `mapstructure:"peers"`
	SAs           []fileSA           `mapstructure:"sas"`
	FilterLists   []fileFilterList   `mapstructure:"filter_lists"`
	FilterActions []fileFilterAction `mapstructure:"filter_actions"`
	Policies      []filePolicy       `mapstructure:"policies"`
	ActivePolicy  string             `mapstructure:"active_policy"`
	Exemptions    fileExemptions     `mapstructure:"exemptions"`
	IKE           fileIKE            `mapstructure:"ike"`
	SoftSA        softWord           `mapstructure:"soft_sa" default:"allow"`
	Soft          fileSoft           `mapstructure:"soft"`
	StateDir      absolutePath       `mapstructure:"state_dir" default:"/var/lib/sallyport"`
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
	PuntQueue     int          `mapstructure:"punt_queue" default:"256"`
	CryptoDevices []string     `mapstructure:"crypto_devices"`
	Offload       []string     `mapstructure:"offload"`
	LogLevel      dpdkLogLevel `mapstructure:"log_level" default:"notice"`
}

type filePort struct {
	Name      string        `mapstructure:"name" required:"a name for the port"`
	Device    string        `mapstructure:"device" required:"a PCI address (0000:00:05.0) or a virtual device (net_af_packet0,iface=lan0)"`
	VLAN      int           `mapstructure:"vlan" default:"0"`
	Role      portRole      `mapstructure:"role" required:"protected or unprotected"`
	Addresses []portAddress `mapstructure:"addresses" required:"at least one address with its prefix length (10.1.0.1/24)"`
	MTU       int           `mapstructure:"mtu" default:"1500"`
	IKE       onOff         `mapstructure:"ike" default:"on"`
	SpeedMbps int           `mapstructure:"speed_mbps" default:"10000"`
}

type fileRoute struct {
	To  network    `mapstructure:"to" required:"a prefix (10.9.0.0/16, 0.0.0.0/0, 2001:db8:9::/48)"`
	Via netip.Addr `mapstructure:"via" required:"the address of the next router"`
}

type fileFragments struct {
	MemoryMB int           `mapstructure:"memory_mb" default:"8"`
	Timeout  time.Duration `mapstructure:"timeout" default:"1s"`
}

// fileRekey bounds how often keys may have to change.
type fileRekey struct {
	MinSeconds int `mapstructure:"min_seconds" default:"10"`
}

type filePeer struct {
	Name         string         `mapstructure:"name" required:"a name for the peer"`
	Local        outerAddress   `mapstructure:"local" required:"the gateway's own address toward the peer"`
	Remote       outerAddress   `mapstructure:"remote" required:"the peer's address"`
	IKE          ike.Version    `mapstructure:"ike" default:"v2"`
	LocalID      ike.Identity   `mapstructure:"local_id"`
	RemoteID     ike.Identity   `mapstructure:"remote_id"`
	Auth         fileAuth       `mapstructure:"auth" required:"auth: {certificate_file: FILE, private_key_file: FILE, ca_files: [FILE]} or auth: {psk_file: FILE}"`
	PPKFile      string         `mapstructure:"ppk_file"`
	PPKID        string         `mapstructure:"ppk_id"`
	PPKRequired  bool           `mapstructure:"ppk_required" default:"false"`
	IKEProposals []ikeProposal  `mapstructure:"ike_proposals"`
	Start        ike.Start      `mapstructure:"start" default:"always"`
	DPDDelay     time.Duration  `mapstructure:"dpd_delay" default:"30s"`
	IKERekey     time.Duration  `mapstructure:"ike_rekey"` // default: the active policy's key_exchange.lifetime
	Reauth       time.Duration  `mapstructure:"reauth"`    // default: 24h with certificates
	MOBIKE       bool           `mapstructure:"mobike" default:"false"`
	Additional   []outerAddress `mapstructure:"additional_addresses"`
	Redirect     bool           `mapstructure:"redirect" default:"false"`
	ChildRekey   time.Duration  `mapstructure:"child_rekey" default:"1h"`
	IdleTimeout  time.Duration  `mapstructure:"idle_timeout" default:"5m"`
	PerCore      perCore        `mapstructure:"per_core" default:"off"`
	ReplayWindow int            `mapstructure:"replay_window" default:"1024"`
	FragmentSize int            `mapstructure:"fragment_size" default:"1280"`
}

type fileAuth struct {
	PSKFile         string       `mapstructure:"psk_file"`
	AllowWeakPSK    bool         `mapstructure:"allow_weak_psk" default:"false"`
	CertificateFile string       `mapstructure:"certificate_file"`
	PrivateKeyFile  string       `mapstructure:"private_key_file"`
	PassphraseFile  string       `mapstructure:"passphrase_file"`
	CAFiles         []string     `mapstructure:"ca_files"`
	CertificateID   ike.Identity `mapstructure:"certificate_id"`
	Local           authMethod   `mapstructure:"local"`
	Remote          authMethod   `mapstructure:"remote"`
}

// fileChecks is how the certificates of all peers are checked.
type fileChecks struct {
	CAFiles       []string      `mapstructure:"ca_files"`
	CRLMode       int           `mapstructure:"crl_mode" default:"2"` // S-074
	CRLFiles      []string      `mapstructure:"crl_files"`
	OCSP          onOff         `mapstructure:"ocsp" default:"off"`
	AnyKeyPurpose bool          `mapstructure:"any_key_purpose" default:"false"`
	FetchTimeout  time.Duration `mapstructure:"fetch_timeout" default:"5s"`
	FetchNetworks []network     `mapstructure:"fetch_networks"`
	CRLMaxMB      int           `mapstructure:"crl_max_mb" default:"4"`
	CRLCacheMB    int           `mapstructure:"crl_cache_mb" default:"16"`
}

// fileSA is a Child SA whose keys an operator gives, for a lab.
type fileSA struct {
	Name          string            `mapstructure:"name" required:"a name for the SA"`
	Local         outerAddress      `mapstructure:"local" required:"the address at this end"`
	Remote        outerAddress      `mapstructure:"remote" required:"the address at the other end"`
	Mode          saMode            `mapstructure:"mode" default:"tunnel"`
	Protocol      saProtocol        `mapstructure:"protocol" default:"esp"`
	Algorithm     string            `mapstructure:"algorithm" required:"a cipher and its integrity algorithm (aes128gcm16, aes256-sha256), with AH an integrity algorithm alone (sha256)"`
	AH            string            `mapstructure:"ah"`
	SPIIn         spi               `mapstructure:"spi_in" required:"the SPI of packets from the other end (0x1001)"`
	SPIOut        spi               `mapstructure:"spi_out" required:"the SPI of packets to the other end (0x1002)"`
	AHSPIIn       spi               `mapstructure:"ah_spi_in"`
	AHSPIOut      spi               `mapstructure:"ah_spi_out"`
	KeyIn         crypto.Secret     `mapstructure:"key_in"`
	KeyOut        crypto.Secret     `mapstructure:"key_out"`
	AHKeyIn       crypto.Secret     `mapstructure:"ah_key_in"`
	AHKeyOut      crypto.Secret     `mapstructure:"ah_key_out"`
	KeyFile       string            `mapstructure:"key_file"`
	ESN           bool              `mapstructure:"esn" default:"false"`
	ReplayWindow  int               `mapstructure:"replay_window" default:"1024"`
	Sequence      sequence          `mapstructure:"sequence" default:"1"`
	UDP           fileUDP           `mapstructure:"udp"`
	Encapsulation fileEncapsulation `mapstructure:"encapsulation"`
}

// fileUDP is ESP in UDP (RFC 3948). Its local port is always 4500.
type fileUDP struct {
	RemotePort int `mapstructure:"remote_port" default:"4500"`
}

// fileEncapsulation is how the packets of an SA are put into outer ones.
type fileEncapsulation struct {
	DF            dfPolicy      `mapstructure:"df" default:"copy"`
	DSCP          dscpPolicy    `mapstructure:"dscp" default:"copy"`
	ECN           onOff         `mapstructure:"ecn" default:"on"`
	TTL           int           `mapstructure:"ttl" default:"64"`
	Fragment      fragmentWhen  `mapstructure:"fragment" default:"before"`
	MSSClamp      mssClamp      `mapstructure:"mss_clamp" default:"off"`
	TFCPad        tfcPad        `mapstructure:"tfc_pad" default:"off"`
	DummyInterval dummyInterval `mapstructure:"dummy_interval" default:"off"`
	PathMTU       onOff         `mapstructure:"path_mtu" default:"on"`
}

type fileFilterList struct {
	Name     string               `mapstructure:"name" required:"a name for the filter list"`
	Updated  reviewDate           `mapstructure:"updated"`
	Filters  []fileFilter         `mapstructure:"filters"` // these, or a template
	Template template             `mapstructure:"template"`
	Servers  []policy.AddressSpec `mapstructure:"servers"`
}

type fileFilter struct {
	Name            string             `mapstructure:"name"`
	Source          policy.AddressSpec `mapstructure:"source" required:"an address, prefix, range, my, any or dns:NAME"`
	Destination     policy.AddressSpec `mapstructure:"destination" required:"an address, prefix, range, my, any or dns:NAME"`
	Protocol        protocol           `mapstructure:"protocol" default:"any"`
	SourcePort      policy.PortRange   `mapstructure:"source_port" default:"any"`
	DestinationPort policy.PortRange   `mapstructure:"destination_port" default:"any"`
	Mirrored        bool               `mapstructure:"mirrored" default:"true"`
}

type fileFilterAction struct {
	Name               string            `mapstructure:"name" required:"a name for the filter action"`
	Action             policy.ActionKind `mapstructure:"action" required:"permit, block or negotiate"`
	Mode               saMode            `mapstructure:"mode" default:"tunnel"`
	ESPProposals       []espProposal     `mapstructure:"esp_proposals"`
	AHProposals        []ahProposal      `mapstructure:"ah_proposals"`
	Bundle             bool              `mapstructure:"bundle" default:"false"`
	FallbackClear      bool              `mapstructure:"fallback_clear" default:"false"`
	FallbackClearOnWAN bool              `mapstructure:"fallback_clear_on_wan" default:"false"`
	InboundPassthrough bool              `mapstructure:"inbound_passthrough" default:"false"`
	Lifetime           fileLifetime      `mapstructure:"lifetime"`
	Encapsulation      fileEncapsulation `mapstructure:"encapsulation"`
}

// fileLifetime is when a Child SA gets new keys: what is used up first counts.
type fileLifetime struct {
	Time      time.Duration `mapstructure:"time"` // default: the peer's child_rekey
	Kilobytes int           `mapstructure:"kilobytes" default:"0"`
	Packets   int           `mapstructure:"packets" default:"0"`
}

type filePolicy struct {
	Name               string              `mapstructure:"name" required:"a name for the policy"`
	Description        string              `mapstructure:"description"`
	Sample             bool                `mapstructure:"sample" default:"false"`
	RefreshSeconds     int                 `mapstructure:"refresh_seconds" default:"0"`
	KeyExchange        fileKeyExchange     `mapstructure:"key_exchange"`
	KeyExchangeMethods []ikeProposal       `mapstructure:"key_exchange_methods"`
	DefaultResponse    fileDefaultResponse `mapstructure:"default_response"`
	DefaultAction      policy.ActionKind   `mapstructure:"default_action" default:"block"`
	Rules              []fileRule          `mapstructure:"rules"`
}

type fileKeyExchange struct {
	Lifetime   time.Duration `mapstructure:"lifetime" default:"8h"`
	ChildLimit int           `mapstructure:"child_limit" default:"0"`
	MasterPFS  bool          `mapstructure:"master_pfs" default:"false"`
}

// fileDefaultResponse is the rule that every policy has (S-009): its list and its action are fixed.
type fileDefaultResponse struct {
	Enabled      bool             `mapstructure:"enabled" default:"false"`
	IKE          ike.Version      `mapstructure:"ike" default:"v2"`
	ESPProposals []espProposal    `mapstructure:"esp_proposals"`
	AuthMethods  []authMethod     `mapstructure:"auth_methods"`
	LocalID      ike.Identity     `mapstructure:"local_id"`
	Auth         fileStrangerAuth `mapstructure:"auth"`
}

// fileStrangerAuth is what both ends prove themselves with where no rule names the peer.
type fileStrangerAuth struct {
	PSKFile         string   `mapstructure:"psk_file"`
	AllowWeakPSK    bool     `mapstructure:"allow_weak_psk" default:"false"`
	CertificateFile string   `mapstructure:"certificate_file"`
	PrivateKeyFile  string   `mapstructure:"private_key_file"`
	PassphraseFile  string   `mapstructure:"passphrase_file"`
	CAFiles         []string `mapstructure:"ca_files"`
}

type fileRule struct {
	Name         string           `mapstructure:"name" required:"a name for the rule"`
	FilterList   string           `mapstructure:"filter_list" required:"the name of a filter list"`
	FilterAction string           `mapstructure:"filter_action" required:"the name of a filter action"`
	AuthMethods  []authMethod     `mapstructure:"auth_methods"`
	Peer         string           `mapstructure:"peer"`
	SA           string           `mapstructure:"sa"`
	Ports        policy.PortGroup `mapstructure:"ports" default:"all"`
}

type fileExemptions struct {
	Level policy.ExemptionLevel `mapstructure:"level" default:"3"`
}

type fileIKE struct {
	Enabled bool       `mapstructure:"enabled" default:"true"`
	Limits  fileLimits `mapstructure:"limits"`
}

// fileLimits bounds what peers, and whoever writes in their name, can have IKE hold or do. The defaults are those of ike.Limits.
type fileLimits struct {
	HalfOpen                 int           `mapstructure:"half_open" default:"1000"`
	HalfOpenPerAddress       int           `mapstructure:"half_open_per_address" default:"35"`
	HalfOpenPerPort          int           `mapstructure:"half_open_per_port" default:"5"`
	HalfOpenTimeout          time.Duration `mapstructure:"half_open_timeout" default:"30s"`
	CookieThreshold          int           `mapstructure:"cookie_threshold" default:"32"`
	Rate                     int           `mapstructure:"rate" default:"4096"`
	RatePerPrefix            int           `mapstructure:"rate_per_prefix" default:"128"`
	RatePerAddress           int           `mapstructure:"rate_per_address" default:"8"`
	RateOfStrangers          int           `mapstructure:"rate_of_strangers" default:"32"`
	MaxEstablished           int           `mapstructure:"max_established" default:"65536"`
	MaxEstablishedPerPeer    int           `mapstructure:"max_established_per_peer" default:"16"`
	MaxChildren              int           `mapstructure:"max_children" default:"65536"`
	MaxChildrenPerPeer       int           `mapstructure:"max_children_per_peer" default:"1024"`
	MaxChildrenPerIKESA      int           `mapstructure:"max_children_per_ike_sa" default:"128"`
	MaxChildrenPerRule       int           `mapstructure:"max_children_per_rule" default:"16"`
	RequestsPerPeer          int           `mapstructure:"requests_per_peer" default:"32"`
	DynamicPeers             int           `mapstructure:"dynamic_peers" default:"256"`
	CertificateChecks        int           `mapstructure:"certificate_checks" default:"64"`
	CertificateChecksPerPeer int           `mapstructure:"certificate_checks_per_peer" default:"4"`
	FragmentKB               int           `mapstructure:"fragment_kb" default:"4096"`
	RepliesToStrangers       int           `mapstructure:"replies_to_strangers" default:"10"`
}

// fileSoft bounds the soft SAs, and what leads to one. How long one lasts is no setting (S-047).
type fileSoft struct {
	Max              int `mapstructure:"max" default:"4096"`
	MaxPerPeer       int `mapstructure:"max_per_peer" default:"256"`
	QueueMax         int `mapstructure:"queue_max" default:"64"`
	Alarm            int `mapstructure:"alarm" default:"256"`
	InboundPerSource int `mapstructure:"inbound_per_source" default:"6"`
	InboundPerFilter int `mapstructure:"inbound_per_filter" default:"60"`
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
