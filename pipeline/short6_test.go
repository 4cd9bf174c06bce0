package pipeline

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"sallyport/policy"
)

var wanSecond6 = netip.MustParseAddr("2001:db8:f::99")

// shortWays runs f for an SA of AES-GCM over IPv6 that the short way takes, and for one that differs in what keeps it off that way and changes no
// packet of these tests. Both are compared with the reference, byte by byte.
func shortWays(t *testing.T, f func(t *testing.T, r *rig, formed func(outer6, inbound bool) ChildSA)) {
	for _, general := range []bool{false, true} {
		t.Run(fmt.Sprintf("general %v", general), func(t *testing.T) {
			r := newRig6(t, rigOptions{rules: []rule{siteRule, siteRule6}, addWAN: []netip.Prefix{netip.PrefixFrom(wanSecond6, 64)}})
			f(t, r, func(outer6, inbound bool) ChildSA {
				c := r.formed(form{suite: "aes128gcm16", outer6: outer6}, inbound)
				if general {
					c.Encapsulation.MSSClamp = 9000
				}
				return c
			})
		})
	}
}

// ESP over IPv6 for the gateway: what is plain, and all that can be wrong with a frame or its header, ends as the reference says.
func TestOuterIPv6Inbound(t *testing.T) {
	shortWays(t, func(t *testing.T, r *rig, formed func(outer6, inbound bool) ChildSA) {
		near := r.inbound(formed(true, true))
		for _, version := range []int{4, 6} {
			sealed := func() ipv6 {
				near.sequence++
				return near.encapsulate(inner(version, 100, false), near.sequence)
			}
			edited := func(edit func(p ipv6)) []byte {
				p := sealed()
				edit(p)
				return fromWAN(p)
			}
			to := func(a netip.Addr) []byte { return edited(func(p ipv6) { copy(p[24:], a.AsSlice()) }) }
			whole := fromWAN(sealed())
			for n := etherHeaderLen; n < len(whole); n++ {
				if o, _ := r.check(wan, whole[:n]); o.Disposition != packetDropped {
					t.Fatalf("%d of %d bytes: %+v", n, len(whole), o)
				}
			}
			r.wantForward(wan, whole, lan)
			r.wantDrop(wan, whole, "replay_duplicate")
			r.wantForward(wan, append(fromWAN(sealed()), make([]byte, 11)...), lan) // Ethernet's padding
			right := len(whole) - etherHeaderLen - ipv6HeaderLen
			for _, length := range []int{0, 1, 7, 8, 9, 15, 16, 32, 33, 36, 37, right - 4, right - 1, right + 1, 65535} {
				frame := edited(func(p ipv6) { binary.BigEndian.PutUint16(p[4:], uint16(length)) })
				if o, _ := r.check(wan, frame); o.Disposition != packetDropped {
					t.Errorf("payload length %d of %d: %+v", length, right, o)
				}
			}
			for next := range 256 {
				r.check(wan, edited(func(p ipv6) { p[6] = byte(next) }))
			}
			for _, hops := range []byte{0, 1, 255} { // it is not forwarded as it is
				r.wantForward(wan, edited(func(p ipv6) { p[7] = hops }), lan)
			}
			for _, first := range []byte{0x40, 0x70, 0x00, 0xf0} {
				frame := fromWAN(sealed())
				frame[etherHeaderLen] = first
				r.wantDrop(wan, frame, "ip_version")
			}
			for class := range 256 {
				r.check(wan, edited(func(p ipv6) { copy(p, withClass(p, byte(class))) }))
			}
			r.wantForward(wan, edited(func(p ipv6) { p[1], p[2], p[3] = p[1]|0x0f, 0xff, 0xff }), lan) // a flow label
			r.wantForward(wan, to(wanOwn6), lan)
			r.wantForward(wan, to(wanSecond6), lan)
			for _, a := range []netip.Addr{lanOwn6, outside6, lanHost6, netip.MustParseAddr("ff02::1"), netip.MustParseAddr("2001:db8:f::98"), netip.IPv6Unspecified()} {
				r.check(wan, to(a))
			}
			p := sealed()
			r.wantForward(wan, fromWAN(packet6(p.source(), p.destination(), protocolESP, p[ipv6HeaderLen:], extension{nextDestination, []byte{0, 1, 4, 0, 0, 0, 0}})), lan)
			for _, station := range []byte{1, 0x40} { // of a group, of somebody else
				frame := fromWAN(sealed())
				frame[0] ^= station
				if o, _ := r.check(wan, frame); o.Disposition != packetDropped {
					t.Errorf("station % x: %+v", frame[:6], o)
				}
			}
		}
	})
}

