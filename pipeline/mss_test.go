package pipeline

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"syscall"
	"testing"
)

// synWith is a TCP header with these options, its checksum over itself.
func synWith(options ...byte) []byte {
	tcp := make([]byte, 20, 60)
	binary.BigEndian.PutUint16(tcp, 1234)
	binary.BigEndian.PutUint16(tcp[2:], 443)
	tcp = append(tcp, options...)
	for len(tcp)%4 != 0 {
		tcp = append(tcp, 1)
	}
	tcp[12], tcp[13] = byte(len(tcp)/4)<<4, 2
	binary.BigEndian.PutUint16(tcp[16:], checksum(tcp))
	return tcp
}

func TestMSSLowered(t *testing.T) {
	for _, c := range []struct {
		name    string
		options []byte
		want    []byte // 1360 allowed
	}{
		{"above", []byte{2, 4, 0x05, 0xb4}, []byte{2, 4, 0x05, 0x50}},
		{"as large", []byte{2, 4, 0x05, 0x50}, []byte{2, 4, 0x05, 0x50}},
		{"below", []byte{2, 4, 0x02, 0x18}, []byte{2, 4, 0x02, 0x18}},
		{"at an odd byte", []byte{1, 2, 4, 0xff, 0xff}, []byte{1, 2, 4, 0x05, 0x50}},
		{"behind others", []byte{4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7, 2, 4, 0x23, 0x00}, []byte{4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7, 2, 4, 0x05, 0x50}},
		{"twice", []byte{2, 4, 0x05, 0xb4, 2, 4, 0x05, 0xb4}, []byte{2, 4, 0x05, 0x50, 2, 4, 0x05, 0x50}},
		{"behind the end", []byte{0, 2, 4, 0x05, 0xb4}, []byte{0, 2, 4, 0x05, 0xb4}},
		{"of another length", []byte{2, 3, 0xff, 2, 4, 0x05, 0xb4}, []byte{2, 3, 0xff, 2, 4, 0x05, 0x50}},
		{"without its value", []byte{1, 1, 2, 4}, []byte{1, 1, 2, 4}},
		{"behind a length of 0", []byte{8, 0, 2, 4, 0x05, 0xb4}, []byte{8, 0, 2, 4, 0x05, 0xb4}},
		{"behind a length of 1", []byte{8, 1, 2, 4, 0x05, 0xb4}, []byte{8, 1, 2, 4, 0x05, 0xb4}},
		{"behind a length past the end", []byte{8, 40, 2, 4, 0x05, 0xb4}, []byte{8, 40, 2, 4, 0x05, 0xb4}},
		{"none", nil, nil},
	} {
		tcp := synWith(c.options...)
		lowerMSS(tcp, 1360)
		if got := tcp[20:][:len(c.want)]; !bytes.Equal(got, c.want) {
			t.Errorf("MSS %s: options % x, want % x", c.name, got, c.want)
		}
		if checksum(tcp) != 0 {
			t.Errorf("MSS %s: checksum of % x is wrong", c.name, tcp)
		}
	}
}

// Only a SYN promises a segment size.
func TestMSSOfOtherSegments(t *testing.T) {
	for flags := range 256 {
		tcp := synWith(2, 4, 0x05, 0xb4)
		tcp[13] = byte(flags)
		before := append([]byte(nil), tcp...)
		lowerMSS(tcp, 1360)
		if changed := !bytes.Equal(tcp, before); changed != (flags&2 != 0) {
			t.Errorf("flags %#02x: changed %t", flags, changed)
		}
	}
}

// Whatever a segment says of its own length, nothing beyond it is read: it ends where the memory does. What becomes of it is
// what the reference makes of it.
func TestMSSMalformed(t *testing.T) {
	page := syscall.Getpagesize()
	memory, err := syscall.Mmap(-1, 0, 2*page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Munmap(memory); err != nil {
			t.Error(err)
		}
	}()
	if err := syscall.Mprotect(memory[page:], syscall.PROT_NONE); err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 200_000 {
		tcp := memory[page-random.IntN(61) : page]
		for i := range tcp {
			tcp[i] = byte(random.Uint32())
			if i >= 20 && random.IntN(2) == 0 { // kinds and lengths that are met
				tcp[i] = byte(random.IntN(6))
			}
		}
		if len(tcp) > 13 {
			tcp[13] |= 2
			tcp[12] = byte(random.IntN(len(tcp)/4+2)) << 4
		}
		mss := uint16(1 + random.IntN(65535))
		want := append(packetOfLength(lanHost, farHost, protocolTCP, 20)[:20:20], tcp...)
		binary.BigEndian.PutUint16(want[2:], uint16(len(want)))
		want = clampMSS(want, mss)[20:]
		given := append([]byte(nil), tcp...)
		lowerMSS(tcp, mss)
		if !bytes.Equal(tcp, want) {
			t.Fatalf("% x lowered to %d: % x, want % x", given, mss, tcp, want)
		}
	}
}
