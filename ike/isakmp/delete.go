package isakmp

import (
	"errors"
	"fmt"
	"math"

	"golang.org/x/crypto/cryptobyte"
)

// Delete is a Delete payload, RFC 2408 3.15: the SAs of one protocol that the sender has deleted.
type Delete struct {
	DOI      DOI
	Protocol ProtocolID
	SPIs     []uint32  // for AH and ESP the sender's inbound SPIs
	Cookies  []Cookies // for ISAKMP
}

// DeleteSAs announces the end of SAs of AH or ESP, by the sender's inbound SPIs.
func DeleteSAs(protocol ProtocolID, spis ...uint32) *Delete {
	return &Delete{DOI: DOIIPsec, Protocol: protocol, SPIs: spis}
}

// DeleteISAKMP announces the end of an ISAKMP SA.
func DeleteISAKMP(c Cookies) *Delete {
	return &Delete{DOI: DOIIPsec, Protocol: ProtocolISAKMP, Cookies: []Cookies{c}}
}

func (p *Delete) PayloadType() PayloadType { return PayloadDelete }
func (p *Delete) String() string           { return fmt.Sprintf("D(%v)", p.Protocol) }

// spiSize is how many octets each SPI has, 0 for a protocol whose SAs are never deleted.
func (p *Delete) spiSize() int {
	switch p.Protocol {
	case ProtocolISAKMP:
		return cookiesLength
	case ProtocolAH, ProtocolESP:
		return 4
	}
	return 0
}

func (p *Delete) check() error {
	if err := checkDOI(p.DOI); err != nil {
		return err
	}
	count, other := len(p.SPIs), len(p.Cookies)
	if p.Protocol == ProtocolISAKMP {
		count, other = other, count
	}
	switch {
	case p.spiSize() == 0:
		return reasonf(NotifyInvalidProtocolID, "%v, expected ISAKMP, AH or ESP", p.Protocol)
	case count == 0 || count > math.MaxUint16:
		return reasonf(NotifyInvalidSPI, "%d SPIs, expected 1 to %d", count, math.MaxUint16)
	case other != 0:
		return fmt.Errorf("%d SPIs of another protocol than %v, expected none", other, p.Protocol)
	}
	return nil
}

func checkDOI(doi DOI) error {
	if doi != DOIIPsec && doi != DOIISAKMP {
		return reasonf(NotifyDOINotSupported, "DOI %d, expected %d (IPsec) or %d (ISAKMP)", doi, DOIIPsec, DOIISAKMP)
	}
	return nil
}

func (p *Delete) read(body *cryptobyte.String) error {
	var size uint8
	var count uint16
	if !body.ReadUint32((*uint32)(&p.DOI)) || !body.ReadUint8((*uint8)(&p.Protocol)) || !body.ReadUint8(&size) || !body.ReadUint16(&count) {
		return errors.New("the payload ends before its SPIs")
	}
	expected := p.spiSize()
	if expected == 0 {
		return p.check() // another protocol, whose SPIs cannot be read
	}
	if int(size) != expected || int(size)*int(count) != len(*body) {
		return reasonf(NotifyInvalidSPI, "%d SPIs of %d octets for %v in %d octets, expected a size of %d and as many octets as they need", count, size, p.Protocol, len(*body), expected)
	}
	if p.Protocol == ProtocolISAKMP {
		p.Cookies = make([]Cookies, count)
		for i := range p.Cookies {
			body.ReadUint64(&p.Cookies[i].Initiator)
			body.ReadUint64(&p.Cookies[i].Responder)
		}
		return nil
	}
	p.SPIs = make([]uint32, count)
	for i := range p.SPIs {
		body.ReadUint32(&p.SPIs[i])
	}
	return nil
}

func (p *Delete) write(body *cryptobyte.Builder) {
	body.AddUint32(uint32(p.DOI))
	body.AddUint8(uint8(p.Protocol))
	body.AddUint8(uint8(p.spiSize()))
	body.AddUint16(uint16(len(p.SPIs) + len(p.Cookies)))
	for _, spi := range p.SPIs {
		body.AddUint32(spi)
	}
	for _, c := range p.Cookies {
		body.AddBytes(c.CookieOctets())
	}
}
