package pipeline

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"sallyport/policy"
)

// outside4 is a host beyond both sites, as outside6 is.
var outside4 = netip.MustParseAddr("198.51.100.9")

// advance makes time pass for fragments on both sides.
func (r *rig) advance(t time.Duration) {
	r.t.Helper()
	before := r.tally()
	r.d.advance(t)
	r.ref.now += t
	r.settle()
	want := map[string]int{}
	if n := r.ref.expire(fragmentTimeout); n > 0 {
		want["fragment_timeout"], want["reassembling"] = n, -n
	}
	same(r.t, "after a while", ends(before, r.tally()), want)
}

// expire drops what has waited longer than timeout, and returns how many fragments that were.
func (r *reference) expire(timeout time.Duration) (n int) {
	for key, w := range r.fragments {
		if r.now-w.since > timeout {
			n += len(w.pieces)
			delete(r.fragments, key)
		}
	}
	return n
}

// big is a UDP datagram without DF of exactly length bytes, of either version; id tells it from others.
func big(wide bool, source, destination netip.Addr, length, id int) []byte {
	if wide {
		return udp6(source, destination, 12345, 5678, length-ipv6HeaderLen-udpHeaderLen)
	}
	p := packetOfLength(source, destination, protocolUDP, length)
	binary.BigEndian.PutUint16(p[4:], uint16(id))
	p[6] = 0
	setHeaderChecksum(p)
	return p
}

// pieces cuts a packet into fragments of at most size bytes, header included.
func pieces(ip []byte, size int) [][]byte {
	if isIPv6(ip) {
		return cutIPv6(ip, size, ipv6HeaderLen, binary.BigEndian.Uint32(ip[len(ip)-4:])+uint32(len(ip)))
	}
	return cutIPv4(ip, size)
}

// hosts are those on the two sides of a rig of newRig6.
func hosts(wide bool) (near, far netip.Addr) {
	if wide {
		return lanHost6, outside6
	}
	return lanHost, outside4
}

// Datagrams in two to eight fragments, in any order, leave as the reference says: whole if the link has room, else cut as they came.
func TestReassembly(t *testing.T) {
	for _, wide := range []bool{false, true} {
		t.Run(fmt.Sprintf("ipv6=%v", wide), func(t *testing.T) {
			r := newRig6(t, rigOptions{rules: []rule{allRule}})
			near, far := hosts(wide)
			for length := 100; length <= 8*1500; length = length*3/2 + r.random.IntN(20) {
				for count := 2; count <= 8; count++ {
					headers := 20
					if wide {
						headers = ipv6HeaderLen + fragmentHeaderLen
					}
					size := headers + ((length-20)/count+8)&^7
					list := pieces(big(wide, near, far, length, length+count), size)
					if size > 1500 || len(list) > 8 || len(list) < 2 {
						continue
					}
					r.random.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
					for i, f := range list {
						o, _ := r.check(lan, fromLAN(f))
						switch {
						case i < len(list)-1 && o.Disposition != packetReassembling:
							t.Fatalf("%d bytes in %d, fragment %d: %+v", length, len(list), i, o)
						case i == len(list)-1 && (o.Disposition != packetForwarded || o.Merged != i || (length > 1500) != (len(o.More) > 0)):
							t.Fatalf("%d bytes in %d: %s %s, merged %d, %d frames more", length, len(list), o.Disposition, o.Reason, o.Merged, len(o.More))
						}
					}
				}
			}
		})
	}
}

