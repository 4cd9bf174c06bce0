package importer

import (
	"net/netip"

	"sallyport/policy"
)

// placeholders deals out addresses that stand for what the source does not say. They are of the networks that
// documentation and tests have for themselves (RFC 5737, RFC 2544), so that none of them is anyone's; those that the
// source uses nevertheless are left out.
type placeholders struct {
	used  map[netip.Prefix]bool
	hosts netip.Addr // the last address dealt out, not valid before the first
	ipv6  netip.Addr // likewise
}

// placeholderNetworks are where placeholders come from, in this order.
var placeholderNetworks = []netip.Prefix{
	netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("203.0.113.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"),
}

const (
	placeholderBits = 24 // prefix length of the networks that are dealt out
	wideBits        = 8  // a range of a /8 or more says nothing about a placeholder inside it
)

// newPlaceholders leaves out every network that the draft names something in.
func newPlaceholders(d *draft) *placeholders {
	p := &placeholders{used: map[netip.Prefix]bool{}}
	for _, each := range d.peers {
		for _, a := range []netip.Addr{each.local, each.remote} {
			if a.Is4() {
				p.use(policy.HostRange(a))
			}
		}
	}
	for _, l := range d.lists {
		for i := range l.filters {
			for _, a := range []address{l.filters[i].source, l.filters[i].destination} {
				if span, literal := a.span(); literal && span.Is4() && !isWide(span) {
					p.use(span)
				}
			}
		}
	}
	return p
}

func isWide(r policy.AddrRange) bool {
	around, _ := r.First.Prefix(wideBits)
	return !around.Contains(r.Last) || policy.RangeOf(around) == r
}

func (p *placeholders) use(span policy.AddrRange) {
	for _, network := range placeholderNetworks {
		both, overlap := span.Intersect(policy.RangeOf(network))
		if !overlap {
			continue
		}
		for at, _ := both.First.Prefix(placeholderBits); network.Contains(at.Addr()) && !both.Last.Less(at.Addr()); at = after(at) {
			p.used[at] = true
		}
	}
}

// after is the network that follows.
func after(network netip.Prefix) netip.Prefix {
	return netip.PrefixFrom(policy.RangeOf(network).Last.Next(), network.Bits())
}

// network deals out a network of its own; not valid where all are used up.
func (p *placeholders) network() netip.Prefix {
	for _, all := range placeholderNetworks {
		first := netip.PrefixFrom(all.Addr(), placeholderBits)
		for at := first; all.Contains(at.Addr()); at = after(at) {
			if !p.used[at] {
				p.used[at] = true
				return at
			}
		}
	}
	return netip.Prefix{}
}

// host deals out an address of its own; not valid where all are used up.
func (p *placeholders) host() netip.Addr {
	if p.hosts.IsValid() {
		p.hosts = p.hosts.Next()
	}
	if last := p.hosts; !last.IsValid() || last.As4()[3] == 255 { // never the broadcast address
		p.hosts = p.network().Addr()
		if p.hosts.IsValid() {
			p.hosts = p.hosts.Next() // never the network's own
		}
	}
	return p.hosts
}

// hostIPv6 deals out an IPv6 address of its own, from the end of the network that documentation has (RFC 3849).
func (p *placeholders) hostIPv6() netip.Addr {
	if !p.ipv6.IsValid() {
		p.ipv6 = netip.MustParseAddr("2001:db8:ffff:ffff::")
	}
	p.ipv6 = p.ipv6.Next()
	return p.ipv6
}
