package wire

import (
	"encoding/binary"
	"fmt"
	"math"

	"golang.org/x/crypto/cryptobyte"
)

// SA is a Security Association payload, RFC 7296 3.3: proposals in descending order of preference.
type SA struct{ Proposals []Proposal }

// Proposal is one way to protect, RFC 7296 3.3.1: of each transform type that occurs, one transform is to be chosen.
type Proposal struct {
	Number     uint8
	Protocol   ProtocolID
	SPI        []byte // the sender's: 4 octets for AH and ESP; for IKE none at first, 8 in a rekey
	Transforms []Transform
}

// Transform is one algorithm, RFC 7296 3.3.2. One with attributes that are not understood is not to be chosen (3.3.6).
type Transform struct {
	Type       TransformType
	ID         uint16
	KeyBits    uint16      // the Key Length attribute; 0 when there is none
	Attributes []Attribute // all others
}

// Attribute is a transform attribute other than Key Length, RFC 7296 3.3.5.
type Attribute struct {
	Type  uint16 // 15 bits
	Short bool   // the 2-octet form without a length (TV)
	Value []byte
}

const (
	proposalHeaderLength  = 8
	transformHeaderLength = 8
	attributeKeyLength    = 14
	attributeShort        = 0x8000 // AF bit
	moreProposals         = 2      // Last Substruc of all proposals but the last
	moreTransforms        = 3      // and of transforms; left over from IKEv1, where these were payload types
)

func (p *SA) PayloadType() PayloadType { return PayloadSA }
func (p *SA) String() string           { return PayloadSA.String() }

func (p *SA) check() error {
	if len(p.Proposals) == 0 || len(p.Proposals) > MaxProposals {
		return fmt.Errorf("%d proposals, expected 1 to %d", len(p.Proposals), MaxProposals)
	}
	for i := range p.Proposals {
		// Numbers go up by one (3.3.1). They start at 1 in a request; a response repeats the number of the one it chose.
		if first := p.Proposals[0].Number; first == 0 || int(p.Proposals[i].Number) != int(first)+i {
			return fmt.Errorf("proposal %d of %d has number %d, expected each one more than the last and the first not zero", i+1, len(p.Proposals), p.Proposals[i].Number)
		}
		if err := p.Proposals[i].check(); err != nil {
			return fmt.Errorf("proposal %d: %w", p.Proposals[i].Number, err)
		}
	}
	return nil
}

func (p *Proposal) check() error {
	switch {
	case p.Protocol == ProtocolIKE && len(p.SPI) != 0 && len(p.SPI) != 8:
		return fmt.Errorf("SPI of %d octets for IKE, expected 0 or 8", len(p.SPI))
	case (p.Protocol == ProtocolAH || p.Protocol == ProtocolESP) && len(p.SPI) != 4:
		return fmt.Errorf("SPI of %d octets for %v, expected 4", len(p.SPI), p.Protocol)
	case len(p.SPI) > math.MaxUint8:
		return fmt.Errorf("SPI of %d octets, expected at most 255", len(p.SPI))
	case len(p.Transforms) == 0 || len(p.Transforms) > math.MaxUint8:
		return fmt.Errorf("%d transforms, expected 1 to 255", len(p.Transforms))
	}
	for i := range p.Transforms {
		if err := p.Transforms[i].check(); err != nil {
			return fmt.Errorf("transform %d (%v): %w", i+1, p.Transforms[i].Type, err)
		}
	}
	return nil
}

func (t *Transform) check() error {
	if len(t.Attributes) > MaxAttributes {
		return fmt.Errorf("more than %d attributes beside the key length", MaxAttributes)
	}
	for _, a := range t.Attributes {
		switch {
		case a.Type == attributeKeyLength:
			return fmt.Errorf("a key length attribute is zero, repeated or in the long form, expected at most one, in the short form")
		case a.Type >= attributeShort:
			return fmt.Errorf("attribute type %d, expected at most 15 bits", a.Type)
		case a.Short && len(a.Value) != 2:
			return fmt.Errorf("attribute %d has %d octets in the short form, expected 2", a.Type, len(a.Value))
		}
	}
	return nil
}

func (p *SA) read(body *cryptobyte.String) error {
	for more := true; more; {
		if len(p.Proposals) == MaxProposals {
			return fmt.Errorf("more than %d proposals", MaxProposals)
		}
		inner, last, err := substructure(body, moreProposals)
		if err != nil {
			return fmt.Errorf("proposal %d: %w", len(p.Proposals)+1, err)
		}
		var proposal Proposal
		if err := proposal.read(&inner); err != nil {
			return fmt.Errorf("proposal %d: %w", len(p.Proposals)+1, err)
		}
		p.Proposals = append(p.Proposals, proposal)
		more = !last
	}
	return nil
}

// substructure cuts one proposal or transform off s. Its header says whether more follow: marker when so, 0 in the last.
func substructure(s *cryptobyte.String, marker uint8) (inner cryptobyte.String, last bool, err error) {
	var substruc uint8
	var length uint16
	if !s.ReadUint8(&substruc) || !s.Skip(1) || !s.ReadUint16(&length) {
		return nil, false, fmt.Errorf("the payload ends within its header")
	}
	if substruc != 0 && substruc != marker {
		return nil, false, fmt.Errorf("last-substructure marker %d, expected 0 or %d", substruc, marker)
	}
	const header = 4 // the octets read here
	if int(length) < header || int(length)-header > len(*s) {
		return nil, false, fmt.Errorf("length %d, expected %d to the %d left", length, header, len(*s)+header)
	}
	return cryptobyte.String(take(s, int(length)-header)), substruc == 0, nil
}

