package crypto

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"
)

const testPayload = "\x08\x00\x12\x34payload in the clear"

// ipv4Packet makes a whole packet of ICMP with options, whose length must be a multiple of 4.
func ipv4Packet(options, payload string) []byte {
	packet := slices.Concat([]byte{0x45, 0x2c, 0, 0, 0x12, 0x34, 0x40, 0, 61, 1, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2}, []byte(options), []byte(payload))
	packet[0] += byte(len(options) / 4)
	binary.BigEndian.PutUint16(packet[2:], uint16(len(packet)))
	binary.BigEndian.PutUint16(packet[10:], internetChecksum(packet[:ipv4HeaderLen+len(options)]))
	return packet
}

// ipv6Packet makes a whole packet. Extensions start with the header that first names.
func ipv6Packet(first uint8, extensions, payload string) []byte {
	packet := make([]byte, ipv6HeaderLen, ipv6HeaderLen+len(extensions)+len(payload))
	copy(packet, []byte{0x6a, 0xbc, 0xde, 0xf0, 0, 0, first, 61, 0x20, 0x01, 0x0d, 0xb8})
	copy(packet[24:], []byte{0x20, 0x01, 0x0d, 0xb8, 15: 2})
	packet[23] = 1
	packet = append(append(packet, extensions...), payload...)
	binary.BigEndian.PutUint16(packet[4:], uint16(len(packet)-ipv6HeaderLen))
	return packet
}

func newTestAH(t testing.TB, s Suite, options ...SAOption) *AH {
	t.Helper()
	ah, err := NewAH(s, testSPI, testKeymat(s), options...)
	if err != nil {
		t.Fatal(err)
	}
	return ah
}

func mustProtect(t testing.TB, ah *AH, packet []byte, seq uint64) []byte {
	t.Helper()
	protected, err := ah.Protect(packet, seq)
	if err != nil {
		t.Fatal(err)
	}
	return protected
}

// wantVerified wants what Protect was given back from Verify.
func wantVerified(t *testing.T, ah *AH, protected []byte, seq uint64, original []byte) {
	t.Helper()
	without, nextHeader, low, err := ah.Verify(protected, uint32(seq>>32))
	if err != nil || low != uint32(seq) {
		t.Fatalf("next header %d, sequence number %d, error %v", nextHeader, low, err)
	}
	same(t, "packet without AH", without, original)
}

func TestAHProtectVerify(t *testing.T) {
	for _, s := range AHSuites() {
		for _, esn := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/esn=%t", s, esn), func(t *testing.T) {
				ah := newTestAH(t, s, WithESN(esn))
				seq := uint64(1<<32 - 70)
				if esn {
					seq = 7<<32 - 70 // passes into the next upper half
				}
				for size := range 64 {
					payload := string(bytes.Repeat([]byte{byte(size)}, size))
					for _, packet := range [][]byte{ipv4Packet("", payload), ipv4Packet("\x01\x01\x01\x00", payload), ipv6Packet(59, "", payload)} {
						protected := mustProtect(t, ah, packet, seq)
						checkAHShape(t, s, packet, protected, seq)
						wantVerified(t, ah, protected, seq, packet)
					}
					seq++
				}
			})
		}
	}
}

// checkAHShape checks what RFC 4302 section 2 says of a packet without a key.
func checkAHShape(t *testing.T, s Suite, packet, protected []byte, seq uint64) {
	t.Helper()
	at, multiple := int(packet[0]&15)*4, 4
	protocol, lengthAt, hidden := protected[9], 2, 0
	if packet[0]>>4 == 6 {
		at, multiple, protocol, lengthAt, hidden = ipv6HeaderLen, 8, protected[6], 4, ipv6HeaderLen
	}
	header := protected[at:]
	length := len(protected) - len(packet)
	least := 12 + s.IVLen() + s.ICVLen()
	switch {
	case protocol != 51 || int(binary.BigEndian.Uint16(protected[lengthAt:])) != len(protected)-hidden:
		t.Fatalf("IP header %x of %d octets", protected[:at], len(protected))
	case length%multiple != 0 || length < least || length >= least+multiple || int(header[1]) != length/4-2:
		t.Fatalf("AH of %d octets with Payload Len %d for %s", length, header[1], s)
	case header[2] != 0 || header[3] != 0 || binary.BigEndian.Uint32(header[4:]) != testSPI || binary.BigEndian.Uint32(header[8:]) != uint32(seq):
		t.Fatalf("AH %x", header[:12])
	}
	// The payload is readable, and so are the addresses.
	same(t, "payload", protected[at+length:], packet[at:])
	if protected[0]>>4 == 4 && internetChecksum(protected[:at]) != 0 {
		t.Fatalf("checksum of %x", protected[:at])
	}
	if s.IVLen() > 0 {
		same(t, "IV", header[12:20], binary.BigEndian.AppendUint64(nil, seq))
	}
}

