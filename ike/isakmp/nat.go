package isakmp

import (
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/crypto/cryptobyte"
)

// NATD is a NAT-D payload, RFC 3947 3.2: the hash of an address and port. The first of a message is about the receiver's end, the others about the sender's.
type NATD struct {
	Draft bool // with the private payload type of the drafts
	Hash  []byte
}

func (p *NATD) PayloadType() PayloadType {
	if p.Draft {
		return PayloadNATDDraft
	}
	return PayloadNATD
}

func (p *NATD) String() string { return p.PayloadType().String() }

func (p *NATD) check() error {
	if len(p.Hash) == 0 || len(p.Hash) > MaxHash {
		return fmt.Errorf("%d octets, expected a hash of 1 to %d", len(p.Hash), MaxHash)
	}
	return nil
}

func (p *NATD) read(body *cryptobyte.String) error {
	p.Hash = rest(body)
	return nil
}

func (p *NATD) write(body *cryptobyte.Builder) { body.AddBytes(p.Hash) }

// NATDOctets is what the negotiated hash is taken of in a NAT-D payload: CKY-I | CKY-R | IP | Port (RFC 3947 3.2).
func NATDOctets(c Cookies, endpoint netip.AddrPort) []byte {
	b := append(c.CookieOctets(), endpoint.Addr().Unmap().AsSlice()...)
	return binary.BigEndian.AppendUint16(b, endpoint.Port())
}

// NATDetected compares the NAT-D payloads of a received message with the endpoints it was seen with; hash is the negotiated one. supported
// says that there are payloads for both ends; source and destination say that there is a NAT at the sender's end and at ours.
func NATDetected(m *Message, from, to netip.AddrPort, hash func(octets []byte) []byte) (supported, source, destination bool) {
	payloads := FindAll[*NATD](m.Payloads)
	if len(payloads) < 2 {
		return false, false, false
	}
	ours, theirs := hash(NATDOctets(m.Cookies, to)), hash(NATDOctets(m.Cookies, from))
	source = true
	for _, p := range payloads[1:] {
		if subtle.ConstantTimeCompare(p.Hash, theirs) == 1 {
			source = false
		}
	}
	return true, source, subtle.ConstantTimeCompare(payloads[0].Hash, ours) != 1
}

// NATOA is a NAT-OA payload, RFC 3947 5.2: the address of an end of transport mode before a NAT changed it, the initiator's first.
type NATOA struct {
	Draft   bool // with the private payload type of the drafts
	Address netip.Addr
}

func (p *NATOA) PayloadType() PayloadType {
	if p.Draft {
		return PayloadNATOADraft
	}
	return PayloadNATOA
}

func (p *NATOA) String() string { return p.PayloadType().String() }

func (p *NATOA) check() error {
	if !p.Address.IsValid() || p.Address.Is4In6() || p.Address.Zone() != "" {
		return fmt.Errorf("address %q, expected one of IPv4 or of IPv6 without zone", p.Address)
	}
	return nil
}

func (p *NATOA) read(body *cryptobyte.String) error {
	var kind uint8
	if !body.ReadUint8(&kind) || !body.Skip(3) {
		return errors.New("the payload ends before its address")
	}
	length := 0
	switch IDType(kind) {
	case IDIPv4Address:
		length = 4
	case IDIPv6Address:
		length = 16
	default:
		return fmt.Errorf("%v, expected %v or %v", IDType(kind), IDIPv4Address, IDIPv6Address)
	}
	if len(*body) != length {
		return fmt.Errorf("%d octets of address for %v, expected %d", len(*body), IDType(kind), length)
	}
	p.Address, _ = netip.AddrFromSlice(rest(body))
	return nil
}

func (p *NATOA) write(body *cryptobyte.Builder) {
	body.AddUint8(uint8(pick(p.Address, IDIPv4Address, IDIPv6Address)))
	body.AddUint24(0)
	body.AddBytes(p.Address.AsSlice())
}
