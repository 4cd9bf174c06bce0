package policy

import (
	"slices"
	"strings"
)

// authMethods are the authentication methods that IKE has.
var authMethods = []string{"psk", "certificate"}

func (v *validator) rule(where Problem, rule *Rule) {
	list, action := v.index.lists[rule.FilterList], v.index.actions[rule.FilterAction]
	if rule.Name == DefaultResponseRule {
		v.fail(where, "Name", "expected another name, because %s is the rule that every policy has, found %q", DefaultResponseRule, rule.Name)
	}
	if list == nil {
		v.fail(where, "FilterList", "expected %s, found %q", oneOf(v.index.lists), rule.FilterList)
	}
	if action == nil {
		v.fail(where, "FilterAction", "expected %s, found %q", oneOf(v.index.actions), rule.FilterAction)
	}
	if rule.Ports > PortsAll {
		v.fail(where, "Ports", "expected lan, wan or all, found %s", rule.Ports)
	}
	switch {
	case action == nil:
	case action.Kind == ActionNegotiate:
		v.negotiated(where, rule, list, action)
	default:
		if rule.Tunnel != "" {
			v.fail(where, "Tunnel", "expected no tunnel, because action %q is %s, found %q", action.Name, action.Kind, rule.Tunnel)
		}
		if len(rule.AuthMethods) != 0 {
			v.fail(where, "AuthMethods", "expected no authentication methods, because action %q is %s, found %s", action.Name, action.Kind, strings.Join(rule.AuthMethods, ", "))
		}
	}
}

// negotiated checks what only a rule that negotiates demands.
func (v *validator) negotiated(where Problem, rule *Rule, list *FilterList, action *FilterAction) {
	if rule.Tunnel == "" {
		v.fail(where, "Tunnel", "expected a tunnel, because its action negotiates, found none")
	}
	switch {
	case !rule.Manual:
		v.authMethods(where, rule.AuthMethods)
	case len(rule.AuthMethods) > 0:
		v.fail(where, "AuthMethods", "expected no authentication methods, because nobody negotiates its SA, found %s", strings.Join(rule.AuthMethods, ", "))
	}
	if rule.ports() == PortsWAN {
		v.fail(where, "Ports", "expected lan or all, because its action negotiates and what is to be protected comes from the lan side, found wan")
	}
	if action.InboundPassthrough && rule.ports()&PortsWAN != 0 { // S-027
		v.fail(where, "Ports", "expected lan, because action %q accepts clear inbound packets (inbound_passthrough), which no port of role wan may, found %s", action.Name, rule.ports())
	}
	if action.FallbackClear && !action.FallbackClearOnWAN { // S-053, C-09
		v.fail(where, "FilterAction", "expected an action without fallback_clear, or with fallback_clear_on_wan: true as its second key, because the rule has a tunnel endpoint, found %q", action.Name)
	}
	if list == nil {
		return
	}
	for i := range list.Filters {
		f := &list.Filters[i]
		if rule.ports() == PortsLAN && f.isOwnMirrorImage() {
			v.fail(where, "Ports", "expected all, because only the side that a packet comes from tells the two directions of filter %q apart, found lan", f.label())
		}
		for _, fault := range checkNegotiable(f, v.broadcasts) {
			v.fail(where, "FilterList", "expected filters that can be negotiated, found %q: %s", f.label(), fault.text)
		}
	}
}

// authMethods demands at least one authentication method that is known, each once.
func (v *validator) authMethods(where Problem, methods []string) {
	if len(methods) == 0 {
		v.fail(where, "AuthMethods", "expected at least one authentication method (%s), found none", strings.Join(authMethods, ", "))
	}
	for _, method := range methods {
		if !slices.Contains(authMethods, method) {
			v.fail(where, "AuthMethods", "expected authentication methods of %s, found %q", strings.Join(authMethods, ", "), method)
		}
	}
	v.methods(where, "AuthMethods", methods)
}

// methods demands that no method of a list in order of preference is there twice.
func (v *validator) methods(where Problem, field string, methods []string) {
	for i, method := range methods {
		if slices.Contains(methods[:i], method) {
			v.fail(where, field, "expected each method once, found %q for the second time", method)
		}
	}
}

// defaultResponse checks what an operator may set of the default response rule.
func (v *validator) defaultResponse(where Problem, r *DefaultResponse) {
	if !r.Enabled {
		return
	}
	if len(r.Methods) == 0 {
		v.fail(where, "DefaultResponse", "expected at least one ESP proposal for the default response rule, found none")
	}
	v.methods(where, "DefaultResponse", r.Methods)
	before := len(v.errs)
	v.authMethods(where, r.AuthMethods)
	for _, err := range v.errs[before:] {
		err.(*Problem).Field = "DefaultResponse"
	}
}
