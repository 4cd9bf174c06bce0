package lab

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"time"
)

// Router is the link to a gateway's unprotected port, seen from the router that all of its peers are behind: Ethernet, ARP for the router, IPv4 and UDP.
type Router struct {
	Port             *RawPort
	Gateway, Address netip.Addr       // of the gateway's port, and of the router's
	GatewayMAC       net.HardwareAddr // not known until it has been asked for

	Usurped int // messages of ARP by somebody else who has the router's address
	Rivals  int // and by a second MAC address for the gateway's
}

// RouterMAC is the hardware address of a Router.
var RouterMAC = net.HardwareAddr{2, 0, 0, 0, 9, 1}

// Datagram is one of UDP between a peer and the gateway.
type Datagram struct {
	From, To netip.AddrPort
	Payload  []byte // without the non-ESP marker
}

const (
	ethernet = 14 // octets of headers
	ipHeader = 20

	etherIPv4 = 0x0800
	etherARP  = 0x0806
	portIKE   = 500

	arpLength  = 28 // octets of a message for IPv4 on Ethernet (RFC 826)
	arpRequest = 1
	arpReply   = 2
)

// nonESPMarker stands before IKE on any port but 500 (RFC 3948 2.2).
var nonESPMarker = make([]byte, 4)

// Find asks for the gateway's hardware address until it answers.
func (r *Router) Find(ctx context.Context, limit time.Duration) error {
	return Until(ctx, nil, "the gateway to answer ARP", limit, func() (bool, error) {
		if err := r.Port.Send(r.arp(arpRequest, bytes.Repeat([]byte{0xff}, 6))); err != nil {
			return false, err
		}
		_, err := r.Receive()
		return r.GatewayMAC != nil, err
	})
}

// Receive has the datagrams that have come, and answers ARP.
func (r *Router) Receive() (list []Datagram, err error) {
	frames, err := r.Port.Receive()
	if err != nil {
		return nil, err
	}
	for _, frame := range frames {
		if len(frame) < ethernet+arpLength {
			continue
		}
		switch body := frame[ethernet:]; binary.BigEndian.Uint16(frame[12:]) {
		case etherARP:
			if err := r.learn(body); err != nil {
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

// learn notes where the gateway is, and tells it where the router is.
func (r *Router) learn(message []byte) error {
	sender, from := netip.AddrFrom4([4]byte(message[14:])), net.HardwareAddr(bytes.Clone(message[8:14]))
	if sender == r.Address && !bytes.Equal(from, RouterMAC) {
		r.Usurped++
	}
	if sender != r.Gateway {
		return nil
	}
	if r.GatewayMAC != nil && !bytes.Equal(r.GatewayMAC, from) {
		r.Rivals++
	}
	r.GatewayMAC = from
	if binary.BigEndian.Uint16(message[6:]) != arpRequest || netip.AddrFrom4([4]byte(message[24:])) != r.Address {
		return nil
	}
	return r.Port.Send(r.arp(arpReply, r.GatewayMAC))
}

// arp is a frame of the router's.
func (r *Router) arp(operation uint16, to net.HardwareAddr) []byte {
	frame := ether(to, etherARP, arpLength)
	body := frame[ethernet:]
	copy(body, []byte{0, 1, 8, 0, 6, 4}) // Ethernet, IPv4
	binary.BigEndian.PutUint16(body[6:], operation)
	copy(body[8:], RouterMAC)
	copy(body[14:], r.Address.AsSlice())
	if operation == arpReply {
		copy(body[18:], to)
	}
	copy(body[24:], r.Gateway.AsSlice())
	return frame
}

// ether is a frame with room for a body of so many octets.
func ether(to net.HardwareAddr, kind uint16, length int) []byte {
	frame := make([]byte, ethernet+length)
	copy(frame, to)
	copy(frame[6:], RouterMAC)
	binary.BigEndian.PutUint16(frame[12:], kind)
	return frame
}

// readDatagram takes an IPv4 packet apart. Fragments are not put together: what IKE sends does not need them.
func readDatagram(packet []byte) (d Datagram, ok bool) {
	length := int(binary.BigEndian.Uint16(packet[2:]))
	if packet[0] != 0x45 || packet[9] != protocolUDP || length < ipHeader+udpHeader || length > len(packet) {
		return d, false
	}
	udp := packet[ipHeader:length]
	d.From = netip.AddrPortFrom(netip.AddrFrom4([4]byte(packet[12:])), binary.BigEndian.Uint16(udp))
	d.To = netip.AddrPortFrom(netip.AddrFrom4([4]byte(packet[16:])), binary.BigEndian.Uint16(udp[2:]))
	d.Payload = udp[udpHeader:]
	if d.From.Port() != portIKE {
		d.Payload, ok = bytes.CutPrefix(d.Payload, nonESPMarker)
		return d, ok
	}
	return d, true
}

// Send sends a datagram, behind a non-ESP marker if it is to be marked.
func (r *Router) Send(d Datagram, marked bool) error { return r.Port.Send(r.Frame(d, marked)) }

// Frame is what Send sends; UDP needs no checksum over IPv4 (RFC 768).
func (r *Router) Frame(d Datagram, marked bool) []byte {
	var marker []byte
	if marked {
		marker = nonESPMarker
	}
	length := ipHeader + udpHeader + len(marker) + len(d.Payload)
	frame := ether(r.GatewayMAC, etherIPv4, length)
	ip := frame[ethernet:]
	ip[0], ip[8], ip[9] = 0x45, 64, protocolUDP
	binary.BigEndian.PutUint16(ip[2:], uint16(length))
	copy(ip[12:], d.From.Addr().AsSlice())
	copy(ip[16:], d.To.Addr().AsSlice())
	binary.BigEndian.PutUint16(ip[10:], HeaderChecksum(ip[:ipHeader]))
	udp := ip[ipHeader:]
	binary.BigEndian.PutUint16(udp, d.From.Port())
	binary.BigEndian.PutUint16(udp[2:], d.To.Port())
	binary.BigEndian.PutUint16(udp[4:], uint16(length-ipHeader))
	copy(udp[udpHeader+copy(udp[udpHeader:], marker):], d.Payload)
	return frame
}

// Wait sleeps until something comes, for at most so long.
func (r *Router) Wait(limit time.Duration) error { return r.Port.Wait(limit) }
