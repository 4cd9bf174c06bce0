package lab_test

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"
	"time"

	"sallyport/appliance/api"
	"sallyport/perf/lab"
)

// The hosts in IPv6, each behind its gateway's own address.
var (
	host6A, host6B = ip("2001:db8:1::10"), ip("2001:db8:2::10")
	lan6A, lan6B   = netip.MustParsePrefix("2001:db8:1::1/64"), netip.MustParsePrefix("2001:db8:2::1/64")
)

// child6 is the rule, and the Child SA, between the LANs in IPv6.
const child6 = "lan6-to-lan6"

// hopLimitAt is where a frame has the hop limit of its IPv6 packet (RFC 8200 section 3).
const hopLimitAt = etherLen + 7

// datagram6 is a marked UDP datagram in IPv6.
func datagram6(from, to netip.Addr) []byte {
	payload := udp(20000, discardPort, []byte(attackMarker))
	s, d := from.As16(), to.As16()
	return slices.Concat([]byte{0x60, 0, 0, 0}, append16(nil, uint16(len(payload))), []byte{protocolUDP, 64}, s[:], d[:], payload)
}

// S-022: IPv6 and protocol 41 are dropped, each with a counter of its own, while no filter names them; with one IPv6 goes through the
// tunnel between the gateways' IPv4 addresses, and nothing of it is on the wire but ESP.
func testIPv6(t *testing.T, r *policyRig) {
	outbound := ether(r.lanMAC, etherIPv6, datagram6(host6A, host6B))
	inbound := ether(r.wanMAC, etherIPv6, datagram6(host6B, host6A))
	r.dropped(t, lanPort, "ipv6", same(outbound))
	r.dropped(t, wanPort, "ipv6", same(inbound))
	for _, to := range []netip.Addr{r.B.HostAddress, nobody} {
		r.dropped(t, lanPort, "protocol_41", same(ether(r.lanMAC, etherIPv4, ipv4(r.A.HostAddress, to, protocolIPv6, datagram6(host6A, host6B)))))
	}

	for _, g := range []struct {
		*lab.Gateway
		own, host netip.Prefix
		far       netip.Prefix
	}{{r.b, lan6B, netip.PrefixFrom(host6B, 64), lan6A}, {r.a, lan6A, netip.PrefixFrom(host6A, 64), lan6B}} {
		speakIPv6(t, g.Site.Host, g.host, g.own.Addr(), g.far)
		for path, body := range map[string]any{
			api.PathAddresses: api.ChangeAddress{Port: lanPort, Address: g.own.String()},
			api.PathActivate:  api.Activate{Name: "dual"},
		} {
			if _, err := g.API.Change(t.Context(), path, body); err != nil {
				t.Fatal(err)
			}
		}
	}
	err := lab.Until(t.Context(), nil, "a tunnel for IPv6", tunnelBackLimit, func() (bool, error) {
		return len(r.sas6(t, r.a)) > 1 && len(r.sas6(t, r.b)) > 1, r.a.Process.Alive()
	})
	if err != nil {
		t.Fatal(err)
	}
	r.dropped(t, wanPort, "clear_on_protected", same(inbound))
	// Answered echo requests: the kernels of both hosts have what was sent, and each gateway knows where its host is.
	pings, err := r.A.Host.Ping(t.Context(), host6B, lab.PingOptions{Count: copies, Interval: 10 * time.Millisecond})
	if err != nil || pings.Received == 0 {
		t.Errorf("ping in IPv6: %+v, %v", pings, err)
	}
	r.throughTunnel6(t, outbound)
}

// speakIPv6 gives a host an IPv6 address and a route, and keeps its kernel from saying more than that needs.
func speakIPv6(t *testing.T, host *lab.Namespace, address netip.Prefix, gateway netip.Addr, far netip.Prefix) {
	t.Helper()
	if err := host.EnableIPv6("eth0"); err != nil {
		t.Fatal(err)
	}
	if err := host.AddAddress("eth0", address); err != nil {
		t.Fatal(err)
	}
	if err := host.AddRoute(far, gateway); err != nil {
		t.Fatal(err)
	}
}

// sas6 are a gateway's SAs for IPv6.
func (r *policyRig) sas6(t *testing.T, g *lab.Gateway) []api.SA {
	t.Helper()
	return slices.DeleteFunc(sas(t, g), func(sa api.SA) bool { return sa.Child != child6 })
}

// throughTunnel6 sends copies of a frame from the LAN and wants each in the tunnel that explain names, and out of it
// at the far LAN with nothing changed but the hop limit.
func (r *policyRig) throughTunnel6(t *testing.T, frame []byte) {
	t.Helper()
	said := ask[api.Explanation](t, r, "explain", "--src", host6A.String(), "--dst", host6B.String(),
		"--proto", "udp", "--sport", "20000", "--dport", "9", "--in", lanPort)
	if said.Action != "protect" || said.Tunnel != child6 || said.SA == nil || said.Winner == nil || said.Disagreement != "" {
		t.Fatalf("explained as %+v, want protected by %s", said, child6)
	}
	r.received(t, r.farLAN)
	r.protectedBy(t, said.SA.SPI, same(frame))
	arrived := 0
	err := lab.Until(t.Context(), nil, "IPv6 at the far LAN", takeLimit, func() (bool, error) {
		for _, f := range r.received(t, r.farLAN) {
			if len(f) == len(frame) && bytes.Equal(f[12:hopLimitAt], frame[12:hopLimitAt]) && bytes.Equal(f[hopLimitAt+1:], frame[hopLimitAt+1:]) {
				arrived++
			}
		}
		return arrived >= copies, r.b.Process.Alive()
	})
	if err != nil || arrived != copies {
		t.Errorf("%d of %d packets arrived: %v", arrived, copies, err)
	}
}
