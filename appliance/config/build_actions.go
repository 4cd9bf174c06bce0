package config

import (
	"fmt"

	"sallyport/crypto"
	"sallyport/ike"
	"sallyport/ike/ikev1"
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
		action.Methods = actionMethods(raw)
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
	for _, name := range []string{"mode", "ah_proposals", "bundle", "lifetime"} {
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
	b.bundle(key, raw)
	maybeAH := len(raw.AHProposals) > 0 && !raw.Bundle // in place of ESP
	if maybeAH && raw.Encapsulation.DummyInterval > 0 {
		b.add(key+".encapsulation.dummy_interval", "expected off with ah_proposals: only ESP has dummy packets (RFC 4303 section 2.6)")
	}
	b.padding(key+".encapsulation.tfc_pad", &raw.Encapsulation, raw.Mode == modeTransport, map[bool]string{true: "ah_proposals"}[maybeAH])
}

// bundle checks what is to be AH around ESP. Both are of one quick mode, so of one Diffie-Hellman exchange (RFC 2409 section 5.5).
func (b *builder) bundle(key string, raw *fileFilterAction) {
	if raw.Bundle && raw.Action == policy.ActionNegotiate && len(raw.AHProposals) == 0 && !b.anyWithin(key+".ah_proposals") {
		b.add(key+".bundle", "expected ah_proposals beside it, the AH that goes around ESP, found none")
	}
	for i, p := range toProposals(raw.AHProposals) {
		if raw.Bundle && len(p.DH) > 0 {
			b.add(fmt.Sprintf("%s.ah_proposals[%d]", key, i), "expected no group with bundle, because one exchange serves AH and ESP: name it in esp_proposals, found %s", p)
		}
	}
}

// ruleBundle refuses a bundle with a peer with whom it cannot be negotiated.
func (b *builder) ruleBundle(key string, raw *fileRule, action *fileFilterAction) {
	if version := b.raw.Peers[b.peers[raw.Peer]].IKE; action.Bundle && version != ike.V1 {
		b.add(key+".filter_action", "expected an action without bundle, because peer %q has ike: %s: IKEv2 negotiates AH or ESP and not one around the other (RFC 7296 section 3.3.1), only ike: v1 does, found %q", raw.Peer, version, raw.FilterAction)
	}
}

// toProposals are the proposals of a list in the file.
func toProposals[T ikeProposal | espProposal | ahProposal](raw []T) []crypto.Proposal {
	var proposals []crypto.Proposal
	for _, p := range raw {
		proposals = append(proposals, crypto.Proposal(p))
	}
	return proposals
}

// childProposals is what an action offers, ESP first. Where the file has none, each version of IKE has good ones of its own.
func childProposals(raw *fileFilterAction) []crypto.Proposal {
	return append(bundledESP(raw), toProposals(raw.AHProposals)...)
}

// bundledESP are the proposals of ESP of an action: in a bundle, which only IKEv1 has, there have to be some.
func bundledESP(raw *fileFilterAction) []crypto.Proposal {
	if raw.Bundle && len(raw.ESPProposals) == 0 {
		return ikev1.DefaultESPProposals()
	}
	return toProposals(raw.ESPProposals)
}

// actionMethods is the text of what an action offers: of a bundle each pair of proposals.
func actionMethods(raw *fileFilterAction) []string {
	if !raw.Bundle {
		return shown(childProposals(raw))
	}
	var texts []string
	for _, esp := range methods(bundledESP(raw)) {
		for _, ah := range methods(toProposals(raw.AHProposals)) {
			texts = append(texts, ah+"("+esp+")")
		}
	}
	return texts
}

// shown is the text of what an action offers, by IKEv2 where it does not say.
func shown(proposals []crypto.Proposal) []string {
	if len(proposals) == 0 {
		proposals = crypto.DefaultESPProposals()
	}
	return methods(proposals)
}

// methods is the text of proposals.
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
