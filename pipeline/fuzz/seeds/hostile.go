package main

import "slices"

// ---- what is forged under ESP and AH ----

func addresses(t tunnel) (from, to [4]byte) {
	return [4]byte{10, 16 + byte(t), 0, 5}, [4]byte{10, 1, 0, 5}
}

// ipv4 is a packet of the peer's host, with the fragment field `field`.
func ipv4(t tunnel, protocol byte, field int, payload []byte) []byte {
	from, to := addresses(t)
	return ipv4Packet(from, to, protocol, field, nil, payload)
}

func ipv6(t tunnel, next byte, payload []byte) []byte {
	from, to := addresses(t)
	return ipv6Packet(from, to, next, payload)
}

func fragment6(offset, flags int, payload []byte) []byte {
	return slices.Concat([]byte{17, 0}, word(offset|flags), []byte{0, 0, 0, 9}, payload)
}

// trailed is contents with the padding that makes all of whole blocks, less the last two bytes, and its length.
func trailed(t tunnel, contents []byte) ([]byte, byte) {
	pad := byte(0)
	for ; !t.ah() && (len(contents)+int(pad)+2)%t.block() != 0; pad++ {
	}
	contents = slices.Clip(contents)
	for i := range pad {
		contents = append(contents, i+1)
	}
	return contents, pad
}

func forge(t tunnel) (b []byte) {
	datagram := append([]byte{3, 232, 7, 208, 0, 48, 0, 0}, make([]byte, 40)...)
	sequence := byte(0)
	add := func(shape, next byte, contents []byte, after ...byte) {
		sequence++
		contents, pad := trailed(t, contents)
		b = append(append(b, forged(t, shape, sequence, pad, next, contents)...), after...)
	}
	add(0, 4, ipv4(t, 17, 0, datagram))
	add(1|withOptions, 41, ipv6(t, 17, datagram))
	add(0, 17, datagram) // transport mode
	add(moved|summed, 4, ipv4(t, 17, 0, datagram))
	add(padded, 4, ipv4(t, 17, 0, datagram))
	add(0, 59, datagram)
	add(0, 4, nil)
	add(damaged, 4, ipv4(t, 17, 0, datagram), 0, 30, 1)
	// inner fragments, whole and overlapping
	add(0, 4, ipv4(t, 17, 0x2000, datagram))
	add(3, 4, ipv4(t, 17, 6, datagram))
	add(0, 41, ipv6(t, 44, fragment6(0, 1, datagram)))
	add(0, 41, ipv6(t, 44, fragment6(48, 0, datagram)))
	add(0, 4, ipv4(t, 17, 0x2000, datagram))
	add(0, 4, ipv4(t, 17, 3, datagram))
	add(0, 4, ipv4(t, 17, 0x2000|100, datagram))
	// within fragments; ESP once more, AH once more
	pieces := cuts([3]int{0, 3, more}, [3]int{3, 200, 0})
	add(inFragments, 4, ipv4(t, 17, 0, datagram), pieces...)
	add(inFragments|withOptions|2, 4, ipv4(t, 17, 0, datagram), pieces...)
	// whole, but for a fragment header whose reserved byte is no length (RFC 6946)
	pieces = cuts([3]int{0, 255, reserved})
	add(inFragments, 41, ipv6(t, 17, datagram), pieces...)
	add(inFragments|withOptions, 17, datagram, pieces...)
	pieces = cuts([3]int{0, 255, reserved | behind})
	add(inFragments|withOptions, 17, datagram, pieces...)
	add(0, 4, ipv4(t, 50, 0, datagram))
	add(0, 41, ipv6(t, 51, datagram))
	// padding past the packet; AH's length off, its reserved bytes set
	for _, pad := range []byte{255, 100, 7, 6, 4} {
		sequence++
		b = append(b, forged(t, 0, sequence, pad, 4, ipv4(t, 17, 0, datagram))...)
	}
	return b
}