// Every kind of fragment that cannot be has a reason of its own; the last of a list is what the reason is about.
func TestMalformedFragments(t *testing.T) {
	r := newRig6(t, rigOptions{rules: []rule{allRule}})
	id := 0
	v4 := func(protocol uint8, offset, length int, more bool, options ...byte) []byte {
		p := packetOfLength(lanHost, outside4, 253, ipv4HeaderLen+length)
		p[9] = protocol
		binary.BigEndian.PutUint16(p[4:], uint16(id))
		binary.BigEndian.PutUint16(p[6:], uint16(offset/8))
		if more {
			p[6] |= 0x20
		}
		setHeaderChecksum(p)
		return fromHost(withOptions(p, options))
	}
	v6 := func(protocol uint8, offset int, payload []byte, more bool) []byte {
		header := make([]byte, 7)
		binary.BigEndian.PutUint16(header[1:], uint16(offset))
		if more {
			header[2] |= 1
		}
		binary.BigEndian.PutUint32(header[3:], uint32(id))
		return fromHost6(packet6(lanHost6, outside6, protocol, payload, extension{nextFragment, header}))
	}
	group := bytes.Clone(v6(253, 8, make([]byte, 8), false))
	group[etherHeaderLen+8] = 0xff
	eight := func() (list [][]byte) { // middle fragments
		for i := range 7 {
			list = append(list, v4(253, 80+8*i, 8, true))
		}
		return list
	}
	for name, c := range map[string]struct {
		frames func() [][]byte
		reason string
	}{
		"not a multiple of 8":        {func() [][]byte { return [][]byte{v4(253, 0, 20, true)} }, "fragment_length"},
		"empty":                      {func() [][]byte { return [][]byte{v4(253, 16, 0, true)} }, "fragment_length"},
		"empty and last":             {func() [][]byte { return [][]byte{v4(253, 16, 0, false)} }, "fragment_length"},
		"IPv6, not a multiple of 8":  {func() [][]byte { return [][]byte{v6(253, 0, make([]byte, 20), true)} }, "fragment_length"},
		"IPv6, empty":                {func() [][]byte { return [][]byte{v6(253, 8, nil, false)} }, "fragment_length"},
		"tiny TCP (RFC 1858)":        {func() [][]byte { return [][]byte{v4(protocolTCP, 0, 16, true)} }, "fragment_tiny"},
		"TCP at offset 8 (RFC 3128)": {func() [][]byte { return [][]byte{v4(protocolTCP, 8, 16, true)} }, "fragment_tiny"},
		"tiny SCTP":                  {func() [][]byte { return [][]byte{v4(132, 0, 8, true)} }, "fragment_tiny"},
		"IPv6, tiny TCP":             {func() [][]byte { return [][]byte{v6(protocolTCP, 0, make([]byte, 16), true)} }, "fragment_tiny"},
		"IPv6, chain longer than it (RFC 7112)": {func() [][]byte {
			return [][]byte{v6(nextDestination, 0, []byte{protocolUDP, 1, 1, 12, 0, 0, 0, 0}, true)}
		}, "fragment_tiny"},
		"IPv6, transport header behind it (RFC 7112)": {func() [][]byte {
			return [][]byte{v6(nextDestination, 0, []byte{protocolUDP, 0, 1, 4, 0, 0, 0, 0}, true)}
		}, "fragment_tiny"},
		"IPv6, fragment of a fragment": {func() [][]byte { return [][]byte{v6(nextFragment, 0, make([]byte, 16), true)} }, "ipv6_extension"},
		"IPv6, from a group":           {func() [][]byte { return [][]byte{group} }, "bad_source"},
		"beyond 65,535 bytes":          {func() [][]byte { return [][]byte{v4(253, 65528, 8, false)} }, "fragment_overrun"},
		"IPv6, beyond 65,535 bytes":    {func() [][]byte { return [][]byte{v6(253, 65528, make([]byte, 8), false)} }, "fragment_overrun"},
		"options malformed":            {func() [][]byte { return [][]byte{v4(253, 8, 8, true, 7, 9, 4, 0)} }, "ip_options"},
		"overlap":                      {func() [][]byte { return [][]byte{v4(253, 0, 16, true), v4(253, 24, 8, false), v4(253, 8, 16, true)} }, "fragment_overlap"},
		"teardrop":                     {func() [][]byte { return [][]byte{v4(253, 0, 40, true), v4(253, 24, 8, false)} }, "fragment_overlap"},
		"twice the first":              {func() [][]byte { return [][]byte{v4(253, 0, 16, true), v4(253, 0, 16, true)} }, "fragment_overlap"},
		"twice the last":               {func() [][]byte { return [][]byte{v4(253, 16, 8, false), v4(253, 16, 8, false)} }, "fragment_overlap"},
		"behind the last":              {func() [][]byte { return [][]byte{v4(253, 16, 8, false), v4(253, 24, 8, true), v4(253, 0, 8, true)} }, "fragment_overlap"},
		"two ends":                     {func() [][]byte { return [][]byte{v4(253, 16, 8, false), v4(253, 40, 8, false)} }, "fragment_overlap"},
		"IPv6, overlap (RFC 5722)": {func() [][]byte {
			return [][]byte{v6(253, 0, make([]byte, 16), true), v6(253, 24, make([]byte, 8), false), v6(253, 8, make([]byte, 16), true)}
		}, "fragment_overlap"},
		"more than eight": {eight, "fragment_count"},
		"congested, and one cannot say so": {func() [][]byte {
			marked := v4(253, 16, 8, false)
			marked[etherHeaderLen+1] |= markCE
			setHeaderChecksum(marked[etherHeaderLen:])
			return [][]byte{v4(253, 0, 16, true), marked}
		}, "ecn"},
		"ports beyond the end of the whole": {func() [][]byte { return [][]byte{v6(59, 0, make([]byte, 8), true), v6(59, 8, make([]byte, 8), false)} }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := *r
			r.t = t
			id++
			frames := c.frames()
			for i, f := range frames {
				o, _ := r.check(lan, f)
				if i < len(frames)-1 && o.Disposition != packetReassembling || i == len(frames)-1 && o.Reason != c.reason {
					t.Errorf("fragment %d: %s %q, want %q at the end", i, o.Disposition, o.Reason, c.reason)
				}
			}
		})
	}
	r.advance(fragmentTimeout + time.Second)
}

