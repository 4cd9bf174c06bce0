package pipeline

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
)

// Of ARP and neighbour discovery only that reaches the slow path which asks for an address of the port or answers what was asked.
func TestLinkMessages(t *testing.T) {
	r := newRig6(t, rigOptions{permit: true})
	unknown := netip.MustParseAddr("10.1.0.99")
	arp := func(op uint16, sender, target netip.Addr) []byte {
		return arpMessage{op: op, senderMAC: hostMAC, senderAddr: sender, targetAddr: target}.frame(broadcastMAC)
	}
	change := func(at int, value ...byte) []byte {
		frame := arp(arpRequestOp, lanHost, lanOwn)
		copy(frame[at:], value)
		return frame
	}
	cut := arp(arpRequestOp, lanHost, lanOwn)
	for reason, frames := range map[string][][]byte{
		"arp_nd_other":   {arp(arpRequestOp, lanHost, unknown), arp(arpReplyOp, lanHost, unknown), arp(arpRequestOp, lanHost, lanHost), arp(arpRequestOp, lanHost, wanOwn)},
		"arp_nd_unasked": {arp(arpReplyOp, unknown, lanOwn), arp(arpReplyOp, peer, lanOwn)},
		"bad_source":     {arp(arpRequestOp, lanOwn, lanOwn), arp(arpReplyOp, lanOwn, lanHost)},
		"arp_nd_invalid": {cut[:len(cut)-1], cut[:etherHeaderLen], change(15, 6), change(17, 1), change(18, 8), change(19, 16), change(21, 3), change(27, 9)},
	} {
		for _, frame := range frames {
			r.wantDrop(lan, frame, reason)
		}
	}
	for _, frame := range [][]byte{arp(arpRequestOp, lanHost, lanOwn), arp(arpReplyOp, lanHost, lanOwn), arp(arpRequestOp, netip.IPv4Unspecified(), lanOwn)} {
		if o, _ := r.check(lan, frame); o.Disposition != packetARP {
			t.Errorf("%+v", o)
		}
	}
	solicit := func(target netip.Addr) []byte {
		return solicitation(hostMAC, lanHost6, neighbourRequest{neighbourKey{lan, target}, broadcastMAC})
	}
	answer := func(target netip.Addr) []byte {
		return discoveryFrame(hostMAC, lanMAC, target, lanOwn6, icmp6Advertisement, advertSolicited, target, optionTargetMAC)
	}
	// of the same solicited-node group
	alias := lanOwn6.As16()
	alias[8]++
	r.wantDrop(lan, solicit(netip.AddrFrom16(alias)), "arp_nd_other")
	r.wantDrop(lan, answer(netip.MustParseAddr("2001:db8:1::99")), "arp_nd_unasked")
	r.wantDrop(lan, answer(lanOwn6), "bad_source")
	short := solicit(lanOwn6)
	binary.BigEndian.PutUint16(short[etherHeaderLen+4:], discoveryLen-1)
	r.wantDrop(lan, short, "arp_nd_invalid")
	for _, frame := range [][]byte{solicit(lanOwn6), answer(lanHost6)} {
		if o, _ := r.check(lan, frame); o.Disposition != packetDiscovery {
			t.Errorf("%+v", o)
		}
	}

	// What is asked for is worth an answer from the first question on, and until nobody remembers it.
	r.enqueue(0, wan, fromPeer(packetOfLength(somebody, unknown, 253, 60)))
	r.settle()
	before := r.d.Counters().Ports[lan].Delivered
	r.enqueue(0, lan, arp(arpReplyOp, unknown, lanOwn))
	r.settle()
	if n := r.d.Counters().Ports[lan].Delivered - before; n != 0 {
		t.Errorf("%d answers before the question", n)
	}
	r.serveAll()
	r.enqueue(0, lan, arp(arpReplyOp, unknown, lanOwn))
	r.settle()
	if n := r.d.Counters().Ports[lan].Delivered - before; n != 1 {
		t.Errorf("%d answers after the question, want 1", n)
	}
}

