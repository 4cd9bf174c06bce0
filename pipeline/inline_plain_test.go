package pipeline

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"sallyport/policy"
)

// someAddresses is a prefix around an address, or a range that ends with it or begins there, as a selector has it.
func someAddresses(random *rand.Rand, around netip.Addr) policy.AddrRange {
	if random.IntN(3) > 0 {
		prefix, _ := around.Prefix(20 + random.IntN(13))
		return policy.RangeOf(prefix)
	}
	if random.IntN(2) == 0 {
		return policy.AddrRange{First: around, Last: beyond(around, random.Uint32N(300))}
	}
	return policy.AddrRange{First: beyond(around, -random.Uint32N(300)), Last: around}
}

// beyond is an IPv4 address so much further on.
func beyond(a netip.Addr, n uint32) netip.Addr {
	octets := a.As4()
	binary.BigEndian.PutUint32(octets[:], binary.BigEndian.Uint32(octets[:])+n)
	return netip.AddrFrom4(octets)
}

// somePorts is any port, one of few, or a range of those.
func somePorts(random *rand.Rand) policy.PortRange {
	first := uint16(5000 + random.IntN(4))
	switch random.IntN(4) {
	case 0:
		return policy.PortRange{First: first, Last: first}
	case 1:
		return policy.PortRange{First: first, Last: first + uint16(random.IntN(3))}
	}
	return policy.AnyPort
}

// What the selectors of an SA hold is left to the card, or taken from it, and nothing else, whether bits of a packet's key can tell or ranges must: in bursts, in order,
// byte by byte as the reference has it.
func TestInlineSelectors(t *testing.T) {
	if err := giveUserdata(); err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(8, 103))
	passed, refused := 0, 0
	for i := range 16 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			c := &card{protocol: true}
			r := newRig(t, rigOptions{card: c})
			out, in := r.child("site", "aes128gcm16", false), r.child("site", "aes128gcm16", true)
			var selectors []policy.Selector
			for range 1 + random.IntN(4)/3 {
				selectors = append(selectors, policy.Selector{Local: someAddresses(random, lanHost), Remote: someAddresses(random, farHost),
					Protocol: []uint8{0, protocolUDP}[random.IntN(2)], LocalPort: somePorts(random), RemotePort: somePorts(random)})
			}
			out.Selectors, in.Selectors = selectors, selectors
			r.outbound(out)
			near := r.inbound(in)
			burst := func(from, to int, frame func() []byte) {
				t.Helper()
				var frames, want [][]byte
				for range 32 {
					frames = append(frames, frame())
					switch o := r.ref.process(from, frames[len(frames)-1]); o.Reason {
					case "":
						want = append(want, o.Frame)
						passed++
					case "selector_mismatch":
						refused++
					default:
						t.Fatalf("%+v", o)
					}
				}
				r.enqueue(0, from, frames...)
				r.settle()
				same(t, "what goes on", r.sent(to), want)
			}
			port := func() uint16 { return uint16(5000 + random.IntN(5)) }
			for range 4 {
				burst(lan, wan, func() []byte {
					return fromHost(udpPacket(beyond(lanHost, random.Uint32N(3)), beyond(farHost, random.Uint32N(3)), port(), port()))
				})
				burst(wan, lan, func() []byte {
					near.sequence++
					return fromWAN(near.encapsulate(udpPacket(beyond(farHost, random.Uint32N(3)), lanHost, port(), port()), near.sequence))
				})
			}
		})
	}
	if passed < 500 || refused < 500 {
		t.Errorf("%d packets go on and %d are refused, expected many of both", passed, refused)
	}
}
