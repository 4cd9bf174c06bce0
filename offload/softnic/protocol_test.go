package softnic_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"sallyport/offload/softnic"
	"sallyport/offload/softnic/internal/program"
)

// TestInlineProtocol has packets of every suite wrapped and unwrapped, in tunnel and in transport mode, and compares them with the reference.
func TestInlineProtocol(t *testing.T) {
	r := newRig(t, softnic.Options{InlineProtocol: true})
	for i, suite := range offered() {
		for form := range 32 {
			out := sa(suite, form&1 != 0)
			out.SPI, out.UDPEncap, out.ESN, out.Transport = uint32(0x1000+100*i+form), form&2 != 0, form&4 != 0, form&8 != 0
			out.Protocol, out.Outbound, out.CopyDF = true, true, !out.Transport
			tags := form >> 4
			if out.ESN {
				out.Sequence = 0xfffffffe // the upper half changes on the way
			}
			t.Run(fmt.Sprintf("%s IPv6 %v UDP %v ESN %v transport %v tags %d", suite, form&1 != 0, out.UDPEncap, out.ESN, out.Transport, tags), func(t *testing.T) {
				r := *r
				r.t = t
				wrapsAndUnwraps(&r, out, tags)
			})
		}
	}
}

func wrapsAndUnwraps(r *rig, out program.SA, tags int) {
	t, in := r.t, out
	in.Outbound, in.CopyDF, in.Userdata = false, false, 43
	if tags == 1 {
		in.VLAN = firstVLAN
	}
	sender := r.open(out)
	r.open(in)
	for i, length := range []int{0, 1, 46, 1300} {
		payload := make([]byte, length)
		whole, next := inner(length), byte(4)
		if out.Transport {
			whole, next = ipPacket(out.Source.Addr(), out.Destination.Addr(), 17, payload), 17
		} else {
			payload = whole
		}
		number := max(out.Sequence, 1) + uint64(i)
		sealed := outer(out, tags, seal(t, out, number, payload, next))
		clear := ethernet(tags, whole)
		if wire, _ := r.send(sender, clear); len(wire) != 1 || !bytes.Equal(wire[0], sealed) {
			t.Fatalf("%d octets sent\n%x\nexpected\n%x", length, wire, sealed)
		}
		got := r.receive(sealed)
		if len(got) != 1 || got[0].Flags != (program.Flags{Secured: true, Userdata: 43}) || !bytes.Equal(got[0].frame, clear) {
			t.Fatalf("%d octets received: %+v\n%x\nexpected\n%x", length, got[0].Flags, got[0].frame, clear)
		}
	}
}

// TestOuterHeader: what a tunnel's header takes from the session and from the inner packet, and what it gives back.
func TestOuterHeader(t *testing.T) {
	r := newRig(t, softnic.Options{InlineProtocol: true})
	out := sa(offered()[0], false)
	out.Protocol, out.Outbound, out.TTL = true, true, 17
	for i, row := range []struct {
		dscp, ecn, dontFragment bool // copied
		tos                     byte // of the outer header
		flags                   uint16
	}{
		{tos: 10 << 2}, {dscp: true, tos: 46 << 2}, {ecn: true, tos: 10<<2 | 2}, {dscp: true, ecn: true, dontFragment: true, tos: 46<<2 | 2, flags: 0x4000},
	} {
		out := out
		out.SPI += uint32(i)
		out.DSCP, out.CopyDSCP, out.ECN, out.CopyDF = 10, row.dscp, row.ecn, row.dontFragment
		packet := inner(8)
		packet[1] = 46<<2 | 2
		setChecksum(packet)
		wire, _ := r.send(r.open(out), ethernet(0, packet))
		if len(wire) != 1 {
			t.Fatalf("%+v: %d frames", row, len(wire))
		}
		header := wire[0][14:34]
		if flags := binary.BigEndian.Uint16(header[6:]); header[1] != row.tos || flags != row.flags || header[8] != 17 {
			t.Errorf("%+v: TOS %#x, flags %#x, TTL %d", row, header[1], flags, header[8])
		}
		if id := binary.BigEndian.Uint16(header[4:]); (id != 0) != (row.flags == 0) {
			t.Errorf("%+v: ID %d", row, id)
		}
	}
}

