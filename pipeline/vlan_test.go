package pipeline

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"sallyport/pmd/mbuf"
	"sallyport/policy"
)

// withTag puts a tag of IEEE 802.1Q into a frame.
func withTag(frame []byte, tag uint16) []byte {
	tagged := append([]byte(nil), frame[:12]...)
	tagged = binary.BigEndian.AppendUint16(tagged, etherTypeVLAN)
	tagged = binary.BigEndian.AppendUint16(tagged, tag)
	return append(tagged, frame[12:]...)
}

// untagged gives each port the frames with its tag, without it, and returns those of one port.
func (r *rig) untagged(port int, frames [][]byte) [][]byte {
	r.t.Helper()
	for _, f := range frames {
		vlan := uint16(0)
		if binary.BigEndian.Uint16(f[12:]) == etherTypeVLAN {
			vlan, f = binary.BigEndian.Uint16(f[14:]), append(f[:12:12], f[16:]...)
		}
		switch vlan {
		case r.options.vlans[lan]:
			r.stash[lan] = append(r.stash[lan], f)
		case r.options.vlans[wan]:
			r.stash[wan] = append(r.stash[wan], f)
		default:
			r.t.Fatalf("a frame left with VLAN %d: % x", vlan, f)
		}
	}
	mine := r.stash[port]
	r.stash[port] = nil
	return mine
}

// trunks are the ways to put both ports on one device.
var trunks = map[string][2]uint16{"both tagged": {10, 20}, "lan untagged": {0, 4094}, "wan untagged": {1, 0}}

// S-098: ports that share a device are ports like others: what a tunnel carries between them, in both directions and IP versions, is byte for
// byte what two devices carry, and each frame leaves with the tag of its port.
func TestVLANTunnel(t *testing.T) {
	for name, vlans := range trunks {
		t.Run(name, func(t *testing.T) {
			for _, f := range []form{{suite: "aes128gcm16"}, {suite: "aes128-sha256"}, {suite: "aes128gcm16", outer6: true}} {
				r := newRig6(t, rigOptions{vlans: vlans, rules: []rule{siteRule, siteRule6}})
				out, in := r.formed(f, false), r.formed(f, true)
				far, near := r.outbound(out), r.inbound(in)
				for _, version := range f.versions() {
					for size := ipv4HeaderLen; size <= 1400; size += 23 {
						packet, back := inner(version, size, true), inner(version, size, false)
						sent := r.wantForward(lan, fromLAN(packet), wan)[etherHeaderLen:]
						if outer := tupleOf(sent); outer.Source != out.Local.Addr() || outer.Destination != out.Remote.Addr() {
							t.Fatalf("outer packet from %s to %s", outer.Source, outer.Destination)
						}
						got, reason := far.unwrap(sent)
						same(t, "inside: "+reason, got, decrementHops(packet))
						near.sequence++
						got = r.wantForward(wan, fromWAN(near.encapsulate(back, near.sequence)), lan)[etherHeaderLen:]
						same(t, "decrypted", got, decrementHops(back))
					}
				}
			}
		})
	}
}

// Frames of both ports in one burst keep their order within each.
func TestVLANBurst(t *testing.T) {
	r := newRig(t, rigOptions{vlans: [2]uint16{10, 20}, rules: []rule{allRule}})
	outside := netip.MustParseAddr("198.51.100.9")
	var wire [][]byte
	var want [2][][]byte
	for i := range 31 {
		inward, outward := packetOfLength(outside, lanHost, 253, 60+i), packetOfLength(lanHost, outside, 253, 100+i)
		wire = append(wire, withTag(fromPeer(inward), 20), withTag(fromHost(outward), 10))
		want[lan] = append(want[lan], r.ref.process(wan, fromPeer(inward)).Frame)
		want[wan] = append(want[wan], r.ref.process(lan, fromHost(outward)).Frame)
	}
	r.enqueueWire(0, lan, wire...)
	r.settle()
	same(t, "to the lan", r.sent(lan), want[lan])
	same(t, "to the wan", r.sent(wan), want[wan])
}

