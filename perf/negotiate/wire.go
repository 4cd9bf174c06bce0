package negotiate

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"time"

	"sallyport/perf/lab"
)

// wire is the link to the gateway's unprotected port, seen from the router that all peers are behind: Ethernet, ARP for the router, IPv4 and UDP.
type wire struct {
	port    *lab.RawPort
	gateway net.HardwareAddr // not known until it has been asked for
}

// Where the gateway and the router are; peers are in the network beyond.
var (
	gatewayAddress = netip.MustParseAddr("192.0.2.1")
	routerAddress  = netip.MustParseAddr("192.0.2.2")
	routerMAC      = net.HardwareAddr{2, 0, 0, 0, 9, 1}
)

const (
	ethernet  = 14 // octets of headers
	ipHeader  = 20
	udpHeader = 8

	etherIPv4   = 0x0800
	etherARP    = 0x0806
	protocolUDP = 17
	portIKE     = 500

	arpLength  = 28 // octets of a message for IPv4 on Ethernet (RFC 826)
	arpRequest = 1
	arpReply   = 2
)

// nonESPMarker stands before IKE on any port but 500 (RFC 3948 2.2).
var nonESPMarker = make([]byte, 4)

// find asks for the gateway's hardware address until it answers.
func (w *wire) find(ctx context.Context) error {
	return lab.Until(ctx, nil, "the gateway to answer ARP", startLimit, func() (bool, error) {
		if err := w.port.Send(arp(arpRequest, bytes.Repeat([]byte{0xff}, 6), gatewayAddress)); err != nil {
			return false, err
		}
		_, err := w.receive()
		return w.gateway != nil, err
	})
}

// datagram is one of UDP between a peer and the gateway.
type datagram struct {
	from, to netip.AddrPort
	payload  []byte // without the non-ESP marker
}

// receive has the datagrams that have come, and answers ARP.
func (w *wire) receive() (list []datagram, err error) {
	frames, err := w.port.Receive()
	if err != nil {
		return nil, err
	}
	for _, frame := range frames {
		if len(frame) < ethernet+arpLength {
			continue
		}
		switch body := frame[ethernet:]; binary.BigEndian.Uint16(frame[12:]) {
		case etherARP:
			if err := w.arp(body); err != nil {
				return nil, err
			}
		case etherIPv4:
			if d, ok := readDatagram(body); ok {
				list = append(list, d)
			}
		}
	}
	return list, nil
}

// arp learns where the gateway is, and tells it where the router is.
func (w *wire) arp(message []byte) error {
	sender := netip.AddrFrom4([4]byte(message[14:]))
	if sender != gatewayAddress {
		return nil
	}
	w.gateway = bytes.Clone(message[8:14])
	if binary.BigEndian.Uint16(message[6:]) != arpRequest || netip.AddrFrom4([4]byte(message[24:])) != routerAddress {
		return nil
	}
	return w.port.Send(arp(arpReply, w.gateway, gatewayAddress))
}

// arp is a frame of the router's.
func arp(operation uint16, to net.HardwareAddr, address netip.Addr) []byte {
	frame := ether(to, etherARP, arpLength)
	body := frame[ethernet:]
	copy(body, []byte{0, 1, 8, 0, 6, 4}) // Ethernet, IPv4
	binary.BigEndian.PutUint16(body[6:], operation)
	copy(body[8:], routerMAC)
	copy(body[14:], routerAddress.AsSlice())
	if operation == arpReply {
		copy(body[18:], to)
	}
	copy(body[24:], address.AsSlice())
	return frame
}

// ether is a frame with room for a body of so many octets.
func ether(to net.HardwareAddr, kind uint16, length int) []byte {
	frame := make([]byte, ethernet+length)
	copy(frame, to)
	copy(frame[6:], routerMAC)
	binary.BigEndian.PutUint16(frame[12:], kind)
	return frame
}

// readDatagram takes an IPv4 packet apart. Fragments are not put together: what IKE sends does not need them.
func readDatagram(packet []byte) (d datagram, ok bool) {
	length := int(binary.BigEndian.Uint16(packet[2:]))
	if packet[0] != 0x45 || packet[9] != protocolUDP || length < ipHeader+udpHeader || length > len(packet) {
		return d, false
	}
	udp := packet[ipHeader:length]
	d.from = netip.AddrPortFrom(netip.AddrFrom4([4]byte(packet[12:])), binary.BigEndian.Uint16(udp))
	d.to = netip.AddrPortFrom(netip.AddrFrom4([4]byte(packet[16:])), binary.BigEndian.Uint16(udp[2:]))
	d.payload = udp[udpHeader:]
	if d.from.Port() != portIKE {
		d.payload, ok = bytes.CutPrefix(d.payload, nonESPMarker)
		return d, ok
	}
	return d, true
}

// send sends a datagram; UDP needs no checksum over IPv4 (RFC 768).
func (w *wire) send(d datagram, marked bool) error {
	var marker []byte
	if marked {
		marker = nonESPMarker
	}
	length := ipHeader + udpHeader + len(marker) + len(d.payload)
	frame := ether(w.gateway, etherIPv4, length)
	ip := frame[ethernet:]
	ip[0], ip[8], ip[9] = 0x45, 64, protocolUDP
	binary.BigEndian.PutUint16(ip[2:], uint16(length))
	copy(ip[12:], d.from.Addr().AsSlice())
	copy(ip[16:], d.to.Addr().AsSlice())
	binary.BigEndian.PutUint16(ip[10:], checksum(ip[:ipHeader]))
	udp := ip[ipHeader:]
	binary.BigEndian.PutUint16(udp, d.from.Port())
	binary.BigEndian.PutUint16(udp[2:], d.to.Port())
	binary.BigEndian.PutUint16(udp[4:], uint16(length-ipHeader))
	copy(udp[udpHeader+copy(udp[udpHeader:], marker):], d.payload)
	return w.port.Send(frame)
}

// wait sleeps until something comes, for at most so long.
func (w *wire) wait(limit time.Duration) error { return w.port.Wait(limit) }

func checksum(header []byte) uint16 {
	var sum uint32
	for i := 0; i < len(header); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(header[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
