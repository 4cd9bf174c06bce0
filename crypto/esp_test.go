package crypto

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

const (
	testSPI        = 0x10203040
	testNextHeader = 4
)

// testKeymat gives distinct octets, so that a key taken from the wrong place shows.
func testKeymat(s Suite) Secret {
	keymat := make([]byte, s.KeymatLen())
	for i := range keymat {
		keymat[i] = byte(0x80 + i)
	}
	return NewSecret(keymat)
}

func newTestESP(t *testing.T, s Suite, options ...SAOption) *ESP {
	t.Helper()
	esp, err := NewESP(s, testSPI, testKeymat(s), options...)
	if err != nil {
		t.Fatal(err)
	}
	return esp
}

// eachSuite runs a test for every suite with and without ESN.
func eachSuite(t *testing.T, test func(t *testing.T, s Suite, esn bool)) {
	for _, s := range Suites() {
		for _, esn := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/esn=%t", s, esn), func(t *testing.T) { test(t, s, esn) })
		}
	}
}

func TestESPSealOpen(t *testing.T) {
	eachSuite(t, func(t *testing.T, s Suite, esn bool) {
		esp := newTestESP(t, s, WithESN(esn))
		random := rand.NewChaCha8([32]byte{1})
		seq := uint64(1<<32 - 60)
		if esn {
			seq = 7<<32 - 60 // passes into the next upper half
		}
		for size := range 120 {
			if !esn && seq>>32 != 0 {
				seq = 1
			}
			payload := make([]byte, size)
			_, _ = random.Read(payload)
			packet, err := esp.Seal(seq, nil, payload, testNextHeader)
			if err != nil {
				t.Fatal(err)
			}
			checkShape(t, s, esp, packet, seq, size)
			opened, header, low, err := esp.Open(packet, uint32(seq>>32))
			if err != nil || header != testNextHeader || low != uint32(seq) || !bytes.Equal(opened, payload) {
				t.Fatalf("size %d: payload %x next header %d sequence number %d error %v", size, opened, header, low, err)
			}
			seq++
		}
	})
}

// checkShape checks what RFC 4303 section 2 says of a packet without a key.
func checkShape(t *testing.T, s Suite, esp *ESP, packet []byte, seq uint64, size int) {
	t.Helper()
	if spi := binary.BigEndian.Uint32(packet); spi != testSPI {
		t.Fatalf("SPI %#x", spi)
	}
	if low := binary.BigEndian.Uint32(packet[4:]); low != uint32(seq) {
		t.Fatalf("sequence number %d, expected %d", low, uint32(seq))
	}
	same(t, "IV", packet[8:8+s.IVLen()], esp.DeriveIV(seq))
	padded := len(packet) - 8 - s.IVLen() - s.ICVLen()
	if padded%s.BlockSize() != 0 || padded < size+2 || padded >= size+2+s.BlockSize() {
		t.Fatalf("%d octets of ciphertext for a payload of %d and blocks of %d", padded, size, s.BlockSize())
	}
}

// TestESPTamper flips each bit of a packet: none may pass, and never with another error
// than the one for its place.
func TestESPTamper(t *testing.T) {
	eachSuite(t, func(t *testing.T, s Suite, esn bool) {
		esp := newTestESP(t, s, WithESN(esn))
		packet, err := esp.Seal(9, nil, []byte("payload to be tampered with"), testNextHeader)
		if err != nil {
			t.Fatal(err)
		}
		for bit := range len(packet) * 8 {
			changed := bytes.Clone(packet)
			changed[bit/8] ^= 1 << (bit % 8)
			want := ErrICV
			if bit/8 < 4 {
				want = ErrSPI
			}
			payload, _, _, err := esp.Open(changed, 0)
			if !errors.Is(err, want) || payload != nil {
				t.Fatalf("bit %d: payload %x, error %v, expected %v", bit, payload, err, want)
			}
		}
		_, _, _, err = esp.Open(packet, 1)
		if esn && !errors.Is(err, ErrICV) {
			t.Errorf("wrong upper half of the sequence number: error %v", err)
		}
		keymat := testKeymat(s)
		for i := range keymat.Bytes() {
			keymat.Bytes()[i] ^= 0x55
		}
		other, err := NewESP(s, testSPI, keymat, WithESN(esn))
		if err != nil {
			t.Fatal(err)
		}
		if _, _, _, err := other.Open(packet, 0); !errors.Is(err, ErrICV) {
			t.Errorf("another key: error %v", err)
		}
		if _, _, _, err := newTestESP(t, s, WithESN(!esn)).Open(packet, 0); !errors.Is(err, ErrICV) {
			t.Errorf("ESN on one side only: error %v", err)
		}
	})
}

