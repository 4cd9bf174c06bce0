package pipeline

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/policy"
)

// udpPair is two gateways alike. The first gets packets as they are, so that ESP in UDP may take the short way in; the second gets
// the same with a priority tag, which leads past it. What the two make of them must be the same.
type udpPair struct {
	t    *testing.T
	rigs [2]*rig
	near [2]*referenceOut
}

func newUDPPair(t *testing.T, o rigOptions, suite string, behind bool) *udpPair {
	p := &udpPair{t: t}
	for i := range p.rigs {
		r := newRig(t, o)
		out, in := r.child("site", suite, false), r.child("site", suite, true)
		for _, c := range []*ChildSA{&out, &in} {
			c.UDPEncap, c.BehindNAT = true, behind
		}
		in.SPI = 0x7a310005 // of both, and no octet of it looks like a keepalive
		r.forceSPI(in.SPI)
		r.outbound(out)
		p.rigs[i], p.near[i] = r, r.inbound(in)
	}
	return p
}

// udpState is all that packets can change, SAs without their SPIs.
type udpState struct {
	Sent    [2][]string
	Tally   map[string]uint64
	Filters map[string]string
	SAs     []string
	Moved   []string
	IKE     []string
	Drops   map[string]dropCounts // by filter
}

// burst sends both gateways the frames that make gives each of them, and compares what became of them.
func (p *udpPair) burst(what string, frames func(*referenceOut) [][]byte) udpState {
	p.t.Helper()
	var states [2]udpState
	for i, r := range p.rigs {
		list := frames(p.near[i])
		if i == 1 {
			for k := range list {
				if len(list[k]) >= etherHeaderLen {
					list[k] = withTag(list[k], 0xe000)
				}
			}
		}
		r.d.advance(time.Second) // since the peer moved last
		r.enqueue(0, wan, list...)
		r.settle()
		r.serveAll()
		r.settle()
		states[i] = r.udpState()
	}
	short, general := reflect.ValueOf(states[0]), reflect.ValueOf(states[1])
	for i := range short.NumField() {
		if a, b := short.Field(i).Interface(), general.Field(i).Interface(); !reflect.DeepEqual(a, b) {
			p.t.Fatalf("%s: %s is %q by the short way, %q by the general one", what, short.Type().Field(i).Name, fmt.Sprint(a), fmt.Sprint(b))
		}
	}
	return states[0]
}

func (r *rig) udpState() udpState {
	s := udpState{Tally: r.tally(), Filters: map[string]string{}, Drops: maps.Clone(r.accounts().filters)}
	for port := range s.Sent {
		for _, frame := range r.sent(port) {
			if port == wan { // routed as it came: ciphertext of one or the other's key
				frame = fmt.Append(nil, len(frame))
			}
			s.Sent[port] = append(s.Sent[port], string(frame))
		}
		slices.Sort(s.Sent[port]) // the short ones go first
	}
	c := r.d.Counters()
	for _, f := range c.Filters {
		s.Filters[fmt.Sprint(f.Entry.Rule, f.Name, f.ID)] = fmt.Sprint(f.FilterHits)
	}
	for _, sa := range c.SAs {
		s.SAs = append(s.SAs, fmt.Sprint(sa.Outbound, sa.Remote, sa.Packets, sa.Bytes, sa.Sequence, sa.Drops))
	}
	slices.Sort(s.SAs)
	for _, moved := range r.seen.moved {
		s.Moved = append(s.Moved, moved[strings.LastIndex(moved, " "):])
	}
	for _, d := range r.seen.ike {
		s.IKE = append(s.IKE, fmt.Sprint(d.Local, d.Remote, len(d.Payload))) // which is ciphertext of one or the other's key
	}
	return s
}

// udpFrame is the next packet of the tunnel, with `behind` bytes in its IP packet behind the datagram.
func udpFrame(near *referenceOut, size, behind int) []byte {
	near.sequence++
	frame := fromPeer(near.encapsulate(packetOfLength(farHost, lanHost, 253, size), near.sequence))
	frame = append(frame, make([]byte, behind)...)
	ip := ipv4(frame[etherHeaderLen:])
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	setHeaderChecksum(ip)
	return frame
}