// The tag decides what port a frame is from, and so its role, whatever its addresses are.
func TestVLANDecidesThePort(t *testing.T) {
	r := newRig(t, rigOptions{vlans: [2]uint16{10, 20}})
	r.outbound(r.child("site", "aes128gcm16", false))
	near := r.inbound(r.child("site", "aes128gcm16", true))
	r.wantForward(lan, fromHost(tcp(lanHost, farHost)), wan)
	// the same packet from the unprotected side; ESP for the wan's address from the lan's side is for the gateway all the same
	r.wantDrop(wan, etherFrame(wanMAC[:], hostMAC[:], etherTypeIPv4, tcp(lanHost, farHost)), "protect_from_unprotected")
	r.wantDrop(wan, fromHost(tcp(lanHost, farHost)), "other_mac")
	near.sequence++
	r.wantForward(wan, fromPeer(near.encapsulate(tcp(farHost, lanHost), near.sequence)), lan)
}

// S-104, S-106, S-107: two VLANs of one device are two subnets: TCP to all of either, to a group or to everybody is dropped, and no broadcast of one is forwarded to the other.
func TestVLANBroadcasts(t *testing.T) {
	for name, vlans := range trunks {
		t.Run(name, func(t *testing.T) {
			r := newRig6(t, rigOptions{vlans: vlans, rules: []rule{allRule}})
			udp := func(to string) []byte {
				return packetOfLength(lanHost, netip.MustParseAddr(to), 17, 60)
			}
			for _, to := range []string{"224.0.0.1", "239.255.255.255", "255.255.255.255", "10.1.0.255", "192.0.2.255"} {
				r.wantDrop(lan, fromHost(tcp(lanHost, netip.MustParseAddr(to))), "tcp_multicast")
				r.wantDrop(wan, fromPeer(tcp(peer, netip.MustParseAddr(to))), "tcp_multicast")
			}
			r.wantDrop(lan, fromHost6(tcp6(lanHost6, netip.MustParseAddr("ff02::1"))), "tcp_multicast")
			r.wantDrop(lan, fromHost(udp("192.0.2.255")), "directed_broadcast")
			r.wantDrop(wan, fromPeer(packetOfLength(peer, netip.MustParseAddr("10.1.0.255"), 17, 60)), "directed_broadcast")
			if o, _ := r.check(lan, fromHost(udp("10.1.0.255"))); o.Disposition != packetGroup {
				t.Errorf("broadcast on its own VLAN: %+v", o)
			}
			c := r.d.Counters()
			if n := c.Ports[lan].Drops["tcp_multicast"]; n != 6 {
				t.Errorf("%d TCP segments to groups dropped on the lan, want 6", n)
			}
		})
	}
}

// Frames that are no port's: dropped, counted where the device's untagged frames are or at its first port.
func TestVLANUnknown(t *testing.T) {
	frame := fromHost(tcp(lanHost, farHost))
	for name, c := range map[string]struct {
		vlans   [2]uint16
		frame   []byte
		reason  string
		counted int
	}{
		"another VLAN":                {[2]uint16{10, 20}, withTag(frame, 30), "unknown_vlan", lan},
		"another VLAN, wan untagged":  {[2]uint16{10, 0}, withTag(frame, 30), "unknown_vlan", wan},
		"untagged":                    {[2]uint16{10, 20}, frame, "unknown_vlan", lan},
		"priority tag":                {[2]uint16{10, 20}, withTag(frame, 0xe000), "unknown_vlan", lan},
		"reserved":                    {[2]uint16{10, 20}, withTag(frame, 4095), "unknown_vlan", lan},
		"two tags":                    {[2]uint16{10, 20}, withTag(withTag(frame, 20), 10), "unknown_vlan", lan},
		"two tags on a plain port":    {[2]uint16{}, withTag(withTag(frame, 20), 0), "unknown_vlan", lan},
		"tagged on a plain port":      {[2]uint16{}, withTag(frame, 10), "unknown_vlan", lan},
		"service tag on a plain port": {[2]uint16{}, serviceTag(frame), "unknown_vlan", lan},
		"half a tag":                  {[2]uint16{0, 20}, withTag(frame, 20)[:15], "unknown_vlan", lan},
		"no more than a tag":          {[2]uint16{10, 20}, withTag(frame, 10)[:18], "truncated", lan},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, rigOptions{vlans: c.vlans})
			before := r.d.Counters().Ports[c.counted]
			r.enqueueWire(0, lan, c.frame)
			r.settle()
			after := r.d.Counters().Ports[c.counted]
			if after.Drops[c.reason] != 1 || after.Received != before.Received+1 || after.ReceivedBytes != before.ReceivedBytes+uint64(len(c.frame)) {
				t.Errorf("drops %v, received %d packets of %d bytes, want one of %d dropped for %s", after.Drops, after.Received-before.Received, after.ReceivedBytes-before.ReceivedBytes, len(c.frame), c.reason)
			}
		})
	}
}

