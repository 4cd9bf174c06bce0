package lab

import (
	"context"
	"fmt"
	"net/netip"
)

// Site is one end of the topology: a host on a LAN behind a gateway that also stands in the WAN.
//
//	host --- lan0 gateway wan0 --- bridge (namespace wan) --- wan0 gateway lan0 --- host
type Site struct {
	Name    string // "a" or "b"
	Host    *Namespace
	Gateway *Namespace

	LAN         netip.Prefix // the protected network
	HostAddress netip.Addr   // of the host, in LAN
	LANAddress  netip.Addr   // of the gateway, in LAN
	WANAddress  netip.Addr   // of the gateway, towards its peer

	// The same in IPv6, for tests that make use of it: nobody has an address of it by itself.
	LAN6         netip.Prefix
	HostAddress6 netip.Addr
	LANAddress6  netip.Addr
	WANAddress6  netip.Addr

	// Between routed sites, where the gateway sends what is for beyond its own network; not valid on a common one.
	Router, Router6 netip.Addr
}

// Names of the interfaces, each alone in its namespace.
const (
	hostLink = "eth0"
	LANLink  = "lan0"
	WANLink  = "wan0"
)

// Sites are two sites and the network between them, where every frame can be captured.
type Sites struct {
	*Lab
	A, B *Site
	WAN  *Namespace
}

// GatewayKind says who drives the gateway's interfaces.
type GatewayKind int

const (
	// RawGateway is driven with raw frames, by a data plane or a guest: the namespace's kernel has
	// no address on the links and stays silent.
	RawGateway GatewayKind = iota
	// KernelGateway has its addresses in the namespace's kernel, which forwards: a peer's daemon.
	KernelGateway
)

// wanBridge joins the sites' links in the WAN.
const wanBridge = "br0"

// wanPrefixLength is that of the network both gateways stand in (RFC 5737 TEST-NET-1).
const wanPrefixLength = 24

// wanPrefixLength6 is the same in IPv6, and wanNetworks6 has all networks of a lab that are not a LAN (RFC 3849).
const wanPrefixLength6 = 64

var wanNetworks6 = netip.MustParsePrefix("2001:db8:ffff::/48")

// linkMTU is that of every link, in octets: Ethernet's.
const linkMTU = 1500

// NewSites makes the topology in a lab of its own, which is closed again when that fails.
func NewSites(ctx context.Context, a, b GatewayKind) (*Sites, error) {
	s, err := addressedSites()
	if err != nil {
		return nil, err
	}
	err = s.build(ctx, a, b)
	if err == nil {
		err = s.WAN.AddBridge(wanBridge, s.A.wanPort(), s.B.wanPort())
	}
	return s.closedOn(err)
}

// addressedSites are sites with addresses, and nothing made of them yet but the lab.
func addressedSites() (*Sites, error) {
	l, err := New()
	if err != nil {
		return nil, err
	}
	return &Sites{Lab: l,
		A: &Site{Name: "a", LAN: netip.MustParsePrefix("10.1.0.0/24"), HostAddress: netip.MustParseAddr("10.1.0.10"),
			LANAddress: netip.MustParseAddr("10.1.0.1"), WANAddress: netip.MustParseAddr("192.0.2.1"),
			LAN6: netip.MustParsePrefix("2001:db8:1::/64"), HostAddress6: netip.MustParseAddr("2001:db8:1::10"),
			LANAddress6: netip.MustParseAddr("2001:db8:1::1"), WANAddress6: netip.MustParseAddr("2001:db8:ffff::1")},
		B: &Site{Name: "b", LAN: netip.MustParsePrefix("10.2.0.0/24"), HostAddress: netip.MustParseAddr("10.2.0.10"),
			LANAddress: netip.MustParseAddr("10.2.0.1"), WANAddress: netip.MustParseAddr("192.0.2.2"),
			LAN6: netip.MustParsePrefix("2001:db8:2::/64"), HostAddress6: netip.MustParseAddr("2001:db8:2::10"),
			LANAddress6: netip.MustParseAddr("2001:db8:2::1"), WANAddress6: netip.MustParseAddr("2001:db8:ffff::2")},
	}, nil
}

// closedOn returns the sites, or closes them when making them has failed.
func (s *Sites) closedOn(err error) (*Sites, error) {
	if err == nil {
		return s, nil
	}
	if closing := s.Close(); closing != nil {
		err = fmt.Errorf("%w (and cleaning up: %v)", err, closing)
	}
	return nil, err
}

// build makes the namespaces, links, addresses and routes, up to the two ends in the WAN.
func (s *Sites) build(ctx context.Context, a, b GatewayKind) error {
	var err error
	if s.WAN, err = s.Namespace("wan"); err != nil {
		return err
	}
	for _, site := range []struct {
		*Site
		kind GatewayKind
	}{{s.A, a}, {s.B, b}} {
		if err := s.buildSite(ctx, site.Site, site.kind); err != nil {
			return err
		}
	}
	return nil
}

// wanPort is the site's link in the WAN namespace.
func (s *Site) wanPort() string { return "to-" + s.Name }

// buildSite makes one site's host and gateway and wires them.
func (s *Sites) buildSite(ctx context.Context, site *Site, kind GatewayKind) error {
	var err error
	if site.Host, err = s.Namespace("lan-" + site.Name); err != nil {
		return err
	}
	if site.Gateway, err = s.Namespace("gw-" + site.Name); err != nil {
		return err
	}
	if err := Wire(ctx, site.Host, hostLink, site.Gateway, LANLink, linkMTU); err != nil {
		return err
	}
	if err := Wire(ctx, site.Gateway, WANLink, s.WAN, site.wanPort(), linkMTU); err != nil {
		return err
	}
	if err := site.Host.AddAddress(hostLink, netip.PrefixFrom(site.HostAddress, site.LAN.Bits())); err != nil {
		return err
	}
	everywhere := netip.MustParsePrefix("0.0.0.0/0")
	if err := site.Host.AddRoute(everywhere, site.LANAddress); err != nil {
		return err
	}
	if kind == RawGateway {
		if err := site.Gateway.Mute(LANLink); err != nil {
			return err
		}
		return site.Gateway.Mute(WANLink)
	}
	return s.kernelGateway(site)
}

// kernelGateway gives the gateway's links their addresses and lets its kernel forward.
func (s *Sites) kernelGateway(site *Site) error {
	if err := site.Gateway.AddAddress(LANLink, netip.PrefixFrom(site.LANAddress, site.LAN.Bits())); err != nil {
		return err
	}
	if err := site.Gateway.AddAddress(WANLink, netip.PrefixFrom(site.WANAddress, wanPrefixLength)); err != nil {
		return err
	}
	// What reaches the other LAN without a tunnel must show up on the wire, not vanish for want of
	// a route: the capture is what says that nothing clear was sent.
	other := s.Peer(site)
	via := other.WANAddress
	if site.Router.IsValid() {
		via = site.Router
		if err := site.Gateway.AddRoute(netip.PrefixFrom(other.WANAddress, 32), via); err != nil {
			return err
		}
	}
	if err := site.Gateway.AddRoute(other.LAN, via); err != nil {
		return err
	}
	return site.Gateway.Sysctl("net/ipv4/ip_forward", "1")
}

// Peer returns the site at the other end.
func (s *Sites) Peer(site *Site) *Site {
	if site == s.A {
		return s.B
	}
	return s.A
}
