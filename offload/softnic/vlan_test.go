package softnic_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"sallyport/offload"
	"sallyport/offload/softnic"
	"sallyport/offload/softnic/internal/program"
	"sallyport/pipeline"
	"sallyport/pmd/mbuf"
)

// tagged puts a tag of IEEE 802.1Q into a frame that has none.
func tagged(frame []byte, tag uint16) []byte {
	return slices.Concat(frame[:12], []byte{0x81, 0, byte(tag >> 8), byte(tag)}, frame[12:])
}

// A rule of a VLAN is of frames whose only tag is of that VLAN, whatever their priority, and beside it there may be rules of the same destination and SPI for other
// VLANs and for all frames.
func TestVLANRules(t *testing.T) {
	r := newRig(t, both)
	in := tunnel(false)
	number := uint64(0)
	receive := func(tags ...uint16) (program.Flags, bool) {
		t.Helper()
		number++
		frame := outer(in, 0, seal(t, in, number, inner(8), 4))
		for _, tag := range slices.Backward(tags) {
			frame = tagged(frame, tag)
		}
		got := r.receive(frame)
		if len(got) != 1 {
			t.Fatalf("%d frames", len(got))
		}
		return got[0].Flags, bytes.Equal(got[0].frame, frame)
	}
	of := func(userdata uint64, vlan uint16) {
		in := in
		in.Userdata, in.VLAN = userdata, vlan
		r.open(in)
	}
	of(7, 7)
	for name, tags := range map[string][]uint16{"VLAN": {7}, "VLAN and priority": {5<<13 | 7}} {
		if flags, _ := receive(tags...); flags != (program.Flags{Secured: true, Userdata: 7}) {
			t.Errorf("%s: %+v", name, flags)
		}
	}
	for name, tags := range map[string][]uint16{"no tag": {}, "other VLAN": {8}, "priority alone": {5 << 13}, "two tags": {7, 8}, "two tags, the inner one": {8, 7}} {
		if flags, asItCame := receive(tags...); flags != (program.Flags{}) || !asItCame {
			t.Errorf("%s: %+v, as it came: %t", name, flags, asItCame)
		}
	}
	of(8, 8)
	of(9, 0)
	for userdata, tags := range map[uint64][]uint16{7: {7}, 8: {8}, 9: {9}} {
		if flags, _ := receive(tags...); flags != (program.Flags{Secured: true, Userdata: userdata}) {
			t.Errorf("VLAN %d: %+v", tags, flags)
		}
	}
	if flags, _ := receive(); flags.Userdata != 9 {
		t.Errorf("no tag: %+v", flags)
	}
}

// What is handed over says how long its link layer is, tags included. Otherwise it does not leave.
func TestLinkLayerLength(t *testing.T) {
	r := newRig(t, both)
	for _, protocol := range []bool{false, true} {
		out := tunnel(true)
		out.Protocol = protocol
		sender := r.open(out)
		frame := ethernet(0, inner(8))
		if !protocol {
			frame = outer(out, 0, unsealed(t, out, 1, inner(8), 4))
		}
		for _, vlan := range []uint16{0, 7} {
			frame := frame
			if vlan != 0 {
				frame = tagged(frame, vlan)
			}
			if wire, kept := r.send(sender, frame); len(wire) != 1 || kept != 0 {
				t.Errorf("protocol %t, VLAN %d: %d frames sent, %d kept", protocol, vlan, len(wire), kept)
			}
			packets := r.mbufs(frame)
			check(t, sender.Mark(packets...))
			program.SetLinkLayer(packets[0], 22)
			if n := r.port.TxBurst(0, packets); n != 0 {
				t.Errorf("protocol %t, VLAN %d: a frame with another length left", protocol, vlan)
			}
			mbuf.FreeBulk(packets)
		}
	}
}

// Gateways whose wans are VLANs of one device, joined by one and then by the other. The NIC has rules of each VLAN, and what it does is byte for byte what the CPU
// does; ESP in another VLAN than its SA's is the CPU's, as without a NIC, but for one whose window the NIC has.
func TestGatewayInVLANs(t *testing.T) {
	pool := newCrypto(t)
	for _, kind := range []softnic.Options{{InlineCrypto: true}, {InlineProtocol: true}} {
		for _, suite := range []string{"aes128gcm16", "aes128-sha256"} {
			for version, change := range map[int]func(*pipeline.ChildSA){4: func(*pipeline.ChildSA) {}, 6: func(sa *pipeline.ChildSA) { sa.Local = netip.AddrPort{} }} {
				t.Run(fmt.Sprintf("protocol=%t/%s/IPv%d", kind.InlineProtocol, suite, version), func(t *testing.T) {
					cpu := func(site int) *gateway { return newGatewayBy(t, site, nil, false, pool, nil, 10, 20) }
					v := &inVLANs{t: t, protocol: kind.InlineProtocol, plain: cpu(1), far: cpu(2)}
					near := cpu(2)
					v.inline, v.keeper = newPlanned(t, 1, kind, pool, 10, 20)
					for i, port := range []string{"wan", "wan2"} {
						spi := uint32(0x10001000 + 2*i)
						joinBy(v.inline, v.far, port, suiteOf(t, suite), spi, change)
						joinBy(v.plain, near, port, suiteOf(t, suite), spi, change)
						v.bySession(port, spi)
						v.exchange(v.inline.vlans[i])
						v.elsewhere(i)
					}
				})
			}
		}
	}
}

