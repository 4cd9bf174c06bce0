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
	AH        int // IP protocol 51
	Bundled   int // of AH: with ESP behind it (RFC 4301 section 4.5)
	IKE       int // UDP 500, or UDP 4500 with the non-ESP marker (RFC 3948 section 2.2)
	Keepalive int // UDP 4500, one octet 0xff (RFC 3948 section 2.3)
	ARP       int
	Neighbour int // ICMPv6 between neighbours on the link (RFC 4861), and listeners' reports
	Fragments int // of IP packets, other than the first ones
	Clear     int // with an address of a LAN in it and neither ESP nor AH around: none may ever be seen
	Other     int
	Marked    int    // frames of any kind that hold the marker
	Octets    uint64 // of all frames, on the wire
	Longest   int    // frame, in octets
	Lost      int    // frames the capture could not keep up with

	IKEPorts map[uint16]int // IKE by its port of the gateways: 500 or 4500
	SPIs     map[uint32]int // frames by SPI of ESP in either form and of AH; a bundle counts at both
	Clears   []string       // descriptions of the first clear packets
}

// maxClears bounds the descriptions of clear packets.
const maxClears = 8

// clearRule tells a packet that belongs inside a tunnel: in IPv4 one with an address of a LAN, in IPv6 one with an address
// beyond the networks between the gateways.
type clearRule struct{ a, b netip.Prefix }

// applies looks at a packet's addresses.
func (r clearRule) applies(source, destination netip.Addr) bool {
	if source.Is6() {
		return !ofLink(destination) && (!ofLink(source) && !wanNetworks6.Contains(source) || !wanNetworks6.Contains(destination))
	}
	return r.a.Contains(source) || r.b.Contains(source) || r.a.Contains(destination) || r.b.Contains(destination)
}

// ofLink tells an IPv6 address that means nothing beyond one link.
func ofLink(a netip.Addr) bool { return a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified() }

// Protected is how many frames carried ESP in either form, or AH.
func (t Tally) Protected() int { return t.ESP + t.ESPinUDP + t.AH }

// clone copies t, so that a capture that goes on does not change it.
func (t Tally) clone() Tally {
	t.SPIs = maps.Clone(t.SPIs)
	t.IKEPorts = maps.Clone(t.IKEPorts)
	t.Clears = append([]string(nil), t.Clears...)
	return t
}

