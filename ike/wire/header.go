package wire

import (
	"encoding/binary"
	"fmt"
	"strings"

	"golang.org/x/crypto/cryptobyte"
)

// Major and Minor are the version this codec speaks, IKE 2.0.
const (
	Major uint8 = 2
	Minor uint8 = 0
)

// Flags is the flags octet of the header, RFC 7296 3.1. Bits without a name are ignored and never sent.
type Flags uint8

const (
	FlagInitiator Flags = 0x08 // the sender is the original initiator of the IKE SA
	FlagVersion   Flags = 0x10 // the sender could speak a higher major version
	FlagResponse  Flags = 0x20 // this message answers the request of the same message ID

	allFlags = FlagInitiator | FlagVersion | FlagResponse
)

// Has says whether all bits of f are set.
func (v Flags) Has(f Flags) bool { return v&f == f }

func (v Flags) String() string {
	var names []string
	for _, bit := range []struct {
		flag Flags
		name string
	}{{FlagInitiator, "initiator"}, {FlagVersion, "version"}, {FlagResponse, "response"}} {
		if v.Has(bit.flag) {
			names = append(names, bit.name)
		}
	}
	return strings.Join(names, "|")
}

// Header is the IKE header, RFC 7296 3.1. Marshal fills NextPayload, the version and Length itself.
type Header struct {
	InitiatorSPI, ResponderSPI uint64
	NextPayload                PayloadType
	Major, Minor               uint8
	Exchange                   ExchangeType
	Flags                      Flags
	MessageID                  uint32
	Length                     uint32 // of the whole message, in octets
}

// Response says whether the message is a response rather than a request.
func (h Header) Response() bool { return h.Flags.Has(FlagResponse) }

// FromInitiator says whether the sender is the original initiator of the IKE SA.
func (h Header) FromInitiator() bool { return h.Flags.Has(FlagInitiator) }

// ParseHeader reads the header of a whole datagram (after the non-ESP marker of port 4500). Beside an error that is not [ErrTooShort] the header
// comes filled as far as it was read, so that the caller can answer, or hand version 1 to IKEv1.
func ParseHeader(datagram []byte) (Header, error) {
	var h Header
	var version, flags uint8
	s := cryptobyte.String(datagram)
	if !s.ReadUint64(&h.InitiatorSPI) || !s.ReadUint64(&h.ResponderSPI) || !s.ReadUint8((*uint8)(&h.NextPayload)) || !s.ReadUint8(&version) ||
		!s.ReadUint8((*uint8)(&h.Exchange)) || !s.ReadUint8(&flags) || !s.ReadUint32(&h.MessageID) || !s.ReadUint32(&h.Length) {
		return Header{}, ErrTooShort
	}
	h.Major, h.Minor = version>>4, version&0x0f
	h.Flags = Flags(flags) & allFlags
	if h.Major != Major {
		return h, &VersionError{Major: h.Major, Minor: h.Minor}
	}
	return h, h.check(len(datagram))
}

func (h Header) check(datagram int) error {
	if datagram > MaxMessage {
		return syntaxf(PayloadNone, "%d octets, expected at most %d", datagram, MaxMessage)
	}
	if uint64(h.Length) != uint64(datagram) {
		return syntaxf(PayloadNone, "header gives a length of %d octets, the datagram has %d", h.Length, datagram)
	}
	if h.InitiatorSPI == 0 {
		return syntaxf(PayloadNone, "the initiator's SPI is zero, expected a number that names the IKE SA") // RFC 7296 3.1
	}
	return nil
}

// append writes the header of a message of length octets whose first payload is first.
func (h Header) append(b []byte, first PayloadType, length int) ([]byte, error) {
	if length > MaxMessage {
		return nil, fmt.Errorf("ike message: %d octets to send, expected at most %d", length, MaxMessage)
	}
	if h.InitiatorSPI == 0 {
		return nil, fmt.Errorf("ike message: the initiator's SPI is zero, set it before sending")
	}
	b = binary.BigEndian.AppendUint64(b, h.InitiatorSPI)
	b = binary.BigEndian.AppendUint64(b, h.ResponderSPI)
	b = append(b, byte(first), Major<<4|Minor, byte(h.Exchange), byte(h.Flags&allFlags))
	b = binary.BigEndian.AppendUint32(b, h.MessageID)
	return binary.BigEndian.AppendUint32(b, uint32(length)), nil
}
