package pipeline

import (
	"fmt"
	"net/netip"
)

// resolveRoutes adds the attached subnets to the routes and finds the port of each next hop. A route to an attached subnet
// by way of a neighbour is an error: the subnet is nearer.
func resolveRoutes(own addresses, routes []Route) ([]hop, error) {
	var hops []hop
	seen := map[netip.Prefix]bool{}
	for port := range own {
		for _, a := range own[port] {
			if !a.IsSingleIP() && !seen[a.Masked()] {
				seen[a.Masked()] = true
				hops = append(hops, hop{to: a.Masked(), port: port})
			}
		}
	}
	for _, r := range routes {
		if !r.To.IsValid() || !r.Via.IsValid() || r.To.Addr().Is4() != r.Via.Is4() || r.Via.Is4In6() || r.To.Addr().Is4In6() {
			return nil, fmt.Errorf("pipeline: route to %s via %s: want a prefix and an address of one IP version", r.To, r.Via)
		}
		if seen[r.To.Masked()] {
			return nil, fmt.Errorf("pipeline: route to %s: there is one already, or the subnet is attached", r.To)
		}
		port, ok := attachedTo(own, r.Via)
		if !ok {
			return nil, fmt.Errorf("pipeline: route to %s: next hop %s is in no port's subnet", r.To, r.Via)
		}
		seen[r.To.Masked()] = true
		hops = append(hops, hop{to: r.To.Masked(), via: r.Via, port: port})
	}
	return hops, nil
}

// attachedTo is the port in whose subnet the address lies, the longest prefix first.
func attachedTo(own addresses, address netip.Addr) (port int, ok bool) {
	longest := -1
	for i := range own {
		for _, a := range own[i] {
			if a.Contains(address) && a.Bits() > longest && a.Addr() != address {
				port, longest = i, a.Bits()
			}
		}
	}
	return port, longest >= 0
}

// nextHop is the naive longest-prefix match: the control plane's lookup and the oracle of the data plane's.
func nextHop(hops []hop, destination netip.Addr) (key neighbourKey, ok bool) {
	longest := -1
	for _, h := range hops {
		if h.to.Contains(destination) && h.to.Bits() > longest {
			longest = h.to.Bits()
			key = neighbourKey{Port: h.port, Address: h.via}
		}
	}
	if longest >= 0 && !key.Address.IsValid() {
		key.Address = destination
	}
	return key, longest >= 0
}