// TestAHByHand builds what the ICV covers octet by octet, without the code under test.
func TestAHByHand(t *testing.T) {
	const hopByHop = "\x2b\x00\x3e\x02\xaa\xbb\x01\x00" // an option that may change, PadN of 2
	cases := map[string]struct {
		suite   Suite
		packet  []byte
		icvAt   int
		covered string
	}{
		"IPv4": {Suite{Integ: IntegHMACSHA256}, ipv4Packet("", "abcd"), 32, `
			45000034 1234 0000 00 33 0000 c0000201 c0000202
			01 05 0000 10203040 00000009 00000000000000000000000000000000
			61626364 00000005`},
		"IPv4 with options": {Suite{Integ: IntegHMACSHA256}, ipv4Packet("\x94\x04\x00\x00\x07\x07\x04\x01\x02\x03\x04\x00", "abcd"), 44, `
			48000040 1234 0000 00 33 0000 c0000201 c0000202 94040000 00000000000000 00
			01 05 0000 10203040 00000009 00000000000000000000000000000000
			61626364 00000005`},
		"IPv6": {Suite{Integ: IntegHMACSHA256}, ipv6Packet(0, hopByHop+typeZeroRouting, "abcd"), 100, `
			60000000 0054 00 00 20010db8000000000000000000000001 20010db800010000000000000000000b
			2b 00 3e02 0000 0100
			33 04 00 00 00000000 20010db8000000000000000000000002 20010db800010000000000000000000a
			3a 06 0000 10203040 00000009 00000000000000000000000000000000 00000000
			61626364 00000005`},
		"AES-GMAC": {Suite{Integ: IntegAESGMAC128}, ipv4Packet("", "abcd"), 40, `
			4500003c 1234 0000 00 33 0000 c0000201 c0000202
			01 07 0000 10203040 00000009 0000000000000000 00000000000000000000000000000000
			61626364 00000005`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			packet := mustProtect(t, newTestAH(t, c.suite, WithESN(true)), c.packet, 5<<32|9)
			same(t, "ICV", packet[c.icvAt:c.icvAt+16], icvByHand(t, c.suite, unhex(t, c.covered), 5<<32|9))
		})
	}
}

func icvByHand(t *testing.T, s Suite, covered []byte, seq uint64) []byte {
	t.Helper()
	keymat := testKeymat(s).Bytes()
	if s.Integ == IntegHMACSHA256 {
		mac := hmac.New(sha256.New, keymat)
		mac.Write(covered)
		return mac.Sum(nil)[:16]
	}
	block, err := aes.NewCipher(keymat[:16])
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	return gcm.Seal(nil, binary.BigEndian.AppendUint64(keymat[16:20:20], seq), nil, covered)
}

// fixChecksum does what a router does that has changed the IPv4 header.
func fixChecksum(packet []byte) []byte {
	setChecksum(packet[:packet[0]&15*4])
	return packet
}

func setChecksum(header []byte) {
	clear(header[10:12])
	binary.BigEndian.PutUint16(header[10:], internetChecksum(header))
}

// S-094: each bit of the IPv4 header is changed: the addresses, the protocol, the ID or the length
// fail; TOS, TTL, flags, fragment offset and checksum pass. The payload is readable, see
// checkAHShape, and each of its bits is covered.
func TestAHCoversIPv4(t *testing.T) {
	mutable := map[int]bool{1: true, 6: true, 7: true, 8: true, 10: true, 11: true} // octets of the header
	for _, s := range AHSuites() {
		ah := newTestAH(t, s)
		packet := mustProtect(t, ah, ipv4Packet("", testPayload), 1)
		for bit := range len(packet) * 8 {
			changed := bytes.Clone(packet)
			changed[bit/8] ^= 0x80 >> (bit % 8)
			if bit/8 < 10 {
				setChecksum(changed[:ipv4HeaderLen])
			}
			_, _, _, err := ah.Verify(changed, 0)
			switch offset := bit / 8; {
			case offset == 6 && bit%8 > 1 || offset == 7:
				// The packet is now a fragment. Its ICV is right all the same: what is put
				// together from such pieces passes.
				if !errors.Is(err, ErrFragment) {
					t.Errorf("%s bit %d: error %v", s, bit, err)
				}
				h := &ipHeaders{version: 4, end: ipv4HeaderLen, protocolAt: 9}
				if found := ah.icv(changed, h, 0); !bytes.Equal(found, ah.icv(packet, h, 0)) {
					t.Errorf("%s bit %d: the ICV covers the fragment offset", s, bit)
				}
			case mutable[offset]:
				if err != nil {
					t.Errorf("%s bit %d of a mutable field: %v", s, bit, err)
				}
			case err == nil:
				t.Errorf("%s bit %d passed", s, bit)
			}
		}
	}
}

