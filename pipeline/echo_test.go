package pipeline

import (
	"bytes"
	"net/netip"
	"testing"

	"sallyport/crypto"
)

// An echo of ESP for an own address reaches the handler whatever SAs there are, and the answer has its length and its data.
// One in UDP, one for nobody's address and one with another SPI are none.
func TestEcho(t *testing.T) {
	r := newRig(t, rigOptions{})
	ask := Echo{Local: peer, Remote: wanOwn, Protocol: crypto.ProtocolESP, Sequence: 3, Data: []byte("token of the question")}
	packet, err := ask.packet()
	if err != nil {
		t.Fatal(err)
	}
	if o, _ := r.check(wan, fromPeer(packet)); o.Disposition != packetEcho || len(r.seen.echoes) != 1 {
		t.Fatalf("%+v, echoes %v", o, r.seen.echoes)
	}
	got := r.seen.echoes[0]
	if got.Local != wanOwn || got.Remote != peer || got.Reply || got.Sequence != 3 || !bytes.Equal(got.Data, ask.Data) || got.Protocol != crypto.ProtocolESP {
		t.Errorf("echo %+v", got)
	}
	got.Reply = true
	if err := r.d.SendEcho(got); err != nil {
		t.Fatal(err)
	}
	r.settle()
	sent := r.sent(wan)
	if len(sent) != 1 {
		t.Fatalf("sent %v", sent)
	}
	answer := ipv4(sent[0][etherHeaderLen:])
	if answer.totalLen() != len(packet) || answer.protocol() != protocolESP || answer.destination() != peer || answer.source() != wanOwn {
		t.Errorf("answer % x", []byte(answer))
	}
	if e, ok := readEcho(answer); !ok || !e.Reply || e.Sequence != 3 || !bytes.Equal(e.Data, ask.Data) {
		t.Errorf("answer %+v", e)
	}
	inUDP := udpDatagram(netip.AddrPortFrom(peer, 4500), netip.AddrPortFrom(wanOwn, 4500), packet[ipv4HeaderLen:])
	r.wantDrop(wan, fromPeer(inUDP), "no_inbound_sa")
	other := bytes.Clone(packet)
	other[ipv4HeaderLen+3] = 9
	r.wantDrop(wan, fromPeer(other), "no_inbound_sa")
	if len(r.seen.echoes) != 1 {
		t.Errorf("echoes %v", r.seen.echoes)
	}
}

// What is read is what was sent, of both protocols and IP versions; lengths that do not fit are refused.
func TestEchoPackets(t *testing.T) {
	for _, e := range []Echo{
		{Local: wanOwn, Remote: peer, Protocol: crypto.ProtocolAH, Sequence: 1, Data: make([]byte, 12)},
		{Local: wanOwn, Remote: peer, Protocol: crypto.ProtocolESP, Reply: true},
		{Local: netip.MustParseAddr("2001:db8::1"), Remote: netip.MustParseAddr("2001:db8::2"), Protocol: crypto.ProtocolAH, Reply: true, Sequence: 7, Data: []byte("12 bytes.....")[:12]},
		{Local: netip.MustParseAddr("2001:db8::1"), Remote: netip.MustParseAddr("2001:db8::2"), Protocol: crypto.ProtocolESP, Data: []byte("x")},
	} {
		packet, err := e.packet()
		if err != nil {
			t.Fatal(err)
		}
		got, ok := readEcho(packet)
		got.Local, got.Remote = got.Remote, got.Local
		if !ok || got.Local != e.Local || got.Remote != e.Remote || got.Protocol != e.Protocol || got.Reply != e.Reply || got.Sequence != e.Sequence || !bytes.Equal(got.Data, e.Data) {
			t.Errorf("%+v was read as %+v, %v", e, got, ok)
		}
		if _, ok := readEcho(cutIP(packet)); ok && e.Protocol == crypto.ProtocolAH {
			t.Errorf("%+v without its last byte was read", e)
		}
	}
	for _, e := range []Echo{
		{Local: wanOwn, Remote: netip.MustParseAddr("2001:db8::2"), Protocol: crypto.ProtocolESP},
		{Local: wanOwn, Remote: peer, Protocol: crypto.ProtocolAH, Data: make([]byte, 13)},
		{Local: wanOwn, Remote: peer, Protocol: crypto.ProtocolESP, Data: make([]byte, maxEchoData+1)},
	} {
		if _, err := e.packet(); err == nil {
			t.Errorf("%+v was made", e)
		}
	}
}

// cutIP is a packet without its last byte, its length set right.
func cutIP(packet []byte) []byte {
	cut := bytes.Clone(packet[:len(packet)-1])
	if isIPv6(cut) {
		cut[5]--
	} else {
		cut[3]--
	}
	return cut
}
