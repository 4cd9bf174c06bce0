package ike

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"sallyport/ike/wire"
)

// Identity is what a peer calls itself (RFC 7296 3.5). Equal says whether two are the same; == whether their octets are.
type Identity struct {
	Type wire.IDType
	Data string // the octets of the ID payload
}

// IsZero reports whether no identity was given.
func (id Identity) IsZero() bool { return id == Identity{} }

// Equal reports whether two identities are the same. Case does not count in a host name (RFC 4343), in the host of a mail address (RFC 5280 7.5),
// and in the text of a distinguished name, whose kind of string and repeated spaces do not count either (RFC 5280 7.1). RFC 7296 itself leaves
// the comparison open.
func (id Identity) Equal(other Identity) bool { return id == other || id.normal() == other.normal() }

// normal is the one form of all identities that are equal, for comparing only.
func (id Identity) normal() Identity {
	switch id.Type {
	case wire.IDFQDN:
		id.Data = lowerASCII(id.Data)
	case wire.IDRFC822Address:
		at := strings.LastIndexByte(id.Data, '@') + 1
		id.Data = id.Data[:at] + lowerASCII(id.Data[at:])
	case wire.IDDERASN1DN:
		if name, err := readName(id.Data); err == nil {
			id.Data = name.normal()
		}
	}
	return id
}

func lowerASCII(text string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, text)
}

// AddressIdentity is an address as identity.
func AddressIdentity(a netip.Addr) Identity {
	kind := wire.IDIPv6Address
	if a.Is4() {
		kind = wire.IDIPv4Address
	}
	return Identity{Type: kind, Data: string(a.AsSlice())}
}

// maxIdentity bounds the text of an identity, given or shown, in octets.
const maxIdentity = 1024

// ParseIdentity reads an identity: by its form an address, a distinguished name (RFC 4514, "CN=gw-a,O=Example"), a mail address or a host name, or
// what is meant after "address:", "dn:", "mail:", "fqdn:" or "keyid:". A key id is text, or hexadecimal octets after "0x".
func ParseIdentity(text string) (Identity, error) {
	if len(text) > maxIdentity {
		return Identity{}, fmt.Errorf("an identity of %d octets, expected at most %d", len(text), maxIdentity)
	}
	id, err := parseIdentity(text)
	if err != nil {
		return Identity{}, fmt.Errorf("identity %q: %w", text, err)
	}
	return id, nil
}

func parseIdentity(text string) (Identity, error) {
	if kind, rest, ok := strings.Cut(text, ":"); ok {
		switch kind {
		case "address":
			return parseAddress(rest)
		case "dn":
			return parseName(rest)
		case "mail":
			return parseWord(wire.IDRFC822Address, rest)
		case "fqdn":
			return parseWord(wire.IDFQDN, rest)
		case "keyid":
			return parseKeyID(rest)
		}
	}
	if id, err := parseAddress(text); err == nil {
		return id, nil
	}
	switch {
	case strings.Contains(text, "="):
		return parseName(text)
	case strings.Contains(text, "@"):
		return parseWord(wire.IDRFC822Address, text)
	}
	id, err := parseWord(wire.IDFQDN, text)
	if err == nil {
		err = checkHostName(text)
	}
	return id, err
}

// checkHostName refuses text without the kind of identity before it that looks like a slip rather than a host name: the peer would be refused, and
// nobody would see why.
func checkHostName(text string) error {
	const otherwise = "; behind fqdn: or keyid: anything goes as it is"
	dot := strings.LastIndexByte(text, '.')
	switch {
	case strings.Contains(text, "/"):
		return errors.New("expected an address without a prefix length, or a host name" + otherwise)
	case strings.Contains(text, ":"):
		return errors.New("expected an IPv6 address, or one of address:, fqdn:, mail:, dn: and keyid: before the identity")
	case dot >= 0 && dot < len(text)-1 && strings.Trim(text[dot:], ".0123456789") == "": // RFC 1123, section 2.1
		return errors.New("expected an address, which has four numbers from 0 to 255, or a host name, which does not end in one" + otherwise)
	}
	for label := range strings.SplitSeq(text, ".") {
		if label == "" || len(label) > maxLabel || strings.ContainsFunc(label, notInHostName) {
			return errors.New("expected a host name, labels of 1 to 63 letters, digits, hyphens and underscores with dots between them" + otherwise)
		}
	}
	return nil
}