func (p *Proposal) read(s *cryptobyte.String) error {
	var spi, transforms uint8
	found := len(*s)
	if !s.ReadUint8(&p.Number) || !s.ReadUint8((*uint8)(&p.Protocol)) || !s.ReadUint8(&spi) || !s.ReadUint8(&transforms) {
		return fmt.Errorf("%d octets after its length, expected at least %d", found, proposalHeaderLength-4)
	}
	if int(spi) > len(*s) {
		return fmt.Errorf("SPI of %d octets, but only %d are left", spi, len(*s))
	}
	p.SPI = take(s, int(spi))
	// The count is checked against the octets before memory is taken for it.
	if int(transforms)*transformHeaderLength > len(*s) {
		return fmt.Errorf("%d transforms, but only %d octets are left", transforms, len(*s))
	}
	p.Transforms = make([]Transform, transforms)
	for i := range p.Transforms {
		inner, last, err := substructure(s, moreTransforms)
		if err != nil {
			return fmt.Errorf("transform %d: %w", i+1, err)
		}
		if final := i+1 == len(p.Transforms); last != final {
			return fmt.Errorf("transform %d: marked as last: %t, but the proposal has %d", i+1, last, transforms)
		}
		if err := p.Transforms[i].read(&inner); err != nil {
			return fmt.Errorf("transform %d: %w", i+1, err)
		}
	}
	if !s.Empty() {
		return fmt.Errorf("%d octets after the last transform, expected none", len(*s))
	}
	return nil
}

func (t *Transform) read(s *cryptobyte.String) error {
	if !s.ReadUint8((*uint8)(&t.Type)) || !s.Skip(1) || !s.ReadUint16(&t.ID) {
		return fmt.Errorf("the transform ends within its header")
	}
	for !s.Empty() {
		if len(t.Attributes) == MaxAttributes {
			return fmt.Errorf("more than %d attributes", MaxAttributes)
		}
		var a Attribute
		if err := a.read(s); err != nil {
			return err
		}
		// A second key length, or one in the long form, stays among the attributes, where check refuses it.
		if value := keyBits(a); value != 0 && t.KeyBits == 0 {
			t.KeyBits = value
			continue
		}
		t.Attributes = append(t.Attributes, a)
	}
	return nil
}

// keyBits is the value of a Key Length attribute in its only valid form; 0 otherwise, which is no valid length.
func keyBits(a Attribute) uint16 {
	if a.Type != attributeKeyLength || !a.Short {
		return 0
	}
	return uint16(a.Value[0])<<8 | uint16(a.Value[1])
}

func (a *Attribute) read(s *cryptobyte.String) error {
	const valueLength = 2 // of the short form; in the long form these two octets are the length
	var kind, length uint16
	if !s.ReadUint16(&kind) || len(*s) < valueLength {
		return fmt.Errorf("the transform ends within an attribute, expected at least 4 octets")
	}
	a.Type, a.Short = kind&^attributeShort, kind&attributeShort != 0
	if a.Short {
		a.Value = take(s, valueLength)
		return nil
	}
	s.ReadUint16(&length)
	if int(length) > len(*s) {
		return fmt.Errorf("attribute %d has %d octets, but only %d are left", a.Type, length, len(*s))
	}
	a.Value = take(s, int(length))
	return nil
}

func (p *SA) write(body *cryptobyte.Builder) {
	for i := range p.Proposals {
		addSubstructure(body, moreProposals, i+1 == len(p.Proposals), p.Proposals[i].write)
	}
}

// addSubstructure writes one proposal or transform; its length takes in the header, and is known behind the rest.
func addSubstructure(b *cryptobyte.Builder, marker uint8, last bool, write func(*cryptobyte.Builder)) {
	before, err := b.Bytes()
	if err != nil {
		return // which b keeps
	}
	if last {
		marker = 0
	}
	b.AddUint8(marker)
	b.AddUint8(0)
	b.AddUint16(0)
	write(b)
	after, err := b.Bytes()
	if err != nil {
		return
	}
	length := len(after) - len(before)
	if length > math.MaxUint16 {
		b.SetError(fmt.Errorf("%d octets in a proposal or transform, expected at most %d", length-4, math.MaxUint16-4))
		return
	}
	binary.BigEndian.PutUint16(after[len(before)+lengthAt:], uint16(length))
}

func (p *Proposal) write(b *cryptobyte.Builder) {
	b.AddUint8(p.Number)
	b.AddUint8(uint8(p.Protocol))
	b.AddUint8(uint8(len(p.SPI)))
	b.AddUint8(uint8(len(p.Transforms)))
	b.AddBytes(p.SPI)
	for i := range p.Transforms {
		addSubstructure(b, moreTransforms, i+1 == len(p.Transforms), p.Transforms[i].write)
	}
}

func (t *Transform) write(b *cryptobyte.Builder) {
	b.AddUint8(uint8(t.Type))
	b.AddUint8(0)
	b.AddUint16(t.ID)
	if t.KeyBits != 0 {
		b.AddUint16(attributeShort | attributeKeyLength)
		b.AddUint16(t.KeyBits)
	}
	for _, a := range t.Attributes {
		if a.Short {
			b.AddUint16(attributeShort | a.Type)
		} else {
			b.AddUint16(a.Type)
			b.AddUint16(uint16(len(a.Value)))
		}
		b.AddBytes(a.Value)
	}
}
