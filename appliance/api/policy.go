package api

import (
	"time"
)

// Policies is what is stored, and which of it is in force.
type Policies struct {
	Active     string    `json:"active"` // empty: none, nothing passes
	Level      string    `json:"exemption_level"`
	IKE        bool      `json:"ike_enabled"`
	Generation uint64    `json:"generation"` // policies published since start
	Changed    time.Time `json:"changed"`    // when the last of them was
	Stored     []Policy  `json:"policies"`
}

// Policy is one stored policy.
type Policy struct {
	Name           string  `json:"name"`
	Description    string  `json:"description,omitempty"`
	Active         bool    `json:"active"`
	Sample         bool    `json:"sample"`
	DefaultAction  string  `json:"default_action"`
	RefreshSeconds float64 `json:"refresh_seconds"` // how often the file is looked at; 0: at SIGHUP only
	Rules          []Rule  `json:"rules"`           // the default response rule last
	Origin         string  `json:"origin,omitempty"`
}

// Rule is one rule of a policy. The default response rule is named <Default
// Response> and has the list <Dynamic>; only it can be off.
type Rule struct {
	Name         string   `json:"name"`
	Enabled      bool     `json:"enabled"`
	FilterList   string   `json:"filter_list"`
	FilterAction string   `json:"filter_action"`
	Action       string   `json:"action"` // permit, block or negotiate
	Methods      []string `json:"methods,omitempty"`
	AuthMethods  []string `json:"auth_methods,omitempty"`
	Ports        string   `json:"ports"`
	Origin       string   `json:"origin,omitempty"`
}

// Exemptions is what passes whatever the filters say.
type Exemptions struct {
	Level   string      `json:"level"`    // that was asked for
	InForce string      `json:"in_force"` // that the gateway runs with
	Rows    []Exemption `json:"rows"`
}

// Exemption is one row: traffic of one kind in one direction.
type Exemption struct {
	ID        uint32   `json:"id"`
	Name      string   `json:"name"`
	Kind      string   `json:"kind"`
	Direction string   `json:"direction"` // in, out or both
	Filters   []string `json:"filters"`   // one for each own address, and of each pair of ports
	InForce   bool     `json:"in_force"`
	Why       string   `json:"why"` // it is or is not
	Packets   uint64   `json:"packets"`
	Bytes     uint64   `json:"bytes"`
}

// SAD is every SA: those of IKE (main mode), the IPsec SAs (quick mode), one
// for each direction, and the soft ones.
type SAD struct {
	MainMode  []IKE    `json:"mm_sas"`
	QuickMode []SA     `json:"qm_sas"`
	Soft      []SoftSA `json:"soft_sas"`
	// Manual is the SAs with keys of the operator's. Those that are up are quick-mode SAs too.
	Manual []ManualSA `json:"manual_sas"`
}

// ManualSA is an SA with keys of the operator's (sas in the configuration).
type ManualSA struct {
	Name  string `json:"name"`
	Rule  string `json:"rule"`          // that uses it
	State string `json:"state"`         // up or down
	Why   string `json:"why,omitempty"` // it is down
}

// SoftSA is leave to speak in clear with a peer that knows no IPsec: an SAD
// entry without a transform (S-046).
type SoftSA struct {
	Peer            string    `json:"peer"`
	Child           string    `json:"child"`
	Rule            string    `json:"rule"`
	Filter          string    `json:"filter"`
	Selector        string    `json:"selector"`   // the filter's traffic between two addresses
	Operation       string    `json:"operation"`  // none
	Protection      string    `json:"protection"` // CLEAR
	SPI             string    `json:"spi"`        // empty, as there is none
	Keys            string    `json:"keys"`       // likewise
	Created         time.Time `json:"created"`
	Age             float64   `json:"age_seconds"`
	Remaining       float64   `json:"remaining_seconds"`
	PacketsSent     uint64    `json:"packets_sent"` // in clear
	BytesSent       uint64    `json:"bytes_sent"`
	PacketsReceived uint64    `json:"packets_received"`
	BytesReceived   uint64    `json:"bytes_received"`
}

// FlushSAs ends SAs at once.
type FlushSAs struct {
	Soft bool `json:"soft"` // all soft SAs
}

// FlushedSAs is how many SAs have ended.
type FlushedSAs struct {
	Soft int `json:"soft"`
}

// Explanation is what the gateway would do with a packet now, and why. Policy
// is what the compiled policy says, Dataplane what the tables of the workers
// say; the two never differ, and Disagreement says it if they do.
type Explanation struct {
	Packet   string `json:"packet"`
	Port     string `json:"port"`                // it comes in by; local: the gateway's own
	InTunnel string `json:"in_tunnel,omitempty"` // and through this Child SA
	Policy   string `json:"policy"`              // the name of the one in force

	Exemptions []ExemptionCheck `json:"exemptions"`
	Matches    []Filter         `json:"matches"` // in the order of weight; the first decides unless an exemption does
	Winner     *Filter          `json:"winner,omitempty"`
	Exempted   string           `json:"exempted,omitempty"` // name of the exemption that decides

	Verdict      string `json:"verdict"` // of the policy: permit, block, protect, ...
	Why          string `json:"why"`     // the policy's reason
	Action       string `json:"action"`  // of the data plane: forward, protect, drop, local, ike, group or decrypt
	Reason       string `json:"reason,omitempty"`
	Waits        string `json:"waits,omitempty"` // what it has to wait for first: sa, neighbour
	Disagreement string `json:"disagreement,omitempty"`

	Tunnel    string       `json:"tunnel,omitempty"` // Child SA
	CellState string       `json:"cell_state,omitempty"`
	SA        *SA          `json:"sa,omitempty"`       // the packet would use
	SoftSA    *SoftSA      `json:"soft_sa,omitempty"`  // the packet would use
	Fallback  string       `json:"fallback,omitempty"` // why the packet may not pass in clear now, where its filter has fallback_clear
	OutPort   string       `json:"out_port,omitempty"`
	NextHop   string       `json:"next_hop,omitempty"`
	Neighbour string       `json:"neighbour,omitempty"` // its MAC address, or why there is none
	Cached    []CachedFlow `json:"cached,omitempty"`
}

// ExemptionCheck is an exemption held against a packet.
type ExemptionCheck struct {
	Name    string `json:"name"`
	InForce bool   `json:"in_force"`
	Matches bool   `json:"matches"`
	Why     string `json:"why"`
}

// CachedFlow is what a worker's flow cache holds for the packet.
type CachedFlow struct {
	Worker  int    `json:"worker"`
	Action  string `json:"action"`
	Reason  string `json:"reason,omitempty"`
	Current bool   `json:"current"` // false: of an older policy, decided anew at the next packet
}
