package pipeline

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"unsafe"

	"sallyport/crypto"
	"sallyport/policy"
)

// inlinePair is two gateways alike, with cards of inline protocol. To the first packets come one by one, so that the common ones take the way of inline_plain.c. The second gets what
// leads past it: out behind a packet that the SA does not hold, in with a priority tag. What the two make of them must be the same.
type inlinePair struct {
	t    *testing.T
	rigs [2]*rig
}

const pairSPI = 0x5a310005 // inbound

func newInlinePair(t *testing.T, o rigOptions, selectors []policy.Selector, change func(*ChildSA)) *inlinePair {
	p := &inlinePair{t: t}
	for i := range p.rigs {
		c := &card{protocol: true, leave: func([]byte) bool { return true }}
		o.card = c
		r := newRig(t, o)
		out, in := r.child("site", "aes128gcm16", false), r.child("site", "aes128gcm16", true)
		out.SPI, in.SPI = pairSPI+0x100, pairSPI
		r.forceSPI(in.SPI)
		for _, child := range []*ChildSA{&out, &in} {
			child.Keymat = crypto.NewSecret(make([]byte, child.Suite.KeymatLen()))
			child.Selectors = selectors
			change(child)
		}
		r.outbound(out)
		r.inbound(in)
		c.tamper = func(m unsafe.Pointer) { opened(m, false, pairSPI) }
		p.rigs[i] = r
	}
	return p
}

// inlineState is all that packets can change.
type inlineState struct {
	Sent    [2][]string
	Tally   map[string]uint64
	Filters map[string]string
	SAs     []string
	Drops   accounts
	Told    []string
}

func (r *rig) inlineState() inlineState {
	s := inlineState{Tally: r.tally(), Filters: map[string]string{}, Drops: r.accounts(), Told: r.seen.expired}
	for port := range s.Sent {
		for _, frame := range r.sent(port) {
			s.Sent[port] = append(s.Sent[port], fmt.Sprintf("%x", frame))
		}
	}
	c := r.d.Counters()
	for _, f := range c.Filters {
		s.Filters[fmt.Sprint(f.Entry.Rule, f.Name, f.ID)] = fmt.Sprint(f.FilterHits)
	}
	for _, sa := range c.SAs {
		s.SAs = append(s.SAs, fmt.Sprint(sa.Outbound, sa.Packets, sa.Bytes, sa.Sequence, sa.Inline.Packets, sa.Inline.Stopped, sa.Drops))
	}
	slices.Sort(s.SAs)
	return s
}

// compare sends a packet out or in by both ways.
func (p *inlinePair) compare(port int, packet []byte) inlineState {
	p.t.Helper()
	var states [2]inlineState
	for i, r := range p.rigs {
		p.feed(i, r, port, packet)
		r.settle()
		r.serveAll()
		r.settle()
		states[i] = r.inlineState()
	}
	plain, full := reflect.ValueOf(states[0]), reflect.ValueOf(states[1])
	for i := range plain.NumField() {
		if a, b := plain.Field(i).Interface(), full.Field(i).Interface(); !reflect.DeepEqual(a, b) {
			p.t.Fatalf("port %d packet % x:\n%s is %v by the plain way,\n%v by the other", port, packet, plain.Type().Field(i).Name, a, b)
		}
	}
	return states[0]
}

func (p *inlinePair) feed(way int, r *rig, port int, packet []byte) {
	p.t.Helper()
	if port == wan {
		frame := fromPeer(packet)
		if way == 1 {
			frame = withTag(frame, 0xe000)
		}
		r.enqueue(0, wan, frame)
		return
	}
	c := r.options.card
	tamper := c.tamper
	c.tamper = nil // what comes from the lan is in clear
	stop := fromHost(packetOfLength(lanHost, netip.MustParseAddr("10.2.200.200"), 253, 64))
	r.enqueue(0, lan, stop)
	if way == 0 {
		r.settle()
	}
	r.enqueue(0, lan, fromHost(packet))
	c.tamper = tamper
}