// udpChange makes something else of a packet of the tunnel.
type udpChange struct {
	name   string
	change func(frame []byte) []byte
}

func onIP(change func(ip ipv4)) func([]byte) []byte {
	return func(frame []byte) []byte {
		ip := ipv4(frame[etherHeaderLen:])
		change(ip)
		setHeaderChecksum(ip)
		return frame
	}
}

func onUDP(change func(udp []byte)) func([]byte) []byte {
	return func(frame []byte) []byte {
		change(ipv4(frame[etherHeaderLen:]).payload())
		return frame
	}
}

// cutTo leaves so many bytes behind the IP header, and says so in it. With fit the UDP header says so too, if there is one.
func cutTo(length int, fit bool) func([]byte) []byte {
	return func(frame []byte) []byte {
		frame = frame[:etherHeaderLen+ipv4HeaderLen+length]
		return onIP(func(ip ipv4) {
			binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
			if fit && length >= udpHeaderLen {
				binary.BigEndian.PutUint16(ip.payload()[4:], uint16(length))
			}
		})(frame)
	}
}

func udpChanges() []udpChange {
	changes := []udpChange{
		{"as it is", func(frame []byte) []byte { return frame }},
		{"non-ESP marker", onUDP(func(udp []byte) { clear(udp[udpHeaderLen:][:4]) })},
		{"unknown SPI", onUDP(func(udp []byte) { udp[udpHeaderLen] ^= 0x40 })},
		{"SPI of an echo", onUDP(func(udp []byte) { binary.BigEndian.PutUint32(udp[udpHeaderLen:], 7) })},
		{"forged", onUDP(func(udp []byte) { udp[len(udp)-1] ^= 1 })},
		{"number 0", onUDP(func(udp []byte) { clear(udp[udpHeaderLen+4:][:4]) })},
		{"keepalive", func(frame []byte) []byte {
			return onUDP(func(udp []byte) { udp[udpHeaderLen] = 0xff })(cutTo(udpHeaderLen+1, true)(frame))
		}},
		{"right checksum", onIP(func(ip ipv4) {
			udp := ip.payload()
			binary.BigEndian.PutUint16(udp[6:], fold(pseudoSum(ip, len(udp))+sum(0, udp)))
		})},
		{"wrong checksum", onUDP(func(udp []byte) { udp[7] ^= 0x55 })},
		{"wrong checksum of the header", func(frame []byte) []byte { frame[etherHeaderLen+10] ^= 1; return frame }},
		{"congestion", onIP(func(ip ipv4) { ip[1] |= 3 })},
		{"fragment", onIP(func(ip ipv4) { ip[6] = 0x20 })},
		{"no UDP", onIP(func(ip ipv4) { ip[9] = protocolESP })},
		{"other station", func(frame []byte) []byte { frame[5] ^= 1; return frame }},
		{"short of what its header says", func(frame []byte) []byte { return frame[:len(frame)-5] }},
	}
	for _, port := range []uint16{0, 500, 4499, 4501} {
		changes = append(changes, udpChange{fmt.Sprintf("to port %d", port), onUDP(func(udp []byte) { binary.BigEndian.PutUint16(udp[2:], port) })})
	}
	for _, to := range []netip.Addr{lanOwn, peer, farHost, netip.MustParseAddr("192.0.2.255")} {
		changes = append(changes, udpChange{fmt.Sprintf("to %s", to), onIP(func(ip ipv4) { copy(ip[16:20], to.AsSlice()) })})
	}
	for _, from := range []string{"192.0.2.2:0", "192.0.2.2:500", "192.0.2.2:30500", "198.51.100.77:4500", "192.0.2.1:4500", "192.0.2.255:4500", "10.1.0.7:4500",
		"0.0.0.0:4500", "127.0.0.1:4500", "224.0.0.9:4500", "255.255.255.255:4500"} {
		source := netip.MustParseAddrPort(from)
		changes = append(changes, udpChange{"from " + from, func(frame []byte) []byte { return fromAddress(frame, source) }})
	}
	for _, length := range []uint16{0, 1, 7, 8, 9, 11, 12, 15, 16, 17, 43, 0xffff} {
		changes = append(changes, udpChange{fmt.Sprintf("UDP length %d", length), onUDP(func(udp []byte) { binary.BigEndian.PutUint16(udp[4:], length) })})
	}
	for _, difference := range []uint16{1, 4, 0xffff, 0xfffc} { // more, or less
		changes = append(changes, udpChange{fmt.Sprintf("UDP length off by %d", int16(difference)), onUDP(func(udp []byte) {
			binary.BigEndian.PutUint16(udp[4:], binary.BigEndian.Uint16(udp[4:])+difference)
		})})
	}
	for length := range udpHeaderLen + 44 {
		changes = append(changes, udpChange{fmt.Sprintf("cut to %d", length), cutTo(length, false)}, udpChange{fmt.Sprintf("cut to %d that fit", length), cutTo(length, true)})
	}
	return changes
}

