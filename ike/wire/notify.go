package wire

import (
	"crypto/sha1"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/crypto/cryptobyte"
)

// Notify is a Notify payload, RFC 7296 3.10.
type Notify struct {
	Protocol ProtocolID // of the SA that SPI names; ProtocolNone without SPI
	SPI      []byte     // 4 octets of a Child SA's SPI, or none
	Type     NotifyType
	Data     []byte
}

func (p *Notify) PayloadType() PayloadType { return PayloadNotify }
func (p *Notify) String() string           { return fmt.Sprintf("N(%v)", p.Type) }

func (p *Notify) check() error {
	switch {
	case len(p.SPI) == 0 && p.Protocol != ProtocolNone:
		return fmt.Errorf("%v names %v without an SPI, expected no protocol then", p.Type, p.Protocol)
	case len(p.SPI) != 0 && p.Protocol != ProtocolAH && p.Protocol != ProtocolESP:
		return fmt.Errorf("%v has an SPI of %d octets for %v, expected one only for AH and ESP", p.Type, len(p.SPI), p.Protocol)
	case len(p.SPI) != 0 && len(p.SPI) != 4:
		return fmt.Errorf("%v has an SPI of %d octets for %v, expected 4", p.Type, len(p.SPI), p.Protocol)
	}
	return nil
}

func (p *Notify) read(body *cryptobyte.String) error {
	var size uint8
	if !body.ReadUint8((*uint8)(&p.Protocol)) || !body.ReadUint8(&size) || !body.ReadUint16((*uint16)(&p.Type)) {
		return fmt.Errorf("the payload ends before its SPI")
	}
	if int(size) > len(*body) {
		return fmt.Errorf("%v has an SPI of %d octets, but only %d are left", p.Type, size, len(*body))
	}
	p.SPI = take(body, int(size))
	if len(p.SPI) == 0 {
		p.Protocol = ProtocolNone // "MUST be ignored on receipt" (3.10); several peers send 1
	}
	p.Data = rest(body)
	return nil
}

func (p *Notify) write(body *cryptobyte.Builder) {
	body.AddUint8(uint8(p.Protocol))
	body.AddUint8(uint8(len(p.SPI)))
	body.AddUint16(uint16(p.Type))
	body.AddBytes(p.SPI)
	body.AddBytes(p.Data)
}

// NewNotify makes a notification that names no Child SA.
func NewNotify(t NotifyType, data []byte) *Notify { return &Notify{Type: t, Data: data} }

// InvalidMajorVersion answers a message of a higher major version with ours (RFC 7296 2.5).
func InvalidMajorVersion() *Notify { return NewNotify(NotifyInvalidMajorVersion, []byte{Major}) }

// UnsupportedCriticalPayload names the payload type that refused a message (RFC 7296 2.5).
func UnsupportedCriticalPayload(t PayloadType) *Notify {
	return NewNotify(NotifyUnsupportedCriticalPayload, []byte{byte(t)})
}

// InvalidKEPayload asks for another KE payload, of the given group (RFC 7296 1.3 and 2.7).
func InvalidKEPayload(group uint16) *Notify {
	return NewNotify(NotifyInvalidKEPayload, binary.BigEndian.AppendUint16(nil, group))
}

// Group reads the group that an INVALID_KE_PAYLOAD asks for.
func (p *Notify) Group() (uint16, error) {
	if err := p.expect(NotifyInvalidKEPayload, 2, 2); err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint16(p.Data), nil
}

// RekeySA says that the new Child SA replaces the one with the sender's inbound SPI spi (RFC 7296 1.3.3).
func RekeySA(protocol ProtocolID, spi uint32) *Notify { return childSA(NotifyRekeySA, protocol, spi) }

// ChildSANotFound answers a rekey of a Child SA that does not exist (RFC 7296 2.25); spi is the one from the REKEY_SA.
func ChildSANotFound(protocol ProtocolID, spi uint32) *Notify {
	return childSA(NotifyChildSANotFound, protocol, spi)
}

func childSA(t NotifyType, protocol ProtocolID, spi uint32) *Notify {
	return &Notify{Protocol: protocol, SPI: binary.BigEndian.AppendUint32(nil, spi), Type: t}
}

