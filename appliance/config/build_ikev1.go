package config

import (
	"errors"
	"fmt"
	"slices"

	"sallyport/crypto"
	"sallyport/ike"
	"sallyport/ike/ikev1"
	"sallyport/policy"
)

// version checks what a peer's keys say of the IKE that is spoken with it: those that IKEv1 has nothing of are refused where it alone is. With `ike: any`
// they count for IKEv2.
func (b *builder) version(key string, raw *filePeer) {
	if raw.IKE != ike.V2 {
		b.warn("peer %q may speak IKEv1, which is retired (RFC 9395): IKEv2 is stronger, where the peer has it (docs/TUNNELS.md)", raw.Name)
	}
	if raw.IKE != ike.V1 {
		return
	}
	for _, setting := range []struct {
		name    string
		set     bool
		because string
	}{
		{"mobike", raw.MOBIKE, "it has no messages by which an end tells that it has moved (RFC 4555)"},
		{"redirect", raw.Redirect, "it has no messages that send a peer elsewhere (RFC 5685)"},
		{"ppk_file", raw.PPKFile != "", "it has no postquantum preshared keys (RFC 8784)"},
		{"per_core", raw.PerCore != 0, "it knows of one pair of SAs for the same traffic, and takes a second for a rekey (RFC 9611)"},
		{"reauth", raw.Reauth != 0, "each of its IKE SAs proves anew who both ends are: ike_rekey says how often"},
	} {
		if setting.set {
			b.add(key+"."+setting.name, "expected no %s with ike: v1, because %s: leave it out, or use ike: v2", setting.name, setting.because)
		}
	}
	for i, p := range toProposals(raw.IKEProposals) {
		if slices.ContainsFunc(p.Transforms(), func(t crypto.Transform) bool { return t.Type > crypto.TransformESN }) {
			b.add(fmt.Sprintf("%s.ike_proposals[%d]", key, i), "expected one key exchange with ike: v1, which has no additional ones (RFC 9370), found %s: leave the ke1_ parts out, or use ike: v2", p)
		}
	}
}

// ikev1Peers are those that IKEv1 may be spoken with.
func ikev1Peers(peers []ike.Peer) []ike.Peer {
	return slices.DeleteFunc(slices.Clone(peers), func(p ike.Peer) bool { return p.Version == ike.V2 })
}

// addIKEv1Problems reports what IKEv1 cannot work with, each at the key that it comes from.
func (b *builder) addIKEv1Problems(err error) {
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		for _, one := range many.Unwrap() {
			b.addIKEv1Problems(one)
		}
		return
	}
	if p := (*ikev1.Problem)(nil); errors.As(err, &p) {
		instead := "use ike: v2"
		if b.raw.Peers[b.peers[p.Peer]].IKE == ike.VAny {
			instead += ", which leaves IKEv1 out"
		}
		b.add(b.ikev1Key(p), "%s; or %s", p, instead)
	}
}

// ikev1Key is the key that a problem comes from.
func (b *builder) ikev1Key(p *ikev1.Problem) string {
	peer := fmt.Sprintf("peers[%d]", b.peers[p.Peer])
	switch {
	case p.About == ikev1.AboutPPK:
		return peer + ".ppk_required"
	case p.About == ikev1.AboutSelectors:
		return b.ruleKey(p.Child) + ".filter_list"
	case p.About == ikev1.AboutProposals && p.Child != "":
		return b.actionKey(p.Child)
	case p.About == ikev1.AboutProposals && !b.has(peer+".ike_proposals") && b.active >= 0:
		return fmt.Sprintf("policies[%d].key_exchange_methods", b.active)
	case p.About == ikev1.AboutProposals:
		return peer + ".ike_proposals"
	}
	return peer + ".auth"
}

// actionKey is the key of the proposals of the rule of the active policy that a tunnel is of.
func (b *builder) actionKey(tunnel string) string {
	rules, name := b.raw.Policies[b.active].Rules, policy.SplitFrom(tunnel)
	named := rules[slices.IndexFunc(rules, func(r fileRule) bool { return r.Name == name })].FilterAction
	i := slices.IndexFunc(b.raw.FilterActions, func(a fileFilterAction) bool { return a.Name == named })
	key := fmt.Sprintf("filter_actions[%d]", i)
	if b.raw.FilterActions[i].AHProposals != nil && b.raw.FilterActions[i].ESPProposals == nil {
		return key + ".ah_proposals"
	}
	return key + ".esp_proposals"
}