// anyPacket is one between the sites, or nearly one, with so many bytes behind it.
func anyPacket(random *rand.Rand, source, destination netip.Addr) []byte {
	protocol := []uint8{protocolTCP, protocolUDP, protocolICMP, 253, 132, 47, 2, protocolUDP}[random.IntN(8)]
	ip := packetOfLength(beyond(source, random.Uint32N(3)), beyond(destination, random.Uint32N(3)), protocol, 20+random.IntN(60)+random.IntN(2)*random.IntN(1500))
	if protocol == protocolTCP && len(ip) >= 44 { // a SYN with a segment size
		copy(ip[20:], []byte{0x30, 0x39, 0, 80, 1, 2, 3, 4, 0, 0, 0, 0, 0x60, 2, 0xff, 0xff, 0x12, 0x34, 0, 0, 2, 4, byte(random.IntN(6)), 0xb4})
	}
	if hasPorts(protocol) && len(ip) >= 24 {
		binary.BigEndian.PutUint16(ip[22:], uint16(5000+random.IntN(5)))
	}
	sound := true
	switch random.IntN(16) {
	case 0:
		ip[8] = uint8(random.IntN(3))
	case 1:
		ip[1] = uint8(random.Uint32())
	case 2: // options: of no meaning, cut off, or those that route
		if len(ip) >= 28 {
			ip[0] = 0x46 + uint8(random.IntN(2))
			copy(ip[20:], [][]byte{{1, 1, 1, 0}, {7, 4, 4, 0}, {131, 3, 4, 0}, {7, 40, 4, 0}}[random.IntN(4)])
		}
	case 3:
		binary.BigEndian.PutUint16(ip[2:], uint16(random.IntN(len(ip)+20)))
	case 4:
		binary.BigEndian.PutUint16(ip[6:], []uint16{0x2000, 0x2000 | 3, 3, 0x1fff, 0x4000, 0x8000}[random.IntN(6)])
	case 5:
		ip[0] = uint8(random.Uint32())
	case 6:
		ip[10] ^= 1 << random.IntN(8)
		sound = false
	case 7:
		copy(ip[12+4*random.IntN(2):], netip.AddrFrom4([4]byte{10, uint8(random.IntN(4)), uint8(random.IntN(2) * 200), 9}).AsSlice())
	case 8:
		return ip[:1+random.IntN(len(ip)-1)]
	}
	if n := int(ip[0]&15) * 4; sound && n >= 20 && n <= len(ip) {
		setHeaderChecksum(ip)
	}
	return append(ip, make([]byte, random.IntN(3)*random.IntN(30))...)
}

// S-103: the common packets of inline protocol have a way of their own. Whatever a packet is like, the same becomes of it as by the other: where it ends, why, every byte, and what
// is counted of it.
func TestInlinePlainIsTheSame(t *testing.T) {
	if err := giveUserdata(); err != nil {
		t.Fatal(err)
	}
	narrow := policy.Selector{Local: policy.RangeOf(netip.MustParsePrefix("10.1.0.0/24")), Remote: policy.RangeOf(netip.MustParsePrefix("10.2.0.0/24")),
		LocalPort: policy.AnyPort, RemotePort: policy.AnyPort}
	ports := narrow
	ports.RemotePort, ports.LocalPort = policy.PortRange{First: 5000, Last: 5002}, policy.PortRange{First: 5001, Last: 65000}
	icmp := narrow
	icmp.Protocol = protocolICMP
	for what, x := range map[string]struct {
		o         rigOptions
		selectors []policy.Selector
		change    func(*ChildSA)
	}{
		"prefixes":      {selectors: []policy.Selector{narrow}},
		"ranges":        {selectors: []policy.Selector{ports, icmp}},
		"VLANs":         {o: rigOptions{vlans: [2]uint16{10, 20}}, selectors: []policy.Selector{narrow}},
		"segment sizes": {selectors: []policy.Selector{narrow}, change: func(c *ChildSA) { c.Encapsulation.MSSClamp = MSSClampAutomatic }},
		"a lifetime": {selectors: []policy.Selector{narrow}, change: func(c *ChildSA) {
			if c.SPI == pairSPI { // outbound, what is refused counts too until a run is done
				c.Soft, c.Hard = Lifetime{Packets: 20}, Lifetime{Bytes: 30_000}
			}
		}},
		"a short path": {o: rigOptions{mtu: 700}, selectors: []policy.Selector{narrow}},
	} {
		t.Run(what, func(t *testing.T) {
			if x.change == nil {
				x.change = func(*ChildSA) {}
			}
			p := newInlinePair(t, x.o, x.selectors, x.change)
			random := rand.New(rand.NewPCG(103, uint64(len(what))))
			for range 250 {
				p.compare(lan, anyPacket(random, lanHost, farHost))
				p.compare(wan, anyPacket(random, farHost, lanHost))
			}
			for _, r := range p.rigs {
				r.d.advance(2 * fragmentTimeout) // of others that do not come
				r.settle()
			}
			if s := p.compare(lan, tcp(lanHost, farHost)); s.Tally["forwarded"] < 30 || s.Tally["selector_mismatch"] < 100 {
				t.Errorf("ends: %v", s.Tally)
			}
		})
	}
}