func serviceTag(frame []byte) []byte {
	tagged := withTag(frame, 10)
	binary.BigEndian.PutUint16(tagged[12:], etherTypeQinQ)
	return tagged
}

// A frame whose tag only has a priority is an untagged one (IEEE 802.1Q section 6.7), and a port's tag may have one.
func TestVLANPriority(t *testing.T) {
	packet := packetOfLength(lanHost, netip.MustParseAddr("198.51.100.9"), 253, 60)
	for name, c := range map[string]struct {
		vlans [2]uint16
		tag   uint16
	}{
		"plain port":       {[2]uint16{}, 0xe000},
		"beside a VLAN":    {[2]uint16{0, 20}, 0x2000},
		"of a tagged port": {[2]uint16{10, 20}, 0xa000 | 10},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, rigOptions{vlans: c.vlans, rules: []rule{allRule}})
			r.enqueueWire(0, lan, withTag(fromHost(packet), c.tag))
			r.settle()
			same(t, "forwarded", r.sent(wan), [][]byte{r.ref.process(lan, fromHost(packet)).Frame})
		})
	}
}

// A device may take tags off by itself.
func TestVLANTakenByTheDevice(t *testing.T) {
	r := newRig(t, rigOptions{vlans: [2]uint16{10, 20}, rules: []rule{allRule}})
	packet := packetOfLength(lanHost, netip.MustParseAddr("198.51.100.9"), 253, 60)
	mbufs, err := mbuf.FromFrames(r.pool, [][]byte{fromHost(packet), fromHost(packet)})
	if err != nil {
		t.Fatal(err)
	}
	tagTaken(mbufs[0], 0x6000|10)
	tagTaken(mbufs[1], 30)
	before := r.d.Counters().Ports[lan]
	r.wire(lan).rx[0].EnqueueBurst(mbufs)
	r.settle()
	same(t, "forwarded", r.sent(wan), [][]byte{r.ref.process(lan, fromHost(packet)).Frame})
	after := r.d.Counters().Ports[lan]
	if after.Drops["unknown_vlan"] != 1 || after.ReceivedBytes-before.ReceivedBytes != 2*uint64(len(fromHost(packet))+4) {
		t.Errorf("drops %v, %d bytes received", after.Drops, after.ReceivedBytes-before.ReceivedBytes)
	}
}

