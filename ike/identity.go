package ike

import (
	"fmt"
	"net/netip"
	"strings"

	"sallyport/ike/wire"
)

// Identity is what a peer calls itself (RFC 7296 3.5). It is comparable: two identities are the same when type and octets are.
type Identity struct {
	Type wire.IDType
	Data string // the octets of the ID payload
}

// IsZero reports whether no identity was given.
func (id Identity) IsZero() bool { return id == Identity{} }

// Equal reports whether two identities are the same.
func (id Identity) Equal(other Identity) bool { return id == other }

// AddressIdentity is an address as identity.
func AddressIdentity(a netip.Addr) Identity {
	kind := wire.IDIPv6Address
	if a.Is4() {
		kind = wire.IDIPv4Address
	}
	return Identity{Type: kind, Data: string(a.AsSlice())}
}

// ParseIdentity reads an address, a name ("gw-a.example") or a mail address ("admin@example.org").
func ParseIdentity(text string) (Identity, error) {
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		return AddressIdentity(a), nil
	}
	if text == "" || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return Identity{}, fmt.Errorf("identity %q: expected an address, a host name or a mail address, in ASCII without spaces", text)
	}
	if strings.Contains(text, "@") {
		return Identity{Type: wire.IDRFC822Address, Data: text}, nil
	}
	return Identity{Type: wire.IDFQDN, Data: text}, nil
}

// String is the form that ParseIdentity reads; other types show as type and hexadecimal octets.
func (id Identity) String() string {
	switch id.Type {
	case wire.IDIPv4Address, wire.IDIPv6Address:
		if a, ok := netip.AddrFromSlice([]byte(id.Data)); ok {
			return a.String()
		}
	case wire.IDFQDN, wire.IDRFC822Address:
		if !strings.ContainsFunc(id.Data, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return id.Data
		}
	}
	return fmt.Sprintf("%v:%x", id.Type, id.Data)
}
