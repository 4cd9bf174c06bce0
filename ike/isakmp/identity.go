package isakmp

import (
	"errors"
	"net/netip"
	"slices"

	"golang.org/x/crypto/cryptobyte"
)

// ID is an Identification payload, RFC 2407 4.6.2: in phase 1 who the sender is, in quick mode one end of the traffic, the initiator's first.
type ID struct {
	Type     IDType
	Protocol uint8  // an IP protocol; 0: any
	Port     uint16 // of TCP or UDP; 0: any
	Data     []byte
}

func (p *ID) PayloadType() PayloadType { return PayloadID }
func (p *ID) String() string           { return PayloadID.String() }

// AddressID is the identity of one address.
func AddressID(address netip.Addr) *ID {
	address = address.Unmap()
	return &ID{Type: pick(address, IDIPv4Address, IDIPv6Address), Data: address.AsSlice()}
}

// SubnetID is the identity of a network.
func SubnetID(network netip.Prefix) *ID {
	network = network.Masked()
	mask := make([]byte, network.Addr().BitLen()/8)
	for i := range network.Bits() {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	return &ID{Type: pick(network.Addr(), IDIPv4Subnet, IDIPv6Subnet), Data: append(network.Addr().AsSlice(), mask...)}
}

// RangeID is the identity of the addresses from first to last, which are of one family.
func RangeID(first, last netip.Addr) *ID {
	return &ID{Type: pick(first, IDIPv4Range, IDIPv6Range), Data: append(first.AsSlice(), last.AsSlice()...)}
}

func pick(address netip.Addr, v4, v6 IDType) IDType {
	if address.Is4() {
		return v4
	}
	return v6
}

// addresses gives how many addresses, masks among them, the data of a type has, and of how many octets; 0 for one that is no address.
func (t IDType) addresses() (count, octets int) {
	switch t {
	case IDIPv4Address:
		return 1, 4
	case IDIPv6Address:
		return 1, 16
	case IDIPv4Subnet, IDIPv4Range:
		return 2, 4
	case IDIPv6Subnet, IDIPv6Range:
		return 2, 16
	}
	return 0, 0
}

// Range gives the addresses that the identity stands for, from first to last: of an address, a subnet or a range.
func (p *ID) Range() (first, last netip.Addr, err error) {
	count, octets := p.Type.addresses()
	if count == 0 {
		return first, last, refused(NotifyInvalidIDInformation, PayloadID, "%v, expected an address, a subnet or a range", p.Type)
	}
	if len(p.Data) != count*octets {
		return first, last, inPayload(PayloadID, p.check())
	}
	first, _ = netip.AddrFromSlice(p.Data[:octets])
	last, _ = netip.AddrFromSlice(p.Data[len(p.Data)-octets:])
	if p.Type == IDIPv4Subnet || p.Type == IDIPv6Subnet {
		return p.subnet(octets)
	}
	if last.Less(first) {
		return first, last, refused(NotifyInvalidIDInformation, PayloadID, "%v to %v ends before it starts", first, last)
	}
	return first, last, nil
}

// subnet reads an address and a mask. Bits of the address beyond the mask are ignored, as peers send the address of a host with the mask of its net.
func (p *ID) subnet(octets int) (first, last netip.Addr, err error) {
	low, high, mask := slices.Clone(p.Data[:octets]), slices.Clone(p.Data[:octets]), p.Data[octets:]
	ended := false
	for i, m := range mask {
		inverse := ^m
		// The ones of a mask come first: the inverse of an octet is one below a power of two, and all ones once an octet had a zero.
		if inverse&(inverse+1) != 0 || ended && m != 0 {
			return first, last, refused(NotifyInvalidIDInformation, PayloadID, "mask %x of %v has a one after a zero", mask, p.Type)
		}
		ended = ended || inverse != 0
		low[i] &= m
		high[i] |= inverse
	}
	first, _ = netip.AddrFromSlice(low)
	last, _ = netip.AddrFromSlice(high)
	return first, last, nil
}

// checkPhase1 holds protocol and port against RFC 2407 4.6.2, which has both zero or UDP and 500. Across a NAT peers send UDP with 0 or 4500 as well.
func (p *ID) checkPhase1() error {
	const udp = 17
	switch {
	case p.Protocol == 0 && p.Port == 0:
	case p.Protocol == udp && (p.Port == 0 || p.Port == 500 || p.Port == 4500):
	default:
		return refused(NotifyInvalidIDInformation, PayloadID, "protocol %d and port %d in phase 1, expected 0 and 0 or 17 and 500", p.Protocol, p.Port)
	}
	return nil
}

func (p *ID) check() error {
	count, octets := p.Type.addresses()
	switch {
	case count > 0 && len(p.Data) != count*octets:
		return reasonf(NotifyInvalidIDInformation, "%d octets of identification data for %v, expected %d", len(p.Data), p.Type, count*octets)
	case len(p.Data) == 0:
		return reasonf(NotifyInvalidIDInformation, "no identification data for %v, expected at least 1 octet", p.Type)
	}
	return nil
}

func (p *ID) read(body *cryptobyte.String) error {
	if !body.ReadUint8((*uint8)(&p.Type)) || !body.ReadUint8(&p.Protocol) || !body.ReadUint16(&p.Port) {
		return errors.New("the payload ends before its identification data")
	}
	p.Data = rest(body)
	return nil
}

func (p *ID) write(body *cryptobyte.Builder) {
	body.AddUint8(uint8(p.Type))
	body.AddUint8(p.Protocol)
	body.AddUint16(p.Port)
	body.AddBytes(p.Data)
}
