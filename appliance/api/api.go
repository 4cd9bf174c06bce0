// Package api holds the shapes of the control API: JSON over HTTP on a Unix
// socket. The gateway fills them, `sallyport show` and any other client read
// them, and neither needs the other's code.
//
// Addresses and selectors are text in their usual notation, SPIs are text in
// hexadecimal with 0x, times are RFC 3339, durations are seconds, counters are
// numbers since start. No field ever holds a key.
package api

import (
	"time"

	"sallyport/policy"
)

// Paths of the control API. Reading is GET, acting is POST.
const (
	PathVersion   = "/v1/version"
	PathPorts     = "/v1/ports"
	PathSAs       = "/v1/sas"
	PathIKE       = "/v1/ike"
	PathFilters   = "/v1/filters"
	PathFlows     = "/v1/flows"
	PathCounters  = "/v1/counters"
	PathDrops     = "/v1/drops"
	PathWhy       = "/v1/why"        // ?peer=NAME: Why
	PathIKELimits = "/v1/ike/limits" // ?peer=NAME, without it all and of peers those with refusals: []IKELimit
	PathEvents    = "/v1/events"     // ?follow=true&peer=NAME&from=NUMBER: lines, each an Event
	PathIKELog    = "/v1/ikelog"     // IKELog; POST SwitchIKELog, answers IKELog
	PathUp        = "/v1/up"
	PathDown      = "/v1/down"
	PathRekey     = "/v1/rekey"
	PathOffload   = "/v1/offload"      // []OffloadDevice
	PathMove      = "/v1/offload/move" // POST MoveSAs, answers []MovedSA

	PathReauthenticate = "/v1/reauthenticate"

	PathPolicy       = "/v1/policy"           // Policies
	PathMainMode     = "/v1/filters/mm"       // []policy.MainModeRow
	PathExemptions   = "/v1/exemptions"       // ?level=N, without it the level in force: Exemptions
	PathExplain      = "/v1/explain"          // ?src=&dst=&proto=&sport=&dport=&in=: Explanation
	PathSAD          = "/v1/sa"               // SAD
	PathFlushSAs     = "/v1/sa/flush"         // POST FlushSAs, answers FlushedSAs
	PathCertificates = "/v1/certificates"     // []Certificate
	PathCRL          = "/v1/crl"              // Revocation
	PathCRLFlush     = "/v1/crl/flush"        // POST, answers Flushed
	PathDoctor       = "/v1/doctor"           // ?peer=NAME, without it all peers: Examination
	PathBackups      = "/v1/config/backups"   // []Backup
	PathApply        = "/v1/config/apply"     // Apply, answers Change like all below
	PathRollback     = "/v1/config/rollback"  // Rollback
	PathReload       = "/v1/config/reload"    // Reload
	PathActivate     = "/v1/policy/activate"  // Activate
	PathPurge        = "/v1/policy/purge"     // Purge
	PathResolve      = "/v1/filters/resolve"  // Resolve
	PathLevel        = "/v1/exemptions/level" // SetLevel
	PathAddresses    = "/v1/addresses"        // ChangeAddress
)

// WarningHeader is a header of every answer while something is so that every view must say it.
const WarningHeader = "Sallyport-Warning"

// Error is the body of every answer that is not 200.
type Error struct {
	Message string `json:"error"`
}

// Version names what runs.
type Version struct {
	Gateway   string    `json:"gateway"` // the configuration's name
	Sallyport string    `json:"sallyport"`
	Go        string    `json:"go"`
	DPDK      string    `json:"dpdk"`
	Started   time.Time `json:"started"`
	HugePages bool      `json:"huge_pages"`
}

// Port is a DPDK port as configured and as the driver reports it.
type Port struct {
	Name      string   `json:"name"`
	Device    string   `json:"device"`
	VLAN      uint16   `json:"vlan,omitempty"` // of its frames; 0 for those without a tag
	Driver    string   `json:"driver"`
	Role      string   `json:"role"` // protected or unprotected
	MAC       string   `json:"mac"`
	Addresses []string `json:"addresses"`
	MTU       int      `json:"mtu"`
	Link      string   `json:"link"` // up or down
	SpeedMbps uint32   `json:"speed_mbps"`
	Queues    int      `json:"queues"`
	// Hardware counters as the driver keeps them, extended ones included.
	Xstats []Stat `json:"xstats"`
}