func TestESPLength(t *testing.T) {
	eachSuite(t, func(t *testing.T, s Suite, esn bool) {
		esp := newTestESP(t, s, WithESN(esn))
		packet, err := esp.Seal(1, nil, nil, testNextHeader)
		if err != nil {
			t.Fatal(err)
		}
		for length := range packet {
			if _, _, _, err := esp.Open(packet[:length], 0); !errors.Is(err, ErrShort) {
				t.Fatalf("%d of %d octets: error %v", length, len(packet), err)
			}
		}
		for extra := 1; extra <= 16; extra++ {
			want := ErrAlignment
			if extra%s.BlockSize() == 0 {
				want = ErrICV
			}
			if _, _, _, err := esp.Open(append(bytes.Clone(packet), make([]byte, extra)...), 0); !errors.Is(err, want) {
				t.Errorf("%d octets too many: error %v, expected %v", extra, err, want)
			}
		}
	})
}

// TestESPPadding seals plaintexts whose trailer is wrong: the ICV is good, so that the
// padding check is what refuses them.
func TestESPPadding(t *testing.T) {
	trailers := map[string]struct {
		tail []byte
		want error
	}{
		"longest that is right": {[]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 14, testNextHeader}, nil},
		"none":                  {[]byte{9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 0, testNextHeader}, nil},
		"all zero":              {[]byte{9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 0, 0, 2, testNextHeader}, ErrPadding},
		"starts at zero":        {[]byte{9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 0, 1, 2, testNextHeader}, ErrPadding},
		"last octet off":        {[]byte{9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 1, 2, 4, 3, testNextHeader}, ErrPadding},
		"one too long":          {[]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, testNextHeader}, ErrPadding},
		"far too long":          {[]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255, testNextHeader}, ErrPadding},
	}
	for _, s := range Suites() {
		esp := newTestESP(t, s)
		for name, c := range trailers {
			header := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, testSPI), 1)
			packet := esp.protection.seal(header, header, esp.DeriveIV(1), c.tail, nil)
			if _, _, _, err := esp.Open(packet, 0); !errors.Is(err, c.want) {
				t.Errorf("%s: padding %s: error %v, expected %v", s, name, err, c.want)
			}
		}
	}
}

// TestDeriveIV checks the IV rule that the fast path shares: the number itself for AEAD and
// counter mode, and for CBC what ciphering a zero IV and the nonce block gives.
func TestDeriveIV(t *testing.T) {
	for _, s := range Suites() {
		esp := newTestESP(t, s)
		seen := map[string]bool{}
		for _, seq := range []uint64{0, 1, 2, 1<<32 - 1, 1 << 32, 0x0102030405060708} {
			iv := esp.DeriveIV(seq)
			if len(iv) != s.IVLen() || seen[string(iv)] && s.IVLen() > 0 {
				t.Errorf("%s: IV %x for sequence number %d", s, iv, seq)
			}
			seen[string(iv)] = true
		}
		switch size := s.BlockSize(); {
		case s.Encr == EncrNull:
		case size == 4:
			same(t, s.String(), esp.DeriveIV(0x0102030405060708), []byte{1, 2, 3, 4, 5, 6, 7, 8})
		default:
			nonce := append(binary.BigEndian.AppendUint64(nil, 5), make([]byte, size-8)...)
			ciphered := esp.protection.seal(nil, nil, make([]byte, size), nonce, nil)
			same(t, s.String(), esp.DeriveIV(5), ciphered[size:2*size])
		}
	}
}

