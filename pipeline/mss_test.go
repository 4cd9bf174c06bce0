package pipeline

import (
	"bytes"
	"encoding/binary"
	"fmt"
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

// syn is a SYN between the sites, or its answer, that announces a segment size, its checksum right.
func syn(version int, out, answer bool, mss uint16) []byte {
	segment := synWith(2, 4, byte(mss>>8), byte(mss), 4, 2, 1, 3, 3, 7)
	if answer {
		segment[13] |= 0x10
	}
	packet := inner(version, ipv6HeaderLen+len(segment), out)
	at := ipv6HeaderLen
	if version == 4 {
		at = ipv4HeaderLen
		packet = packet[:at+len(segment)]
		packet[9] = protocolTCP
		binary.BigEndian.PutUint16(packet[2:], uint16(len(packet)))
		setHeaderChecksum(packet)
	} else {
		packet[6] = protocolTCP
	}
	copy(packet[at:], segment)
	binary.BigEndian.PutUint16(packet[at+16:], 0)
	binary.BigEndian.PutUint16(packet[at+16:], tcpSum(packet, at))
	return packet
}

func tcpSum(packet []byte, at int) uint16 {
	if isIPv6(packet) {
		return checksum6(packet, protocolTCP, packet[at:])
	}
	return fold(pseudoSum(packet, len(packet)-at) + sum(0, packet[at:]))
}

// announced is the segment size in a SYN, whose checksum must be right.
func announced(t *testing.T, packet []byte) int {
	t.Helper()
	at := headersOf(packet)
	if c := tcpSum(packet, at); c != 0 {
		t.Fatalf("the checksum of % x is wrong by %#x", packet, c)
	}
	return int(binary.BigEndian.Uint16(packet[at+22:]))
}

// mssForms are SAs of which each makes another size fit, and what fits into 1,500 bytes.
var mssForms = map[form]int{
	{suite: "aes128gcm16"}:                                  1446,
	{suite: "aes128gcm16", udp: true}:                       1438,
	{suite: "aes128-sha256"}:                                1438,
	{suite: "aes128gcm16", outer6: true}:                    1426,
	{suite: "aes128gcm16", transport: true}:                 1466,
	{suite: "aes256-sha512", transport: true, outer6: true}: 1430,
	{ah: "sha256"}:                                          1452,
	{ah: "sha256", outer6: true}:                            1428,
	{ah: "sha256", transport: true}:                         1472,
	{suite: "aes128gcm16", ah: "sha256"}:                    1418,
	{suite: "aes128-sha256", ah: "sha1", outer6: true}:      1390,
}

// A SYN and its answer announce, in either direction of a tunnel, at most what fits: by itself what the SA can carry in one packet over the path that it has, or what is configured.
// The checksum stays right, and segments that announce less stay as they are.
func TestMSSClamp(t *testing.T) {
	for f, fits := range mssForms {
		for _, configured := range []int{0, MSSClampAutomatic, 536, 1400} {
			t.Run(fmt.Sprintf("%s,clamp=%d", f, configured), func(t *testing.T) {
				r := newRig6(t, rigOptions{rules: []rule{siteRule, siteRule6}})
				out, in := r.formed(f, false), r.formed(f, true)
				out.Encapsulation.MSSClamp, in.Encapsulation.MSSClamp = configured, configured
				far, near := r.outbound(out), r.inbound(in)
				for _, version := range f.versions() {
					limit := map[int]int{0: 65535, MSSClampAutomatic: fits - tcpHeaderLen - map[int]int{4: ipv4HeaderLen, 6: ipv6HeaderLen}[version]}[configured]
					if configured > 0 {
						limit = configured
					}
					for _, says := range []uint16{1, 500, 1300, 1460, 8960, 65535} {
						for _, answer := range []bool{false, true} {
							want := min(int(says), limit)
							sent := r.wantForward(lan, fromLAN(syn(version, true, answer, says)), wan)[etherHeaderLen:]
							got, reason := far.unwrap(sent)
							if reason != "" || announced(t, got) != want {
								t.Fatalf("IPv%d, outbound: %d became % x (%s), want %d", version, says, got, reason, want)
							}
							near.sequence++
							got = r.wantForward(wan, fromWAN(near.encapsulate(syn(version, false, answer, says), near.sequence)), lan)[etherHeaderLen:]
							if announced(t, got) != want {
								t.Fatalf("IPv%d, inbound: %d became % x, want %d", version, says, got, want)
							}
						}
					}
				}
			})
		}
	}
}

// Connections that begin after a router's word fit the smaller path.
func TestMSSFollowsThePath(t *testing.T) {
	r, child, outer := pathRig(t, rigOptions{}, func(c *ChildSA) { c.Encapsulation.MSSClamp = MSSClampAutomatic })
	far := r.newReferenceIn(child)
	in := r.child("site", "aes128gcm16", true)
	in.Encapsulation.MSSClamp = MSSClampAutomatic
	near := r.inbound(in)
	r.tell(fragmentationWord(t, outer, 1000))
	r.ref.ports[wan].MTU = 1000
	const want = 946 - 40 // 946 bytes inside are 1,000 outside
	got, reason := far.unwrap(r.wantForward(lan, fromLAN(syn(4, true, false, 1460)), wan)[etherHeaderLen:])
	if reason != "" || announced(t, got) != want {
		t.Errorf("outbound: % x (%s), want %d", got, reason, want)
	}
	near.sequence++
	if got := r.wantForward(wan, fromWAN(near.encapsulate(syn(4, false, true, 1460), near.sequence)), lan)[etherHeaderLen:]; announced(t, got) != want {
		t.Errorf("inbound: % x, want %d", got, want)
	}
}

// What came in by a tunnel that has no SA to answer by keeps its segment size: nobody knows what fits.
func TestMSSWithoutOutbound(t *testing.T) {
	r := newRig(t, rigOptions{})
	in := r.child("site", "aes128gcm16", true)
	in.Encapsulation.MSSClamp = MSSClampAutomatic
	near := r.inbound(in)
	if got := r.wantForward(wan, fromWAN(near.encapsulate(syn(4, false, false, 8960), 1)), lan)[etherHeaderLen:]; announced(t, got) != 8960 {
		t.Errorf("% x", got)
	}
}