// Stat is one named driver counter.
type Stat struct {
	Name  string `json:"name"`
	Value uint64 `json:"value"`
}

// SA is one entry of the SAD: one direction of a Child SA (RFC 4301 4.4.2).
type SA struct {
	Peer         string            `json:"peer"`              // empty where nobody negotiated it
	Version      int               `json:"version,omitempty"` // of IKE: 1 or 2; absent where nobody negotiated it
	Manual       string            `json:"manual,omitempty"`  // name of an SA with keys of the operator's
	Child        string            `json:"child"`
	Direction    string            `json:"direction"`        // inbound or outbound
	Worker       *int              `json:"worker,omitempty"` // as in Flow: who alone sends by it and takes what comes by it (RFC 9611); absent from the one for all
	SPI          string            `json:"spi"`
	Protocol     string            `json:"protocol"` // esp, ah, or esp-in-ah for a bundle
	Mode         string            `json:"mode"`     // tunnel or transport
	AHSuite      string            `json:"ah_suite,omitempty"`
	AHSPI        string            `json:"ah_spi,omitempty"` // of the AH SA around the ESP of a bundle
	ESN          bool              `json:"esn,omitempty"`
	PathMTU      int               `json:"path_mtu,omitempty"` // bytes, outbound, once ICMP has told it
	Suite        string            `json:"suite"`
	Device       string            `json:"device"` // the crypto device that serves it
	Offload      *Offload          `json:"offload,omitempty"`
	Local        string            `json:"local"`
	Remote       string            `json:"remote"`
	UDPEncap     bool              `json:"udp_encapsulation"`
	Selectors    []string          `json:"selectors"`
	ReplayWindow int               `json:"replay_window,omitempty"`
	Sequence     uint64            `json:"sequence"`
	Packets      uint64            `json:"packets"`
	Bytes        uint64            `json:"bytes"`
	Dummies      uint64            `json:"dummies,omitempty"` // of packets: those sent without content (RFC 4303 2.6)
	Lifetime     *Lifetime         `json:"lifetime,omitempty"`
	Idle         float64           `json:"idle_seconds"`
	Drops        map[string]uint64 `json:"drops,omitempty"`
	Established  time.Time         `json:"established,omitzero"`
	RekeyAt      time.Time         `json:"rekey_at,omitzero"`
}

// Offload is where the work of an SA is done.
type Offload struct {
	Plan          string           `json:"plan"`                     // inline_protocol, inline_crypto, lookaside_protocol, lookaside_crypto or cpu
	Device        string           `json:"device"`                   // a port or a crypto device
	InlinePackets uint64           `json:"inline_packets,omitempty"` // of packets: those that the port has worked on
	Stopped       bool             `json:"stopped,omitempty"`        // it was a port's, and is the CPU's until the next rekey
	Wanted        string           `json:"wanted,omitempty"`         // where the operator has moved the SA, and those after it
	Stays         bool             `json:"stays,omitempty"`          // where the operator had moved it before he left it to the order again; the next SA goes by the order
	Refused       []OffloadRefusal `json:"refused,omitempty"`        // what would have come before the plan
}

// OffloadRefusal is why an SA does not go by a plan.
type OffloadRefusal struct {
	Plan   string `json:"plan"`
	Device string `json:"device"`
	Reason string `json:"reason"`
}

// OffloadDevice is a port or a crypto device as a place for the work of SAs.
type OffloadDevice struct {
	Name  string   `json:"name"`
	Kind  string   `json:"kind"`            // port or crypto
	State string   `json:"state"`           // up, lost, or none: it can do nothing
	Plans []string `json:"plans,omitempty"` // that it offers
	SAs   int      `json:"sas"`
	Why   string   `json:"why,omitempty"` // it is not up, or what is wrong with it all the same
}

// MoveSAs asks for SAs to move.
type MoveSAs struct {
	Name string `json:"name,omitempty"` // of an SA, a rule, or a peer; or its SPI
	All  bool   `json:"all,omitempty"`
	Plan string `json:"plan"` // inline, inline_protocol, inline_crypto, lookaside, lookaside_protocol, lookaside_crypto, cpu, or auto
}