// A packet that no buffer can hold is dropped when its last fragment comes.
func TestReassembledTooLong(t *testing.T) {
	r := newRig(t, rigOptions{mtu: 9000, permit: true, rules: []rule{}})
	list := pieces(big(false, lanHost, outside4, 65532, 1), 8980)
	for i, f := range list {
		if o, _ := r.check(lan, fromHost(f)); i == len(list)-1 && (o.Reason != "fragment_too_long" || o.With != len(list)-1) {
			t.Errorf("%+v", o)
		}
	}
}

// Whatever comes in what order, both sides agree on when a packet is complete, when it never will be, and why.
func TestFragmentsAtRandom(t *testing.T) {
	for _, wide := range []bool{false, true} {
		r := newRig6(t, rigOptions{rules: []rule{allRule}})
		near, far := hosts(wide)
		reasons := map[string]int{}
		for range 3000 {
			p := big(wide, near, far, 200, 7)
			list := pieces(p, 120)
			if r.random.IntN(8) == 0 {
				list = pieces(p, 112)
			}
			f := list[r.random.IntN(len(list))]
			if wide {
				binary.BigEndian.PutUint32(f[ipv6HeaderLen+4:], uint32(r.random.IntN(8)))
			} else {
				binary.BigEndian.PutUint16(f[4:], uint16(r.random.IntN(8)))
				f[9] = []byte{protocolUDP, 253}[r.random.IntN(2)]
				setHeaderChecksum(f)
			}
			o, _ := r.check(lan, fromLAN(f))
			reasons[string(o.Disposition)+" "+o.Reason]++
			if r.random.IntN(200) == 0 {
				r.advance(fragmentTimeout/2 + time.Second)
			}
		}
		for _, want := range []string{"forwarded ", "reassembling ", "dropped fragment_overlap"} {
			if reasons[want] == 0 {
				t.Errorf("never met: %s; met %v", want, reasons)
			}
		}
	}
}

// Fragments of different ports, protocols and tunnels are never parts of one packet, whatever their addresses and IDs say.
func TestFragmentsAreNotMixed(t *testing.T) {
	for _, wide := range []bool{false, true} {
		r := newRig6(t, rigOptions{rules: []rule{allRule, {name: "other", source: "10.1.0.0/16", destination: "10.3.0.0/16", tunnel: "other"}}})
		child := r.child6("aes128gcm16", true)
		child.Selectors = []policy.Selector{{Local: policy.AnyIPv4(), Remote: policy.AnyIPv4(), LocalPort: policy.AnyPort, RemotePort: policy.AnyPort},
			{Local: policy.RangeOf(netip.MustParsePrefix("::/0")), Remote: policy.RangeOf(netip.MustParsePrefix("::/0")), LocalPort: policy.AnyPort, RemotePort: policy.AnyPort}}
		other := r.child("other", "aes128gcm16", true)
		other.Selectors = child.Selectors
		tunnels := []*referenceOut{r.inbound(child), r.inbound(other)}
		near, far := hosts(wide)
		list := pieces(big(wide, far, near, 400, 9), 248)
		arrive := []func(f []byte) outcome{
			func(f []byte) outcome { o, _ := r.check(wan, fromWAN(f)); return o },
			func(f []byte) outcome { o, _ := r.check(lan, fromLAN(f)); return o },
		}
		for _, tunnel := range tunnels {
			arrive = append(arrive, func(f []byte) outcome {
				tunnel.sequence++
				o, _ := r.check(wan, fromPeer(tunnel.encapsulate(f, tunnel.sequence)))
				return o
			})
		}
		for i, way := range arrive {
			if o := way(list[i%len(list)]); o.Disposition != packetReassembling {
				t.Errorf("IPv6 %v: the first fragment by way %d: %+v", wide, i, o)
			}
		}
		for i, way := range arrive {
			for _, f := range slices.Delete(slices.Clone(list), i%len(list), i%len(list)+1) {
				way(f)
			}
		}
		if n := r.tally()["reassembling"]; n != 0 {
			t.Errorf("IPv6 %v: %d fragments wait", wide, n)
		}
	}
}

