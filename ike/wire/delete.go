package wire

import (
	"fmt"
	"math"

	"golang.org/x/crypto/cryptobyte"
)

// Delete is a Delete payload, RFC 7296 3.11: the SAs that the sender has deleted.
type Delete struct {
	Protocol ProtocolID // IKE: the IKE SA that carries the message, without SPIs
	SPIs     []uint32   // for AH and ESP the sender's inbound SPIs
}

func (p *Delete) PayloadType() PayloadType { return PayloadDelete }
func (p *Delete) String() string           { return fmt.Sprintf("D(%v)", p.Protocol) }

func (p *Delete) check() error {
	switch p.Protocol {
	case ProtocolIKE:
		if len(p.SPIs) != 0 {
			return fmt.Errorf("%d SPIs for IKE, expected none: it is the IKE SA of the message", len(p.SPIs))
		}
	case ProtocolAH, ProtocolESP:
		if len(p.SPIs) > math.MaxUint16 {
			return fmt.Errorf("%d SPIs, expected at most %d", len(p.SPIs), math.MaxUint16)
		}
	default:
		return fmt.Errorf("%v, expected IKE, AH or ESP", p.Protocol)
	}
	return nil
}

func (p *Delete) read(body *cryptobyte.String) error {
	var size uint8
	var count uint16
	if !body.ReadUint8((*uint8)(&p.Protocol)) || !body.ReadUint8(&size) || !body.ReadUint16(&count) {
		return fmt.Errorf("the payload ends before its SPIs")
	}
	expected := uint8(4)
	if p.Protocol == ProtocolIKE {
		expected = 0
	}
	if size != expected || int(size)*int(count) != len(*body) {
		return fmt.Errorf("%d SPIs of %d octets for %v in %d octets, expected a size of %d and as many octets as they need", count, size, p.Protocol, len(*body), expected)
	}
	if size == 0 && count != 0 {
		return fmt.Errorf("%d SPIs for IKE, expected none", count)
	}
	if count > 0 {
		p.SPIs = make([]uint32, count)
	}
	for i := range p.SPIs {
		body.ReadUint32(&p.SPIs[i])
	}
	return nil
}

func (p *Delete) write(body *cryptobyte.Builder) {
	size := uint8(4)
	if p.Protocol == ProtocolIKE {
		size = 0
	}
	body.AddUint8(uint8(p.Protocol))
	body.AddUint8(size)
	body.AddUint16(uint16(len(p.SPIs)))
	for _, spi := range p.SPIs {
		body.AddUint32(spi)
	}
}
