package crypto

import (
	"bytes"
	"errors"
	"slices"
	"testing"
)

// looseRoute is an unused loose source route over two stops (RFC 791 section 3.1), with a
// NOP to fill the header.
const looseRoute = "\x83\x0b\x04\xc6\x33\x64\x01\xc6\x33\x64\x02\x01"

// typeZeroRouting is a routing header over two stops, ICMPv6 behind it.
const typeZeroRouting = "\x3a\x04\x00\x02\x00\x00\x00\x00" +
	"\x20\x01\x0d\xb8\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x0a" +
	"\x20\x01\x0d\xb8\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x0b"

// S-094: each IPv4 option is changed on the way. Those of RFC 4302 appendix A1 that are
// immutable fail, all others pass, known or not.
func TestAHIPv4Options(t *testing.T) {
	ah := newTestAH(t, Suite{Integ: IntegHMACSHA256})
	for kind := 2; kind < 256; kind++ {
		options := string([]byte{byte(kind), 7, 4, 1, 2, 3, 4, 1})
		if kind == ipv4LooseRoute || kind == ipv4StrictRoute {
			options = string([]byte{byte(kind), 7, 8, 1, 2, 3, 4, 1}) // used up
		}
		packet := mustProtect(t, ah, ipv4Packet(options, testPayload), 1)
		packet[23] ^= 0xff
		_, _, _, err := ah.Verify(fixChecksum(packet), 0)
		immutable := slices.Contains([]int{130, 133, 134, 148, 149}, kind)
		if immutable != errors.Is(err, ErrICV) || !immutable && err != nil {
			t.Errorf("option %d changed: error %v, immutable %t", kind, err, immutable)
		}
	}
	// The order and the place of the one-octet options count.
	packet := mustProtect(t, ah, ipv4Packet("\x01\x01\x01\x00", testPayload), 1)
	packet[22] = 0
	if _, _, _, err := ah.Verify(fixChecksum(packet), 0); !errors.Is(err, ErrICV) {
		t.Errorf("an option list that ends earlier: error %v", err)
	}
}

func TestAHIPv4OptionsMalformed(t *testing.T) {
	ah := newTestAH(t, Suite{Integ: IntegHMACSHA256})
	for _, options := range []string{"\x01\x01\x01\x83", "\x83\x00\x00\x00", "\x83\x01\x00\x00", "\x83\x05\x04\x00", "\x44\x09\x05\x00\x01\xff\x01\x82"} {
		if _, err := ah.Protect(ipv4Packet(options, testPayload), 1); !errors.Is(err, ErrIPHeader) {
			t.Errorf("options %x: error %v", options, err)
		}
	}
	for _, options := range []string{"\x00\xff\xff\xff", "\x01\x00\x83\x01", "\x83\x03\x04\x00", "\x83\x04\x04\x00"} {
		packet := ipv4Packet(options, testPayload)
		wantVerified(t, ah, mustProtect(t, ah, packet, 1), 1, packet)
	}
}

// TestAHSourceRoute takes a packet along a loose and a strict source route as routers do
// (RFC 791 section 3.1): it verifies at the start, at each stop and at the end.
func TestAHSourceRoute(t *testing.T) {
	ah := newTestAH(t, Suite{Integ: IntegHMACSHA1})
	for _, kind := range []string{"\x83", "\x89"} {
		original := ipv4Packet(kind+looseRoute[1:], testPayload)
		packet := mustProtect(t, ah, original, 1)
		wantVerified(t, ah, packet, 1, original)
		for range 2 {
			route := packet[20:31]
			next := bytes.Clone(route[route[2]-1:][:4])
			copy(route[route[2]-1:], []byte{203, 0, 113, route[2]}) // the router's own address
			copy(packet[16:20], next)
			route[2] += 4
			packet[8]--
			if _, _, _, err := ah.Verify(fixChecksum(packet), 0); err != nil {
				t.Fatalf("option %x, pointer %d: %v", kind, route[2], err)
			}
		}
		packet[16] ^= 1
		if _, _, _, err := ah.Verify(fixChecksum(packet), 0); !errors.Is(err, ErrICV) {
			t.Errorf("at another end than the route's: error %v", err)
		}
	}
}