// An IPv6 packet inside a tunnel of either version: what is plain, and all that a peer with the key can make of it.
func TestInnerIPv6Inbound(t *testing.T) {
	shortWays(t, func(t *testing.T, r *rig, formed func(outer6, inbound bool) ChildSA) {
		for _, outer6 := range []bool{false, true} {
			near := r.inbound(formed(outer6, true))
			sound := []byte(udp6(farHost6, lanHost6, 1000, 2000, 60))
			check := func(p []byte) outcome {
				near.sequence++
				o, _ := r.check(wan, fromWAN(near.encapsulate(p, near.sequence)))
				return o
			}
			edited := func(edit func(p []byte)) outcome {
				p := bytes.Clone(sound)
				edit(p)
				return check(p)
			}
			for n := 2; n < len(sound); n++ {
				if o := check(sound[:n]); o.Reason != "inner_header" {
					t.Errorf("%d of %d bytes: %+v", n, len(sound), o)
				}
			}
			if o := check(slices.Concat(sound, make([]byte, 33))); o.Disposition != packetForwarded { // TFC padding
				t.Errorf("%+v", o)
			}
			for _, length := range []int{0, 1, 3, 4, 8, 67, 68, 69, 65535} {
				if o := edited(func(p []byte) { binary.BigEndian.PutUint16(p[4:], uint16(length)) }); (o.Disposition == packetForwarded) != (length >= 4 && length <= 68) {
					t.Errorf("payload length %d: %+v", length, o)
				}
			}
			for next := range 256 {
				edited(func(p []byte) { p[6] = byte(next) })
			}
			for class := range 256 {
				edited(func(p []byte) { copy(p, withClass(p, byte(class))) })
			}
			for _, last := range []byte{0, 6, 8, 255} { // others of the same network
				if o := edited(func(p []byte) { p[23] = last }); o.Disposition != packetForwarded {
					t.Errorf("from ...%02x: %+v", last, o)
				}
			}
			if o := edited(func(p []byte) { p[13]++ }); o.Reason != "selector_mismatch" {
				t.Errorf("from another network: %+v", o)
			}
		}
	})
}

// A payload of one block whose last IV byte looks like the padding that the block says is in front of it.
func TestPaddingBeforeThePayload(t *testing.T) {
	r := newRig6(t, rigOptions{rules: []rule{siteRule, siteRule6}})
	child := r.formed(form{suite: "aes128gcm16"}, true)
	r.inbound(child)
	for i, next := range []byte{protocolIPv4, protocolIPv6} {
		r.wantDrop(wan, sealRaw(t, child, uint32(i+1)<<8|1, []byte{2, 3, 3, next}), "bad_padding")
		r.wantDrop(wan, sealRaw(t, child, uint32(i+1)<<8|2, []byte{1, 2, 2, next}), "no_payload")
	}
}

