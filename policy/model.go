package policy

import (
	"fmt"
	"strings"
	"time"
)

// ActionKind is what a filter action does with traffic. The zero value blocks, so that what is left out is closed.
type ActionKind int

// The three filter actions (S-023).
const (
	ActionBlock     ActionKind = iota
	ActionNegotiate            // protect with IPsec, negotiated with the rule's peer
	ActionPermit               // pass in clear
)

// String is the keyword of the configuration.
func (k ActionKind) String() string {
	switch k {
	case ActionBlock:
		return "block"
	case ActionNegotiate:
		return "negotiate"
	case ActionPermit:
		return "permit"
	default:
		return fmt.Sprintf("ActionKind(%d)", int(k))
	}
}

// PortGroup is a set of port roles. A port has exactly one role; a rule applies to one or both (S-006).
type PortGroup uint8

// The roles, and both of them.
const (
	PortsLAN PortGroup = 1 // protected side
	PortsWAN PortGroup = 2 // unprotected side
	PortsAll PortGroup = PortsLAN | PortsWAN
)

// String is the keyword of the configuration.
func (g PortGroup) String() string {
	switch g {
	case PortsLAN:
		return "lan"
	case PortsWAN:
		return "wan"
	case PortsAll:
		return "all"
	default:
		return fmt.Sprintf("PortGroup(%d)", uint8(g))
	}
}

// Origin is where an operator wrote a thing. Its zero value is nowhere.
type Origin struct {
	File string
	Line int
}

// String is "file:line", and empty for nowhere.
func (o Origin) String() string {
	if o == (Origin{}) {
		return ""
	}
	return fmt.Sprintf("%s:%d", o.File, o.Line)
}

// Filter is one generic filter. For a rule that negotiates, Source is the local side and Destination the remote side.
// A mirrored filter also matches the reverse direction (S-018); one that negotiates always does.
type Filter struct {
	Name                        string // optional; unique in its list where given
	Source, Destination         AddressSpec
	Protocol                    uint8     // IANA protocol number, 0 is any
	SourcePort, DestinationPort PortRange // any where zero; limited ports only with a protocol that has ports
	Mirrored                    bool
	Origin                      Origin
}

// sourcePort and destinationPort are the port ranges with their default.
func (f *Filter) sourcePort() PortRange      { return orAnyPort(f.SourcePort) }
func (f *Filter) destinationPort() PortRange { return orAnyPort(f.DestinationPort) }

func orAnyPort(r PortRange) PortRange {
	if r == (PortRange{}) {
		return AnyPort
	}
	return r
}

// isOwnMirrorImage reports whether the filter is the same in both directions, as any to any is.
func (f *Filter) isOwnMirrorImage() bool {
	return f.Source.String() == f.Destination.String() && f.sourcePort() == f.destinationPort()
}

// label is the filter's name, or its text where it has none.
func (f *Filter) label() string {
	if f.Name != "" {
		return f.Name
	}
	text := fmt.Sprintf("%s[%s] > %s[%s]", f.Source, f.sourcePort(), f.Destination, f.destinationPort())
	text = strings.ReplaceAll(text, "[any]", "")
	if f.Protocol != 0 {
		text += " " + ProtocolName(f.Protocol)
	}
	if !f.Mirrored {
		text += " one-way"
	}
	return text
}

// FilterList is a named group of filters that rules share (S-020). Updated is the date of its last review.
type FilterList struct {
	Name    string
	Updated time.Time
	Filters []Filter
	Origin  Origin
}

// FilterAction is a named action. All but its name, kind and origin is for ActionNegotiate only.
type FilterAction struct {
	Name    string
	Kind    ActionKind
	Methods []string // ESP proposals in order of preference

	FallbackClear      bool // speak in clear with a peer that answers no IKE (S-025)
	FallbackClearOnWAN bool // the second key: also through a tunnel and on unprotected ports (S-053)
	InboundPassthrough bool // accept clear inbound packets until the answer has negotiated (S-026)

	Origin Origin
}

// Rule joins a filter list with a filter action. Tunnel names the Child SA of an action that negotiates and AuthMethods
// are its authentication methods in order of preference; both are empty otherwise. Ports limits the rule to the ports of
// a role; its zero value means PortsAll.
type Rule struct {
	Name         string
	FilterList   string
	FilterAction string
	Tunnel       string
	AuthMethods  []string
	Manual       bool // the Child SA has keys of the operator's: nobody negotiates it, and nothing authenticates its peer
	Ports        PortGroup
	Origin       Origin
}

// Policy is a set of rules. DefaultAction is for traffic that no filter matches: ActionBlock unless an operator says
// ActionPermit in words (S-008). A sample is for test and research only (S-010).
type Policy struct {
	Name, Description string
	Sample            bool
	Rules             []Rule
	DefaultResponse   DefaultResponse
	DefaultAction     ActionKind
	Origin            Origin
}

// Set is everything an operator wrote. Any number of policies may be stored and exactly one is active (S-001). Without
// any policy the set compiles to the closed default: nothing passes (S-012).
type Set struct {
	Policies      []Policy
	FilterLists   []FilterList
	FilterActions []FilterAction
	Active        string
	Exemptions    ExemptionLevel
	IKEDisabled   bool
	SoftDenied    bool // no traffic passes in clear for want of a peer's answer, whatever the actions say
}

// Warning is something that Compile settled on its own and that an operator should know. Rules are the rules concerned.
type Warning struct {
	Rules   []string
	Message string
}

// String is the message.
func (w Warning) String() string { return w.Message }
