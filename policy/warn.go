package policy

import (
	"fmt"
	"slices"
	"strings"
)

// warnPolicy is about the policy as a whole.
func (c *compiler) warnPolicy() {
	name := quoted(c.active.Name, c.active.Origin)
	switch {
	case len(c.set.Policies) == 0:
		c.warn(nil, "no policy is stored: nothing passes (the closed default)")
	case c.active.Sample:
		c.warn(nil, "policy %s is a sample, for test and research only: production needs a policy of its own", name)
	}
	if c.active.DefaultAction == ActionPermit {
		c.warn(nil, "policy %s passes traffic that no filter matches in clear (default action permit)", name)
	}
	c.warnVanished()
}

// warnVanished names the rules whose filters on "my addresses" hold the place of an address that is gone.
func (c *compiler) warnVanished() {
	var rules []string
	for i := range c.active.Rules {
		rule := &c.active.Rules[i]
		onMine := func(f Filter) bool { return f.Source.kind == addressMine || f.Destination.kind == addressMine }
		if c.known.actions[rule.FilterAction].Kind != ActionBlock && slices.ContainsFunc(c.known.lists[rule.FilterList].Filters, onMine) {
			rules = append(rules, rule.Name)
		}
	}
	slices.Sort(rules)
	for _, address := range c.env.vanished() {
		if len(rules) > 0 {
			c.warn(rules, "%s is no longer an own address: %s on \"my addresses\" now drop what they had for it", address, ruleList(rules))
		}
	}
}

// warnRule is about one rule of the active policy.
func (c *compiler) warnRule(rule *Rule, list *FilterList, action *FilterAction) {
	names, named := []string{rule.Name}, quoted(rule.Name, rule.Origin)
	if list.Updated.IsZero() {
		c.warn(names, "filter list %s has no date of its last review (updated)", quoted(list.Name, list.Origin))
	}
	switch {
	case !action.FallbackClear || !action.FallbackClearOnWAN || c.set.IKEDisabled: // without IKE nobody is silent
	case c.set.SoftDenied:
		c.warn(names, "rule %s may not fall back to clear text, though action %q says so (fallback_clear): soft_sa: deny forbids it to all", named, action.Name)
	default:
		c.warn(names, "rule %s may fall back to clear text through a tunnel or on wan ports (action %q: fallback_clear_on_wan): its traffic with a peer that answers no IKE passes in clear", named, action.Name)
	}
	if action.InboundPassthrough {
		c.warn(names, "rule %s accepts clear inbound packets until its SAs are up (action %q: inbound_passthrough): only peers that negotiate by their default response rule need it", named, action.Name)
	}
	if action.Kind == ActionPermit {
		c.warnRSVP(rule, list)
	}
	if action.Kind == ActionNegotiate && !rule.Manual && c.set.IKEDisabled {
		c.warn(names, "rule %s negotiates, but IKE is disabled: its traffic is dropped", named)
	}
}

// warnRSVP names the filters that permit RSVP from or to anybody (S-037).
func (c *compiler) warnRSVP(rule *Rule, list *FilterList) {
	for i := range list.Filters {
		f := &list.Filters[i]
		if f.Protocol == protocolRSVP && (f.Source.kind == addressAny || f.Destination.kind == addressAny) {
			c.warn([]string{rule.Name}, "rule %s permits RSVP (protocol 46) with \"any\" on a side (filter %q): as a rule it is permitted by filters with named addresses only",
				quoted(rule.Name, rule.Origin), f.label())
		}
	}
}

// warnLevel lists what passes whatever the filters say, unless it is IKE alone (S-031).
func (c *compiler) warnLevel(spd *SPD) {
	if spd.Level == Level3 {
		return
	}
	var kinds, rows []string
	for i := range spd.Exemptions {
		x := &spd.Exemptions[i]
		rows = append(rows, x.Name)
		if kind := x.Kind.String(); !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
	}
	c.warn(nil, "exemption level %s passes %s to and from the gateway whatever the filters say: %s; level 3 exempts IKE only",
		spd.Level, strings.Join(kinds, ", "), strings.Join(rows, ", "))
}

// ruleList is "rule a" or "rules a, b".
func ruleList(names []string) string {
	quotedNames := make([]string, 0, len(names))
	for _, name := range names {
		quotedNames = append(quotedNames, fmt.Sprintf("%q", name))
	}
	return plural("rule", strings.Join(quotedNames, ", "))
}
