package importer

import (
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"sallyport/crypto"
)

// peerKey is what tells one peer from another.
type peerKey struct {
	local, remote     netip.Addr
	localID, remoteID string
	ikev1             bool
	connection        *section // where the remote address is not known
}

// connection reads a connection with its children.
func (s *swanctlDraft) connection(sec *section) {
	s.others("connection", sec, "version", "local_addrs", "remote_addrs", "proposals", "rekey_time", "reauth_time", "dpd_delay", "dpd_timeout",
		"over_time", "rand_time", "local_port", "remote_port", "keyingtries", "fragmentation", "mobike", "encap", "send_cert", "send_certreq", "unique")
	children := sec.byName["children"]
	if children == nil || len(children.sections) == 0 {
		s.lost(sec.line, "connection %s has no children and is left out", quote(sec.name))
		return
	}
	if !slices.ContainsFunc(children.sections, func(child *section) bool { return !isShunt(child) }) {
		for _, each := range children.sections {
			s.child(&peer{}, sec, each) // without a tunnel there is no peer
		}
		return
	}
	version := sec.text("version")
	switch version {
	case "", "0", "1", "2":
	default:
		s.problem(sec.at("version"), "version: expected 0, 1 or 2, found %s", quote(version))
	}
	s.fixedSettings(sec)
	local, remote := s.authentication(sec, "local"), s.authentication(sec, "remote")
	key := peerKey{local: s.endpoint(sec, "local_addrs"), remote: s.endpoint(sec, "remote_addrs"), localID: local, remoteID: remote, ikev1: version == "1"}
	if !key.remote.IsValid() {
		key.connection = sec
	}
	p := s.peers[key]
	if p == nil {
		p = &peer{line: sec.line, name: sec.name, local: key.local, remote: key.remote, localID: local, remoteID: remote, ikev1: key.ikev1}
		s.peers[key] = p
		s.draft.peers = append(s.draft.peers, p)
		s.peerSettings(p, sec)
		s.giveSecret(p)
	} else {
		s.changed(sec.line, "connection %s has the addresses and identities of connection %s: they are one peer here, with the settings of the first", quote(sec.name), quote(p.name))
	}
	for _, each := range children.sections {
		s.child(p, sec, each)
	}
}

// fixedSettings notes the settings that can have one value only here.
func (s *swanctlDraft) fixedSettings(sec *section) {
	for _, key := range []string{"local_port", "remote_port"} {
		if port := sec.text(key); port != "" && port != "500" && port != "4500" && port != "0" {
			s.lost(sec.at(key), "connection %s: %s: IKE has the ports 500 and 4500", quote(sec.name), key)
		}
	}
	s.instead("connection", sec, []instead{
		{"encap", []string{"no"}, "UDP encapsulation is used where a NAT is found"},
		{"over_time", nil, "an IKE SA whose rekey fails ends a tenth of ike_rekey after it, and one that is not authenticated anew a tenth of reauth"},
		{"rand_time", nil, "keys change up to a tenth early"},
		{"dpd_timeout", nil, "a request that is not answered is sent again for some minutes"},
		{"keyingtries", []string{"0"}, "a tunnel with start: always is tried for ever, with growing pauses"},
		{"fragmentation", []string{"yes"}, "fragments of IKE are used where the peer has them (fragment_size)"},
		{"send_cert", []string{"always", "ifasked"}, "certificates are sent where the peer authenticates by them"},
		{"send_certreq", []string{"yes"}, "certificates are asked for by the CAs of auth"},
		{"unique", nil, "a peer has one IKE SA, and a new one takes its place"},
	})
}

// instead is a setting with what the gateway does in its place. like are the values that mean the same.
type instead struct {
	key  string
	like []string
	here string
}

// instead notes the settings that the gateway has no key for, and what it does.
func (s *swanctlDraft) instead(what string, sec *section, list []instead) {
	for _, each := range list {
		if text := sec.text(each.key); text != "" && !slices.Contains(each.like, text) {
			s.changed(sec.at(each.key), "%s %s: %s is not carried over: %s", what, quote(sec.name), each.key, each.here)
		}
	}
}