const maxLabel = 63 // octets, RFC 1035 section 2.3.4

func notInHostName(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_')
}

func parseAddress(text string) (Identity, error) {
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" {
		return Identity{}, errors.New("expected an IPv4 or IPv6 address without a zone")
	}
	return AddressIdentity(a.Unmap()), nil
}

func parseName(text string) (Identity, error) {
	der, err := encodeName(text)
	return Identity{Type: wire.IDDERASN1DN, Data: der}, err
}

func parseWord(kind wire.IDType, text string) (Identity, error) {
	at := strings.LastIndexByte(text, '@')
	switch {
	case text == "" || !isWord(text):
		return Identity{}, errors.New("expected an address, a host name, a mail address or a distinguished name, in ASCII without spaces")
	case strings.ContainsAny(text, "*%"):
		return Identity{}, errors.New("expected the name of one peer: patterns are not offered")
	case kind == wire.IDRFC822Address && (at < 1 || at == len(text)-1):
		return Identity{}, errors.New("expected a mail address, with something on both sides of an @")
	}
	return Identity{Type: kind, Data: text}, nil
}

func parseKeyID(text string) (Identity, error) {
	data := text
	if digits, ok := strings.CutPrefix(text, "0x"); ok {
		octets, err := hex.DecodeString(digits)
		if err != nil {
			return Identity{}, errors.New("expected pairs of hexadecimal digits after keyid:0x")
		}
		data = string(octets)
	} else if !isWord(text) {
		return Identity{}, errors.New("expected a key id in ASCII without spaces, or as hexadecimal octets after keyid:0x")
	}
	if data == "" {
		return Identity{}, errors.New("expected a key id of at least one octet")
	}
	return Identity{Type: wire.IDKeyID, Data: data}, nil
}

// isWord reports whether a text is visible ASCII only.
func isWord(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' })
}

// String is a form that ParseIdentity reads, the shortest; what has none shows as type and hexadecimal octets. It is fit for a terminal and for a log,
// whatever the peer called itself.
func (id Identity) String() string {
	text := id.text()
	if len(text) > maxIdentity {
		return text[:maxIdentity] + "..."
	}
	return text
}

func (id Identity) text() string {
	forms := map[wire.IDType][2]string{
		wire.IDFQDN: {id.Data, "fqdn:"}, wire.IDRFC822Address: {id.Data, "mail:"}, wire.IDKeyID: {"", "keyid:"}, wire.IDDERASN1DN: {"", "dn:"},
	}
	form, known := forms[id.Type]
	plain, explicit := form[0], form[1]+id.Data
	switch id.Type {
	case wire.IDIPv4Address, wire.IDIPv6Address:
		if a, ok := netip.AddrFromSlice([]byte(id.Data)); ok && !a.Is4In6() {
			return a.String()
		}
	case wire.IDDERASN1DN:
		if name, err := readName(id.Data); err == nil {
			plain = name.String()
			explicit = form[1] + plain
		}
	case wire.IDKeyID:
		if !isWord(id.Data) || strings.HasPrefix(id.Data, "0x") {
			explicit = "keyid:0x" + hex.EncodeToString([]byte(id.Data))
		}
	}
	for _, text := range []string{plain, explicit} {
		if read, err := parseIdentity(text); known && err == nil && read.Equal(id) && read.Type == id.Type {
			return text
		}
	}
	return fmt.Sprintf("%v:%x", id.Type, id.Data)
}
