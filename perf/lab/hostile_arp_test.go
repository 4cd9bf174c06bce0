package lab_test

import (
	"bytes"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"testing"

	"sallyport/perf/lab"
)

// ARP operations (RFC 826).
const (
	arpRequest = 1
	arpReply   = 2
)

// arp is an ARP packet for Ethernet and IPv4.
func arp(op uint16, senderMAC net.HardwareAddr, sender netip.Addr, targetMAC net.HardwareAddr, target netip.Addr) []byte {
	b := []byte{0, 1, 8, 0, 6, 4}
	s, d := sender.As4(), target.As4()
	return slices.Concat(append16(b, op), senderMAC, s[:], targetMAC, d[:])
}

// testARP: whatever strangers on a link say about the gateway's neighbours, traffic keeps its way.
func testARP(t *testing.T, r *hostileRig) {
	zero := make(net.HardwareAddr, 6)
	for _, link := range []struct {
		port          string
		mac           net.HardwareAddr // of gw-a there
		own           netip.Addr
		neighbour     netip.Addr // whose traffic the attacker wants
		raw           *lab.RawPort
		neighbourMAC  net.HardwareAddr
		neighbourSees func(frame []byte) bool
	}{
		{wanPort, r.wanMAC, r.A.WANAddress, r.B.WANAddress, r.wan, r.peerMAC, func(f []byte) bool { return len(f) > 23 && f[23] == protocolESP }},
		{lanPort, r.lanMAC, r.A.LANAddress, r.A.HostAddress, r.lan, hostMAC(t, r), func(f []byte) bool { return len(f) > 23 && f[23] == protocolICMP }},
	} {
		for _, lie := range []struct {
			name  string
			frame []byte
		}{
			{"unasked reply", ether(link.mac, etherARP, arp(arpReply, attackerMAC, link.neighbour, link.mac, link.own))},
			{"unasked reply to all", ether(broadcastMAC, etherARP, arp(arpReply, attackerMAC, link.neighbour, broadcastMAC, link.neighbour))},
			{"announcement", ether(broadcastMAC, etherARP, arp(arpRequest, attackerMAC, link.neighbour, zero, link.neighbour))},
			{"reply with another Ethernet source", etherFrom(link.neighbourMAC, link.mac, etherARP, arp(arpReply, attackerMAC, link.neighbour, link.mac, link.own))},
			{"reply with a group address", etherFrom(broadcastMAC, link.mac, etherARP, arp(arpReply, broadcastMAC, link.neighbour, link.mac, link.own))},
			{"claim of the gateway's own address", ether(broadcastMAC, etherARP, arp(arpRequest, attackerMAC, link.own, zero, link.own))},
			{"request in the neighbour's name", ether(broadcastMAC, etherARP, arp(arpRequest, attackerMAC, link.neighbour, zero, link.own))},
		} {
			t.Run(link.port+" "+lie.name, func(t *testing.T) {
				r.inject(t, link.port, slices.Repeat([][]byte{lie.frame}, 20))
				r.received(t, link.raw) // what was sent before
				r.ping(t)
				seen := 0
				for _, f := range r.received(t, link.raw) {
					if !link.neighbourSees(f) {
						continue
					}
					seen++
					if !bytes.Equal(f[:6], link.neighbourMAC) {
						t.Errorf("a packet for %s (%s) went to %s", link.neighbour, link.neighbourMAC, net.HardwareAddr(f[:6]))
					}
				}
				if seen < soundPings {
					t.Errorf("saw %d packets for %s, want %d or more", seen, link.neighbour, soundPings)
				}
			})
		}
		garbage := arpGarbage(link.mac, link.own)
		taken := func() (n uint64) { // what is not refused before the slow path may find no room on its way there
			c := r.counters(t, link.port)
			for _, reason := range []string{"arp_nd_invalid", "arp_nd_other", "arp_nd_unasked", "bad_source", "punt_full"} {
				n += c.Drops[reason]
			}
			return n + c.Delivered
		}
		before := taken()
		r.inject(t, link.port, garbage)
		err := lab.Until(t.Context(), nil, "ARP garbage to be taken", takeLimit, func() (bool, error) {
			return taken() >= before+uint64(len(garbage)), nil
		})
		if err != nil {
			t.Errorf("port %s: %v", link.port, err)
		}
	}
	// What gw-a answered the attacker and asked about its claims is not traffic: only ARP may have come of all this.
	testARPAnswers(t, r)
}

// hostMAC is the address of the host of site A, learned as anybody on its LAN would.
func hostMAC(t *testing.T, r *hostileRig) net.HardwareAddr {
	t.Helper()
	r.received(t, r.lan)
	r.ping(t)
	for _, f := range r.received(t, r.lan) {
		if isPacket(f, r.B.HostAddress, r.A.HostAddress, protocolICMP) {
			return net.HardwareAddr(slices.Clone(f[:6]))
		}
	}
	t.Fatal("no ping was seen on the LAN")
	return nil
}

// arpGarbage is what no host sends: cut at each length, other families, unknown operations, senders that are not one
// host, and noise.
func arpGarbage(to net.HardwareAddr, own netip.Addr) [][]byte {
	good := arp(arpRequest, attackerMAC, ip("203.0.113.66"), make(net.HardwareAddr, 6), own)
	frames := each(count(0, len(good)-1), func(n int) []byte { return ether(to, etherARP, good[:n]) })
	for _, at := range []int{0, 1, 2, 3, 4, 5, 6, 7} {
		for _, value := range []byte{0xff, 0x80, 0x03} {
			b := slices.Clone(good)
			b[at] = value
			frames = append(frames, ether(to, etherARP, b))
		}
	}
	for _, sender := range []string{"0.0.0.0", "255.255.255.255", "224.0.0.1", "127.0.0.1", own.String()} {
		frames = append(frames, ether(to, etherARP, arp(arpRequest, attackerMAC, ip(sender), make(net.HardwareAddr, 6), own)),
			ether(to, etherARP, arp(arpReply, attackerMAC, ip(sender), to, own)))
	}
	random := rand.New(rand.NewPCG(826, 0))
	for range 1000 {
		frames = append(frames, ether(to, etherARP, randomOctets(random, random.IntN(64))))
	}
	return frames
}

// testARPAnswers: a stranger who asks for the gateway's address is answered, one who floods the table with all
// addresses of the link pushes nobody out, and only ARP comes of it.
func testARPAnswers(t *testing.T, r *hostileRig) {
	var flood [][]byte
	for host := 3; host < 255; host++ {
		mac := net.HardwareAddr{2, 0, 0, 0, 1, byte(host)}
		flood = append(flood, etherFrom(mac, broadcastMAC, etherARP, arp(arpRequest, mac, netip.AddrFrom4([4]byte{192, 0, 2, byte(host)}), make(net.HardwareAddr, 6), r.A.WANAddress)))
	}
	r.received(t, r.wan)
	for few := range slices.Chunk(flood, slowBunch) {
		r.inject(t, wanPort, few)
		answers := 0
		err := lab.Until(t.Context(), nil, "an answer to each ARP request", settleLimit, func() (bool, error) {
			for _, f := range r.received(t, r.wan) {
				if !isARP(f) {
					t.Errorf("ARP made gw-a send % x", f)
				} else if !bytes.Equal(f[:6], r.peerMAC) { // to which gw-a may have a question
					answers++
				}
			}
			return answers >= len(few), nil
		})
		if err != nil {
			t.Fatalf("%v: %d answers to %d requests", err, answers, len(few))
		}
	}
}