// peerSettings reads what is the same for all children.
func (s *swanctlDraft) peerSettings(p *peer, sec *section) {
	p.ikeProposals = s.proposals(sec, "proposals", func(text string) error { _, err := crypto.ParseIKEProposal(text); return err })
	p.ikeRekey = s.lifetime(sec, "rekey_time", 4*time.Hour)
	if reauth := s.duration(sec, "reauth_time", 0); reauth > 0 {
		if p.reauth = min(max(reauth, time.Minute), maxLifetime); p.reauth != reauth {
			s.changed(sec.at("reauth_time"), "reauth_time of %s is now %s: it may be from 1m to %s", shortTime(reauth), shortTime(p.reauth), shortTime(maxLifetime))
		}
	}
	p.mobike = sec.text("mobike") == "yes"
	delay := s.duration(sec, "dpd_delay", 0)
	if fitting := min(delay, 24*time.Hour); fitting != delay {
		s.changed(sec.at("dpd_delay"), "dpd_delay of %s is now %s, which is the most", delay, fitting)
		delay = fitting
	}
	p.dpdDelay = &delay
}

// endpoint reads the outer address of a connection; not valid where a placeholder has to stand.
func (s *swanctlDraft) endpoint(sec *section, key string) netip.Addr {
	var found netip.Addr
	list := items(sec.text(key))
	for _, text := range list {
		a, err := netip.ParseAddr(text)
		switch {
		case strings.HasPrefix(text, "%any"), text == "0.0.0.0", text == "::", text == "0.0.0.0/0", text == "::/0":
			if key == "remote_addrs" {
				s.lost(sec.at(key), "connection %s: peers of any address are not offered: REPLACE the remote address", quote(sec.name))
			}
		case err != nil:
			s.lost(sec.at(key), "connection %s: %s: expected an IPv4 address, found %s, which is left out", quote(sec.name), key, quote(text))
		case !a.Is4():
			s.lost(sec.at(key), "connection %s: %s: tunnels over IPv6 are not offered: %s is left out", quote(sec.name), key, a)
		case !a.IsGlobalUnicast() && !a.IsLinkLocalUnicast():
			s.problem(sec.at(key), "%s: expected the address of a gateway, found %s", key, a)
		case found.IsValid():
			s.lost(sec.at(key), "connection %s: %s: a peer has one address here: %s stays, %s is left out", quote(sec.name), key, found, a)
		default:
			found = a
		}
	}
	if len(list) == 0 && key == "remote_addrs" {
		s.lost(sec.line, "connection %s: peers of any address are not offered: REPLACE the remote address", quote(sec.name))
	}
	return found
}

// authentication reads how one side proves who it is, and returns its identity.
func (s *swanctlDraft) authentication(sec *section, side string) string {
	identity, rounds := "", 0
	for _, each := range sec.sections {
		if !strings.HasPrefix(each.name, side) {
			continue
		}
		if rounds++; rounds > 1 {
			s.lost(each.line, "connection %s: a second authentication round has no equivalent", quote(sec.name))
			continue
		}
		s.others("authentication", each, "auth", "id", "round")
		if method := each.text("auth"); method != "psk" {
			s.otherMethod(each, sec.name, method)
		}
		identity = s.identity(each)
	}
	return identity
}

// otherMethod says what becomes of a method for which the source does not hold all it takes.
func (s *swanctlDraft) otherMethod(at *section, connection, method string) {
	if method == "" || method == "pubkey" {
		s.lost(at.at("auth"), "connection %s: auth = \"pubkey\": the source does not hold the certificates: a preshared key takes their place until the peer's auth names their files (docs/CERTIFICATES.md)", quote(connection))
		return
	}
	s.lost(at.at("auth"), "connection %s: auth = %s is not offered: a preshared key takes its place", quote(connection), quote(method))
}

// proposals reads a list of proposals, which have the same form here. None is the gateway's own choice.
func (s *swanctlDraft) proposals(sec *section, key string, parse func(string) error) []string {
	var proposals []string
	for _, text := range items(sec.text(key)) {
		if text == "default" {
			continue
		}
		if err := parse(text); err != nil {
			why, _, _ := strings.Cut(errors.Unwrap(err).Error(), ", expected")
			s.lost(sec.at(key), "%s: %s is not offered and left out: %s", key, quote(text), why)
			continue
		}
		proposals = append(proposals, text)
	}
	if len(proposals) == 0 && sec.text(key) != "" {
		s.changed(sec.at(key), "%s: the gateway's own choice, AES-GCM and then AES-CBC with SHA-2", key)
	}
	return proposals
}

// parseNumber reads a number as strongSwan does: decimal, or hexadecimal behind 0x.
func parseNumber(text string) (int64, bool) {
	base := 10
	if rest, hex := strings.CutPrefix(strings.ToLower(text), "0x"); hex {
		text, base = rest, 16
	}
	number, err := strconv.ParseInt(text, base, 64)
	return number, err == nil && number >= 0
}