// TestCongestion has routers mark outer headers (RFC 6040 section 4.2).
func TestCongestion(t *testing.T) {
	r := newRig(t, softnic.Options{InlineProtocol: true})
	in := sa(offered()[0], false)
	in.Protocol, in.ECN = true, true
	r.open(in)
	number := uint64(0)
	for before, rows := range [][]int{{0, 0, 0, -1}, {1, 1, 1, 3}, {2, 1, 2, 3}, {3, 3, 3, 3}} {
		for mark, after := range rows {
			packet := inner(8)
			packet[1] = 46<<2 | byte(before)
			setChecksum(packet)
			number++
			frame := outer(in, 0, seal(t, in, number, packet, 4))
			frame[15] = byte(mark)
			setChecksum(frame[14:34])
			got := r.receive(frame)
			if after < 0 {
				if !got[0].Failed {
					t.Errorf("%d inside, %d outside: not reported", before, mark)
				}
				continue
			}
			packet[1] = 46<<2 | byte(after)
			setChecksum(packet)
			if !bytes.Equal(got[0].frame, ethernet(0, packet)) {
				t.Errorf("%d inside, %d outside:\n%x\nexpected\n%x", before, mark, got[0].frame[14:], packet)
			}
		}
	}
}

// TestWindow: numbers again, behind the window and with ESN around 2^32.
func TestWindow(t *testing.T) {
	r := newRig(t, softnic.Options{InlineProtocol: true})
	for _, esn := range []bool{false, true} {
		in := sa(offered()[0], false)
		in.SPI++
		in.Protocol, in.ESN, in.Window = true, esn, 64
		base := uint64(1000)
		if esn {
			in.SPI++
			in.Sequence = 1<<32 - 100
			base = in.Sequence + 50
		}
		r.open(in)
		for _, row := range []struct {
			number uint64
			passes bool
		}{
			{base, true}, {base, false}, {base - 63, true}, {base - 63, false}, {base - 64, false}, {base + 200, true}, {base + 137, true}, {base + 136, false},
			{base + 137, false}, {base + 5000, true}, {base + 200, false}, {base + 4999, true}, {base + 5000, false},
		} {
			if esn && row.number < in.Sequence-1 {
				continue
			}
			before := r.nic.Counters().Replayed
			got := r.receive(outer(in, 0, seal(t, in, row.number, inner(8), 4)))
			if got[0].Failed == row.passes || !got[0].Secured {
				t.Errorf("ESN %v, number %d: %+v", esn, row.number, got[0].Flags)
			}
			if replayed := r.nic.Counters().Replayed - before; !esn && (replayed == 0) != row.passes {
				t.Errorf("number %d: %d counted as replayed", row.number, replayed)
			}
		}
	}
}

// TestNumbersEnd: without ESN nothing is sent under a number that would come again.
func TestNumbersEnd(t *testing.T) {
	r := newRig(t, softnic.Options{InlineProtocol: true})
	out := sa(offered()[0], false)
	out.Protocol, out.Outbound, out.Sequence = true, true, 1<<32-1
	wire, kept := r.send(r.open(out), ethernet(0, inner(1)), ethernet(0, inner(2)), ethernet(0, inner(3)))
	if len(wire) != 1 || kept != 2 {
		t.Errorf("%d packets sent and %d kept, expected the last number and no more", len(wire), kept)
	}
}

// TestContents: padding against traffic analysis is cut off, dummies do not come, and what is no IP packet is reported.
func TestContents(t *testing.T) {
	r := newRig(t, softnic.Options{InlineProtocol: true})
	in := sa(offered()[0], false)
	in.Protocol = true
	r.open(in)
	packet := inner(8)
	if got := r.receive(outer(in, 0, seal(t, in, 1, append(bytes.Clone(packet), make([]byte, 100)...), 4))); !bytes.Equal(got[0].frame, ethernet(0, packet)) {
		t.Errorf("with padding:\n%x", got[0].frame)
	}
	if got := r.receive(outer(in, 0, seal(t, in, 2, make([]byte, 100), 59))); len(got) != 0 || r.nic.Counters().Dummies != 1 {
		t.Errorf("a dummy came: %+v, %+v", got, r.nic.Counters())
	}
	for number, content := range map[uint64][]byte{3: {}, 4: {0x45}, 5: make([]byte, 60), 6: append(bytes.Clone(packet[:2]), 0xff, 0xff)} {
		if got := r.receive(outer(in, 0, seal(t, in, number, content, 4))); !got[0].Failed {
			t.Errorf("content %x: %+v", content, got[0].Flags)
		}
	}
	if got := r.receive(outer(in, 0, seal(t, in, 7, packet, 41))); !got[0].Failed {
		t.Error("an IPv4 packet said to be of IPv6 passed")
	}
}
