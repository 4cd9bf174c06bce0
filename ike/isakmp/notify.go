package isakmp

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
)

// Notify is a Notification payload, RFC 2408 3.14.
type Notify struct {
	DOI      DOI
	Protocol ProtocolID
	SPI      []byte // of AH and ESP 4 octets; of ISAKMP the cookies; or none
	Type     NotifyType
	Data     []byte
}

func (p *Notify) PayloadType() PayloadType { return PayloadNotify }
func (p *Notify) String() string           { return fmt.Sprintf("N(%v)", p.Type) }

func (p *Notify) check() error {
	if err := checkDOI(p.DOI); err != nil {
		return err
	}
	if len(p.SPI) == 0 {
		return nil // of any protocol: several peers leave it out of errors
	}
	return checkSPI(p.Protocol, len(p.SPI))
}

func (p *Notify) read(body *cryptobyte.String) error {
	var size uint8
	if !body.ReadUint32((*uint32)(&p.DOI)) || !body.ReadUint8((*uint8)(&p.Protocol)) || !body.ReadUint8(&size) || !body.ReadUint16((*uint16)(&p.Type)) {
		return errors.New("the payload ends before its SPI")
	}
	if int(size) > len(*body) {
		return reasonf(NotifyInvalidSPI, "%v has an SPI of %d octets, but only %d are left", p.Type, size, len(*body))
	}
	p.SPI = take(body, int(size))
	p.Data = rest(body)
	return nil
}

func (p *Notify) write(body *cryptobyte.Builder) {
	body.AddUint32(uint32(p.DOI))
	body.AddUint8(uint8(p.Protocol))
	body.AddUint8(uint8(len(p.SPI)))
	body.AddUint16(uint16(p.Type))
	body.AddBytes(p.SPI)
	body.AddBytes(p.Data)
}

// NewNotify makes a notification about the ISAKMP SA of the cookies.
func NewNotify(t NotifyType, c Cookies, data []byte) *Notify {
	return &Notify{DOI: DOIIPsec, Protocol: ProtocolISAKMP, SPI: c.CookieOctets(), Type: t, Data: data}
}

// NewSANotify makes a notification about an SA of AH or ESP, or about one that did not come about.
func NewSANotify(t NotifyType, protocol ProtocolID, spi uint32, data []byte) *Notify {
	return &Notify{DOI: DOIIPsec, Protocol: protocol, SPI: binary.BigEndian.AppendUint32(nil, spi), Type: t, Data: data}
}

// SASPI reads the SA of AH or ESP that a notification names.
func (p *Notify) SASPI() (ProtocolID, uint32, error) {
	if p.Protocol != ProtocolAH && p.Protocol != ProtocolESP || len(p.SPI) != 4 {
		return ProtocolNone, 0, refused(NotifyInvalidSPI, PayloadNotify, "%v has an SPI of %d octets for %v, expected 4 for AH or ESP", p.Type, len(p.SPI), p.Protocol)
	}
	return p.Protocol, binary.BigEndian.Uint32(p.SPI), nil
}

// Cookies reads the ISAKMP SA that a notification names.
func (p *Notify) Cookies() (Cookies, error) {
	if p.Protocol != ProtocolISAKMP || len(p.SPI) != cookiesLength {
		return Cookies{}, refused(NotifyInvalidSPI, PayloadNotify, "%v has an SPI of %d octets for %v, expected %d for ISAKMP", p.Type, len(p.SPI), p.Protocol, cookiesLength)
	}
	return Cookies{Initiator: binary.BigEndian.Uint64(p.SPI), Responder: binary.BigEndian.Uint64(p.SPI[8:])}, nil
}

// InitialContact says that the sender has no other ISAKMP SA with the receiver (RFC 2407 4.6.3.3).
func InitialContact(c Cookies) *Notify { return NewNotify(NotifyInitialContact, c, nil) }

// Connected says that the SA may be used, after the commit bit (RFC 2408 3.1).
func Connected(protocol ProtocolID, spi uint32) *Notify {
	return NewSANotify(NotifyConnected, protocol, spi, nil)
}

// RUThere asks whether the peer lives, RUThereAck answers with the same number (RFC 3706 5.3).
func RUThere(c Cookies, sequence uint32) *Notify {
	return NewNotify(NotifyRUThere, c, binary.BigEndian.AppendUint32(nil, sequence))
}

// RUThereAck is described with [RUThere].
func RUThereAck(c Cookies, sequence uint32) *Notify {
	return NewNotify(NotifyRUThereAck, c, binary.BigEndian.AppendUint32(nil, sequence))
}

// Sequence reads the number of an R-U-THERE or R-U-THERE-ACK.
func (p *Notify) Sequence() (uint32, error) {
	if p.Type != NotifyRUThere && p.Type != NotifyRUThereAck {
		return 0, malformed(PayloadNotify, "%v, expected %v or %v", p.Type, NotifyRUThere, NotifyRUThereAck)
	}
	if len(p.Data) != 4 {
		return 0, malformed(PayloadNotify, "%v has %d octets of data, expected 4", p.Type, len(p.Data))
	}
	return binary.BigEndian.Uint32(p.Data), nil
}

// ResponderLifetime says that an SA of AH or ESP will live for less than was proposed (RFC 2407 4.6.3.1).
func ResponderLifetime(protocol ProtocolID, spi uint32, life Lifetime) (*Notify, error) {
	var builder cryptobyte.Builder
	writeAttributes(&builder, life.attributes(attributeLifeType, attributeLifeDuration))
	data, err := builder.Bytes()
	if err != nil {
		return nil, err
	}
	return NewSANotify(NotifyResponderLifetime, protocol, spi, data), nil
}

// Lifetime reads a RESPONDER-LIFETIME, of an SA of AH or ESP or of the ISAKMP SA, whose lifetime has other attribute types.
func (p *Notify) Lifetime() (Lifetime, error) {
	if p.Type != NotifyResponderLifetime {
		return Lifetime{}, malformed(PayloadNotify, "%v, expected %v", p.Type, NotifyResponderLifetime)
	}
	data := cryptobyte.String(p.Data)
	attributes, err := readAttributes(&data)
	if err != nil {
		return Lifetime{}, inPayload(PayloadNotify, fmt.Errorf("%v: %w", p.Type, err))
	}
	lifeType, lifeDuration := uint16(attributeLifeType), uint16(attributeLifeDuration)
	if p.Protocol == ProtocolISAKMP {
		lifeType, lifeDuration = attributeIKELifeType, attributeIKELifeDuration
	}
	reader := lifetimeReader{lifeType: lifeType, lifeDuration: lifeDuration}
	for _, a := range attributes {
		if _, err := reader.take(a); err != nil {
			return Lifetime{}, inPayload(PayloadNotify, fmt.Errorf("%v: %w", p.Type, err))
		}
	}
	life, err := reader.end()
	if err != nil {
		return Lifetime{}, inPayload(PayloadNotify, fmt.Errorf("%v: %w", p.Type, err))
	}
	return life, nil
}