// ChildSPI reads the Child SA that a notification names.
func (p *Notify) ChildSPI() (ProtocolID, uint32, error) {
	if len(p.SPI) != 4 {
		return ProtocolNone, 0, syntaxf(PayloadNotify, "%v has an SPI of %d octets, expected 4", p.Type, len(p.SPI))
	}
	return p.Protocol, binary.BigEndian.Uint32(p.SPI), nil
}

// AuthLifetime says after how many seconds the sender wants to be proved anew who the receiver is (RFC 4478 3).
func AuthLifetime(seconds uint32) *Notify {
	return NewNotify(NotifyAuthLifetime, binary.BigEndian.AppendUint32(nil, seconds))
}

// Seconds reads an AUTH_LIFETIME.
func (p *Notify) Seconds() (uint32, error) {
	if err := p.expect(NotifyAuthLifetime, 4, 4); err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint32(p.Data), nil
}

// MaxCookie is the longest cookie, in octets (RFC 7296 2.6).
const MaxCookie = 64

// Cookie asks the initiator to repeat its request with this cookie first, and is what it repeats (RFC 7296 2.6).
func Cookie(data []byte) *Notify { return NewNotify(NotifyCookie, data) }

// CookieData reads a cookie.
func (p *Notify) CookieData() ([]byte, error) {
	if err := p.expect(NotifyCookie, 1, MaxCookie); err != nil {
		return nil, err
	}
	return p.Data, nil
}

// expect checks the type and the length of the data.
func (p *Notify) expect(t NotifyType, least, most int) error {
	if p.Type != t {
		return syntaxf(PayloadNotify, "%v, expected %v", p.Type, t)
	}
	if len(p.Data) < least || len(p.Data) > most {
		return syntaxf(PayloadNotify, "%v has %d octets of data, expected %d to %d", t, len(p.Data), least, most)
	}
	return nil
}

// NATDetectionSource and NATDetectionDestination carry a hash of the SPIs in the header of their message and of the address and port that the
// sender sees at its own end, and at the other (RFC 7296 2.23). The responder's SPI is zero in the first request.
func NATDetectionSource(initiatorSPI, responderSPI uint64, source netip.AddrPort) *Notify {
	return NewNotify(NotifyNATDetectionSourceIP, natHash(initiatorSPI, responderSPI, source))
}

// NATDetectionDestination is described with [NATDetectionSource].
func NATDetectionDestination(initiatorSPI, responderSPI uint64, destination netip.AddrPort) *Notify {
	return NewNotify(NotifyNATDetectionDestinationIP, natHash(initiatorSPI, responderSPI, destination))
}

// SHA-1 is what RFC 7296 2.23 asks for; it hides addresses and guards nothing.
func natHash(initiatorSPI, responderSPI uint64, endpoint netip.AddrPort) []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, 34), initiatorSPI)
	b = binary.BigEndian.AppendUint64(b, responderSPI)
	b = append(b, endpoint.Addr().Unmap().AsSlice()...)
	sum := sha1.Sum(binary.BigEndian.AppendUint16(b, endpoint.Port()))
	return sum[:]
}

// NATDetected compares the NAT detection notifications of a received message with the endpoints it was seen with. supported says that
// the peer sent both kinds; source and destination say that there is a NAT at its end and at ours.
func NATDetected(m *Message, from, to netip.AddrPort) (supported, source, destination bool) {
	sources, sourceMatches := m.natNotifies(NotifyNATDetectionSourceIP, from)
	destinations, destinationMatches := m.natNotifies(NotifyNATDetectionDestinationIP, to)
	if !sources || !destinations {
		return false, false, false
	}
	return true, !sourceMatches, !destinationMatches
}

// natNotifies says whether there is any notification of type t, and whether one matches endpoint: a sender that does not know which of its
// addresses a message will leave from sends one for each (RFC 7296 2.23).
func (m *Message) natNotifies(t NotifyType, endpoint netip.AddrPort) (any, matches bool) {
	hash := natHash(m.InitiatorSPI, m.ResponderSPI, endpoint)
	for _, n := range FindAll[*Notify](m.Payloads) {
		if n.Type == t {
			any = true
			matches = matches || subtle.ConstantTimeCompare(n.Data, hash) == 1
		}
	}
	return any, matches
}