// What the slow path keeps and sends is on the right VLAN too: packets that wait for a neighbour or an SA, and ICMP.
func TestVLANSlowPath(t *testing.T) {
	r := newRig6(t, rigOptions{vlans: [2]uint16{10, 20}, rules: []rule{siteRule, {name: "all", source: "any", destination: "any", ports: policy.PortsWAN | policy.PortsLAN}}})
	outside := netip.MustParseAddr("198.51.100.9")
	request := arpMessage{op: arpRequestOp, senderMAC: lanMAC, senderAddr: lanOwn, targetAddr: stranger}.frame(broadcastMAC)
	packet := packetOfLength(outside, stranger, 253, 60)
	_, answers := r.check(wan, fromPeer(packet))
	same(t, "requests", answers[lan], [][]byte{request})
	r.arp(lan, arpMessage{op: arpReplyOp, senderMAC: macB, senderAddr: stranger, targetMAC: lanMAC, targetAddr: lanOwn}, lanMAC)
	same(t, "released", r.sent(lan), [][]byte{etherFrame(macB[:], lanMAC[:], etherTypeIPv4, decrementTTL(packet))})

	dying := ipv4(packetOfLength(lanHost, outside, 253, 60))
	dying[8] = 1
	setHeaderChecksum(dying)
	_, answers = r.check(lan, fromHost(dying))
	if len(answers[lan]) != 1 || len(answers[wan]) != 0 || answers[lan][0][etherHeaderLen+ipv4HeaderLen] != icmpTimeExceeded {
		t.Errorf("answers to a packet without TTL: % x", answers)
	}

	r.setCell("site", CellHold)
	held := tcp(lanHost, farHost)
	if o, _ := r.check(lan, fromHost(held)); o.Disposition != packetAcquire {
		t.Fatalf("without an SA: %+v", o)
	}
	far := r.outbound(r.child("site", "aes128gcm16", false))
	r.settle()
	left := r.sent(wan)
	if len(left) != 1 {
		t.Fatalf("%d frames left once the SA was there", len(left))
	}
	r.opened(far, left[0], len(held))
}

// A worker that is not an SA's owner hands its packets over with their port, not their device.
func TestVLANHandover(t *testing.T) {
	r := newRig(t, rigOptions{vlans: [2]uint16{10, 20}, workers: testWorkers})
	near := r.inbound(r.child("site", "aes128gcm16", true))
	for i := range 8 {
		near.sequence++
		o, _ := r.checkOn(i%testWorkers, wan, fromPeer(near.encapsulate(tcp(farHost, lanHost), near.sequence)))
		if o.Disposition != packetForwarded || o.Port != lan {
			t.Fatalf("packet %d: %+v", i, o)
		}
	}
}

func TestVLANCounters(t *testing.T) {
	r := newRig(t, rigOptions{vlans: [2]uint16{10, 20}, rules: []rule{allRule}})
	before := r.d.Counters()
	r.wantForward(lan, fromHost(packetOfLength(lanHost, netip.MustParseAddr("198.51.100.9"), 253, 60)), wan)
	after := r.d.Counters()
	const bytes = etherHeaderLen + 4 + 60
	in, out := after.Ports[lan], after.Ports[wan]
	if in.Received-before.Ports[lan].Received != 1 || in.ReceivedBytes-before.Ports[lan].ReceivedBytes != bytes || in.ForwardedBytes-before.Ports[lan].ForwardedBytes != bytes ||
		out.Received != before.Ports[wan].Received || out.Transmitted-before.Ports[wan].Transmitted != 1 || out.TransmittedBytes-before.Ports[wan].TransmittedBytes != bytes {
		t.Errorf("lan %+v, wan %+v", in, out)
	}
}

func TestVLANsInvalid(t *testing.T) {
	r := newRig(t, rigOptions{})
	for _, c := range []struct {
		vlans []uint16
		want  string
	}{
		{[]uint16{10, 10}, "lan0 and lan1"},
		{[]uint16{0, 0}, "untagged"},
		{[]uint16{4095}, "1 to 4094"},
		{make([]uint16, 33), "at most 31"},
	} {
		cfg := r.cfg
		cfg.Ports = nil
		for i, vlan := range c.vlans {
			spec := r.cfg.Ports[lan]
			spec.Name, spec.VLAN, spec.Addresses = fmt.Sprintf("lan%d", i), vlan, nil
			if len(c.vlans) > 2 {
				spec.VLAN = uint16(100 + i)
			}
			cfg.Ports = append(cfg.Ports, spec)
		}
		if d, err := New(cfg); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("VLANs %v: %v, want an error with %q", c.vlans, err, c.want)
			if err == nil {
				if err := d.Close(); err != nil {
					t.Error(err)
				}
			}
		}
	}
}
