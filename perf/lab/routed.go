package lab

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// NewRoutedSites makes the topology with a router in the place of the bridge, so that the gateways stand in networks of their own:
//
//	host --- gateway --- router (namespace wan) --- gateway --- host
//
// The router can be a NAT (Masquerade), and a narrow one (LimitMTU). A capture sees what each gateway sends where the router
// receives it.
func NewRoutedSites(ctx context.Context, a, b GatewayKind) (*Sites, error) {
	s, err := addressedSites()
	if err != nil {
		return nil, err
	}
	s.A.WANAddress, s.A.Router = netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.254")
	s.A.WANAddress6, s.A.Router6 = netip.MustParseAddr("2001:db8:ffff:1::1"), netip.MustParseAddr("2001:db8:ffff:1::fe")
	s.B.Router, s.B.Router6 = netip.MustParseAddr("192.0.2.254"), netip.MustParseAddr("2001:db8:ffff::fe")
	if err = s.build(ctx, a, b); err == nil {
		err = s.buildRouter()
	}
	return s.closedOn(err)
}

// buildRouter gives the WAN's ends addresses and lets its kernel forward.
func (s *Sites) buildRouter() error {
	for _, site := range []*Site{s.A, s.B} {
		if err := s.WAN.AddAddress(site.wanPort(), netip.PrefixFrom(site.Router, wanPrefixLength)); err != nil {
			return err
		}
		if err := s.WAN.EnableIPv6(site.wanPort()); err != nil {
			return err
		}
		// A router asks for its neighbours from an address of the link (RFC 4861 section 7.2.2).
		for _, a := range []netip.Addr{site.Router6, netip.MustParseAddr("fe80::fe")} {
			if err := s.WAN.AddAddress(site.wanPort(), netip.PrefixFrom(a, wanPrefixLength6)); err != nil {
				return err
			}
		}
	}
	if err := s.WAN.Sysctl("net/ipv4/ip_forward", "1"); err != nil {
		return err
	}
	return s.WAN.Sysctl("net/ipv6/conf/all/forwarding", "1")
}

// EnableIPv6 lets the namespace's kernel speak IPv6 on a link, and no more of it than its addresses need.
func (n *Namespace) EnableIPv6(link string) error {
	for _, s := range [][2]string{{"accept_dad", "0"}, {"router_solicitations", "0"}, {"addr_gen_mode", "1"}, {"disable_ipv6", "0"}} {
		if err := n.Sysctl("net/ipv6/conf/"+link+"/"+s[0], s[1]); err != nil {
			return err
		}
	}
	return nil
}

// LimitMTU makes the way between the gateways as narrow as a link of so many octets: what is longer is cut into fragments, or
// refused with an ICMP error where that may not be.
func (s *Sites) LimitMTU(octets int) error {
	for _, site := range []*Site{s.A, s.B} {
		link, err := s.WAN.links.LinkByName(site.wanPort())
		for _, to := range []netip.Addr{site.WANAddress, site.WANAddress6} {
			if err == nil {
				err = s.WAN.links.RouteReplace(&netlink.Route{Dst: ipNet(netip.PrefixFrom(to, to.BitLen())), LinkIndex: link.Attrs().Index,
					MTU: octets, MTULock: true})
			}
		}
		if err != nil {
			return fmt.Errorf("lab: MTU of the way to site %s: %w", site.Name, err)
		}
	}
	return nil
}

// Masquerade makes the router a NAT: what the site behind it sends has the router's address at the other, and what it sends from UDP
// port 4500 a port of the given range. Called again, the NAT has forgotten everything, as after a restart, and its new mappings are of the new range.
func (s *Sites) Masquerade(ctx context.Context, behind *Site, from, to uint16) error {
	outside := s.Peer(behind).wanPort()
	rules := fmt.Sprintf(`add table ip nat
delete table ip nat
table ip nat {
	chain postrouting {
		type nat hook postrouting priority srcnat;
		oifname %q udp sport 4500 masquerade to :%d-%d
		oifname %q masquerade
	}
}
`, outside, from, to, outside)
	if _, err := s.WAN.runWith(ctx, strings.NewReader(rules), "nft", "-f", "-"); err != nil {
		return err
	}
	err := s.WAN.Do(func() error {
		handle, err := netlink.NewHandle(unix.NETLINK_NETFILTER)
		if err != nil {
			return err
		}
		defer handle.Close()
		return handle.ConntrackTableFlush(netlink.ConntrackTable)
	})
	if err != nil {
		return fmt.Errorf("lab: making the NAT forget: %w", err)
	}
	return nil
}

// Block makes the router drop what an nftables expression matches, such as "udp dport 500", and all that it dropped before pass
// again. An empty one blocks nothing.
func (s *Sites) Block(ctx context.Context, match string) error {
	verdict := ""
	if match != "" {
		verdict = match + " drop"
	}
	rules := fmt.Sprintf(`add table inet firewall
delete table inet firewall
table inet firewall {
	chain forward {
		type filter hook forward priority filter;
		%s
	}
}
`, verdict)
	_, err := s.WAN.runWith(ctx, strings.NewReader(rules), "nft", "-f", "-")
	return err
}
