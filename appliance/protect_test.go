package appliance

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"sallyport/appliance/api"
	"sallyport/ike"
	"sallyport/policy"
)

// S-005: traffic of a rule is encapsulated to its peer from the gateway's own end, and
// what comes from there is for that end. The peer's address cannot become an own one,
// nor the tunnel end where the gateway has no address.
func TestTunnelIsBetweenItsEndpoints(t *testing.T) {
	r := newRig(t, siteA(), siteB())
	a, b := r.gateways[0], r.gateways[1]
	r.awaitChildren("nets")
	r.send(a, rigLAN, "10.1.0.7:1000", "10.2.0.7:2000", "to b")
	r.send(b, rigLAN, "10.2.0.7:2000", "10.1.0.7:1000", "to a")
	eventually(t, "both packets to arrive", func() bool { return len(r.received(a)) == 1 && len(r.received(b)) == 1 })
	endA, endB := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	ways := map[[2]netip.Addr]int{}
	r.mu.Lock()
	for _, p := range r.wire {
		if p.protocol == protoESP {
			ways[[2]netip.Addr{p.source, p.destination}]++
		}
	}
	r.mu.Unlock()
	if len(ways) != 2 || ways[[2]netip.Addr{endA, endB}] != 1 || ways[[2]netip.Addr{endB, endA}] != 1 {
		t.Errorf("ESP on the wire: %v, expected a packet each way between %s and %s", ways, endA, endB)
	}
	for port, why := range map[string]string{"lan": "overlaps 192.0.2.0/24 of port wan", "wan": `peer "far": expected the address of another gateway`} {
		_, err := a.api.Change(t.Context(), api.PathAddresses, api.ChangeAddress{Port: port, Address: "192.0.2.2/24"})
		if err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("port %s: expected the peer's address to be refused as an own one, found %v", port, err)
		}
	}
	text := string(a.running().text)
	for _, wrong := range []string{
		strings.Replace(text, "local: 192.0.2.1,", "local: 192.0.2.9,", 1),
		strings.Replace(text, "remote: 192.0.2.2,", "remote: 10.1.0.1,", 1),
	} {
		if _, err := a.api.Change(t.Context(), api.PathApply, api.Apply{Text: wrong}); err == nil {
			t.Error("expected a tunnel between wrong endpoints to be refused")
		}
	}
}

// S-025, C-11: a peer that is silent gets nothing in clear, and nothing in clear that
// claims to come from behind it is taken: 1,000 packets each way, no soft SA, and IKE
// alone on the wire. The policy's name promises nothing else.
func TestSilentPeer(t *testing.T) {
	const packets = 1000
	r := newRig(t, strings.ReplaceAll(siteA(), "whole", "request-security"))
	g := r.gateways[0]
	inbound := func() uint64 { return g.plane.Counters().Ports[rigWAN].Drops["clear_on_protected"] }
	for i := range packets {
		r.send(g, rigLAN, "10.1.0.7:1000", fmt.Sprintf("10.2.0.7:%d", 2000+i), "secret")
		r.send(g, rigWAN, fmt.Sprintf("10.2.0.7:%d", 2000+i), "10.1.0.7:1000", "forged")
		eventually(t, "both packets to be taken", func() bool { return g.received() >= uint64(2*i+2) })
	}
	eventually(t, "every clear packet to be dropped as such", func() bool { return inbound() == packets })
	eventually(t, "IKE to try again", func() bool { return strings.Contains(g.logs.String(), "msg=retransmitted") })
	if sad := get[api.SAD](r, g, api.PathSAD); len(sad.QuickMode)+len(sad.Soft) != 0 {
		t.Errorf("SAs with a silent peer: %+v", sad)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.wire {
		if p.protocol != protoUDP || p.sourcePort != 500 || p.port != 500 {
			t.Errorf("protocol %d from %s port %d to %s port %d on the wire", p.protocol, p.source, p.sourcePort, p.destination, p.port)
		}
	}
	if len(r.wire) < 2 {
		t.Errorf("%d packets on the wire, expected tries of IKE", len(r.wire))
	}
	for _, p := range r.arrived[g.cfg.Name] {
		if p.protocol != protoUDP || p.port != 500 {
			t.Errorf("a host got %q", p.payload)
		}
	}
}

// S-035: two hosts behind the gateways negotiate transport mode with each other, by IKE of either version. Their messages, of UDP port 500 as the gateways' own,
// are what the tunnel is for: they leave as ESP, the first one held until it is up, and no gateway takes one for its own.
func TestIKEThroughTunnel(t *testing.T) {
	for _, version := range []ike.Version{ike.V2, ike.V1} {
		t.Run(version.String(), func(t *testing.T) {
			r := newRig(t, strings.Replace(siteA(), "start: always", "start: on-demand", 1), siteB())
			between := func(local, remote string, start ike.Start) ike.Child {
				return ike.Child{Name: "transport", Transport: true, Start: start, IdleTimeout: -1, Selectors: []policy.Selector{{
					Local: policy.HostRange(netip.MustParseAddr(local)), Remote: policy.HostRange(netip.MustParseAddr(remote)), LocalPort: policy.AnyPort, RemotePort: policy.AnyPort}}}
			}
			left := startStub(r, r.gateways[0], rigLAN, "10.1.0.7", "10.2.0.7", version, between("10.1.0.7", "10.2.0.7", ike.StartAlways))
			right := startStub(r, r.gateways[1], rigLAN, "10.2.0.7", "10.1.0.7", version, between("10.2.0.7", "10.1.0.7", ike.StartOnDemand))
			eventually(t, "the hosts to have their SAs", func() bool {
				left.turn()
				right.turn()
				return left.out.SPI != 0 && right.out.SPI != 0
			})
			if !left.out.Transport || !right.out.Transport || left.out.SPI != right.in.SPI {
				t.Errorf("the hosts send by %+v and %+v", left.out, right.out)
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			protected := 0
			for _, p := range r.wire {
				if p.protocol == protoESP {
					protected++
				}
			}
			if heard := left.heard + right.heard; protected < heard || heard < 4 {
				t.Errorf("the hosts heard %d messages of each other, of %d ESP packets on the wire", heard, protected)
			}
		})
	}
}
