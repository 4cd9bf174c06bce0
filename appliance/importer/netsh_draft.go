package importer

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"sallyport/policy"
)

// netshDraft turns the store of a script into a draft.
type netshDraft struct {
	*netshScript
	draft    *draft
	lists    map[*object]*list
	actions  map[*object]*action
	methods  map[*object]methods
	variants map[variantKey]*list
	replaced map[*list]bool // lists of which a variant is used
	peers    map[endpoints]*peer
	blocked  *action // for what cannot be protected
	filters  int     // of all rules, each as often as a rule uses it
}

// draft is the script's store as a draft.
func (s *netshScript) draft() *draft {
	n := &netshDraft{
		netshScript: s, draft: &draft{source: s.file + ", a script of netsh ipsec static", exemptions: s.exemptions},
		lists: map[*object]*list{}, actions: map[*object]*action{}, methods: map[*object]methods{},
		variants: map[variantKey]*list{}, replaced: map[*list]bool{}, peers: map[endpoints]*peer{},
	}
	for _, o := range s.store.lists.objects {
		n.addList(o)
	}
	for _, o := range s.store.actions.objects {
		n.addAction(o)
	}
	for _, o := range s.store.policies.objects {
		n.addPolicy(o)
	}
	n.activate()
	n.dropReplaced()
	n.info(0, "Windows negotiates with IKEv1 and mostly without a tunnel between hosts; the peers here have IKEv2 and tunnels: give a peer ike: v1, or set its side of every rule that negotiates up for IKEv2, and for tunnels")
	return n.draft
}

func (n *netshDraft) addList(o *object) {
	l := &list{line: o.line, name: o.name, about: o.text("description")}
	seen := map[string]int{}
	for _, child := range o.children {
		if f, sound := n.filter(child); sound {
			l.addUnique(n.report, seen, f)
		}
	}
	n.lists[o] = l
	n.draft.lists = append(n.draft.lists, l)
}

func (n *netshDraft) addAction(o *object) {
	a := &action{line: o.line, name: o.name, about: o.text("description"), kind: policy.ActionNegotiate}
	if text := strings.ToLower(o.text("action")); text != "" {
		kind, err := policy.ParseActionKind(text)
		if err != nil {
			n.problem(o.at("action"), "action: %s", err)
		}
		a.kind = kind
	}
	m := n.netshScript.methods(o)
	if a.kind == policy.ActionNegotiate {
		a.proposals = m.proposals
		n.methods[o] = m
	}
	if n.yes(o, "soft", false) {
		n.lost(o.at("soft"), "soft=yes: falling back to clear traffic is off; who does not speak IPsec is blocked. Every rule that negotiates has a tunnel here, where it takes two keys that only you can give (docs/POLICY.md): fallback_clear: true, fallback_clear_on_wan: true")
	}
	if n.yes(o, "inpass", false) {
		n.lost(o.at("inpass"), "inpass=yes: clear packets from outside are dropped (inbound_passthrough: false); the key exists, for rules of ports: lan, where no port reaches the Internet")
	}
	n.actions[o] = a
	n.draft.actions = append(n.draft.actions, a)
}

// maxRefresh is the longest time after which a gateway looks at its file again.
const maxRefresh = 24 * time.Hour

func (n *netshDraft) addPolicy(o *object) {
	p := &rulebook{line: o.line, name: o.name, about: o.text("description"), ikeProposals: n.ikeProposals(o)}
	if minutes := n.number(o, "mmlifetime"); minutes > 0 {
		p.ikeLifetime = n.within(o.at("mmlifetime"), "mmlifetime", time.Duration(minutes)*time.Minute)
	}
	if minutes := n.number(o, "pollinginterval"); minutes > 0 {
		p.refresh = min(time.Duration(minutes)*time.Minute, maxRefresh)
	}
	if n.number(o, "qmpermm") > 0 {
		n.lost(o.at("qmpermm"), "qmpermm has no equivalent: the number of tunnels of an IKE SA has no limit")
	}
	if n.yes(o, "mmpfs", false) {
		n.info(o.at("mmpfs"), "mmpfs: IKEv2 has a new Diffie-Hellman exchange in every rekey of an IKE SA")
	}
	n.defaultResponse(o)
	n.draft.policies = append(n.draft.policies, p)
	if n.store.assigned == o {
		n.draft.active = p
	}
	n.rules(p, o)
}

