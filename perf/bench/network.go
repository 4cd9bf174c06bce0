package bench

import (
	"encoding/binary"
	"net"
	"net/netip"

	"sallyport/pipeline"
	"sallyport/policy"
)

// The network around the gateway: hosts of 10.1.0.0/16 behind a router on the protected link, those of 10.128.0.0/9
// behind the peer on the unprotected one, in networks of which each tunnel has as many as any other. A host's IPv6 address is
// its IPv4 address behind a prefix of 96 bits.
var (
	lanAddress = netip.MustParsePrefix("192.168.1.1/24")
	lanRouter  = netip.MustParseAddr("192.168.1.2")
	wanAddress = netip.MustParsePrefix("192.0.2.1/24")
	wanPeer    = netip.MustParseAddr("192.0.2.2")

	lanAddress6 = netip.MustParsePrefix("2001:db8:0:1::1/64")
	lanRouter6  = netip.MustParseAddr("2001:db8:0:1::2")
	wanAddress6 = netip.MustParsePrefix("2001:db8:0:2::1/64")
	wanPeer6    = netip.MustParseAddr("2001:db8:0:2::2")

	lanHosts     = netip.MustParsePrefix("10.1.0.0/16")
	remoteHosts  = netip.MustParsePrefix("10.128.0.0/9")
	lanHosts6    = netip.MustParsePrefix("2001:db8:1::10.1.0.0/112")
	remoteHosts6 = netip.MustParsePrefix("2001:db8:2::10.128.0.0/105")

	neighbourMAC = net.HardwareAddr{0x02, 0, 0, 0, 0, 2}
)

const (
	maxTunnels  = 60000 // of the 65,536 networks of 128 addresses behind the peer
	hostsPerLAN = 50000
	firstPort   = 1024
	maxFlows    = hostsPerLAN * 32
	portNATT    = 4500
)

// routes lead to the networks behind the neighbours.
func routes() []pipeline.Route {
	return []pipeline.Route{{To: lanHosts, Via: lanRouter}, {To: remoteHosts, Via: wanPeer}, {To: lanHosts6, Via: lanRouter6}, {To: remoteHosts6, Via: wanPeer6}}
}

var ownAddresses = policy.Environment{LocalAddresses: []netip.Addr{lanAddress.Addr(), wanAddress.Addr(), lanAddress6.Addr(), wanAddress6.Addr()}}

// host is the address of the host with this number in a prefix.
func host(p netip.Prefix, number int) netip.Addr {
	b := p.Addr().AsSlice()
	low := b[len(b)-4:]
	binary.BigEndian.PutUint32(low, binary.BigEndian.Uint32(low)+uint32(number))
	a, _ := netip.AddrFromSlice(b)
	return a
}

// lan and remote are the hosts on both sides that have packets for each other.
func (l load) lan() netip.Prefix {
	if l.inner6 {
		return lanHosts6
	}
	return lanHosts
}

func (l load) remote() netip.Prefix {
	if l.inner6 {
		return remoteHosts6
	}
	return remoteHosts
}

// ends are the gateway's and the peer's outer address.
func (l load) ends() (local, peer netip.Addr) {
	if l.outer6 {
		return wanAddress6.Addr(), wanPeer6
	}
	return wanAddress.Addr(), wanPeer
}

// networks is how many networks behind the peer have packets of the load: flows take them in turn, the same ones whatever the
// number of tunnels.
func (l load) networks() int { return min(l.flows*l.workers, maxTunnels) }

const networkSize = 128 // addresses

// tunnel is the one that a flow's packets take: neighbouring networks share one.
func (l load) tunnel(flow int) int { return flow % l.networks() * l.tunnels / l.networks() }

// protected is what a tunnel is for.
func (l load) protected(tunnel int) policy.AddrRange {
	if l.tunnels == 1 {
		return policy.RangeOf(l.remote())
	}
	first := func(tunnel int) int { return (tunnel*l.networks() + l.tunnels - 1) / l.tunnels * networkSize }
	return policy.AddrRange{First: host(l.remote(), first(tunnel)), Last: host(l.remote(), first(tunnel+1)-1)}
}
