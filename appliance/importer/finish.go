package importer

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// minKeyLength is the shortest preshared key that a configuration takes, in characters (S-067).
const minKeyLength = 25

// maxOwnAddresses is the most addresses of a port.
const maxOwnAddresses = 256

// finish makes a configuration of a draft. Any problem reported before or on the way is the end of it.
func (r *report) finish(d *draft) (*Result, error) {
	if len(r.problems) > 0 {
		return nil, r.err()
	}
	f := &finisher{report: r, draft: d}
	f.dropEmpty()
	for _, p := range d.policies {
		f.dropContested(p)
		f.splitLarge(p)
	}
	f.dropUnused()
	f.rename()
	f.fill()
	f.mergePeers()
	if len(r.problems) == 0 {
		f.compile()
	}
	if len(r.problems) > 0 {
		return nil, r.err()
	}
	f.dropUnused() // peers of rules that turned out to have no traffic
	keys := f.keys()
	f.say()
	text, err := f.yaml()
	if err != nil {
		return nil, fmt.Errorf("%s: cannot write the configuration: %w", r.file, err)
	}
	return &Result{YAML: text, Notes: r.sorted(), Keys: keys}, nil
}

// finisher turns a draft into a configuration.
type finisher struct {
	*report
	draft    *draft
	lan, wan []netip.Prefix // addresses of the two ports
	lanHole  bool           // lan is a placeholder
	wanHole  bool

	names    map[string]netip.Addr // what stands for a DNS name while compiling
	lastName netip.Addr
}

// rename gives every part a name of our form.
func (f *finisher) rename() {
	peers, lists := newNamespace(f.report, "peer"), newNamespace(f.report, "filter list")
	actions, policies := newNamespace(f.report, "filter action"), newNamespace(f.report, "policy")
	for _, p := range f.draft.peers {
		p.name = peers.reserve(p.name)
	}
	for _, l := range f.draft.lists {
		l.name = lists.name(l.line, l.name)
	}
	for _, a := range f.draft.actions {
		a.name = actions.name(a.line, a.name)
	}
	for _, p := range f.draft.policies {
		p.name = policies.name(p.line, p.name)
		rules := newNamespace(f.report, "rule")
		for _, each := range p.rules {
			each.name = rules.name(each.line, each.name)
		}
	}
}

// fill puts placeholders where the source says nothing, and gives the ports their addresses.
func (f *finisher) fill() {
	deal := newPlaceholders(f.draft)
	f.lan, f.lanHole = []netip.Prefix{portAddress(deal.network())}, true
	for _, p := range f.draft.peers {
		if own := netip.PrefixFrom(p.local, 32); p.local.IsValid() && !slices.Contains(f.wan, own) {
			f.wan = append(f.wan, own)
		}
	}
	if len(f.wan) == 0 {
		f.wan, f.wanHole = []netip.Prefix{portAddress(deal.network())}, true
	}
	enough := f.lan[0].IsValid() && f.wan[0].IsValid()
	for _, p := range f.draft.peers {
		if !p.local.IsValid() {
			p.local, p.localIsPlaceholder = f.wan[0].Addr(), f.wanHole || len(f.wan) > 1
		}
		if !p.remote.IsValid() {
			p.remote, p.remoteIsPlaceholder = deal.host(), true
			enough = enough && p.remote.IsValid()
		}
		if slices.ContainsFunc(f.wan, func(own netip.Prefix) bool { return own.Addr() == p.remote }) {
			f.problem(p.line, "the tunnel endpoint %s is the gateway's own in one place and a peer's in another: expected the configuration of one machine", p.remote)
		}
	}
	for _, l := range f.draft.lists {
		for i := range l.filters {
			enough = l.filters[i].fill(deal) && enough
		}
	}
	if len(f.wan) > maxOwnAddresses {
		f.problem(0, "expected at most %d addresses of the gateway's own, found %d: import the file in parts", maxOwnAddresses, len(f.wan))
	}
	if !enough {
		f.problem(0, "expected a configuration that leaves some of the addresses %v free for placeholders: import it in parts", placeholderNetworks)
	}
}

// fill puts placeholders of the right IP version into a filter; false where there are none left.
func (f *filter) fill(deal *placeholders) bool {
	for _, pair := range [][2]*address{{&f.source, &f.destination}, {&f.destination, &f.source}} {
		if *pair[0] != unknown {
			continue
		}
		host := deal.host()
		if other, literal := pair[1].span(); literal && !other.Is4() {
			host = deal.hostIPv6()
		}
		*pair[0], f.hole = hostAddress(host), true
		if !host.IsValid() {
			return false
		}
	}
	return true
}

// portAddress is the first host of a network with its prefix length.
func portAddress(network netip.Prefix) netip.Prefix {
	if !network.IsValid() {
		return network
	}
	return netip.PrefixFrom(network.Addr().Next(), network.Bits())
}

// keys names the files of the preshared keys, and says which of them has to be made from what.
func (f *finisher) keys() []KeyFile {
	var keys []KeyFile
	owners := map[[sha256.Size]byte]*peer{}
	for _, p := range f.draft.peers {
		p.keyFile = p.name + ".psk"
		if p.key.Len() == 0 {
			f.changed(p.line, "peer %q needs a preshared key of %d random characters or more in the file %s, mode 0600: this line has none", p.name, minKeyLength, p.keyFile)
			continue
		}
		keys = append(keys, KeyFile{Name: p.keyFile, Line: p.keyLine, Secret: p.key})
		f.changed(p.keyLine, "the preshared key of this line goes into the file %s, mode 0600, and nowhere else", p.keyFile)
		if p.key.Len() < minKeyLength {
			f.changed(p.keyLine, "the preshared key of peer %q has less than %d characters and is refused as it is: agree on a new one", p.name, minKeyLength)
		}
		digest := sha256.Sum256(p.key.Bytes())
		if owner := owners[digest]; owner != nil {
			f.changed(p.keyLine, "the preshared key of peer %q is that of peer %q too, so that each could pose as the other, and is refused: agree on a new one", p.name, owner.name)
		}
		owners[digest] = p
	}
	return keys
}

// say adds what holds for every import.
func (f *finisher) say() {
	f.changed(0, "the source passes traffic that no filter matches; here it is dropped, unless a policy says default_action: permit")
	f.changed(0, "REPLACE marks what the source does not say: the devices and addresses of the ports, and the routes")
	for _, p := range f.draft.peers {
		if p.remoteIsPlaceholder {
			f.changed(p.line, "peer %q has the placeholder %s for the address of the other gateway: REPLACE it; until then its traffic is blocked", p.name, p.remote)
		}
		if p.localIsPlaceholder {
			f.changed(p.line, "peer %q has %s for the gateway's own address, which the source does not say: REPLACE it", p.name, p.local)
		}
	}
}

// oneLine is text that may stand in a comment.
func oneLine(text string) string {
	return strings.Join(strings.FieldsFunc(text, func(c rune) bool {
		return c <= ' ' || c == 0x7f || c == 0x85 || c == 0x2028 || c == 0x2029 || c == 0xfeff
	}), " ")
}
