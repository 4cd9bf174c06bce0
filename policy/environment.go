package policy

import (
	"net/netip"
	"slices"
)

// Environment is what Compile has to know about the gateway. When it changes the set is compiled again (S-019).
type Environment struct {
	LocalAddresses []netip.Addr
	Subnets        []netip.Prefix // attached to the ports: their last addresses are broadcasts (S-104)

	// Vanished were own addresses once. The filters that "my addresses" gave them stay and block, because a packet from or
	// to such an address would otherwise meet a broader filter that was never meant for it (S-011).
	Vanished []netip.Addr

	// Endpoints is the local outer address of tunnels. Where it is no longer an own address, what the tunnel protected is
	// blocked (S-011). A tunnel that is not in the map has no such condition.
	Endpoints map[string]netip.Addr

	// Single are the tunnels of which an SA carries one selector only, as IKEv1 negotiates it (RFC 2409 5.5). One with several becomes as many tunnels,
	// each with the selector behind its name (SplitFrom).
	Single map[string]bool

	Dynamic []DynamicFilter // what peers proposed to the default response rule
}

// addresses is the local addresses without duplicates, in address order, so that the order of ports never matters.
func (e Environment) addresses() []netip.Addr { return ordered(e.LocalAddresses) }

// vanished is the addresses that are no longer local, in address order.
func (e Environment) vanished() []netip.Addr {
	return slices.DeleteFunc(ordered(e.Vanished), func(a netip.Addr) bool { return slices.Contains(e.LocalAddresses, a) })
}

func ordered(addresses []netip.Addr) []netip.Addr {
	sorted := slices.Clone(addresses)
	slices.SortFunc(sorted, netip.Addr.Compare)
	return slices.Compact(sorted)
}

// isStale reports whether the tunnel's outer address was one of the gateway's and is no longer.
func (e Environment) isStale(tunnel string) bool {
	endpoint, known := e.Endpoints[tunnel]
	return known && !slices.Contains(e.LocalAddresses, endpoint)
}
