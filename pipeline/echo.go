package pipeline

/*
#include "fastpath.h"
*/
import "C"

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"sallyport/crypto"
)

// Echo asks whether a path lets a protocol of IPsec through, or answers that it does: ESP by the two SPIs of
// draft-ietf-ipsecme-esp-ping, AH by the same two. It belongs to no SA and proves nothing about its sender.
type Echo struct {
	Local, Remote netip.Addr
	Protocol      crypto.Protocol // ProtocolESP or ProtocolAH
	Reply         bool
	Sequence      uint32
	// Data is what the answer repeats; of AH it stands in the place of the ICV, in whole words of 4 octets, with IPv6 so many
	// that the header is one of whole words of 8 (RFC 4302 section 2.2).
	Data []byte
}

const (
	spiEchoRequest = 7
	spiEchoReply   = 8

	maxEchoData  = 512 // bytes: no answer needs a fragment
	noNextHeader = 59  // RFC 8200 section 4.7
)

// SendEcho sends an echo request, or the answer to one, of the same length as what it answers.
func (d *Dataplane) SendEcho(e Echo) error {
	packet, err := e.packet()
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.c == nil {
		return errClosed
	}
	if !d.inject(C.SP_INJECT_ROUTE_LOCAL, -1, packet) {
		return errNoRoom
	}
	return nil
}

// packet is the echo as an IP packet.
func (e *Echo) packet() ([]byte, error) {
	spi := uint32(spiEchoRequest)
	if e.Reply {
		spi = spiEchoReply
	}
	var body []byte
	protocol := uint8(protocolESP)
	switch {
	case !e.Local.IsValid() || !e.Remote.IsValid() || e.Local.Is4() != e.Remote.Is4():
		return nil, fmt.Errorf("pipeline: echo from %s to %s: want addresses of one IP version", e.Local, e.Remote)
	case len(e.Data) > maxEchoData:
		return nil, fmt.Errorf("pipeline: echo with %d bytes: want at most %d", len(e.Data), maxEchoData)
	case e.Protocol == crypto.ProtocolAH && len(e.Data)%4 != 0:
		return nil, fmt.Errorf("pipeline: echo of AH with %d bytes: want whole words of 4", len(e.Data))
	case e.Protocol == crypto.ProtocolAH:
		protocol = protocolAH
		body = append(body, noNextHeader, uint8((ahHeaderLen+len(e.Data))/4-2), 0, 0) // RFC 4302 section 2.2
	}
	body = binary.BigEndian.AppendUint32(body, spi)
	body = append(binary.BigEndian.AppendUint32(body, e.Sequence), e.Data...)
	if e.Local.Is4() {
		packet := append(make([]byte, ipv4HeaderLen), body...)
		putIPv4(packet, 0, 64, protocol, flagDontFragment, e.Local, e.Remote)
		return packet, nil
	}
	packet := append(make([]byte, ipv6HeaderLen), body...)
	putIPv6(packet, protocol, 64, e.Local, e.Remote)
	return packet, nil
}

// readEcho reads an IP packet that the workers took for an echo; ok is false for anything else.
func readEcho(ip []byte) (e Echo, ok bool) {
	tuple := tupleOf(ip)
	e = Echo{Local: tuple.Destination, Remote: tuple.Source, Protocol: crypto.ProtocolESP}
	body := payloadOf(ip)
	if tuple.Protocol == protocolAH {
		if len(body) < ahHeaderLen || 4*(int(body[1])+2) != len(body) {
			return e, false
		}
		e.Protocol, body = crypto.ProtocolAH, body[4:]
	}
	if len(body) < espHeaderLen || len(body)-espHeaderLen > maxEchoData {
		return e, false
	}
	spi := binary.BigEndian.Uint32(body)
	e.Reply, e.Sequence, e.Data = spi == spiEchoReply, binary.BigEndian.Uint32(body[4:]), append([]byte(nil), body[espHeaderLen:]...)
	return e, isEcho(spi)
}

// isEcho reports whether an SPI is that of an echo, which no SA has (RFC 4303 section 2.1).
func isEcho(spi uint32) bool { return spi == spiEchoRequest || spi == spiEchoReply }

// payloadOf is what a packet of either version carries behind its headers.
func payloadOf(ip []byte) []byte {
	if isIPv6(ip) {
		_, payload := ipv6(ip).upper()
		return payload
	}
	return ipv4(ip).payload()
}

// handleEcho gives an echo to the handler.
func (d *Dataplane) handleEcho(packet punted) event {
	e, ok := readEcho(packet.ip)
	if !ok || !d.policy.own.has(e.Local) {
		return nil
	}
	return func(h Handler) { h.Echo(e) }
}
