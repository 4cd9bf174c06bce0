package ikev1

import (
	"errors"
	"fmt"
	"net/netip"

	"sallyport/ike/isakmp"
	"sallyport/policy"
)

// Quick mode describes the traffic of an SA by two ID payloads, the initiator's end first: one range of addresses each, one protocol, and one port or
// any (RFC 2407 4.6.2). Narrowing does not exist: what a responder does not take as it is it refuses.

// sayable tells why a selector cannot be written as two IDs, or nil.
func sayable(s policy.Selector) error {
	for _, side := range []struct {
		name  string
		ports policy.PortRange
	}{{"local", s.LocalPort}, {"remote", s.RemotePort}} {
		switch {
		case side.ports == policy.AnyPort:
		case s.Protocol == 0 || s.Protocol == protocolICMP || s.Protocol == protocolICMPv6:
			return fmt.Errorf("%s: IKEv1 has no types and codes of ICMP and no ports without a protocol, expected any", s)
		case side.ports.First != side.ports.Last || side.ports.First == 0:
			return fmt.Errorf("%s: the %s ports are %s, and IKEv1 can say one port from 1 on or any", s, side.name, side.ports)
		}
	}
	return nil
}

// The protocols whose ports are types and codes (RFC 7296 3.13.1).
const (
	protocolICMP   = 1
	protocolICMPv6 = 58
)

// identities are the IDs of our end and of the peer's for a selector that is sayable.
func identities(s policy.Selector) (local, remote *isakmp.ID) {
	return identity(s.Local, s.Protocol, s.LocalPort), identity(s.Remote, s.Protocol, s.RemotePort)
}

func identity(addresses policy.AddrRange, protocol uint8, ports policy.PortRange) *isakmp.ID {
	var id *isakmp.ID
	switch prefix, isPrefix := addresses.Prefix(); {
	case isPrefix && prefix.IsSingleIP():
		id = isakmp.AddressID(addresses.First)
	case isPrefix:
		id = isakmp.SubnetID(prefix)
	default:
		id = isakmp.RangeID(addresses.First, addresses.Last)
	}
	id.Protocol = protocol
	if ports != policy.AnyPort {
		id.Port = ports.First
	}
	return id
}

// traffic is the selector that two IDs describe, our end's and the peer's. Both nil stand for the two addresses that the peers speak by (RFC 2409 5.5).
func traffic(local, remote *isakmp.ID, ours, theirs netip.Addr) (policy.Selector, error) {
	if local == nil && remote == nil {
		return policy.Selector{Local: policy.HostRange(ours), Remote: policy.HostRange(theirs), LocalPort: policy.AnyPort, RemotePort: policy.AnyPort}, nil
	}
	if local == nil || remote == nil {
		return policy.Selector{}, errors.New("one ID payload in quick mode, expected two or none")
	}
	s := policy.Selector{Protocol: max(local.Protocol, remote.Protocol)}
	for _, side := range []struct {
		id        *isakmp.ID
		addresses *policy.AddrRange
		ports     *policy.PortRange
	}{{local, &s.Local, &s.LocalPort}, {remote, &s.Remote, &s.RemotePort}} {
		var err error
		if side.addresses.First, side.addresses.Last, err = side.id.Range(); err != nil {
			return policy.Selector{}, err
		}
		if *side.ports, err = portsOf(side.id.Port, s.Protocol); err != nil {
			return policy.Selector{}, err
		}
	}
	switch {
	case local.Protocol != remote.Protocol && local.Protocol != 0 && remote.Protocol != 0:
		return policy.Selector{}, fmt.Errorf("protocol %s at our end and %s at the peer's, expected the same or any at one",
			policy.ProtocolName(local.Protocol), policy.ProtocolName(remote.Protocol))
	case s.Local.Is4() != s.Remote.Is4():
		return policy.Selector{}, fmt.Errorf("%s and %s are of two IP versions, expected one", s.Local, s.Remote)
	}
	return s, nil
}

// portsOf reads a port, of which 0 is any.
func portsOf(port uint16, protocol uint8) (policy.PortRange, error) {
	switch {
	case port == 0:
		return policy.AnyPort, nil
	case protocol == 0 || protocol == protocolICMP || protocol == protocolICMPv6:
		return policy.PortRange{}, fmt.Errorf("port %d of protocol %d, which has none; expected 0", port, protocol)
	}
	return policy.PortRange{First: port, Last: port}, nil
}

// fit says how traffic that a peer proposes lies in what is configured for a child.
type fit uint8

const (
	fitNone   fit = iota
	fitWithin     // taken, unless another child has it exactly
	fitExact
)

// fits finds out how a child's selectors take a proposed one.
func fits(configured []policy.Selector, offered policy.Selector) fit {
	best := fitNone
	for _, s := range configured {
		switch {
		case s == offered:
			return fitExact
		case s.Contains(offered):
			best = fitWithin
		}
	}
	return best
}

// refuseTraffic is the error about traffic that no child takes.
func refuseTraffic(configured []policy.Selector, offered policy.Selector) error {
	return fmt.Errorf("peer offers %s; expected that or a part of %s", offered, describeSelectors(configured))
}

// confirmTraffic checks the traffic of message 2 against what we offered, which a responder repeats.
func confirmTraffic(offered, answered policy.Selector) error {
	if answered != offered {
		return fmt.Errorf("answer is for %s; expected %s, which we offered", answered, offered)
	}
	return nil
}

func describeSelectors(list []policy.Selector) string {
	var texts []string
	for _, s := range list[:min(len(list), maxDescribed)] {
		texts = append(texts, s.String())
	}
	return listed(texts, ", ")
}
