package wire

import (
	"fmt"
	"net/netip"
)

// Types of a gateway's identity (RFC 5685 7.2).
const (
	gatewayIPv4 = 1
	gatewayIPv6 = 2
	gatewayFQDN = 3
)

// Redirect reads REDIRECT: the gateway to go to, and in IKE_SA_INIT the initiator's nonce behind it.
func (p *Notify) Redirect() (gateway netip.Addr, nonce []byte, err error) {
	if len(p.Data) < 2 || len(p.Data) < 2+int(p.Data[1]) {
		return netip.Addr{}, nil, fmt.Errorf("%v has %d octets, expected the type and the length of an identity, and as much of it", p.Type, len(p.Data))
	}
	kind, identity, nonce := p.Data[0], p.Data[2:2+p.Data[1]], p.Data[2+p.Data[1]:]
	gateway, sized := netip.AddrFromSlice(identity)
	switch {
	case kind == gatewayFQDN:
		return netip.Addr{}, nil, fmt.Errorf("%v names the gateway %q, expected an IP address: no name is looked up", p.Type, identity)
	case kind == gatewayIPv4 && sized && gateway.Is4(), kind == gatewayIPv6 && sized && gateway.Is6():
		return gateway, nonce, nil
	}
	return netip.Addr{}, nil, fmt.Errorf("%v has an identity of type %d and %d octets, expected an IPv4 (1) or IPv6 (2) address", p.Type, kind, len(identity))
}

// RedirectedFrom tells a gateway which one has sent us to it.
func RedirectedFrom(gateway netip.Addr) *Notify {
	return NewNotify(NotifyRedirectedFrom, gatewayIdentity(gateway))
}

func gatewayIdentity(gateway netip.Addr) []byte {
	kind := byte(gatewayIPv6)
	if gateway.Is4() {
		kind = gatewayIPv4
	}
	return append([]byte{kind, byte(gateway.BitLen() / 8)}, gateway.AsSlice()...)
}
