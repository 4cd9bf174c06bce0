package config

import (
	"fmt"
	"slices"
	"strings"

	"sallyport/ike"
	"sallyport/ike/wire"
	"sallyport/pki"
)

// maxAuthorities is how many CAs a peer may have, as package ike sees it: the list of them goes into a message that cannot be fragmented.
const maxAuthorities = 32

// Authentication is how the certificates of peers are checked, and those that the configuration names.
type Authentication struct {
	Checks       pki.Settings
	Trust        map[string]*pki.Trust // by peer: those that may authenticate by certificate
	Certificates []CertificateUse
}

// ways is how each end of a peer can prove who it is: that for which it has the files, in order of strength.
type ways struct{ local, remote []authMethod }

// strongestFirst is the order in which methods are taken where nobody says another one.
var strongestFirst = []authMethod{authCertificate, authPSK}

// waysOf is what a peer's files allow, and what its keys say of that.
func waysOf(raw *fileAuth, authorities bool) ways {
	var w ways
	if raw.CertificateFile != "" {
		w.local = append(w.local, authCertificate)
	}
	if authorities {
		w.remote = append(w.remote, authCertificate)
	}
	if raw.PSKFile != "" {
		w.local, w.remote = append(w.local, authPSK), append(w.remote, authPSK)
	}
	only := func(have []authMethod, method authMethod) []authMethod {
		if method == "" {
			return have
		}
		return slices.DeleteFunc(have, func(m authMethod) bool { return m != method })
	}
	return ways{only(w.local, raw.Local), only(w.remote, raw.Remote)}
}

// choose takes the first method that serves both ends; where there is none, the first of each.
func (w ways) choose(preferred []authMethod) (local, remote authMethod) {
	for _, m := range preferred {
		if slices.Contains(w.local, m) && slices.Contains(w.remote, m) {
			return m, m
		}
	}
	first := func(have []authMethod) authMethod {
		if i := slices.IndexFunc(preferred, func(m authMethod) bool { return slices.Contains(have, m) }); i >= 0 {
			return preferred[i]
		}
		return ""
	}
	return first(w.local), first(w.remote)
}

// engineMethod is a method as package ike names it.
func engineMethod(m authMethod) ike.AuthMethod {
	if m == authCertificate {
		return ike.AuthSignature
	}
	return ike.AuthPSK
}

// certificates reads what a peer needs to authenticate by certificate, and settles how it does unless a rule says more.
func (b *builder) certificates(key string, raw *filePeer, peer *ike.Peer) {
	if !b.has(key) || b.isBroken(key) {
		b.ways = append(b.ways, ways{strongestFirst, strongestFirst}) // reported already
		return
	}
	auth := &raw.Auth
	credential := b.credential(key, auth)
	authorities := b.peerAuthorities(key, auth)
	if credential != nil {
		peer.Credential = &ike.Credential{Certificates: credential.DER(), Key: credential.Key}
		b.useOwn(peer.Name, b.credentialFiles(auth), credential)
		if err := pki.Doubt(credential.Certificates[0]); err != nil {
			b.warn("peer %q: our certificate may not be taken: %s", raw.Name, pki.Detail(err))
		}
		if err := pki.MatchIdentity(credential.Certificates[0], peer.LocalID); err != nil {
			b.warn("peer %q: our certificate does not name what we call ourselves (local_id), and most peers refuse that: %s", raw.Name, pki.Detail(err))
		}
	}
	if authorities != nil {
		peer.Authorities = authorities.KeyIDs()
		b.config.Auth.Trust[raw.Name] = &pki.Trust{Authorities: authorities, Named: auth.CertificateID, AnyPurpose: b.raw.Auth.AnyKeyPurpose}
	}
	if auth.CertificateID.Type == wire.IDKeyID {
		b.add(key+".certificate_id", "expected an address, a host name, a mail address or a distinguished name, found a key id, which no certificate names")
	}
	w := waysOf(auth, authorities != nil)
	b.ways = append(b.ways, w)
	if b.anyWithin(key) {
		return
	}
	local, remote := w.choose(strongestFirst)
	switch {
	case auth.PSKFile == "" && auth.CertificateFile == "" && len(auth.CAFiles) == 0:
		b.add(key, "expected how both ends prove who they are, found neither certificate_file (with private_key_file and ca_files) nor psk_file")
	case local == "":
		b.add(key, "expected what this end proves itself with%s, found neither a file for it: certificate_file with private_key_file, or psk_file", byMethod(auth.Local))
	case remote == "":
		b.add(key, "expected what the peer has to prove itself with%s, found neither a file for it: ca_files here or in auth at the top, or psk_file", byMethod(auth.Remote))
	case remote == authCertificate && peer.RemoteID.Type == wire.IDKeyID && auth.CertificateID.IsZero():
		b.add(key, "expected certificate_id, which says what the peer's certificate names, because remote_id is a key id and no certificate names one")
	}
	peer.LocalAuth, peer.RemoteAuth = engineMethod(local), engineMethod(remote)
}