// MovedSA is what came of it.
type MovedSA struct {
	Peer      string `json:"peer,omitempty"`
	Child     string `json:"child"`
	Direction string `json:"direction"`
	SPI       string `json:"spi"`
	From      string `json:"from"`
	To        string `json:"to"`
	Result    string `json:"result"` // moved, stays, rekeyed, failed
	Why       string `json:"why,omitempty"`
}

// Results of a move.
const (
	MoveMoved   = "moved"
	MoveStays   = "stays"   // it is there
	MoveRekeyed = "rekeyed" // IKE is asked for the next SA, which will be there
	MoveFailed  = "failed"  // it stays where it is
)

// Lifetime is how much an SA may carry, of which packets and bytes say what it has.
// Zero is no limit. At a soft one it is replaced; beyond a hard one packets are dropped.
type Lifetime struct {
	SoftPackets uint64 `json:"soft_packets,omitempty"`
	HardPackets uint64 `json:"hard_packets,omitempty"`
	SoftBytes   uint64 `json:"soft_bytes,omitempty"`
	HardBytes   uint64 `json:"hard_bytes,omitempty"`
}

// IKE is one IKE SA and its Child SAs, or a peer that has none and why.
type IKE struct {
	Peer         string    `json:"peer"`
	Version      int       `json:"version"` // of IKE: 1 or 2
	State        string    `json:"state"`
	Role         string    `json:"role,omitempty"`
	InitiatorSPI string    `json:"initiator_spi,omitempty"`
	ResponderSPI string    `json:"responder_spi,omitempty"`
	Local        string    `json:"local"`
	Remote       string    `json:"remote"`
	LocalID      string    `json:"local_id"`
	RemoteID     string    `json:"remote_id"`
	Proposal     string    `json:"proposal,omitempty"`
	NAT          string    `json:"nat,omitempty"`
	Established  time.Time `json:"established,omitzero"`
	RekeyAt      time.Time `json:"rekey_at,omitzero"`
	Children     []string  `json:"children"`
	LastFailure  string    `json:"last_failure,omitempty"`
	LastFailedAt time.Time `json:"last_failed_at,omitzero"`
	PeerFailure  string    `json:"peer_failure,omitempty"` // the same of what the peer began
	PeerFailedAt time.Time `json:"peer_failed_at,omitzero"`
	// What stands in the way at this moment.
	DownPort    string    `json:"down_port,omitempty"`   // the port of Local, if it has no link
	Outstanding string    `json:"outstanding,omitempty"` // the exchange that waits for a response
	Resent      uint64    `json:"resent"`                // requests to this peer sent again since start
	NextAttempt time.Time `json:"next_attempt,omitzero"` // of a negotiation after a failed one
}

// Filter is one row of the compiled SPD, in match order, with what it matched.
type Filter struct {
	policy.Row
	Packets uint64            `json:"packets"`
	Bytes   uint64            `json:"bytes"`
	Drops   map[string]uint64 `json:"drops,omitempty"` // of what it decided, by reason
}

// Flow is one remembered decision of a worker's flow cache.
type Flow struct {
	Worker      int    `json:"worker"`
	Arrived     string `json:"arrived"` // protected, unprotected or the Child SA it came through
	Source      string `json:"source"`
	Destination string `json:"destination"`
	Protocol    string `json:"protocol"`
	Action      string `json:"action"`
	Detail      string `json:"detail,omitempty"` // Child SA, port or drop reason
	Filter      string `json:"filter,omitempty"` // rule and filter that decided
}

// Counters is the account of every packet: for each port that a packet came in by,
// received + split = forwarded + delivered + held + reassembling + merged + the sum of drops.
type Counters struct {
	Ports     []PortCounters `json:"ports"`
	Conserved bool           `json:"conserved"`
	Imbalance string         `json:"imbalance,omitempty"`
	// Unattributed is drops by reason that no filter and no SA counts, because their counts had no more room.
	Unattributed map[string]uint64 `json:"unattributed,omitempty"`
	SlowPath     []SlowPath        `json:"slow_path"`
	IKEQueueFull QueueFull         `json:"ike_queue_full"`
}

