package isakmp

import (
	"encoding/binary"
	"fmt"
	"strings"

	"golang.org/x/crypto/cryptobyte"
)

// Major and Minor are the version this codec speaks, ISAKMP 1.0.
const (
	Major uint8 = 1
	Minor uint8 = 0
)

// Flags is the flags octet of the header, RFC 2408 3.1.
type Flags uint8

const (
	FlagEncryption         Flags = 0x01 // everything after the header is encrypted
	FlagCommit             Flags = 0x02 // the SA is not to be used before CONNECTED
	FlagAuthenticationOnly Flags = 0x04 // an informational exchange with integrity but without encryption

	allFlags = FlagEncryption | FlagCommit | FlagAuthenticationOnly
)

// Has says whether all bits of f are set.
func (v Flags) Has(f Flags) bool { return v&f == f }

func (v Flags) String() string {
	var names []string
	for _, bit := range []struct {
		flag Flags
		name string
	}{{FlagEncryption, "encryption"}, {FlagCommit, "commit"}, {FlagAuthenticationOnly, "authentication only"}, {^allFlags, "reserved"}} {
		if v&bit.flag != 0 {
			names = append(names, bit.name)
		}
	}
	return strings.Join(names, "|")
}

// Cookies name an ISAKMP SA. The responder's is zero in the first message.
type Cookies struct{ Initiator, Responder uint64 }

// CookieOctets are CKY-I | CKY-R, as hashes, SPIs and key derivation take them.
func (c Cookies) CookieOctets() []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(make([]byte, 0, cookiesLength), c.Initiator), c.Responder)
}

const cookiesLength = 16

// Header is the ISAKMP header, RFC 2408 3.1. Marshal fills NextPayload, the version and Length itself.
type Header struct {
	Cookies
	NextPayload  PayloadType // of an encrypted message the first payload inside
	Major, Minor uint8
	Exchange     ExchangeType
	Flags        Flags
	MessageID    uint32 // zero in phase 1
	Length       uint32 // of the whole message with its padding, in octets
}

// Encrypted says whether what follows the header is ciphertext. A fragment is never: it is a piece of a message that may be.
func (h Header) Encrypted() bool {
	return h.Flags.Has(FlagEncryption) && h.NextPayload != PayloadFragment
}

// ParseHeader reads the header of a whole datagram (after the non-ESP marker of port 4500). Beside an error that is not [ErrTooShort] the header
// comes filled as far as it was read, so that the caller can answer, or hand version 2 to IKEv2.
func ParseHeader(datagram []byte) (Header, error) {
	var h Header
	var version uint8
	s := cryptobyte.String(datagram)
	if !s.ReadUint64(&h.Initiator) || !s.ReadUint64(&h.Responder) || !s.ReadUint8((*uint8)(&h.NextPayload)) || !s.ReadUint8(&version) ||
		!s.ReadUint8((*uint8)(&h.Exchange)) || !s.ReadUint8((*uint8)(&h.Flags)) || !s.ReadUint32(&h.MessageID) || !s.ReadUint32(&h.Length) {
		return Header{}, ErrTooShort
	}
	h.Major, h.Minor = version>>4, version&0x0f
	if h.Major != Major {
		return h, &VersionError{Major: h.Major, Minor: h.Minor}
	}
	return h, h.check(len(datagram))
}

// check holds the header against RFC 2408 5.2.
func (h Header) check(datagram int) error {
	switch {
	case datagram > MaxMessage:
		return refused(NotifyUnequalPayloadLengths, PayloadNone, "%d octets, expected at most %d", datagram, MaxMessage)
	case uint64(h.Length) != uint64(datagram):
		return refused(NotifyUnequalPayloadLengths, PayloadNone, "header gives a length of %d octets, the datagram has %d", h.Length, datagram)
	case h.Initiator == 0:
		return refused(NotifyInvalidCookie, PayloadNone, "the initiator's cookie is zero, expected a number that names the ISAKMP SA")
	case h.Flags&^allFlags != 0:
		return refused(NotifyInvalidFlags, PayloadNone, "flags %#02x, expected only those of %#02x", uint8(h.Flags), uint8(allFlags))
	}
	return nil
}

// Prefix is the header of a message whose encrypted part has body octets and begins with a payload of type first: with the ciphertext
// appended it is the datagram. It sets the encryption bit.
func (h Header) Prefix(first PayloadType, body int) ([]byte, error) {
	h.Flags |= FlagEncryption
	return h.append(make([]byte, 0, HeaderLength+body), first, HeaderLength+body)
}

// append writes the header of a message of length octets whose first payload is first.
func (h Header) append(b []byte, first PayloadType, length int) ([]byte, error) {
	switch {
	case length > MaxMessage:
		return nil, fmt.Errorf("isakmp message: %d octets to send, expected at most %d", length, MaxMessage)
	case h.Initiator == 0:
		return nil, fmt.Errorf("isakmp message: the initiator's cookie is zero, set it before sending")
	case h.Flags&^allFlags != 0:
		return nil, fmt.Errorf("isakmp message: flags %#02x to send, expected only those of %#02x", uint8(h.Flags), uint8(allFlags))
	}
	b = append(b, h.CookieOctets()...)
	b = append(b, byte(first), Major<<4|Minor, byte(h.Exchange), byte(h.Flags))
	b = binary.BigEndian.AppendUint32(b, h.MessageID)
	return binary.BigEndian.AppendUint32(b, uint32(length)), nil
}
