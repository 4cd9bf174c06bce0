package importer

import (
	"encoding/hex"
	"slices"
	"strings"

	"sallyport/ike"
)

// identity reads an identity as strongSwan writes it; empty where the gateway cannot have it, and then its address counts.
func (s *swanctlDraft) identity(sec *section) string {
	written := strings.TrimSpace(sec.text("id"))
	switch written {
	case "":
		return ""
	case "%any":
		s.lost(sec.at("id"), "id = %%any: a peer has one identity here: write remote_id if it is not its address")
		return ""
	}
	text := ourIdentity(written)
	if text == "" {
		s.lost(sec.at("id"), "id = %s: expected an address, a host name, a mail address, a distinguished name or a key id; the address takes its place", quote(written))
	}
	return text
}

// ourIdentity is the same identity as the gateway writes it; empty for none.
func ourIdentity(written string) string {
	text := strings.TrimSpace(written)
	kind, rest, marked := strings.Cut(text, ":")
	octets, isHex := strings.CutPrefix(text, "@#")
	switch {
	case isHex:
		text = keyID("#" + octets)
	case marked && kind == "keyid":
		text = keyID(rest)
	case marked && (kind == "dn" || kind == "asn1dn"):
		text = ourName(rest)
	case marked && slices.Contains([]string{"fqdn", "email", "rfc822", "userfqdn", "ipv4", "ipv6"}, kind):
		text = strings.TrimLeft(rest, "@")
	case strings.HasPrefix(text, "@"):
		text = strings.TrimLeft(text, "@")
	case strings.Contains(text, "="):
		text = ourName(text)
	}
	if _, err := ike.ParseIdentity(text); err != nil || strings.Contains(text, "*") {
		return ""
	}
	return text
}

// keyID writes the octets of a key id: hexadecimal behind #, or text.
func keyID(text string) string {
	if octets, isHex := strings.CutPrefix(text, "#"); isHex {
		return "keyid:0x" + octets
	}
	if strings.HasPrefix(text, "0x") { // which means octets here
		return "keyid:0x" + hex.EncodeToString([]byte(text))
	}
	return "keyid:" + text
}

// ourName is a distinguished name as RFC 4514 writes it, its last part first. strongSwan writes the parts in the order of the certificate, behind commas
// or slashes, and nothing is escaped.
func ourName(text string) string {
	separator := ","
	if strings.HasPrefix(text, "/") {
		text, separator = text[1:], "/"
	}
	parts := strings.Split(text, separator)
	if strings.ContainsAny(text, `"+;<>\#`) || separator == "/" && strings.Contains(text, ",") {
		return ""
	}
	slices.Reverse(parts)
	for i, part := range parts {
		word, value, has := strings.Cut(part, "=")
		if !has || strings.TrimSpace(value) == "" {
			return ""
		}
		parts[i] = strings.TrimSpace(word) + "=" + strings.TrimSpace(value)
	}
	return strings.Join(parts, ",")
}
