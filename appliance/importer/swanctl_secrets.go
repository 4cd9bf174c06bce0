package importer

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"

	"sallyport/crypto"
)

// swanctlSecret is a preshared key with the identities that it is for; without any it is for all.
type swanctlSecret struct {
	line   int
	name   string
	ids    []string
	secret crypto.Secret
	used   bool
}

// readSecrets reads the section secrets. No message about it shows a value.
func (s *swanctlDraft) readSecrets(secrets *section) {
	if secrets == nil {
		return
	}
	for _, sec := range secrets.sections {
		if !strings.HasPrefix(sec.name, "ike") {
			s.lost(sec.line, "the secret of section %s has no equivalent: only preshared keys (ike) are offered yet", quote(sec.name))
			continue
		}
		secret := &swanctlSecret{line: sec.at("secret"), name: sec.name}
		for _, each := range sec.settings {
			switch {
			case strings.HasPrefix(each.key, "id"):
				secret.ids = append(secret.ids, cmp.Or(ourIdentity(each.text), plainIdentity(each.text)))
			case each.key != "secret":
				s.lost(each.line, "section %s: %s has no equivalent", quote(sec.name), quote(each.key))
			}
		}
		key, ok := decodeSecret(sec.text("secret"))
		if !ok && !s.truncated {
			s.problem(secret.line, "section %s: expected secret = a text, or hexadecimal behind 0x, or base64 behind 0s, found none of them", quote(sec.name))
		}
		if !ok {
			continue
		}
		if bytes.ContainsAny(key, "\r\n\x00") {
			clear(key)
			s.lost(secret.line, "the secret of section %s has octets that no line of text has, and a key file is one: agree on a new one", quote(sec.name))
			continue
		}
		secret.secret = crypto.NewSecret(key)
		s.secrets = append(s.secrets, secret)
	}
}

// decodeSecret reads a secret as strongSwan does.
func decodeSecret(text string) ([]byte, bool) {
	var key []byte
	var err error
	switch {
	case strings.HasPrefix(text, "0x"):
		key, err = hex.DecodeString(text[2:])
	case strings.HasPrefix(text, "0s"):
		key, err = base64.StdEncoding.DecodeString(text[2:])
	default:
		key = []byte(text)
	}
	return key, err == nil && len(key) > 0
}

// plainIdentity is an identity without the mark of its kind.
func plainIdentity(text string) string {
	_, rest, marked := strings.Cut(text, ":")
	if marked && !strings.Contains(rest, ":") { // no IPv6 address
		text = rest
	}
	return strings.TrimLeft(strings.TrimSpace(text), "@")
}

// giveSecret gives a peer the key that fits best: one for both of its identities, for the other side's, for the gateway's
// own alone, or for all.
func (s *swanctlDraft) giveSecret(p *peer) {
	local, remote := identityOr(p.localID, p.local), identityOr(p.remoteID, p.remote)
	var best *swanctlSecret
	bestFit := 0
	for _, secret := range s.secrets {
		ofLocal, ofRemote := slices.Contains(secret.ids, local), slices.Contains(secret.ids, remote)
		fit := 0
		switch {
		case ofLocal && ofRemote:
			fit = 4
		case ofRemote:
			fit = 3
		case ofLocal && len(secret.ids) == 1: // with more it is for another peer
			fit = 2
		case len(secret.ids) == 0:
			fit = 1
		}
		if fit > bestFit {
			best, bestFit = secret, fit
		}
	}
	if best != nil {
		best.used = true
		p.key, p.keyLine = best.secret, best.line
	}
}

// identityOr is an identity, or the address that takes its place.
func identityOr(identity string, a netip.Addr) string {
	if identity != "" {
		return identity
	}
	return a.String()
}
