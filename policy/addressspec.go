package policy

import (
	"fmt"
	"net/netip"
	"strings"
)

// AddressSpec is one side of a filter as an operator writes it. Its zero value is any address of either IP version.
type AddressSpec struct {
	kind     addressKind
	span     AddrRange    // of addressRange
	name     string       // of addressName: a host name in lower case
	resolved []netip.Addr // of addressName: what it stands for, in address order; none until it is resolved
}

type addressKind uint8

const (
	addressAny addressKind = iota
	addressMine
	addressRange
	addressName
)

// namePrefix stands before a DNS name, so that a mistyped address is never looked up.
const namePrefix = "dns:"

// Any is every address of both IP versions.
func Any() AddressSpec { return AddressSpec{} }

// MyAddresses is every address of the gateway itself at the time of Compile.
func MyAddresses() AddressSpec { return AddressSpec{kind: addressMine} }

// Range is the addresses of one range.
func Range(r AddrRange) AddressSpec { return AddressSpec{kind: addressRange, span: r} }

// DNSName is the host name that the side stands for, if it is one.
func (a AddressSpec) DNSName() (name string, ok bool) { return a.name, a.kind == addressName }

// Resolved is the same side with the addresses that its DNS name stands for. They are what Compile uses, until the
// caller resolves the name again (S-020). IPv4 addresses may come mapped into IPv6, as resolvers give them.
func (a AddressSpec) Resolved(addresses []netip.Addr) AddressSpec {
	if a.kind != addressName {
		return a
	}
	a.resolved = nil
	for _, address := range addresses {
		a.resolved = append(a.resolved, address.Unmap())
	}
	a.resolved = ordered(a.resolved)
	return a
}

// String is the form that ParseAddressSpec reads.
func (a AddressSpec) String() string {
	switch a.kind {
	case addressMine:
		return "my"
	case addressRange:
		return a.span.String()
	case addressName:
		return namePrefix + a.name
	default:
		return "any"
	}
}

// validate says why the side cannot be compiled, or nil.
func (a AddressSpec) validate() error {
	switch a.kind {
	case addressRange:
		return a.span.Validate()
	case addressName:
		if len(a.resolved) == 0 {
			return fmt.Errorf("DNS name %q has no address: it was not resolved yet, or the resolver knows none", a.name)
		}
		for _, address := range a.resolved {
			if err := HostRange(address).Validate(); err != nil {
				return fmt.Errorf("DNS name %q: %w", a.name, err)
			}
		}
	}
	return nil
}

// literals is the ranges that the side names itself, whatever the environment: of a range and of a resolved name.
func (a AddressSpec) literals() []AddrRange {
	switch a.kind {
	case addressRange:
		return []AddrRange{a.span}
	case addressName:
		return hosts(a.resolved)
	}
	return nil
}

// expand is the specific ranges that the side stands for.
func (a AddressSpec) expand(env Environment) []AddrRange {
	switch a.kind {
	case addressMine:
		return hosts(env.addresses())
	case addressAny:
		return []AddrRange{AnyIPv4(), AnyIPv6()}
	default:
		return a.literals()
	}
}

func hosts(addresses []netip.Addr) []AddrRange {
	ranges := make([]AddrRange, 0, len(addresses))
	for _, address := range addresses {
		ranges = append(ranges, HostRange(address))
	}
	return ranges
}

// parseName reads a host name (RFC 1123, section 2.1; an underscore is taken as resolvers do) in lower case and without
// its final dot.
func parseName(text string) (AddressSpec, error) {
	name := strings.TrimSuffix(strings.ToLower(text), ".")
	if _, err := netip.ParseAddr(name); err == nil {
		return AddressSpec{}, fmt.Errorf("expected a host name after %s, found the address %q: write it without %s", namePrefix, text, namePrefix)
	}
	labels := strings.Split(name, ".")
	good := len(name) <= 253
	for _, label := range labels {
		good = good && isLabel(label)
	}
	if last := labels[len(labels)-1]; !good || strings.Trim(last, "0123456789") == "" {
		return AddressSpec{}, fmt.Errorf("expected a host name after %s such as %shost.example, found %q", namePrefix, namePrefix, text)
	}
	return AddressSpec{kind: addressName, name: name}, nil
}

// isLabel reports whether the text can stand between the dots of a host name.
func isLabel(label string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789-_"
	return label != "" && len(label) <= 63 && strings.Trim(label, letters) == "" && label[0] != '-' && label[len(label)-1] != '-'
}
