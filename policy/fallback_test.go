package policy

import (
	"slices"
	"strings"
	"testing"
)

func fallbackSet(ports PortGroup, change func(*FilterAction)) *Set {
	set := setOf(ruleText{name: "r", kind: ActionNegotiate, tunnel: "t", ports: ports, filter: Filter{Source: spec("10.1.0.0/24"), Destination: spec("10.2.0.0/24")}})
	change(&set.FilterActions[0])
	return set
}

func wantProblem(t *testing.T, set *Set, want string) {
	t.Helper()
	if _, _, err := Compile(set, Environment{}); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want one with %q", err, want)
	}
}

func warned(warnings []Warning, text string) bool {
	return slices.ContainsFunc(warnings, func(w Warning) bool { return strings.Contains(w.Message, text) })
}

// Fallback is off as shipped. With a tunnel it is refused, also where the rule reaches wan ports, unless the second key
// is there; that warns.
// S-053, C-09
func TestFallbackNeedsItsSecondKey(t *testing.T) {
	if a := (FilterAction{}); a.FallbackClear || a.FallbackClearOnWAN || a.InboundPassthrough {
		t.Error("an action falls back or lets clear packets in as shipped")
	}
	for _, ports := range []PortGroup{PortsLAN, PortsAll} {
		wantProblem(t, fallbackSet(ports, func(a *FilterAction) { a.FallbackClear = true }), `rule "r": expected an action without fallback_clear, or with fallback_clear_on_wan: true`)
		spd, warnings := mustCompile(t, fallbackSet(ports, func(a *FilterAction) { a.FallbackClear, a.FallbackClearOnWAN = true, true }), Environment{})
		if !warned(warnings, `rule "r" may fall back to clear text`) || !warned(warnings, "passes in clear") {
			t.Errorf("warnings %v", warnings)
		}
		for _, e := range spd.Entries {
			if !e.Fallback || e.Passthrough {
				t.Errorf("entry %+v", e)
			}
		}
	}
	off := fallbackSet(PortsAll, func(a *FilterAction) { a.FallbackClear, a.FallbackClearOnWAN = true, true })
	off.IKEDisabled = true
	if _, warnings := mustCompile(t, off, Environment{}); warned(warnings, "fall back") || !warned(warnings, "its traffic is dropped") {
		t.Errorf("without IKE: warnings %v", warnings)
	}
	wantProblem(t, fallbackSet(PortsAll, func(a *FilterAction) { a.FallbackClearOnWAN = true }), "expected fallback_clear too")
	wantProblem(t, fallbackSet(PortsAll, func(a *FilterAction) { a.Kind, a.Methods, a.FallbackClear = ActionPermit, nil, true }), "expected fallback_clear for negotiate only, found it for permit")
}

// A gateway that denies soft SAs has no entry that may fall back, and says of the rules that would be told otherwise.
// S-042
func TestSoftSAsDenied(t *testing.T) {
	set := fallbackSet(PortsAll, func(a *FilterAction) { a.FallbackClear, a.FallbackClearOnWAN = true, true })
	set.SoftDenied = true
	spd, warnings := mustCompile(t, set, Environment{})
	for _, e := range spd.Entries {
		if e.Fallback {
			t.Errorf("entry %+v may fall back", e)
		}
	}
	if !warned(warnings, `rule "r" may not fall back to clear text`) || !warned(warnings, "soft_sa: deny") {
		t.Errorf("warnings %v", warnings)
	}
}

// Without the flag no entry may fall back, whatever policy, rule and action are called; with it only the entries of the
// rule's own filters may, so that another port of the same two hosts stays what it was.
// C-05, C-11: as far as the compiled policy goes.
func TestFallbackIsOfItsOwnSelectorOnly(t *testing.T) {
	web := Filter{Source: spec("10.1.0.0/24"), Destination: spec("10.2.0.0/24"), Protocol: 6, DestinationPort: PortRange{80, 80}}
	mail := web
	mail.DestinationPort = PortRange{25, 25}
	set := setOf(ruleText{name: "Request Security (Optional)", kind: ActionNegotiate, tunnel: "a", filter: web}, ruleText{name: "fallback_clear", kind: ActionNegotiate, tunnel: "b", filter: mail})
	spd, _ := mustCompile(t, set, Environment{})
	for _, e := range spd.Entries {
		if e.Fallback {
			t.Errorf("no flag, but %+v may fall back", e)
		}
	}
	set.FilterActions[0].FallbackClear, set.FilterActions[0].FallbackClearOnWAN = true, true
	spd, _ = mustCompile(t, set, Environment{})
	for _, e := range spd.Entries {
		if ofWeb := e.Tunnel == "a"; e.Fallback != ofWeb {
			t.Errorf("entry %+v: fallback %v, want %v", e, e.Fallback, ofWeb)
		}
	}
	if d := spd.Decide(tcp("10.1.0.5:1024", "10.2.0.5:22"), PortsLAN); d.Verdict != VerdictBlock {
		t.Errorf("a third port: %s", d.Why)
	}
}

// Inbound pass-through is off as shipped, refused where the rule reaches a port of role wan, and elsewhere said to be
// needed only for peers with a default response rule; only the inbound entry has it.
// S-026, S-027: as far as the check of a policy goes.
func TestPassthroughIsForLANOnly(t *testing.T) {
	passthrough := func(a *FilterAction) { a.InboundPassthrough = true }
	wantProblem(t, fallbackSet(PortsAll, passthrough), `rule "r": expected lan, because action "action-r" accepts clear inbound packets (inbound_passthrough), which no port of role wan may, found all`)
	wantProblem(t, fallbackSet(0, passthrough), "expected lan, because action")
	wantProblem(t, fallbackSet(PortsWAN, func(*FilterAction) {}), "expected lan or all, because its action negotiates")
	wantProblem(t, fallbackSet(PortsLAN, func(a *FilterAction) { a.Kind, a.Methods, a.InboundPassthrough = ActionBlock, nil, true }), "expected inbound_passthrough for negotiate only")
	spd, warnings := mustCompile(t, fallbackSet(PortsLAN, passthrough), Environment{})
	if !warned(warnings, "only peers that negotiate by their default response rule need it") {
		t.Errorf("warnings %v", warnings)
	}
	for _, e := range spd.Entries {
		if e.Passthrough != (e.Verdict == VerdictRequire) || e.Ports != PortsLAN {
			t.Errorf("entry %+v", e)
		}
	}
}

// On lan ports alone nothing tells the directions of any to any apart: such a rule would protect answers.
func TestOwnMirrorImageNeedsBothSides(t *testing.T) {
	set := setOf(ruleText{name: "r", kind: ActionNegotiate, tunnel: "t", ports: PortsLAN, filter: Filter{Source: Any(), Destination: Any()}})
	wantProblem(t, set, `only the side that a packet comes from tells the two directions of filter "any > any one-way" apart`)
}