// S-094: the same of the IPv6 header: traffic class, flow label and hop limit may change.
func TestAHCoversIPv6(t *testing.T) {
	mutable := func(bit int) bool { return bit >= 4 && bit < 32 || bit/8 == 7 }
	for _, s := range AHSuites() {
		ah := newTestAH(t, s)
		packet := mustProtect(t, ah, ipv6Packet(58, "", testPayload), 1)
		for bit := range len(packet) * 8 {
			changed := bytes.Clone(packet)
			changed[bit/8] ^= 0x80 >> (bit % 8)
			if _, _, _, err := ah.Verify(changed, 0); (err == nil) != mutable(bit) {
				t.Errorf("%s bit %d: error %v", s, bit, err)
			}
		}
	}
}

func TestAHRefusesOthers(t *testing.T) {
	for _, s := range AHSuites() {
		ah := newTestAH(t, s)
		packet := mustProtect(t, ah, ipv4Packet("", testPayload), 9)
		withESN := newTestAH(t, s, WithESN(true))
		if _, _, _, err := withESN.Verify(packet, 0); !errors.Is(err, ErrICV) {
			t.Errorf("%s: ESN on one side only: error %v", s, err)
		}
		extended := mustProtect(t, withESN, ipv4Packet("", testPayload), 9)
		if _, _, _, err := withESN.Verify(extended, 1); !errors.Is(err, ErrICV) {
			t.Errorf("%s: wrong upper half of the sequence number: error %v", s, err)
		}
		other, err := NewAH(s, testSPI, NewSecret(make([]byte, s.KeymatLen())))
		if err != nil {
			t.Fatal(err)
		}
		if _, _, _, err := other.Verify(packet, 0); !errors.Is(err, ErrICV) {
			t.Errorf("%s: another key: error %v", s, err)
		}
		if _, err := ah.Protect(packet, 1<<32); err == nil {
			t.Errorf("%s: a 33-bit sequence number was taken without ESN", s)
		}
		if _, err := NewAH(s, testSPI, NewSecret(make([]byte, s.KeymatLen()+1))); err == nil {
			t.Errorf("%s: a key too long was taken", s)
		}
	}
	for _, s := range []Suite{{}, {Encr: EncrAESGCM16, KeyBits: 128}, {Integ: 99}} {
		if _, err := NewAH(s, testSPI, NewSecret(make([]byte, s.KeymatLen()))); err == nil {
			t.Errorf("%s was taken for AH", s)
		}
	}
	for _, s := range AHSuites() {
		if _, err := NewESP(s, testSPI, testKeymat(s)); err == nil {
			t.Errorf("%s was taken for ESP", s)
		}
	}
}

// TestAHMalformed spoils packets in one place each and wants the error for it.
func TestAHMalformed(t *testing.T) {
	s := Suite{Integ: IntegHMACSHA1}
	ah := newTestAH(t, s)
	v4 := mustProtect(t, ah, ipv4Packet("", testPayload), 1)
	v6 := mustProtect(t, ah, ipv6Packet(0, "\x3b\x00\x01\x04\x00\x00\x00\x00", testPayload), 1)
	set := func(packet []byte, at int, octets ...byte) []byte {
		changed := bytes.Clone(packet)
		copy(changed[at:], octets)
		return changed
	}
	cut := func(packet []byte, length int) []byte {
		short := bytes.Clone(packet[:length])
		if packet[0]>>4 == 4 {
			binary.BigEndian.PutUint16(short[2:], uint16(length))
		} else {
			binary.BigEndian.PutUint16(short[4:], uint16(length-ipv6HeaderLen))
		}
		return short
	}
	for name, c := range map[string]struct {
		packet []byte
		want   error
	}{
		"nothing":                         {nil, ErrIPHeader},
		"version 5":                       {set(v4, 0, 0x55), ErrIPHeader},
		"half an IPv4 header":             {v4[:19], ErrIPHeader},
		"half an IPv6 header":             {v6[:39], ErrIPHeader},
		"header length 16":                {set(v4, 0, 0x44), ErrIPHeader},
		"header longer than the packet":   {cut(set(v4, 0, 0x4f), 40), ErrIPHeader},
		"one octet too many":              {append(bytes.Clone(v4), 0), ErrIPHeader},
		"one octet too few":               {v4[:len(v4)-1], ErrIPHeader},
		"IPv6 one octet too many":         {append(bytes.Clone(v6), 0), ErrIPHeader},
		"extension header past the end":   {set(v6, 41, 200), ErrIPHeader},
		"option past its header":          {set(v6, 43, 5), ErrIPHeader},
		"first fragment":                  {set(v4, 6, 0x20), ErrFragment},
		"last fragment":                   {set(v4, 7, 1), ErrFragment},
		"IPv6 fragment":                   {set(v6, 6, 44), ErrFragment},
		"no AH":                           {set(v4, 9, 50), ErrNoAH},
		"no AH in IPv6":                   {set(v6, 40, 6), ErrNoAH},
		"AH cut in its fixed part":        {cut(v4, 31), ErrShort},
		"AH cut in its ICV":               {cut(v4, 43), ErrShort},
		"Payload Len past the packet":     {set(v4, 21, 255), ErrShort},
		"Payload Len 0":                   {set(v4, 21, 0), ErrAHLength},
		"Payload Len one word too short":  {set(v4, 21, 3), ErrAHLength},
		"Payload Len two words too long":  {set(v4, 21, 6), ErrAHLength},
		"Payload Len of IPv4 in IPv6":     {set(v6, 49, 5), ErrAHLength},
		"another SA":                      {set(v4, 24, 1), ErrSPI},
		"ICV":                             {set(v4, 43, ^v4[43]), ErrICV},
		"sequence number":                 {set(v4, 31, 2), ErrICV},
		"reserved field of AH, not zero":  {set(v4, 23, 1), ErrICV},
		"next header of AH, another":      {set(v4, 20, 17), ErrICV},
		"IPv6 ICV":                        {set(v6, 60, ^v6[60]), ErrICV},
		"IPv6 extension header, reserved": {set(v6, 44, 1), ErrICV},
	} {
		if without, _, _, err := ah.Verify(c.packet, 0); !errors.Is(err, c.want) || without != nil {
			t.Errorf("%s: packet %x, error %v, expected %v", name, without, err, c.want)
		}
	}
	tooLong := ipv4Packet("", string(make([]byte, 65535-20)))
	if _, err := ah.Protect(tooLong, 1); err == nil {
		t.Error("a packet of 65535 octets took an AH")
	}
}