func TestESPErrors(t *testing.T) {
	gcm := Suite{Encr: EncrAESGCM16, KeyBits: 128}
	if _, err := NewESP(gcm, testSPI, NewSecret(make([]byte, 16))); err == nil {
		t.Error("key material without salt was taken")
	}
	if _, err := NewESP(Suite{Encr: EncrAESCBC, KeyBits: 128}, testSPI, NewSecret(make([]byte, 16))); err == nil {
		t.Error("AES-CBC without integrity was taken")
	}
	esp := newTestESP(t, gcm)
	if _, err := esp.Seal(1<<32, nil, nil, testNextHeader); err == nil {
		t.Error("a 33-bit sequence number was sealed without ESN")
	}
	if _, err := esp.Seal(1, make([]byte, 12), nil, testNextHeader); err == nil {
		t.Error("an IV of 12 octets was taken")
	}
}

// S-100: RFC 2451 section 2.3 wants 3DES keys refused that amount to single DES.
func TestCheckKeymat(t *testing.T) {
	s := Suite{Encr: Encr3DES, Integ: IntegHMACSHA1}
	keys := func(text string) Secret { return NewSecret(append([]byte(text), make([]byte, 20)...)) }
	for text, good := range map[string]bool{
		"firstkeysecond!!thirdkey":           true,
		"firstkeysecond!!firstkey":           true, // 3DES with two keys
		"firstkeyfirstkeythirdkey":           false,
		"firstkeysecond!!second!!":           false,
		"firstkeysecond!!rdbnoe  ":           false, // but for parity
		"firstkeysecond!!thirdkey, too long": false,
	} {
		if err := s.CheckKeymat(keys(text)); (err == nil) != good {
			t.Errorf("%q: error %v", text, err)
		}
		if _, err := NewESP(s, testSPI, keys(text)); (err == nil) != good {
			t.Errorf("ESP with %q: error %v", text, err)
		}
	}
	for _, s := range append(Suites(), AHSuites()...) {
		if s.Encr == Encr3DES {
			continue
		}
		if err := s.CheckKeymat(NewSecret(make([]byte, s.KeymatLen()))); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
}

func TestNewESPKeepsNoReferenceToKeymat(t *testing.T) {
	for _, s := range Suites() {
		keymat := testKeymat(s)
		esp, err := NewESP(s, testSPI, keymat)
		if err != nil {
			t.Fatal(err)
		}
		keymat.Wipe()
		want, err := newTestESP(t, s).Seal(1, nil, []byte("x"), testNextHeader)
		if err != nil {
			t.Fatal(err)
		}
		found, err := esp.Seal(1, nil, []byte("x"), testNextHeader)
		if err != nil {
			t.Fatal(err)
		}
		same(t, s.String(), found, want)
	}
}

// S-096: with the NULL cipher the payload is readable in the packet, and of a tampered
// packet no bit passes (TestESPTamper flips each).
func TestESPNullIsReadable(t *testing.T) {
	for _, s := range Suites() {
		if s.Encr != EncrNull && s.Encr != EncrNullAESGMAC {
			continue
		}
		packet, err := newTestESP(t, s).Seal(1, nil, []byte("readable by anybody!"), testNextHeader)
		if err != nil {
			t.Fatal(err)
		}
		if at := 8 + s.IVLen(); !bytes.HasPrefix(packet[at:], []byte("readable by anybody!\x01\x02\x02\x04")) {
			t.Errorf("%s: payload and trailer are %q", s, packet[at:])
		}
	}
}

// TestESPTunnelMode cuts off the padding behind an inner packet and knows dummy packets.
func TestESPTunnelMode(t *testing.T) {
	v4, v6 := ipv4Packet("\x01\x01\x01\x00", testPayload), ipv6Packet(58, "", testPayload)
	tfc := make([]byte, 700)
	lies := func(packet []byte, at int, octets ...byte) []byte {
		changed := bytes.Clone(packet)
		copy(changed[at:], octets)
		return changed
	}
	for name, c := range map[string]struct {
		payload []byte
		next    uint8
		inner   []byte
		want    error
	}{
		"IPv4":                         {v4, 4, v4, nil},
		"IPv6":                         {v6, 41, v6, nil},
		"IPv4 with TFC padding":        {slices.Concat(v4, tfc), 4, v4, nil},
		"IPv6 with TFC padding":        {slices.Concat(v6, tfc), 41, v6, nil},
		"IPv6 without payload":         {lies(v6, 4, 0, 0), 41, lies(v6, 4, 0, 0)[:40], nil},
		"dummy":                        {tfc, 59, tfc, nil},
		"dummy of nothing":             {nil, 59, nil, nil},
		"nothing":                      {nil, 4, nil, ErrInner},
		"half a header":                {v4[:19], 4, nil, ErrInner},
		"half an IPv6 header":          {v6[:39], 41, nil, ErrInner},
		"IPv6 as IPv4":                 {v6, 4, nil, ErrInner},
		"IPv4 as IPv6":                 {slices.Concat(v4, tfc), 41, nil, ErrInner},
		"longer than there is":         {v4[:len(v4)-1], 4, nil, ErrInner},
		"IPv6 longer than there is":    {v6[:len(v6)-1], 41, nil, ErrInner},
		"header length 16":             {lies(v4, 0, 0x44), 4, nil, ErrInner},
		"total length within a header": {lies(v4, 2, 0, 23), 4, nil, ErrInner},
		"transport protocol":           {v4, 6, nil, ErrInner},
		"nested ESP":                   {v4, 50, nil, ErrInner},
	} {
		s := Suite{Encr: EncrAESGCM16, KeyBits: 128}
		packet, err := newTestESP(t, s).Seal(1, nil, c.payload, c.next)
		if err != nil {
			t.Fatal(err)
		}
		inner, next, _, err := newTestESP(t, s, WithTunnelMode(true)).Open(packet, 0)
		if !errors.Is(err, c.want) || !bytes.Equal(inner, c.inner) || err == nil && next != c.next {
			t.Errorf("%s: %d octets, next header %d, error %v, expected %d octets, %v", name, len(inner), next, err, len(c.inner), c.want)
		}
		whole, _, _, err := newTestESP(t, s).Open(packet, 0)
		if err != nil || !bytes.Equal(whole, c.payload) {
			t.Errorf("%s in transport mode: %d octets, error %v", name, len(whole), err)
		}
	}
}

// FuzzESPOpen wants an error or a payload from whatever comes, never a panic.
func FuzzESPOpen(f *testing.F) {
	suites := Suites()
	for i, s := range suites {
		esp, err := NewESP(s, testSPI, testKeymat(s))
		if err != nil {
			f.Fatal(err)
		}
		packet, err := esp.Seal(1, nil, []byte("seed"), testNextHeader)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(i), i%2 == 1, packet)
	}
	f.Fuzz(func(t *testing.T, which uint8, tunnel bool, packet []byte) {
		s := suites[int(which)%len(suites)]
		esp, err := NewESP(s, testSPI, testKeymat(s), WithTunnelMode(tunnel))
		if err != nil {
			t.Fatal(err)
		}
		if payload, _, _, err := esp.Open(packet, 0); err != nil && payload != nil {
			t.Errorf("payload %x beside error %v", payload, err)
		}
		// As nobody finds an ICV by trying, the rest of Open sees the octets as plaintext.
		if len(packet) < espTrailerLen {
			return
		}
		payload, nextHeader, err := splitTrailer(packet)
		if err != nil {
			return
		}
		if inner, err := innerPacket(payload, nextHeader); err == nil && len(inner) > len(payload) {
			t.Errorf("inner packet of %d octets in a payload of %d", len(inner), len(payload))
		}
	})
}