// udpGateways are those whose policy says different things of the port.
func udpGateways() map[string]rigOptions {
	return map[string]rigOptions{
		"IKE exempt":      {},
		"IKE off":         {noIKE: true},
		"port without":    {portIKE: map[string]bool{"wan": false}},
		"much exempt":     {level: policy.Level0},
		"default permits": {permit: true, noIKE: true},
	}
}

// S-091: ESP in UDP comes to the same end by the short way as by the general one: what is cut off, marked, forged, from or to another place,
// and where the peer is afterwards, which only authentic packets say.
func TestESPInUDPEndsTheSame(t *testing.T) {
	for name, o := range udpGateways() {
		for _, suite := range []string{"aes128gcm16", "aes128-sha256"} {
			t.Run(name+" "+suite, func(t *testing.T) { checkUDPEnds(t, newUDPPair(t, o, suite, false)) })
		}
	}
}

func checkUDPEnds(t *testing.T, p *udpPair) {
	for _, c := range udpChanges() {
		p.burst(c.name, func(near *referenceOut) [][]byte { return [][]byte{c.change(udpFrame(near, 100, 0))} })
	}
	p.burst("bytes behind the datagram", func(near *referenceOut) [][]byte { return [][]byte{udpFrame(near, 100, 5)} })
	p.burst("replayed", func(near *referenceOut) [][]byte {
		frame := udpFrame(near, 100, 0)
		return [][]byte{frame, bytes.Clone(frame), fromAddress(frame, newPeer)}
	})
	state := p.burst("forged and replayed elsewhere", func(near *referenceOut) [][]byte {
		forged := fromAddress(udpFrame(near, 100, 0), newPeer)
		forged[len(forged)-1] ^= 1
		return [][]byte{udpFrame(near, 100, 0), forged}
	})
	if n := len(state.Moved); n > 0 && strings.HasSuffix(state.Moved[n-1], newPeer.String()) {
		t.Errorf("followed to %s, where no authentic packet came from", newPeer)
	}
}

// Bursts of all these at once, from one source and from more than the short way has room for.
func TestBurstsOfESPInUDP(t *testing.T) {
	changes := udpChanges()
	for name, o := range udpGateways() {
		p := newUDPPair(t, o, "aes128gcm16", true)
		random := rand.New(rand.NewPCG(3948, 4500))
		for burst := range 100 {
			seed := random.Uint64()
			p.burst(fmt.Sprintf("%s, burst %d", name, burst), func(near *referenceOut) (frames [][]byte) {
				random := rand.New(rand.NewPCG(seed, 1))
				sources, intact := 1+random.IntN(7), random.IntN(2) == 0
				for range 1 + random.IntN(32) {
					frame := udpFrame(near, 60+random.IntN(1200), random.IntN(2)*random.IntN(8))
					frame = fromAddress(frame, netip.AddrPortFrom(peer, uint16(30000+random.IntN(sources))))
					if !intact && random.IntN(2) == 0 {
						frame = changes[random.IntN(len(changes))].change(frame)
					}
					frames = append(frames, frame)
				}
				return frames
			})
		}
	}
}