// What does not come in time is dropped, and takes nothing that came later with it.
func TestFragmentTimeout(t *testing.T) {
	r := newRig6(t, rigOptions{rules: []rule{allRule}})
	first, second := pieces(big(false, lanHost, outside4, 3000, 1), 1500), pieces(big(true, lanHost6, outside6, 3000, 2), 1500)
	r.check(lan, fromHost(first[0]))
	r.advance(fragmentTimeout - time.Minute)
	r.check(lan, fromHost6(second[0]))
	r.advance(2 * time.Minute) // the first is dropped
	for _, f := range second[1:] {
		r.check(lan, fromHost6(f))
	}
	for _, f := range first[1:] {
		if o, _ := r.check(lan, fromHost(f)); o.Disposition != packetReassembling {
			t.Errorf("%+v", o)
		}
	}
	r.advance(fragmentTimeout + time.Minute)
	if n := r.tally()["reassembling"]; n != 0 {
		t.Errorf("%d fragments wait", n)
	}
}

// A flood of fragments that are never completed holds no more memory than was granted. Datagrams whose fragments follow each other get through in the midst of it and after it, and
// those inside a tunnel notice nothing.
func TestFragmentFlood(t *testing.T) {
	const memory = 1 << 20
	r := newRig(t, rigOptions{memory: memory, permit: true, rules: []rule{siteRule}})
	near := r.inbound(r.child("site", "aes128gcm16", true))
	inner := pieces(big(false, farHost, lanHost, 3000, 1), 1400)
	near.sequence++
	r.check(wan, fromPeer(near.encapsulate(inner[0], near.sequence)))
	idle := r.pool.InUse() - 1
	buffer := uint64(r.pool.DataRoom()) // and more: what the pool adds is not counted here
	most := uint64(0)
	sound := func(id int) {
		t.Helper()
		for _, f := range pieces(big(false, lanHost, outside4, 3000, id), 1500) {
			r.enqueue(0, lan, fromHost(f))
		}
		r.settle()
		if n := len(r.sent(wan)); n != 3 {
			t.Fatalf("%d fragments of a sound datagram left, want 3", n)
		}
	}
	for flood := 0; flood < 100_000; {
		var burst [][]byte
		for range 200 {
			source := netip.AddrFrom4([4]byte{198, 18, byte(flood >> 8), byte(flood)})
			burst = append(burst, fromPeer(pieces(big(false, source, lanHost, 1000, flood>>16+3), 600)[flood%2]))
			flood++
		}
		r.enqueue(0, wan, burst...)
		r.settle()
		most = max(most, r.tally()["reassembling"])
		if held := uint64(r.pool.InUse()-idle) * buffer; held > memory {
			t.Fatalf("%d bytes of buffers held, %d granted", held, memory)
		}
		if flood%10_000 == 0 {
			sound(flood % 65521)
		}
	}
	if most*buffer < memory/8 {
		t.Errorf("at most %d fragments waited: that is no flood", most)
	}
	for _, f := range inner[1:] {
		near.sequence++
		if o, _ := r.check(wan, fromPeer(near.encapsulate(f, near.sequence))); f[6]&0x20 == 0 && o.Disposition != packetForwarded {
			t.Errorf("in the tunnel: %+v", o)
		}
	}
	r.d.advance(fragmentTimeout + time.Second)
	r.settle()
	if n := r.tally()["reassembling"]; n != 0 {
		t.Errorf("%d fragments wait after the timeout", n)
	}
	sound(9)
}

// Fragments that reach different workers come together, and the whole reaches the owner of its SA.
func TestFragmentsOfTwoQueues(t *testing.T) {
	r := newRig6(t, rigOptions{workers: 2, rules: []rule{allRule, siteRule}})
	nears := []*referenceOut{r.inbound(r.child("site", "aes128gcm16", true)), r.inbound(r.child("site", "aes128gcm16", true))}
	for i := range 40 {
		near := nears[i%2]
		near.sequence++
		outer := near.encapsulate(big(false, farHost, lanHost, 1500, i), near.sequence)
		binary.BigEndian.PutUint16(outer[4:], uint16(i))
		setHeaderChecksum(outer)
		for j, f := range pieces(outer, 800) {
			r.checkOn((i/2+j)%2, wan, fromPeer(f))
		}
		wide := pieces(big(true, lanHost6, netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0x99, 15: byte(i)}), 2000, i), 1000)
		for j, f := range wide {
			if o, _ := r.checkOn((i+j)%2, lan, fromHost6(f)); j == len(wide)-1 && o.Disposition != packetForwarded {
				t.Fatalf("%+v", o)
			}
		}
	}
}
