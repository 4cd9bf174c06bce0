package config

import (
	"fmt"

	"sallyport/crypto"
	"sallyport/policy"
)

func (b *builder) filterAction(key string, raw *fileFilterAction) policy.FilterAction {
	b.name(key+".name", raw.Name, nil)
	b.someProposals(key+".esp_proposals", toProposals(raw.ESPProposals), raw.ESPProposals != nil)
	b.someProposals(key+".ah_proposals", toProposals(raw.AHProposals), raw.AHProposals != nil)
	action := policy.FilterAction{
		Name: raw.Name, Kind: raw.Action, FallbackClear: raw.FallbackClear, FallbackClearOnWAN: raw.FallbackClearOnWAN,
		InboundPassthrough: raw.InboundPassthrough, Origin: b.origin(key),
	}
	b.encapsulations[raw.Name] = b.encapsulation(key+".encapsulation", &raw.Encapsulation)
	b.protection(key, raw)
	b.actionLifetime(key+".lifetime", &raw.Lifetime)
	if raw.Action == policy.ActionNegotiate {
		action.Methods = methods(childProposals(raw))
	} else {
		b.negotiateOnly(key, raw.Action)
		action.Methods = methods(toProposals(raw.ESPProposals)) // which package policy refuses
	}
	return action
}

// negotiateOnly refuses what says how packets are protected where none are.
func (b *builder) negotiateOnly(key string, kind policy.ActionKind) {
	if b.has(key + ".encapsulation") {
		b.add(key+".encapsulation", "expected none, because an action that is %s puts packets into no others", kind)
	}
	for _, name := range []string{"mode", "ah_proposals", "lifetime"} {
		if b.has(key + "." + name) {
			b.add(key+"."+name, "expected none, because an action that is %s protects nothing", kind)
		}
	}
}

// protection checks the algorithms of an action, and those against the rest of it.
func (b *builder) protection(key string, raw *fileFilterAction) {
	user := fmt.Sprintf("action %q", raw.Name)
	b.strength(key+".esp_proposals", user, toProposals(raw.ESPProposals))
	b.strength(key+".ah_proposals", user, toProposals(raw.AHProposals))
	if len(raw.AHProposals) > 0 && raw.Encapsulation.DummyInterval > 0 {
		b.add(key+".encapsulation.dummy_interval", "expected off with ah_proposals: only ESP has dummy packets (RFC 4303 section 2.6)")
	}
	b.padding(key+".encapsulation.tfc_pad", &raw.Encapsulation, raw.Mode == modeTransport, map[bool]string{true: "ah_proposals"}[len(raw.AHProposals) > 0])
}

// toProposals are the proposals of a list in the file.
func toProposals[T ikeProposal | espProposal | ahProposal](raw []T) []crypto.Proposal {
	var proposals []crypto.Proposal
	for _, p := range raw {
		proposals = append(proposals, crypto.Proposal(p))
	}
	return proposals
}

// childProposals is what an action offers: ESP first, and good proposals where the file has none.
func childProposals(raw *fileFilterAction) []crypto.Proposal {
	if proposals := append(toProposals(raw.ESPProposals), toProposals(raw.AHProposals)...); len(proposals) > 0 {
		return proposals
	}
	return crypto.DefaultESPProposals()
}

// espProposals is what is offered: the proposals of the file, or good ones where it has none.
func espProposals(raw []espProposal) []crypto.Proposal {
	if len(raw) == 0 {
		return crypto.DefaultESPProposals()
	}
	return toProposals(raw)
}

// methods is the text of what is offered.
func methods(proposals []crypto.Proposal) []string {
	var texts []string
	for _, p := range proposals {
		text := p.String()
		if p.Protocol == crypto.ProtocolAH {
			text = "ah:" + text
		}
		texts = append(texts, text)
	}
	return texts
}
