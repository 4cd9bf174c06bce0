package pipeline

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"sallyport/crypto"
)

var (
	hostA   = netip.MustParseAddr("10.1.0.7")
	gateway = netip.MustParseAddr("10.1.0.1")
	hostB   = netip.MustParseAddr("10.2.0.7")
)

// icmpPacket is an ICMP message in an IPv4 packet, checksums right.
func icmpPacket(source, destination netip.Addr, typ uint8, length int) ipv4 {
	p := make([]byte, ipv4HeaderLen+icmpHeaderLen+length)
	for i := range p {
		p[i] = byte(i)
	}
	putIPv4(p, 0x48, 63, protocolICMP, 0, source, destination)
	putICMP(p[ipv4HeaderLen:], typ, 0)
	return p
}

func TestEchoReply(t *testing.T) {
	for _, length := range []int{0, 1, 56, 57, 1472} {
		request := icmpPacket(hostA, gateway, icmpEcho, length)
		reply, ok := echoReply(request)
		if !ok {
			t.Fatalf("%d bytes: no reply", length)
		}
		p := ipv4(reply)
		if checksum(p[:ipv4HeaderLen]) != 0 || checksum(p.payload()) != 0 {
			t.Errorf("%d bytes: wrong checksum", length)
		}
		if p.source() != gateway || p.destination() != hostA || p.ttl() != 64 || p[1] != 0x48 || len(p) != len(request) {
			t.Errorf("%d bytes: header % x", length, p[:ipv4HeaderLen])
		}
		if string(p[ipv4HeaderLen+4:]) != string(request[ipv4HeaderLen+4:]) {
			t.Errorf("%d bytes: identifier, sequence number or data changed (RFC 792)", length)
		}
	}
}

func TestEchoReplyRefuses(t *testing.T) {
	for name, change := range map[string]func(ipv4){
		"reply":    func(p ipv4) { putICMP(p[ipv4HeaderLen:], icmpEchoReply, 0) },
		"checksum": func(p ipv4) { p[ipv4HeaderLen+2]++ },
		"fragment": func(p ipv4) { p[6] |= 0x20 },
		"protocol": func(p ipv4) { p[9] = protocolUDP },
	} {
		p := icmpPacket(hostA, gateway, icmpEcho, 8)
		change(p)
		if _, ok := echoReply(p); ok {
			t.Errorf("%s: answered", name)
		}
	}
}

func TestICMPErrors(t *testing.T) {
	original := icmpPacket(hostA, hostB, icmpEcho, 1000)
	got, ok := timeExceeded(original, gateway)
	if !ok {
		t.Fatal("no time exceeded")
	}
	p := ipv4(got)
	if p.source() != gateway || p.destination() != hostA || p[1] != 0xc0 || len(p) != 576 || checksum(p.payload()) != 0 {
		t.Errorf("time exceeded: header % x, %d bytes", p[:20], len(p))
	}
	if body := p.payload(); body[0] != 11 || body[1] != 0 || string(body[8:]) != string(original[:576-28]) {
		t.Errorf("time exceeded: type %d code %d, or a wrong quote (RFC 1812 section 4.3.2.3)", body[0], body[1])
	}

	got, ok = fragmentationNeeded(original, gateway, 1438)
	if body := ipv4(got).payload(); !ok || body[0] != 3 || body[1] != 4 || binary.BigEndian.Uint32(body[4:]) != 1438 {
		t.Errorf("fragmentation needed: %v % x (RFC 1191 section 4)", ok, body[:8])
	}
}

// RFC 1812 section 4.3.2.7.
func TestICMPErrorsAreNotSent(t *testing.T) {
	for name, change := range map[string]func(ipv4){
		"about an error":         func(p ipv4) { putICMP(p[ipv4HeaderLen:], icmpTimeExceeded, 0) },
		"about a redirect":       func(p ipv4) { putICMP(p[ipv4HeaderLen:], icmpRedirect, 0) },
		"to a group":             func(p ipv4) { p[16] = 224 },
		"to all":                 func(p ipv4) { copy(p[16:], "\xff\xff\xff\xff") },
		"from a group":           func(p ipv4) { p[12] = 239 },
		"from nobody":            func(p ipv4) { copy(p[12:], "\x00\x00\x00\x00") },
		"from loopback":          func(p ipv4) { p[12] = 127 },
		"about a later fragment": func(p ipv4) { p[7] = 1 },
	} {
		p := icmpPacket(hostA, hostB, icmpEcho, 64)
		change(p)
		if _, ok := timeExceeded(p, gateway); ok {
			t.Errorf("%s: sent", name)
		}
	}
	first := icmpPacket(hostA, hostB, icmpEcho, 64)
	first[6] = 0x20
	if _, ok := timeExceeded(first, gateway); !ok {
		t.Error("first fragment: not sent")
	}
}

func TestTokenBucket(t *testing.T) {
	b := newTokenBucket(10, 3)
	taken := 0
	for range 5 {
		if b.take(epoch) {
			taken++
		}
	}
	if taken != 3 {
		t.Errorf("burst of 3: %d passed", taken)
	}
	if b.take(epoch.Add(99 * time.Millisecond)) {
		t.Error("a token before its time")
	}
	if !b.take(epoch.Add(150 * time.Millisecond)) {
		t.Error("no token after 150 ms at 10 a second")
	}
	if b.take(epoch) {
		t.Error("a clock that steps back must not make tokens")
	}
	taken = 0
	for range 9 {
		if b.take(epoch.Add(time.Hour)) {
			taken++
		}
	}
	if taken != 3 {
		t.Errorf("an hour later: %d passed, want the burst", taken)
	}
}

// largestInner against the definition: the longest inner packet whose encapsulation is within the MTU.
func TestLargestInner(t *testing.T) {
	for _, name := range []string{"aes128gcm16", "aes256gcm16", "aes128-sha1", "aes256-sha256", "aes192-sha384", "aes256-sha512"} {
		s, err := crypto.ParseSuite(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, udp := range []bool{false, true} {
			for mtu := 40; mtu < 9100; mtu += 7 {
				fits := func(inner int) bool {
					padded := (inner + 2 + s.BlockSize() - 1) / s.BlockSize() * s.BlockSize()
					outer := ipv4HeaderLen + espHeaderLen + s.IVLen() + padded + s.ICVLen()
					if udp {
						outer += udpHeaderLen
					}
					return outer <= mtu
				}
				sa := ChildSA{Suite: s, UDPEncap: udp, Local: netip.AddrPortFrom(wanOwn, 0)}
				if got := sa.largest(mtu, 0); got > 0 && !fits(got) || fits(max(got+1, ipv4HeaderLen)) {
					t.Fatalf("%s, udp %v, mtu %d: %d is not the largest", name, udp, mtu, got)
				}
			}
		}
	}
}
