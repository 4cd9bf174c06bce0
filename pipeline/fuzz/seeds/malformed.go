package main

import "slices"

var (
	ourHost  = [4]byte{10, 1, 0, 5}
	ourWAN   = [4]byte{192, 0, 2, 1}
	peerWAN  = [4]byte{192, 0, 2, 2}
	clearOne = [4]byte{198, 51, 100, 9}
)

// malformed has what no sound sender sends, and what is longer than a buffer.
func malformed() map[string][]byte {
	seeds := map[string][]byte{
		"malformed-ipv4": malformedIPv4(),
		"malformed-ipv6": malformedIPv6(),
		"large":          large(clearOne, false),
		"large-ipv6":     large(clearOne, true),
	}
	for name, protocol := range map[string]byte{"udp": 17, "esp": 50, "ah": 51} {
		seeds["wrong-form-"+name] = wrongForms(protocol)
	}
	for _, name := range []string{"gcm", "wide", "ah6", "after"} {
		to, _ := addresses(named(name))
		seeds["large-"+name] = large(to, false)
		seeds["large-ipv6-"+name] = large(to, true)
	}
	return seeds
}

func malformedIPv4() (b []byte) {
	segment := make([]byte, 40)
	for _, options := range [][]byte{{1, 1, 1, 0}, {7, 3, 4, 0}, {131, 3, 4, 0}, {148, 4, 0, 0, 1, 7, 3, 4}, {7, 9, 4, 0}, {7, 1, 0, 0}, {1, 1, 1, 7}} {
		b = append(b, frame(0, ipv4Packet(ourHost, clearOne, 6, 0, options, segment))...)
	}
	// cut for the link: one of its options is copied, one is not
	b = append(b, frame(0, ipv4Packet(ourHost, clearOne, 17, 0, []byte{1, 148, 4, 0, 0, 7, 3, 4}, make([]byte, 1480)))...)
	short := ipv4Packet(ourHost, clearOne, 6, 0, nil, segment)
	short[0] = 0x44
	b = append(b, frame(0, short)...)
	for n := range 4 {
		b = append(b, frame(0, ipv4Packet(ourHost, clearOne, 17, 0, nil, segment[:n]))...)
	}
	group := frame(0, ipv4Packet(ourHost, clearOne, 17, 0, nil, segment))
	group[5] = 1 // of the link
	b = append(b, group...)
	for _, protocol := range []byte{6, 17, 33, 132} { // tiny, and behind it what would be the rest of the header (RFC 1858, RFC 3128)
		b = append(b, frame(0, ipv4Packet(ourHost, clearOne, protocol, 0x2000, nil, segment[:8]))...)
		b = append(b, frame(0, ipv4Packet(ourHost, clearOne, protocol, 1, nil, segment))...)
	}
	b = append(b, frame(0, ipv4Packet([4]byte{127, 0, 0, 1}, clearOne, 17, 0x2000, nil, segment))...)
	return append(b, frame(0, ipv4Packet(ourHost, clearOne, 17, 0x1fff, nil, segment))...)
}

func malformedIPv6() (b []byte) {
	send := func(next byte, payload ...[]byte) {
		b = append(b, frame(0, ipv6Packet(ourHost, clearOne, next, slices.Concat(payload...)))...)
	}
	segment := make([]byte, 24)
	send(60, []byte{6, 0, 5, 5, 0, 0, 0, 0}, segment) // an option past its header
	send(60, []byte{6, 0, 0, 0, 0, 0, 0, 5}, segment)
	send(60, []byte{6, 0, 0, 0, 5, 2, 0, 0}, segment)
	send(60, []byte{6, 200, 1, 4, 0, 0, 0, 0}, segment)
	send(60, []byte{6, 0, 1}) // not even a header
	send(60, slices.Repeat([]byte{60, 0, 1, 4, 0, 0, 0, 0}, 100))
	send(0, []byte{6, 0, 0xc2, 4, 0, 1, 0, 0}, segment) // a jumbogram
	send(0)
	send(60, []byte{0, 0, 1, 4, 0, 0, 0, 0}, []byte{6, 0, 1, 4, 0, 0, 0, 0}, segment) // hop-by-hop options not in front
	send(43, []byte{6, 0, 0, 1, 0, 0, 0, 0}, segment)                                 // a station still to visit
	send(44, []byte{44, 0, 0, 0, 0, 0, 0, 1}, []byte{6, 0, 0, 0, 0, 0, 0, 1}, segment)
	for n := range 4 {
		send(17, segment[:n])
	}
	send(44, []byte{6, 0, 0, 1, 0, 0, 0, 1}, segment[:8]) // tiny
	send(44, []byte{60, 0, 0, 1, 0, 0, 0, 2}, []byte{6, 1, 1, 12, 0, 0, 0, 0})
	send(44, []byte{17, 0, 0xff, 0xf8, 0, 0, 0, 3}, segment)
	older := ipv6Packet(ourHost, clearOne, 17, segment)
	older[0] = 0x50
	return append(b, frame(0, older)...)
}

// wrongForms are ESP and AH by the SPIs of all SAs: also of those that are of the other protocol, in UDP or not, or half of a bundle.
func wrongForms(protocol byte) (b []byte) {
	for i := range tunnels {
		halves := []int{0}
		if tunnels[i] == "bundle" || tunnels[i] == "bundle6" {
			halves = []int{0, 64} // the AH around it
		}
		for _, half := range halves {
			spi := 0x10000 + 129*i + half
			body := slices.Concat([]byte{0, byte(spi >> 16)}, word(spi), []byte{0, 0, 0, 1}, make([]byte, 40))
			switch protocol {
			case 17:
				body = slices.Concat(word(4500), word(4500), word(8+len(body)), word(0), body)
			case 51:
				body = slices.Concat([]byte{4, 4, 0, 0}, body)
			}
			b = append(b, frame(1, ipv4Packet(peerWAN, ourWAN, protocol, 0, nil, body))...)
			if i%8 == 0 && protocol != 17 {
				b = append(b, frame(1, ipv6Packet(peerWAN, ourWAN, protocol, body))...)
			}
		}
	}
	return b
}

// large is what only the large buffers take, once put together.
func large(to [4]byte, wide bool) []byte {
	const half = 1400
	body := make([]byte, half)
	if wide {
		return slices.Concat(frame(0, ipv6Packet(ourHost, to, 44, fragment6(0, 1, body))), frame(0, ipv6Packet(ourHost, to, 44, fragment6(half, 0, body))))
	}
	return slices.Concat(frame(0, ipv4Packet(ourHost, to, 17, 0x2000, nil, body)), frame(0, ipv4Packet(ourHost, to, 17, half/8, nil, body)))
}