// TestAHPadding takes Linux's padding to 8 octets in IPv4, whatever is in it, and covers it.
func TestAHPadding(t *testing.T) {
	s := Suite{Integ: IntegHMACSHA256} // 28 octets of AH
	ah := newTestAH(t, s)
	packet := ipv4Packet("", testPayload)
	protected := mustProtect(t, ah, packet, 3)
	padded := slices.Concat(protected[:48], []byte{0xde, 0xad, 0xbe, 0xef}, protected[48:])
	padded[21] = 6 // (28 + 4) / 4 - 2
	binary.BigEndian.PutUint16(padded[2:], uint16(len(padded)))
	h := &ipHeaders{version: 4, end: ipv4HeaderLen, protocolAt: 9}
	copy(padded[32:48], ah.icv(padded, h, 0))
	wantVerified(t, ah, padded, 3, packet)
	padded[50] ^= 1
	if _, _, _, err := ah.Verify(padded, 0); !errors.Is(err, ErrICV) {
		t.Errorf("changed padding: error %v", err)
	}
}

func TestAHWipe(t *testing.T) {
	for _, s := range AHSuites() {
		ah := newTestAH(t, s)
		key := ah.key.Bytes()
		if ah.gmac != nil {
			key = ah.gmac.salt.Bytes()
		}
		ah.Wipe()
		if !bytes.Equal(key, make([]byte, len(key))) || len(key) == 0 {
			t.Errorf("%s: after Wipe the key is %x", s, key)
		}
		wantPanic(t, s.String()+": a wiped AH protected", func() { _, _ = ah.Protect(ipv4Packet("", ""), 1) })
	}
}

// FuzzAHVerify wants an error or a packet from whatever comes, never a panic. What Protect
// takes must verify.
func FuzzAHVerify(f *testing.F) {
	suites := AHSuites()
	for i, s := range suites {
		ah := newTestAH(f, s)
		for _, packet := range [][]byte{ipv4Packet(looseRoute, testPayload), ipv6Packet(0, "\x2b\x00\x01\x04\x00\x00\x00\x00"+typeZeroRouting, testPayload)} {
			f.Add(uint8(i), false, packet)
			f.Add(uint8(i), false, mustProtect(f, ah, packet, 1))
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, esn bool, packet []byte) {
		s := suites[int(which)%len(suites)]
		ah := newTestAH(t, s, WithESN(esn))
		if without, _, _, err := ah.Verify(packet, 0); err != nil && without != nil {
			t.Errorf("packet %x beside error %v", without, err)
		}
		protected, err := ah.Protect(packet, 1)
		if err != nil {
			return
		}
		without, _, _, err := ah.Verify(protected, 0)
		if err != nil {
			t.Fatalf("%x protected as %x: %v", packet, protected, err)
		}
		if packet[0]>>4 == 4 {
			fixChecksum(packet)
		}
		same(t, "packet without AH", without, packet)
	})
}