// Packets of both versions into a tunnel over IPv6: every traffic class, hop count and length, the longest that fit and those that do not.
func TestOuterIPv6Outbound(t *testing.T) {
	shortWays(t, func(t *testing.T, r *rig, formed func(outer6, inbound bool) ChildSA) {
		far := r.outbound(formed(true, false))
		edited := func(version, size int, edit func(p []byte)) []byte {
			p := inner(version, size, true)
			edit(p)
			if version == 4 {
				setHeaderChecksum(p)
			}
			return fromLAN(p)
		}
		for _, version := range []int{4, 6} {
			for _, size := range slices.Concat(lengths(ipv6HeaderLen, 130, 1), lengths(130, 1400, 41), lengths(1400, 1450, 1)) {
				o, _ := r.check(lan, fromLAN(inner(version, size, true)))
				if o.Disposition != packetForwarded {
					continue
				}
				if p, reason := far.unwrap(o.Frame[etherHeaderLen:]); reason != "" || len(o.More) == 0 && len(p) != size {
					t.Fatalf("%d bytes: the peer finds %d, %s", size, len(p), reason)
				}
			}
			for class := range 256 {
				frame := r.wantForward(lan, edited(version, 100, func(p []byte) { copy(p, withClass(p, byte(class))) }), wan)
				if got := trafficClassOf(frame[etherHeaderLen:]); got != byte(class) {
					t.Errorf("class %#x outside, want %#x", got, class)
				}
			}
			hop := []int{8, 7}[(version-4)/2]
			for _, hops := range []byte{0, 1, 2, 255} {
				o, _ := r.check(lan, edited(version, 100, func(p []byte) { p[hop] = hops }))
				if (o.Reason == "ttl_expired") != (hops < 2) {
					t.Errorf("hop count %d: %+v", hops, o)
				}
			}
		}
	})
}

func lengths(from, to, step int) (list []int) {
	for n := from; n < to; n += step {
		list = append(list, n)
	}
	return list
}

// A packet belongs to an SA when its addresses lie in a range that begins and ends in the middle of either half of an address, in both directions.
func TestSelectorsBetweenAddresses(t *testing.T) {
	from, to := netip.MustParseAddr("2001:db8:2:7:8000::5"), netip.MustParseAddr("2001:db8:2:9:0:0:0:2")
	r := newRig6(t, rigOptions{rules: []rule{siteRule, siteRule6}})
	limited := func(outer6, inbound bool) ChildSA {
		c := r.formed(form{suite: "aes128gcm16", outer6: outer6}, inbound)
		c.Selectors = []policy.Selector{
			{Local: policy.HostRange(outside6), Remote: policy.AnyIPv6(), LocalPort: policy.AnyPort, RemotePort: policy.AnyPort},
			{Local: policy.HostRange(lanHost6), Remote: policy.AddrRange{First: from, Last: to}, Protocol: protocolUDP, LocalPort: policy.PortRange{First: 7, Last: 9}, RemotePort: policy.AnyPort},
		}
		return c
	}
	for _, outer6 := range []bool{false, true} {
		near := r.inbound(limited(outer6, true))
		r.outbound(limited(outer6, false))
		for _, c := range []struct {
			far      string
			port     uint16
			selected bool
		}{
			{"2001:db8:2:7:8000::5", 7, true}, {"2001:db8:2:7:8000::4", 7, false}, {"2001:db8:2:7:8000::6", 9, true}, {"2001:db8:2:6:ffff::6", 8, false},
			{"2001:db8:2:8::", 8, true}, {"2001:db8:2:8:ffff:ffff:ffff:ffff", 8, true}, {"2001:db8:2:9::2", 8, true}, {"2001:db8:2:9::3", 8, false},
			{"2001:db8:2:a::1", 8, false}, {"2001:db8:2:8::", 6, false}, {"2001:db8:2:8::", 10, false},
		} {
			far, reason := netip.MustParseAddr(c.far), ""
			if !c.selected {
				reason = "selector_mismatch"
			}
			if o, _ := r.check(lan, fromLAN(udp6(lanHost6, far, c.port, 1, 8))); o.Reason != reason {
				t.Errorf("to %s from port %d: %+v, want %q", far, c.port, o, reason)
			}
			near.sequence++
			if o, _ := r.check(wan, fromWAN(near.encapsulate(udp6(far, lanHost6, 1, c.port, 8), near.sequence))); o.Reason != reason {
				t.Errorf("from %s to port %d: %+v, want %q", far, c.port, o, reason)
			}
		}
	}
}
