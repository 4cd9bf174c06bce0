package importer

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"sallyport/crypto"
	"sallyport/policy"
)

// draft is a configuration in the making. Names are those of the source until finish gives them our form. Every part
// has the line that it comes from.
type draft struct {
	source     string // what the configuration was made from, for its first line
	peers      []*peer
	lists      []*list
	actions    []*action
	policies   []*rulebook
	active     *rulebook
	exemptions exemptions
}

// exemptions is the level of exemptions that the source sets, if it sets one.
type exemptions struct {
	set   bool
	level int
	line  int
}

// peer is another gateway. An address that is not valid gets a placeholder.
type peer struct {
	line              int
	name              string
	local, remote     netip.Addr
	localID, remoteID string
	ikev1             bool // and not the default, IKEv2

	keyFile string        // set by finish
	key     crypto.Secret // empty where the source has none
	keyLine int

	ikeProposals                            []string
	start                                   string
	dpdDelay                                *time.Duration // nil is the default
	ikeRekey, childRekey, idleTimeout       time.Duration  // 0 is the default
	reauth                                  time.Duration  // 0 is the default
	mobike                                  bool
	replayWindow                            int  // 0 is the default
	localIsPlaceholder, remoteIsPlaceholder bool // set by finish
}

// list is a filter list.
type list struct {
	line    int
	name    string
	about   string // the source's description
	filters []filter
}

// filter is one filter of a list.
type filter struct {
	line                        int
	about                       string
	source, destination         address
	protocol                    uint8
	sourcePort, destinationPort policy.PortRange
	mirrored                    bool
	hole                        bool // an address is a placeholder: set by finish
}

// address is one side of a filter as the configuration writes it: any, my, an address, a prefix, a range, dns:NAME. It is
// empty where a placeholder has to stand, which finish puts in.
type address string

const (
	anyAddress  address = "any"
	ownAddress  address = "my"
	unknown     address = ""
	dnsNamePart         = "dns:"
)

func hostAddress(a netip.Addr) address { return address(a.String()) }

// host is the one address that this is, if it is one.
func (a address) host() (netip.Addr, bool) {
	host, err := netip.ParseAddr(string(a))
	return host, err == nil
}

// dnsName is the name that the gateway resolves, if this is one.
func (a address) dnsName() (string, bool) { return strings.CutPrefix(string(a), dnsNamePart) }

// span is the addresses of a literal; not those of any, my and names.
func (a address) span() (policy.AddrRange, bool) {
	span, err := policy.ParseAddrRange(string(a))
	return span, err == nil
}

// text tells filters apart as package policy does.
func (f *filter) text() string {
	place := ""
	if f.source == unknown || f.destination == unknown { // each gets an address of its own
		place = fmt.Sprint(f.line)
	}
	return fmt.Sprintf("%s%s[%s] > %s[%s] %d %t", place, f.source, f.sourcePort, f.destination, f.destinationPort, f.protocol, f.mirrored)
}

// reversed is the filter of the packets that go the other way.
func (f filter) reversed() filter {
	f.source, f.destination = f.destination, f.source
	f.sourcePort, f.destinationPort = f.destinationPort, f.sourcePort
	return f
}

// action is a filter action.
type action struct {
	line      int
	name      string
	about     string
	kind      policy.ActionKind
	proposals []string // none is the default, or nothing beside AH
	ah        []string
	// What an SA may carry before it gets new keys; 0 is no limit.
	kilobytes, packets int64
}

// rulebook is a policy.
type rulebook struct {
	line         int
	name         string
	about        string
	refresh      time.Duration // 0 is never
	ikeLifetime  time.Duration // 0 is the default
	ikeProposals []string
	rules        []*rule
}

// rule joins the parts.
type rule struct {
	line   int
	name   string
	about  string
	list   *list
	action *action
	peer   *peer // for an action that negotiates
	ports  policy.PortGroup
}

// addUnique appends filters to a list unless it has them already, which it notes.
func (l *list) addUnique(r *report, seen map[string]int, f filter) {
	if first, again := seen[f.text()]; again {
		r.info(f.line, "the filter is in list %s already (line %d): it is there once", quote(l.name), first)
		return
	}
	seen[f.text()] = f.line
	l.filters = append(l.filters, f)
}
