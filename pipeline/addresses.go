package pipeline

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
)

// addresses is the gateway's own addresses with their attached subnets, by index of port. A snapshot brings its own.
type addresses [][]netip.Prefix

// addressesOf takes the addresses of a snapshot, or those of the configuration where it has none.
func (cfg *Config) addressesOf(s *Snapshot) (addresses, error) {
	own := make(addresses, len(cfg.Ports))
	names := map[string]int{}
	for i := range cfg.Ports {
		own[i] = cfg.Ports[i].Addresses
		names[cfg.Ports[i].Name] = i
	}
	if s.Addresses == nil {
		return own, nil
	}
	clear(own)
	seen := map[netip.Addr]string{}
	for _, name := range slices.Sorted(maps.Keys(s.Addresses)) {
		i, ok := names[name]
		if !ok {
			return nil, fmt.Errorf("pipeline: addresses of port %q: there is no such port", name)
		}
		if err := cfg.Ports[i].validAddresses(s.Addresses[name]); err != nil {
			return nil, err
		}
		for _, a := range s.Addresses[name] {
			if other, twice := seen[a.Addr()]; twice {
				return nil, fmt.Errorf("pipeline: address %s is on port %s and again on port %s: want it once", a.Addr(), other, name)
			}
			seen[a.Addr()] = name
		}
		own[i] = slices.Clone(s.Addresses[name])
	}
	return own, nil
}

// has reports whether the address is the gateway's, whatever port it is on.
func (o addresses) has(a netip.Addr) bool {
	for port := range o {
		if o.on(port, a) {
			return true
		}
	}
	return false
}

// on reports whether the address is the port's own.
func (o addresses) on(port int, a netip.Addr) bool {
	return slices.ContainsFunc(o[port], func(p netip.Prefix) bool { return p.Addr() == a })
}

// attached reports whether the address lies in a subnet of the port.
func (o addresses) attached(port int, a netip.Addr) bool {
	return slices.ContainsFunc(o[port], func(p netip.Prefix) bool { return p.Contains(a) })
}

// toward is the port's own address in the subnet of another one, or its first of that IP version.
func (o addresses) toward(port int, a netip.Addr) (netip.Addr, bool) {
	var first netip.Addr
	for _, p := range o[port] {
		switch {
		case p.Contains(a):
			return p.Addr(), true
		case !first.IsValid() && p.Addr().Is4() == a.Is4():
			first = p.Addr()
		}
	}
	return first, first.IsValid()
}