// inVLANs is a gateway with a NIC beside one without, and one at the far end; each with two wans in VLANs of one device.
type inVLANs struct {
	t                  *testing.T
	protocol           bool
	inline, plain, far *gateway
	keeper             *keeper
	done, passed       uint64 // packets that the NIC has worked on each way, and ESP that it has left to the CPU
}

// bySession wants both directions of a tunnel to be the NIC's at a port.
func (v *inVLANs) bySession(port string, spi uint32) {
	v.t.Helper()
	for _, sa := range v.inline.d.SACounters() {
		if chosen := v.keeper.Explain(&sa); sa.SPI&^1 == spi && (chosen.Device != port || !sa.Inline.Session) {
			v.t.Errorf("an SA by %s: %+v, %+v", port, chosen, sa.Inline)
		}
	}
}

// counts wants the NIC to have worked on all that was its own.
func (v *inVLANs) counts() {
	v.t.Helper()
	if c := v.inline.nic.Counters(); c.TxSecured != v.done || c.RxSecured != v.done || c.RxPassed != v.passed || c.TxFailed+c.RxFailed != 0 {
		v.t.Fatalf("%+v, want %d packets each way, and %d passed", c, v.done, v.passed)
	}
}

// exchange sends packets both ways, by one VLAN.
func (v *inVLANs) exchange(vlan uint16) {
	v.t.Helper()
	const n = 16
	for _, version := range []int{4, 6} {
		out := v.inline.burst(version, n)
		wire := v.inline.pass(lan, out...)
		sameFrames(v.t, "on the wire", wire, v.plain.pass(lan, out...))
		for _, frame := range wire {
			if tag := binary.BigEndian.Uint32(frame[12:]); tag != 0x81000000|uint32(vlan) {
				v.t.Fatalf("a frame leaves with tag %#x, want VLAN %d", tag, vlan)
			}
		}
		if got := v.far.pass(wan, wire...); len(got) != n {
			v.t.Fatalf("the far end got %d packets of %d", len(got), n)
		}
		back := v.far.pass(lan, v.far.burst(version, n)...)
		sameFrames(v.t, "to the host", v.inline.pass(wan, back...), v.plain.pass(wan, back...))
		v.done += n
	}
	v.counts()
}

// elsewhere has ESP of the wan at a place arrive in the other's VLAN, and in one that no port has.
func (v *inVLANs) elsewhere(place int) {
	v.t.Helper()
	arrive := func(vlan uint16) (with, without [][]byte) {
		v.t.Helper()
		frame := v.far.pass(lan, v.far.frame(4, 100))[0]
		binary.BigEndian.PutUint16(frame[14:], vlan)
		v.passed++
		return v.inline.pass(wan, frame), v.plain.pass(wan, frame)
	}
	other := 1 - place
	with, without := arrive(v.inline.vlans[other])
	if len(without) != 1 {
		v.t.Errorf("%d packets came in by the other VLAN without a NIC, want 1", len(without))
	}
	if v.protocol { // without the window nobody can say whether it is new
		without = nil
	}
	sameFrames(v.t, "in the other VLAN", with, without)
	if n := v.inline.d.Counters().Ports[wan+other].Drops["inline_window"]; (n == 1) != v.protocol {
		v.t.Errorf("%d packets dropped for want of their window", n)
	}
	if with, without = arrive(30); len(with)+len(without) != 0 {
		v.t.Errorf("%d and %d packets came in by no port's VLAN", len(with), len(without))
	}
	if n := v.inline.d.Counters().Ports[wan].Drops["unknown_vlan"]; n != uint64(place+1) {
		v.t.Errorf("%d packets dropped for their VLAN, want %d", n, place+1)
	}
	v.counts()
}

// A NIC whose rules match no VLAN has no inbound session of a port with one, and it is said why; the CPU opens what comes. Outbound takes no rule.
func TestNICWithoutVLANs(t *testing.T) {
	pool := newCrypto(t)
	for _, kind := range []softnic.Options{{InlineCrypto: true, NoVLAN: true}, {InlineProtocol: true, NoVLAN: true}} {
		inline, k := newPlanned(t, 1, kind, pool, 10, 20)
		far := newGatewayBy(t, 2, nil, false, pool, nil, 10, 20)
		joinBy(inline, far, "wan2", suiteOf(t, "aes128gcm16"), 0x10001000, func(*pipeline.ChildSA) {})
		for _, sa := range inline.d.SACounters() {
			chosen := k.Explain(&sa)
			if sa.Outbound {
				if !sa.Inline.Session || chosen.Device != "wan2" {
					t.Errorf("outbound: %+v, %+v", sa.Inline, chosen)
				}
				continue
			}
			said := map[string]string{}
			for _, refused := range chosen.Refused {
				if (refused.Plan == offload.InlineProtocol) == kind.InlineProtocol {
					said[refused.Device] = refused.Refusal
				}
			}
			if chosen.Plan != offload.CPUCrypto || said["wan2"] != "no rule for its packets of VLAN 20: VLANs are not matched" || said["wan"] != "was not asked: no packet of the SA goes there" {
				t.Errorf("inbound: %+v", chosen)
			}
		}
		const n = 16
		if went, came := len(far.pass(wan, inline.pass(lan, inline.burst(4, n)...)...)), len(inline.pass(wan, far.pass(lan, far.burst(4, n)...)...)); went != n || came != n {
			t.Errorf("%d and %d packets of %d have arrived", went, came, n)
		}
		if c := inline.nic.Counters(); c.TxSecured != n || c.RxPassed != n || c.FlowsLive != 0 || c.SessionsLive != 1 {
			t.Errorf("the NIC counts %+v", c)
		}
	}
}