// byMethod is the part of a message that says which method the peer's keys want.
func byMethod(m authMethod) string {
	if m == "" {
		return ""
	}
	return " (" + string(m) + ")"
}

// peerAuthorities are the CAs of a peer: its own, or where it has none those of all peers, if certificates are what it is about.
func (b *builder) peerAuthorities(key string, auth *fileAuth) *pki.Authorities {
	files, where := auth.CAFiles, key+".ca_files"
	if files == nil && (auth.CertificateFile != "" && auth.Remote != authPSK || auth.Remote == authCertificate) {
		if files, where = b.raw.Auth.CAFiles, "auth.ca_files"; len(files) == 0 {
			b.add(key, "expected ca_files, here or in auth at the top: the CAs whose certificates a peer may have")
			return nil
		}
	}
	if files == nil {
		return nil
	}
	authorities := b.caFiles(where, files)
	if n := len(authorities.Certificates()); n > maxAuthorities || n == 0 && !b.anyWithin(where) {
		b.add(where, "expected 1 to %d CAs for a peer, found %d", maxAuthorities, n)
	}
	return authorities
}

// settleMethod gives a peer the method of a rule that negotiates with it. Its IKE SA serves all of its rules, and authenticates once.
func (b *builder) settleMethod(key string, rule *fileRule, index int, settled map[int]string) {
	peer := &b.config.plan.peers[index]
	preferred := rule.AuthMethods
	if preferred == nil {
		preferred = strongestFirst
	}
	local, remote := b.ways[index].choose(preferred)
	if local == "" || remote == "" {
		if !b.anyWithin(fmt.Sprintf("peers[%d].auth", index)) && !b.anyWithin(key+".auth_methods") { // S-066
			b.add(key+".auth_methods", "expected a method for which peer %q has the files, for both ends, found %s: its auth has %s for this end and %s for the peer",
				rule.Peer, methodWords(preferred), methodWords(b.ways[index].local), methodWords(b.ways[index].remote))
		}
		return
	}
	if other, has := settled[index]; has && (peer.LocalAuth != engineMethod(local) || peer.RemoteAuth != engineMethod(remote)) {
		b.add(key+".auth_methods", "expected the method of rule %q, which has the same peer, because one IKE SA serves both, found %s", other, methodWords(preferred))
		return
	}
	settled[index] = rule.Name
	peer.LocalAuth, peer.RemoteAuth = engineMethod(local), engineMethod(remote)
}

func methodWords(methods []authMethod) string {
	if len(methods) == 0 {
		return "none"
	}
	var words []string
	for _, m := range methods {
		words = append(words, string(m))
	}
	return strings.Join(words, ", ")
}

// peerMethods is how a peer authenticates where its rule does not say: each method of either end once.
func (b *builder) peerMethods(name string) []string {
	index, known := b.peers[name]
	if !known || index >= len(b.ways) {
		return []string{authPSK}
	}
	local, remote := b.ways[index].choose(strongestFirst)
	methods := slices.DeleteFunc([]string{string(local), string(remote)}, func(m string) bool { return m == "" })
	if len(methods) == 0 {
		return []string{authPSK} // the mistake is reported
	}
	return slices.Compact(methods)
}
