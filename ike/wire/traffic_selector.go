package wire

import (
	"fmt"
	"math"
	"net/netip"

	"golang.org/x/crypto/cryptobyte"
)

// TS is a Traffic Selector payload, TSi or TSr, RFC 7296 3.13.
type TS struct {
	Initiator bool
	Selectors []TrafficSelector
}

// TrafficSelector is one range of addresses, protocol and ports, RFC 7296 3.13.1. Start and End of both are inclusive.
type TrafficSelector struct {
	Type     TSType
	Protocol uint8 // 0 any
	// Any port is 0 to 65535; OPAQUE (traffic without visible ports) is 65535 to 0. For ICMP a port is type<<8 | code.
	StartPort, EndPort uint16
	Start, End         netip.Addr
	Unknown            []byte // what follows Protocol and length in a selector of unknown type, which has no ports and addresses; ignore it
}

const (
	selectorHeaderLength = 4
	selectorIPv4Length   = 16
	selectorIPv6Length   = 40
)

func (p *TS) PayloadType() PayloadType {
	if p.Initiator {
		return PayloadTSi
	}
	return PayloadTSr
}

func (p *TS) String() string { return p.PayloadType().String() }

func (p *TS) check() error {
	if len(p.Selectors) == 0 || len(p.Selectors) > math.MaxUint8 {
		return fmt.Errorf("%d selectors, expected 1 to 255", len(p.Selectors))
	}
	for i := range p.Selectors {
		if err := p.Selectors[i].check(); err != nil {
			return fmt.Errorf("selector %d: %w", i+1, err)
		}
	}
	return nil
}

func (s *TrafficSelector) check() error {
	switch s.Type {
	case TSIPv4Range:
		if !s.Start.Is4() || !s.End.Is4() {
			return fmt.Errorf("range %v to %v, expected IPv4 addresses for %v", s.Start, s.End, s.Type)
		}
	case TSIPv6Range:
		if !s.Start.Is6() || !s.End.Is6() || s.Start.Zone() != "" || s.End.Zone() != "" {
			return fmt.Errorf("range %v to %v, expected IPv6 addresses without zone for %v", s.Start, s.End, s.Type)
		}
	default:
		return nil
	}
	if s.Start.Compare(s.End) > 0 {
		return fmt.Errorf("address range %v to %v ends before it starts", s.Start, s.End)
	}
	if opaque := s.StartPort == math.MaxUint16 && s.EndPort == 0; s.StartPort > s.EndPort && !opaque {
		return fmt.Errorf("port range %d to %d ends before it starts", s.StartPort, s.EndPort)
	}
	return nil
}

func (p *TS) read(body *cryptobyte.String) error {
	var count uint8
	if !body.ReadUint8(&count) || !body.Skip(3) {
		return fmt.Errorf("the payload ends before its selectors")
	}
	if int(count)*selectorHeaderLength > len(*body) {
		return fmt.Errorf("%d selectors, but only %d octets are left", count, len(*body))
	}
	p.Selectors = make([]TrafficSelector, count)
	for i := range p.Selectors {
		if err := p.Selectors[i].read(body); err != nil {
			return fmt.Errorf("selector %d: %w", i+1, err)
		}
	}
	return nil
}

func (s *TrafficSelector) read(body *cryptobyte.String) error {
	var length uint16
	if !body.ReadUint8((*uint8)(&s.Type)) || !body.ReadUint8(&s.Protocol) || !body.ReadUint16(&length) {
		return fmt.Errorf("the payload ends within its header")
	}
	switch {
	case s.Type == TSIPv4Range && length != selectorIPv4Length:
		return fmt.Errorf("length %d for %v, expected %d", length, s.Type, selectorIPv4Length)
	case s.Type == TSIPv6Range && length != selectorIPv6Length:
		return fmt.Errorf("length %d for %v, expected %d", length, s.Type, selectorIPv6Length)
	case length < selectorHeaderLength || int(length)-selectorHeaderLength > len(*body):
		return fmt.Errorf("length %d, expected %d to the %d left", length, selectorHeaderLength, len(*body)+selectorHeaderLength)
	}
	inner := cryptobyte.String(take(body, int(length)-selectorHeaderLength))
	if s.Type != TSIPv4Range && s.Type != TSIPv6Range {
		s.Unknown = rest(&inner)
		return nil
	}
	// The length was checked: these reads cannot fail.
	inner.ReadUint16(&s.StartPort)
	inner.ReadUint16(&s.EndPort)
	s.Start, _ = netip.AddrFromSlice(take(&inner, len(inner)/2))
	s.End, _ = netip.AddrFromSlice(rest(&inner))
	return nil
}

func (p *TS) write(body *cryptobyte.Builder) {
	body.AddUint8(uint8(len(p.Selectors)))
	body.AddUint24(0)
	for i := range p.Selectors {
		p.Selectors[i].write(body)
	}
}

func (s *TrafficSelector) write(body *cryptobyte.Builder) {
	body.AddUint8(uint8(s.Type))
	body.AddUint8(s.Protocol)
	switch s.Type {
	case TSIPv4Range, TSIPv6Range:
		start, end := s.Start.AsSlice(), s.End.AsSlice()
		body.AddUint16(uint16(selectorHeaderLength + 4 + len(start) + len(end)))
		body.AddUint16(s.StartPort)
		body.AddUint16(s.EndPort)
		body.AddBytes(start)
		body.AddBytes(end)
	default:
		body.AddUint16(uint16(selectorHeaderLength + len(s.Unknown)))
		body.AddBytes(s.Unknown)
	}
}
