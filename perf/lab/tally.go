package lab

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"strings"
)

// Tally is what one site sent towards the other, by kind of frame.
type Tally struct {
	ESP       int // IP protocol 50
	ESPinUDP  int // UDP 4500 with an SPI (RFC 3948 section 2.1)
	IKE       int // UDP 500, or UDP 4500 with the non-ESP marker (RFC 3948 section 2.2)
	Keepalive int // UDP 4500, one octet 0xff (RFC 3948 section 2.3)
	ARP       int
	Clear     int // a packet with an address of a LAN in it, or IPv6 for beyond the link: none may ever be seen
	Other     int
	Marked    int    // frames of any kind that hold the marker
	Octets    uint64 // of all frames, on the wire
	Lost      int    // frames the capture could not keep up with

	SPIs   map[uint32]int // frames by SPI of ESP, either form
	Clears []string       // descriptions of the first clear packets
}

// maxClears bounds the descriptions of clear packets.
const maxClears = 8

// clearRule tells a packet between the LANs.
type clearRule struct{ a, b netip.Prefix }

// between reports whether a packet with these addresses belongs inside the tunnel.
func (r clearRule) between(source, destination netip.Addr) bool {
	return r.a.Contains(source) || r.b.Contains(source) || r.a.Contains(destination) || r.b.Contains(destination)
}

// Protected is how many frames carried ESP in either form.
func (t Tally) Protected() int { return t.ESP + t.ESPinUDP }

// clone copies t, so that a capture that goes on does not change it.
func (t Tally) clone() Tally {
	t.SPIs = maps.Clone(t.SPIs)
	t.Clears = append([]string(nil), t.Clears...)
	return t
}

// String lists what there is, for tables and test failures.
func (t Tally) String() string {
	parts := []string{}
	for _, row := range []struct {
		name  string
		count int
	}{{"ESP", t.ESP}, {"ESP in UDP", t.ESPinUDP}, {"IKE", t.IKE}, {"keepalive", t.Keepalive}, {"ARP", t.ARP},
		{"other", t.Other}, {"clear", t.Clear}, {"marked", t.Marked}, {"lost", t.Lost}} {
		if row.count > 0 || row.name == "clear" {
			parts = append(parts, fmt.Sprintf("%s %d", row.name, row.count))
		}
	}
	return strings.Join(append(parts, t.Clears...), ", ")
}

// Header sizes and offsets, in octets.
const (
	ethernetHeader = 14
	ipv4MinHeader  = 20
	ipv6Header     = 40
	udpHeader      = 8
)

// add counts one frame, of which only the first octets may be there.
func (t *Tally) add(frame []byte, length int, rule clearRule, marker []byte) {
	t.Octets += uint64(length)
	if len(marker) > 0 && bytes.Contains(frame, marker) {
		t.Marked++
	}
	if len(frame) < ethernetHeader {
		t.Other++
		return
	}
	switch binary.BigEndian.Uint16(frame[12:]) {
	case 0x0806:
		t.ARP++
	case 0x0800:
		t.addIPv4(frame[ethernetHeader:], rule)
	case 0x86dd:
		t.addIPv6(frame[ethernetHeader:])
	default:
		t.Other++
	}
}

// addIPv4 counts an IPv4 packet by what it carries.
func (t *Tally) addIPv4(packet []byte, rule clearRule) {
	if len(packet) < ipv4MinHeader || len(packet) < int(packet[0]&0xf)*4 {
		t.Other++
		return
	}
	source := netip.AddrFrom4([4]byte(packet[12:16]))
	destination := netip.AddrFrom4([4]byte(packet[16:20]))
	protocol, payload := packet[9], packet[int(packet[0]&0xf)*4:]
	switch {
	case rule.between(source, destination):
		t.addClear("clear %s -> %s protocol %d", source, destination, protocol)
	case protocol == 50 && len(payload) >= 4:
		t.ESP++
		t.addSPI(payload)
	case protocol == 17 && len(payload) >= udpHeader:
		t.addUDP(payload)
	default:
		t.Other++
	}
}

// addIPv6 counts an IPv6 packet. What a kernel says to its link (neighbour discovery, RFC 4861) is nobody's traffic; whatever
// else there is belongs inside a tunnel, of which no end in a lab has an IPv6 address.
func (t *Tally) addIPv6(packet []byte) {
	if len(packet) < ipv6Header {
		t.Other++
		return
	}
	source, destination := netip.AddrFrom16([16]byte(packet[8:24])), netip.AddrFrom16([16]byte(packet[24:40]))
	if destination.IsMulticast() || destination.IsLinkLocalUnicast() {
		t.Other++
		return
	}
	t.addClear("clear %s -> %s next header %d", source, destination, packet[6])
}

// addClear counts and describes a packet that must not be there.
func (t *Tally) addClear(format string, args ...any) {
	t.Clear++
	if len(t.Clears) < maxClears {
		t.Clears = append(t.Clears, fmt.Sprintf(format, args...))
	}
}

// addUDP counts a UDP datagram between the gateways.
func (t *Tally) addUDP(datagram []byte) {
	from, to := binary.BigEndian.Uint16(datagram), binary.BigEndian.Uint16(datagram[2:])
	payload := datagram[udpHeader:]
	switch {
	case from == 500 || to == 500:
		t.IKE++
	case from != 4500 && to != 4500:
		t.Other++
	case len(payload) == 1 && payload[0] == 0xff || binary.BigEndian.Uint16(datagram[4:]) == udpHeader+1:
		t.Keepalive++
	case len(payload) < 4:
		t.Other++
	case binary.BigEndian.Uint32(payload) == 0:
		t.IKE++
	default:
		t.ESPinUDP++
		t.addSPI(payload)
	}
}

// addSPI counts the SPI that an ESP header begins with (RFC 4303 section 2.1).
func (t *Tally) addSPI(header []byte) {
	if t.SPIs == nil {
		t.SPIs = map[uint32]int{}
	}
	t.SPIs[binary.BigEndian.Uint32(header)]++
}
