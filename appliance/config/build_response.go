package config

import (
	"fmt"
	"slices"
	"strings"

	"sallyport/ike"
	"sallyport/ike/ikev1"
	"sallyport/pki"
	"sallyport/policy"
)

// dynamicPeers is how many tunnels the default response rule may need at once, as package ike sees it.
const dynamicPeers = 256

// asPeers is the authentication of strangers in the form that peers have.
func (raw *fileStrangerAuth) asPeers() *fileAuth {
	return &fileAuth{PSKFile: raw.PSKFile, AllowWeakPSK: raw.AllowWeakPSK, CertificateFile: raw.CertificateFile, PrivateKeyFile: raw.PrivateKeyFile,
		PassphraseFile: raw.PassphraseFile, CAFiles: raw.CAFiles}
}

// responseMethods are the authentication methods of a default response rule: where it does not say, those that it has files for.
func (b *builder) responseMethods(key string, raw *fileDefaultResponse) []string {
	var without []string
	if raw.Auth.CertificateFile != "" {
		without = append(without, authCertificate)
	}
	if raw.Auth.PSKFile != "" || len(without) == 0 {
		without = append(without, authPSK)
	}
	methods := b.authMethods(key+".auth_methods", raw.AuthMethods, without)
	if !raw.Enabled {
		return methods
	}
	for _, m := range methods {
		switch auth := &raw.Auth; {
		case m == authPSK && auth.PSKFile == "":
			b.add(key+".auth", "expected psk_file, the preshared key of all whom no rule names, because the rule is on and may authenticate by psk, found none: a certificate of each is stronger (certificate_file, private_key_file and ca_files)")
		case m == authCertificate && auth.CertificateFile == "":
			b.add(key+".auth", "expected certificate_file, with private_key_file and ca_files, because the rule is on and may authenticate by certificate, found none")
		}
	}
	return methods
}

// templates makes what IKE answers strangers by out of the active policy's default response rule, in the order of its methods (S-009). Its files are read
// only where it is on.
func (b *builder) templates(methods []string) {
	raw, key := &b.raw.Policies[b.active], fmt.Sprintf("policies[%d].default_response", b.active)
	response := &raw.DefaultResponse
	if !response.Enabled || b.anyWithin(key) {
		return
	}
	like := ike.Peer{
		Name: policy.DynamicList, Version: response.IKE, LocalID: response.LocalID, Legacy: b.raw.Legacy, IKEProposals: toProposals(raw.KeyExchangeMethods),
		RekeyTime: raw.KeyExchange.Lifetime, ChildLimit: raw.KeyExchange.ChildLimit, MasterPFS: raw.KeyExchange.MasterPFS,
		Children: []ike.Child{{Name: policy.DynamicList, Proposals: toProposals(response.ESPProposals), Start: ike.StartOnDemand, ReplayWindow: dynamicReplay}},
	}
	if len(like.IKEProposals) == 0 {
		like.IKEProposals = defaultIKEProposals(response.IKE)
	}
	if response.IKE != ike.V2 {
		b.warn("policy %q may answer strangers by IKEv1, which is retired (RFC 9395), and has no cookies: whoever forges addresses can take their places (docs/POLICY.md)", raw.Name)
	}
	auth := response.Auth.asPeers()
	for _, m := range methods {
		t := like
		switch m {
		case authPSK:
			t.PSK = b.psk(key+".auth", "the default response rule", auth)
			b.warn("policy %q has its default response rule on, with a preshared key: whoever holds it, at any address, is answered and can pose as any other that holds it, and one that loses it gives it away for all; a certificate of each is stronger (default_response.auth.certificate_file)", raw.Name)
		case authCertificate:
			t.LocalAuth, t.RemoteAuth = ike.AuthSignature, ike.AuthSignature
			b.strangersCertificates(key+".auth", auth, &t)
			b.warn("policy %q has its default response rule on: whoever has a certificate of its CAs is answered, at any address", raw.Name)
		}
		b.config.plan.templates = append(b.config.plan.templates, t)
	}
	if b.anyWithin(key) {
		return
	}
	if err := ike.ValidateDefaultResponse(b.config.plan.templates); err != nil {
		b.add(key, "%s", oneLine(err))
	}
	b.sayable(key, b.config.plan.templates)
	if left := b.config.Dataplane.MaxTunnels - len(b.config.plan.children) - len(b.config.plan.manual); left < dynamicPeers {
		b.warn("dataplane.max_tunnels leaves room for %d peers that the default response rule answers, which could be %d: who comes when there is none gets no SA", max(left, 0), dynamicPeers)
	}
}

// sayable holds templates of IKEv1 against what it can say.
func (b *builder) sayable(key string, templates []ike.Peer) {
	if len(templates) == 0 || templates[0].Version == ike.V2 {
		return
	}
	warnings, err := ikev1.Check(templates)
	for _, w := range warnings {
		b.warn("default response rule: %s", w)
	}
	if err != nil {
		b.add(key+".ike", "%s", oneLine(err))
	}
}

// dynamicReplay is the replay window of Child SAs with strangers, in packets: that of peers without the key.
const dynamicReplay = 1024

// strangersCertificates reads what a template needs to authenticate by certificate.
func (b *builder) strangersCertificates(key string, auth *fileAuth, t *ike.Peer) {
	credential, authorities := b.credential(key, auth), b.peerAuthorities(key, auth)
	if credential == nil || authorities == nil {
		return // reported
	}
	t.Credential = &ike.Credential{Certificates: credential.DER(), Key: credential.Key}
	t.Authorities = authorities.KeyIDs()
	b.useOwn(t.Name, b.credentialFiles(auth), credential)
	b.config.Auth.Trust[t.Name] = &pki.Trust{Authorities: authorities, AnyPurpose: b.raw.Auth.AnyKeyPurpose}
	ours := []ike.Identity{t.LocalID}
	if t.LocalID.IsZero() {
		ours = nil
		for _, a := range b.config.Environment.LocalAddresses {
			ours = append(ours, ike.AddressIdentity(a))
		}
	}
	named := slices.ContainsFunc(ours, func(id ike.Identity) bool { return pki.MatchIdentity(credential.Certificates[0], id) == nil })
	if !named {
		var words []string
		for _, id := range ours {
			words = append(words, id.String())
		}
		b.warn("default response rule: our certificate does not name what we call ourselves (%s), and most peers refuse that: say what it names with local_id", strings.Join(words, ", "))
	}
}