// S-094: the data of IPv6 options passes changed where bit 5 of the type says that it may
// change (RFC 8200 section 4.2), and fails elsewhere; their type and length always fail.
func TestAHIPv6Options(t *testing.T) {
	ah := newTestAH(t, Suite{Integ: IntegHMACSHA256})
	for _, first := range []uint8{protocolHopByHop, protocolDestination} {
		for kind := 2; kind < 256; kind++ {
			// A destination header in front of a routing header stands in front of AH as well.
			header := string([]byte{protocolRouting, 0, byte(kind), 2, 0xaa, 0xbb, 0, 0})
			packet := mustProtect(t, ah, ipv6Packet(first, header+typeZeroRouting, testPayload), 1)
			changed := bytes.Clone(packet)
			changed[44] ^= 0xff
			if _, _, _, err := ah.Verify(changed, 0); (err == nil) != (kind&0x20 != 0) {
				t.Errorf("header %d option %#x with other data: error %v", first, kind, err)
			}
			for _, at := range []int{42, 43} {
				changed := bytes.Clone(packet)
				changed[at] ^= 1
				if _, _, _, err := ah.Verify(changed, 0); err == nil {
					t.Errorf("header %d option %#x with another octet %d passed", first, kind, at)
				}
			}
		}
	}
}

// TestAHRoutingHeader takes a packet through the segments of a routing header (RFC 8200
// section 4.4).
func TestAHRoutingHeader(t *testing.T) {
	ah := newTestAH(t, Suite{Integ: IntegHMACSHA512})
	original := ipv6Packet(protocolRouting, typeZeroRouting, testPayload)
	packet := mustProtect(t, ah, original, 1)
	wantVerified(t, ah, packet, 1, original)
	for n := range 2 {
		destination, stop := packet[24:40], packet[48+16*n:][:16]
		here := bytes.Clone(destination)
		copy(destination, stop)
		copy(stop, here)
		packet[43]-- // segments left
		packet[7]--
		if _, _, _, err := ah.Verify(packet, 0); err != nil {
			t.Fatalf("%d segments left: %v", packet[43], err)
		}
	}
	if packet[39] != 0x0b {
		t.Fatalf("arrived at %x", packet[24:40])
	}
	packet[39] ^= 1
	if _, _, _, err := ah.Verify(packet, 0); !errors.Is(err, ErrICV) {
		t.Errorf("at another end than the route's: error %v", err)
	}
	for name, header := range map[string]string{
		"more segments left than there are": "\x3a\x04\x00\x03" + typeZeroRouting[4:],
		"half an address":                   "\x3a\x03\x00\x01" + typeZeroRouting[4:32],
		"another type under way":            "\x3a\x04\x04\x01" + typeZeroRouting[4:],
	} {
		if _, err := ah.Protect(ipv6Packet(protocolRouting, header, testPayload), 1); !errors.Is(err, ErrIPHeader) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	// Of another type, but arrived: an immutable header.
	arrived := ipv6Packet(protocolRouting, "\x3a\x04\x04\x00"+typeZeroRouting[4:], testPayload)
	wantVerified(t, ah, mustProtect(t, ah, arrived, 1), 1, arrived)
}

// TestAHPlace checks behind which headers AH goes (RFC 4302 section 3.1.1).
func TestAHPlace(t *testing.T) {
	const hop, dest = "\x00\x00\x01\x04\x00\x00\x00\x00", "\x00\x00\x01\x04\x00\x00\x00\x00"
	name := func(next uint8, header string) string { return string(next) + header[1:] }
	ah := newTestAH(t, Suite{Integ: IntegHMACSHA256})
	for what, c := range map[string]struct {
		first      uint8
		extensions string
		at         int // offset of AH
		protocol   int // offset of the octet that names it
		next       uint8
	}{
		"no extension header":              {58, "", 40, 6, 58},
		"hop-by-hop options":               {0, name(58, hop), 48, 40, 58},
		"destination options, at the last": {60, name(58, dest), 40, 6, 60},
		"both":                             {0, name(60, hop) + name(58, dest), 48, 40, 60},
		"destination options for stops":    {60, name(43, dest) + typeZeroRouting, 88, 48, 58},
		"all of them":                      {0, name(60, hop) + name(43, dest) + name(60, typeZeroRouting) + name(58, dest), 96, 56, 60},
	} {
		original := ipv6Packet(c.first, c.extensions, testPayload)
		packet := mustProtect(t, ah, original, 1)
		if packet[c.protocol] != protocolAH || packet[c.at] != c.next || !bytes.Equal(packet[c.at+4:c.at+8], []byte{0x10, 0x20, 0x30, 0x40}) {
			t.Errorf("%s: %x", what, packet)
		}
		wantVerified(t, ah, packet, 1, original)
	}
}