// defaultResponse says that the default response rule stays off. It answers whoever asks, and Windows has ignored it
// since Vista.
func (n *netshDraft) defaultResponse(o *object) {
	asked := n.yes(o, "activatedefaultrule", false)
	line := o.at("activatedefaultrule")
	if given, has := o.standard["activate"]; has {
		yes, ok := parseYes(given.text)
		if !ok {
			n.problem(given.line, "activate: expected yes or no, found %s", quote(given.text))
		}
		asked, line = yes, given.line
	}
	if asked {
		n.changed(line, "the default response rule is off (default_response), as it is in Windows since Vista: turn it on if peers without a rule shall be answered")
	}
}

// number reads a tag that takes a whole number; 0 without it.
func (n *netshDraft) number(o *object, tag string) int {
	if !o.has(tag) {
		return 0
	}
	number, err := strconv.ParseUint(o.text(tag), 10, 31)
	if err != nil {
		n.problem(o.at(tag), "%s: expected a whole number below 2^31, found %s", tag, quote(o.text(tag)))
	}
	return int(number)
}

// activate chooses the policy in force.
func (n *netshDraft) activate() {
	switch {
	case len(n.draft.policies) == 0 && len(n.problems) > 0: // one of which may be the policy's
	case len(n.draft.policies) == 0:
		n.problem(0, "expected at least one policy (add policy name=...), found none")
	case n.draft.active == nil:
		n.draft.active = n.draft.policies[0]
		n.changed(n.draft.active.line, "no policy is assigned; active_policy is %s, the first one", quote(n.draft.active.name))
	}
}

// dropReplaced leaves out lists that no rule uses any more, because it uses a variant.
func (n *netshDraft) dropReplaced() {
	used := map[*list]bool{}
	for _, p := range n.draft.policies {
		for _, r := range p.rules {
			used[r.list] = true
		}
	}
	n.draft.lists = slices.DeleteFunc(n.draft.lists, func(l *list) bool { return n.replaced[l] && !used[l] })
}

// rules turns the rules of a policy into ours.
func (n *netshDraft) rules(p *rulebook, o *object) {
	var negotiated []*negotiation
	for _, each := range o.rules.objects {
		if active := n.yes(each, "activate", true); !active {
			n.lost(each.line, "rule %s is not active and left out", quote(each.name))
			continue
		}
		r, methods, complete := n.rule(each)
		switch {
		case !complete:
		case r.action.kind == policy.ActionNegotiate:
			negotiated = append(negotiated, n.negotiation(r, each, methods))
		default:
			if each.text("tunnel") != "" {
				n.info(each.at("tunnel"), "tunnel: a rule that does not negotiate has none: left out")
			}
			p.rules = append(p.rules, r)
		}
	}
	n.negotiate(p, negotiated)
	slices.SortStableFunc(p.rules, func(a, b *rule) int { return a.line - b.line })
}

// rule reads a rule; false after a problem.
func (n *netshDraft) rule(o *object) (*rule, methods, bool) {
	r := &rule{line: o.line, name: o.name, about: o.text("description"), ports: n.ports(o)}
	l, a := n.store.lists.find(o.text("filterlist")), n.store.actions.find(o.text("filteraction"))
	if l == nil {
		n.problem(o.at("filterlist"), "rule %s: expected a filter list that is there (%s), found %s", quote(o.name), n.store.lists.names(), quote(o.text("filterlist")))
	}
	if a == nil {
		n.problem(o.at("filteraction"), "rule %s: expected a filter action that is there (%s), found %s", quote(o.name), n.store.actions.names(), quote(o.text("filteraction")))
	}
	if l == nil || a == nil {
		return nil, methods{}, false
	}
	r.list, r.action = n.lists[l], n.actions[a]
	if n.filters += len(r.list.filters); n.filters > maxSpecific {
		n.problem(o.line, "up to rule %s there are more than %d filters: import the file in parts", quote(o.name), maxSpecific)
		return nil, methods{}, false
	}
	return r, n.methods[a], true
}

// ports is the rule's connection type (S-006).
func (n *netshDraft) ports(o *object) policy.PortGroup {
	switch text := strings.ToLower(o.text("conntype")); text {
	case "", "all":
		return policy.PortsAll
	case "lan":
		return policy.PortsLAN
	case "dialup":
		n.changed(o.at("conntype"), "conntype=dialup is ports: wan here, the unprotected side")
		return policy.PortsWAN
	default:
		n.problem(o.at("conntype"), "conntype: expected lan, dialup or all, found %s", quote(text))
		return policy.PortsAll
	}
}