// ARP and neighbour discovery of all ports share a queue. Whatever one port fills it with, each other port has room, and the messages of its neighbours are served (S-089).
func TestARPFloodOfAPort(t *testing.T) {
	for _, flooded := range []int{lan, wan} {
		t.Run(fmt.Sprint(flooded), func(t *testing.T) {
			r := newRig6(t, rigOptions{punts: 64, hops: 64})
			other := wan + lan - flooded
			own, hosts := []netip.Addr{lanOwn, wanOwn}, []netip.Addr{lanHost, peer}
			own6, hosts6 := []netip.Addr{lanOwn6, wanOwn6}, []netip.Addr{lanHost6, peer6}
			arp := func(port int, sender netip.Addr) []byte {
				return arpMessage{op: arpRequestOp, senderMAC: macA, senderAddr: sender, targetAddr: own[port]}.frame(broadcastMAC)
			}
			var flood [][]byte
			for range 1000 {
				flood = append(flood, arp(flooded, hosts[flooded]), solicitation(macA, hosts6[flooded], neighbourRequest{neighbourKey{flooded, own6[flooded]}, broadcastMAC}))
			}
			for range 3 { // places come back
				r.flood(flooded, flood)
				const few = 16 // which are the port's own, of 64 for two
				before := r.d.Counters()
				for i := range few {
					r.enqueue(0, other, arp(other, hosts[other].Next()))
					if i%4 == 0 {
						r.flood(flooded, flood[:100])
					}
				}
				r.settle()
				after := r.d.Counters()
				if n := after.Ports[other].Delivered - before.Ports[other].Delivered; n != few || after.Ports[other].Drops["punt_full"] != before.Ports[other].Drops["punt_full"] {
					t.Errorf("%d of %d requests by the other port found room", n, few)
				}
				if link := after.Punts[0]; link.Waiting > 64 || link.Waiting < 32+few {
					t.Errorf("%+v", link)
				}
				r.serveAll()
				r.settle()
				if n := len(r.sent(other)); n != few {
					t.Errorf("%d answers by the other port, want %d", n, few)
				}
				r.sent(flooded)
			}
		})
	}
}

// Indices of neighbours have the ports' shares too, those included that are nobody's any more and wait for workers to forget them: neighbours of one port that come and go as
// fast as they may leave another port room.
func TestAdjacenciesOfAPort(t *testing.T) {
	const hops = 64
	r := newRig(t, rigOptions{hops: hops})
	r.d.mu.Lock()
	defer r.d.mu.Unlock()
	shares, neighbours := &r.d.slow.adjacencies.shares, r.d.slow.neighbours.table
	key := func(port, i int) neighbourKey {
		return neighbourKey{port, netip.AddrFrom4([4]byte{10, byte(port), byte(i >> 8), byte(i)})}
	}
	for i := 0; shares.used[lan] < shares.most(); i++ {
		k := key(lan, i)
		if _, err := r.d.adjacency(k); err != nil {
			t.Fatal(err)
		}
		neighbours[k] = &neighbour[heldMbuf]{}
		defer delete(neighbours, k)
	}
	if _, err := r.d.adjacency(key(lan, 999)); err == nil {
		t.Error("one port has more than its share")
	}
	for i := shares.used[wan]; i < hops-shares.most(); i++ {
		if _, err := r.d.adjacency(key(wan, i)); err != nil {
			t.Errorf("the other port's: %v", err)
		}
	}
	for i := range 10 { // some come and go
		delete(neighbours, key(lan, i))
		if _, err := r.d.adjacency(key(lan, 1000+i)); err != nil {
			t.Error(err)
		}
	}
	if used := shares.used[lan] + shares.used[wan]; used > hops || shares.used[lan] > shares.most() {
		t.Errorf("%+v", *shares)
	}
}