// QueueFull is how many messages of IKE found no room to wait in. Their packets count as delivered.
type QueueFull struct {
	Begin            uint64 `json:"begin"`             // from a peer's address, they would have begun a negotiation
	BeginStranger    uint64 `json:"begin_stranger"`    // the same from elsewhere
	Continue         uint64 `json:"continue"`          // from a peer's address, they go on with one
	ContinueStranger uint64 `json:"continue_stranger"` // the same from elsewhere
	Own              uint64 `json:"own"`               // from the data plane: a packet that wants an SA, a peer that has moved
}

// SlowPath is one class of packets that workers hand to the slow path. Each has queues of its own, so that a flood of one takes nothing from the others.
type SlowPath struct {
	Class   string `json:"class"`
	Queued  uint64 `json:"queued"`  // they found room
	Full    uint64 `json:"full"`    // they found none: dropped for punt_full, or for the reason that ICMP would have told
	Waiting uint64 `json:"waiting"` // at this moment
}

// PortCounters is one port's account. The port "local" stands for packets
// that the gateway itself originated.
type PortCounters struct {
	Name             string            `json:"name"`
	Received         uint64            `json:"received"`
	ReceivedBytes    uint64            `json:"received_bytes"`
	Forwarded        uint64            `json:"forwarded"`
	ForwardedBytes   uint64            `json:"forwarded_bytes"`
	Delivered        uint64            `json:"delivered"`
	Held             uint64            `json:"held"`
	Reassembling     uint64            `json:"reassembling"` // fragments that wait for the others of their packet
	Merged           uint64            `json:"merged"`       // fragments that became part of a packet, but for one of each packet
	Split            uint64            `json:"split"`        // fragments that packets were cut into, but for one of each packet
	HandedOver       uint64            `json:"handed_over"`  // ESP and AH that came by the queue of another worker than their SA's
	Early            uint64            `json:"early"`        // ESP and AH that came before their SA and waited for it
	EarlyPassed      uint64            `json:"early_passed"` // of these, what went on when it came
	Drops            map[string]uint64 `json:"drops"`
	Transmitted      uint64            `json:"transmitted"`
	TransmittedBytes uint64            `json:"transmitted_bytes"`
}

// Drop is one line of `show drops`: where, why and how many.
type Drop struct {
	Port    string `json:"port"`
	Reason  string `json:"reason"`
	Packets uint64 `json:"packets"`
}

// Action is the body of a POST to up, down, rekey or reauthenticate, which is answered with an Outcome for each tunnel or IKE SA. It says whom it concerns
// in one of three ways: Name, Peer with or without Child, or All.
type Action struct {
	Name  string `json:"name,omitempty"` // a peer, or a rule that one protects
	Peer  string `json:"peer,omitempty"`
	Child string `json:"child,omitempty"` // empty: all of the peer; for rekey and, always, reauthenticate: the IKE SA itself
	All   bool   `json:"all,omitempty"`   // every peer
	// Wait is how many seconds the answer may take, until all has come about or failed; 0: it comes at once.
	Wait float64 `json:"wait,omitempty"`
}

// Outcome is what came of an Action.
type Outcome struct {
	Peer   string `json:"peer"`
	Child  string `json:"child,omitempty"` // empty: the IKE SA
	Result string `json:"result"`
	Why    string `json:"why,omitempty"` // of what failed
	Soft   int    `json:"soft_sas_ended,omitempty"`
}

// Results of an Outcome.
const (
	ResultOrdered = "ordered" // the answer did not wait
	ResultUp      = "up"
	ResultWasUp   = "up already"
	ResultDown    = "down"
	ResultWasDown = "down already"
	ResultClosed  = "closed until up" // it had no SA, and would have been negotiated
	ResultRekeyed = "rekeyed"
	ResultNotUp   = "not up, so not rekeyed"
	ResultNoIKE   = "not up, so not authenticated anew"
	ResultFailed  = "failed"
	ResultLate    = "not yet" // within Wait

	ResultReauthenticated = "authenticated anew"
)

// Good reports whether it is now as it was wanted.
func (o Outcome) Good() bool {
	return o.Result != ResultFailed && o.Result != ResultLate && o.Result != ResultNotUp && o.Result != ResultNoIKE
}

// IKELog is the state of the IKE log.
type IKELog struct {
	On     bool   `json:"on"`
	File   string `json:"file"` // of this start; that of the start before has .sav behind its name
	Octets int    `json:"octets"`
}

// SwitchIKELog switches it on or off.
type SwitchIKELog struct {
	On bool `json:"on"`
}