// String lists what there is, for tables and test failures.
func (t Tally) String() string {
	parts := []string{}
	for _, row := range []struct {
		name  string
		count int
	}{{"ESP", t.ESP}, {"ESP in UDP", t.ESPinUDP}, {"AH", t.AH}, {"of it with ESP", t.Bundled}, {"IKE", t.IKE}, {"keepalive", t.Keepalive},
		{"ARP", t.ARP}, {"neighbours", t.Neighbour}, {"fragments", t.Fragments}, {"other", t.Other}, {"clear", t.Clear}, {"marked", t.Marked}, {"lost", t.Lost}} {
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
	t.Longest = max(t.Longest, length)
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
		t.addIPv6(frame[ethernetHeader:], rule)
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
	clear := rule.applies(source, destination)
	if offset := binary.BigEndian.Uint16(packet[6:]) & 0x1fff; offset > 0 {
		t.addFragment(clear && packet[9] != protocolESP && packet[9] != protocolAH, source, destination)
		return
	}
	t.addPayload(packet[9], packet[int(packet[0]&0xf)*4:], source, destination, clear)
}

// addIPv6 counts an IPv6 packet by what it carries.
func (t *Tally) addIPv6(packet []byte, rule clearRule) {
	if len(packet) < ipv6Header {
		t.Other++
		return
	}
	source, destination := netip.AddrFrom16([16]byte(packet[8:24])), netip.AddrFrom16([16]byte(packet[24:40]))
	clear := rule.applies(source, destination)
	protocol, payload := packet[6], packet[ipv6Header:]
	switch protocol {
	case hopByHop: // of a listener's report (RFC 3810 section 5)
		if destination.IsMulticast() {
			t.Neighbour++
			return
		}
	case fragmentHeader:
		if len(payload) < fragmentHeaderLen {
			t.Other++
			return
		}
		protocol = payload[0]
		if binary.BigEndian.Uint16(payload[2:])&^7 > 0 {
			t.addFragment(clear && protocol != protocolESP && protocol != protocolAH, source, destination)
			return
		}
		payload = payload[fragmentHeaderLen:]
	case protocolICMPv6:
		if len(payload) > 0 && payload[0] >= 133 && payload[0] <= 137 && !clear { // RFC 4861 section 4
			t.Neighbour++
			return
		}
	}
	t.addPayload(protocol, payload, source, destination, clear)
}

// Numbers of IP protocols, which are those of IPv6 next headers too.
const (
	hopByHop       = 0
	protocolUDP    = 17
	fragmentHeader = 44
	protocolESP    = 50
	protocolAH     = 51
	protocolICMPv6 = 58
)

// fragmentHeaderLen is the length of the IPv6 fragment header, in octets.
const fragmentHeaderLen = 8

// addPayload counts what an IP packet carries. Clear says that its addresses are those of what belongs inside a tunnel: that
// is right for hosts that ESP or AH protect in transport mode, and for nothing else.
func (t *Tally) addPayload(protocol byte, payload []byte, source, destination netip.Addr, clear bool) {
	switch {
	case protocol == protocolESP && len(payload) >= 4:
		t.ESP++
		t.addSPI(payload)
	case protocol == protocolAH && len(payload) >= 8:
		t.addAH(payload)
	case clear:
		t.addClear(source, destination, fmt.Sprint("protocol ", protocol))
	case protocol == protocolUDP && len(payload) >= udpHeader:
		t.addUDP(payload)
	default:
		t.Other++
	}
}

// addAH counts AH (RFC 4302 section 2): next header, length in units of 4 octets less 2, SPI.
func (t *Tally) addAH(header []byte) {
	t.AH++
	t.addSPI(header[4:])
	length := (int(header[1]) + 2) * 4
	if header[0] == protocolESP && len(header) >= length+4 {
		t.Bundled++
		t.addSPI(header[length:])
	}
}

// addFragment counts a fragment whose headers are in another one.
func (t *Tally) addFragment(clear bool, source, destination netip.Addr) {
	t.Fragments++
	if clear {
		t.addClear(source, destination, "fragment")
	}
}

// addClear counts and describes a packet that must not be there.
func (t *Tally) addClear(source, destination netip.Addr, what string) {
	t.Clear++
	if len(t.Clears) < maxClears {
		t.Clears = append(t.Clears, fmt.Sprintf("clear %s -> %s %s", source, destination, what))
	}
}

// addUDP counts a UDP datagram between the gateways. Behind a NAT one of the ports is of the NAT's choice.
func (t *Tally) addUDP(datagram []byte) {
	from, to := binary.BigEndian.Uint16(datagram), binary.BigEndian.Uint16(datagram[2:])
	payload := datagram[udpHeader:]
	switch {
	case from == 500 || to == 500:
		t.addIKE(500)
	case from != 4500 && to != 4500:
		t.Other++
	case len(payload) == 1 && payload[0] == 0xff || binary.BigEndian.Uint16(datagram[4:]) == udpHeader+1:
		t.Keepalive++
	case len(payload) < 4:
		t.Other++
	case binary.BigEndian.Uint32(payload) == 0:
		t.addIKE(4500)
	default:
		t.ESPinUDP++
		t.addSPI(payload)
	}
}

func (t *Tally) addIKE(port uint16) {
	t.IKE++
	if t.IKEPorts == nil {
		t.IKEPorts = map[uint16]int{}
	}
	t.IKEPorts[port]++
}

// addSPI counts an SPI.
func (t *Tally) addSPI(octets []byte) {
	if t.SPIs == nil {
		t.SPIs = map[uint32]int{}
	}
	t.SPIs[binary.BigEndian.Uint32(octets)]++
}
