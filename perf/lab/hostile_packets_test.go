package lab_test

import (
	"net"
	"net/netip"
	"slices"

	"sallyport/perf/lab"
)

// Protocol numbers of IPv4 (IANA).
const (
	protocolICMP    = 1
	protocolTCP     = 6
	protocolUDP     = 17
	protocolDCCP    = 33
	protocolIPv6    = 41
	protocolRSVP    = 46
	protocolESP     = 50
	protocolSCTP    = 132
	protocolUDPLite = 136
)

// EtherTypes (IEEE).
const (
	etherIPv4 = 0x0800
	etherARP  = 0x0806
	etherVLAN = 0x8100
	etherIPv6 = 0x86dd
)

// Octets of headers.
const (
	etherLen = 14
	ipv4Len  = 20
	udpLen   = 8
)

// attackMarker is in the payload of whatever an attacker sends that has room for it.
const attackMarker = "sent-by-attacker"

var (
	attackerMAC  = net.HardwareAddr{2, 0, 0, 0, 0, 0x66}
	broadcastMAC = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
)

// ether is a frame of the attacker's.
func ether(to net.HardwareAddr, etherType uint16, payload []byte) []byte {
	return etherFrom(attackerMAC, to, etherType, payload)
}

func etherFrom(from, to net.HardwareAddr, etherType uint16, payload []byte) []byte {
	return slices.Concat(to, from, append16(nil, etherType), payload)
}

// ipv4 is a packet whose header is right, options included: they are padded to whole words.
func ipv4(source, destination netip.Addr, protocol byte, payload []byte, options ...byte) []byte {
	for len(options)%4 != 0 {
		options = append(options, 0)
	}
	s, d := source.As4(), destination.As4()
	h := make([]byte, ipv4Len, ipv4Len+len(options)+len(payload))
	h[0] = 0x40 | byte((ipv4Len+len(options))/4)
	put16(h[2:], uint16(ipv4Len+len(options)+len(payload)))
	h[4], h[5], h[8], h[9] = 0x12, 0x34, 64, protocol
	copy(h[12:], s[:])
	copy(h[16:], d[:])
	return seal(slices.Concat(h, options, payload))
}

// changed is a copy of a packet with a change to it and the header checksum made right again.
func changed(packet []byte, change func(p []byte)) []byte {
	p := slices.Clone(packet)
	change(p)
	return seal(p)
}

// seal makes the header checksum right, over as much of a header as there is.
func seal(p []byte) []byte {
	header := min(int(p[0]&15)*4, len(p))
	if header < ipv4Len {
		header = ipv4Len
	}
	p[10], p[11] = 0, 0
	put16(p[10:], ^lab.OnesSum(0, p[:header]))
	return p
}

// put16, append16 and get16 are a number in network order. (Package encoding/binary has the name of a helper of these tests.)
func put16(b []byte, n uint16)           { b[0], b[1] = byte(n>>8), byte(n) }
func append16(b []byte, n uint16) []byte { return append(b, byte(n>>8), byte(n)) }
func get16(b []byte) uint16              { return uint16(b[0])<<8 | uint16(b[1]) }

// udp is a datagram without checksum, which IPv4 allows (RFC 768).
func udp(from, to uint16, payload []byte) []byte {
	b := append16(nil, from)
	b = append16(b, to)
	b = append16(b, uint16(udpLen+len(payload)))
	return slices.Concat(b, []byte{0, 0}, payload)
}

// tcpSYN is the first segment of a connection, with the marker as data.
func tcpSYN() []byte {
	b := make([]byte, 20)
	put16(b, 40000)
	put16(b[2:], 80)
	b[12], b[13] = 5<<4, 2
	return append(b, attackMarker...)
}

// marked is a UDP datagram with the marker.
func marked() []byte { return udp(40000, 9, []byte(attackMarker)) }

// ip is an address in a test's table.
func ip(text string) netip.Addr { return netip.MustParseAddr(text) }

// each makes one frame of each item.
func each[T any](items []T, frame func(T) []byte) (frames [][]byte) {
	for _, item := range items {
		frames = append(frames, frame(item))
	}
	return frames
}

// count is the numbers from low to high, both included.
func count(low, high int) (numbers []int) {
	for n := low; n <= high; n++ {
		numbers = append(numbers, n)
	}
	return numbers
}
