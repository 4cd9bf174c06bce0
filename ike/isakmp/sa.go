package isakmp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"golang.org/x/crypto/cryptobyte"
)

// SA is a Security Association payload, RFC 2408 3.4, of the IPsec DOI with the situation SIT_IDENTITY_ONLY: proposals in descending order
// of preference. Proposals of one number are offered together, as AH around ESP is; those of different numbers are alternatives.
type SA struct {
	Proposals []Proposal

	received []byte // the body as it came, reserved fields and all, for the hashes that cover it; nil in one to be sent
}

// Proposal is one protocol of what is proposed, RFC 2408 3.5: one of its transforms is to be chosen.
type Proposal struct {
	Number     uint8 // several peers begin with 0
	Protocol   ProtocolID
	SPI        []byte // the sender's: 4 octets for AH and ESP; for ISAKMP at most 16, without a meaning
	Transforms []Transform
}

// Transform is one set of algorithms, RFC 2408 3.6: a [TransformKeyIKE] or what the protocol has in RFC 2407 4.4.
type Transform struct {
	Number     uint8
	ID         uint8
	Attributes []Attribute
}

const (
	saHeaderLength       = 8 // DOI and situation
	subHeaderLength      = 4 // of a proposal or transform: next payload, reserved, length
	proposalFixedLength  = 4 // the rest of a proposal's fixed part
	transformFixedLength = 4 // the rest of a transform's
	maxISAKMPSPI         = 16
)

func (p *SA) PayloadType() PayloadType { return PayloadSA }
func (p *SA) String() string           { return PayloadSA.String() }

// Alternatives gives the proposals by their numbers: of the ones in each group all are offered together (RFC 2408 4.2).
func (p *SA) Alternatives() [][]Proposal {
	var groups [][]Proposal
	for first, i := 0, 1; first < len(p.Proposals); i++ {
		if i == len(p.Proposals) || p.Proposals[i].Number != p.Proposals[first].Number {
			groups = append(groups, p.Proposals[first:i:i])
			first = i
		}
	}
	return groups
}

// Chosen gives the proposals of an answer, RFC 2408 4.2: of one number, each with the one transform that the answerer chose. Whether they
// were offered is for the caller to see, by what they say: several peers answer with numbers of their own.
func (p *SA) Chosen() ([]Proposal, error) {
	for _, proposal := range p.Proposals {
		switch {
		case proposal.Number != p.Proposals[0].Number:
			return nil, refused(NotifyBadProposalSyntax, PayloadSA, "an answer with proposals %d and %d, expected those of one number", p.Proposals[0].Number, proposal.Number)
		case len(proposal.Transforms) != 1:
			return nil, refused(NotifyBadProposalSyntax, PayloadSA, "an answer with %d transforms for %v, expected the one chosen", len(proposal.Transforms), proposal.Protocol)
		}
	}
	return p.Proposals, nil
}

func (p *SA) check() error {
	if len(p.Proposals) == 0 || len(p.Proposals) > MaxProposals {
		return badProposal("%d proposals, expected 1 to %d", len(p.Proposals), MaxProposals)
	}
	for i := range p.Proposals {
		if i > 0 && p.Proposals[i].Number < p.Proposals[i-1].Number {
			return badProposal("proposal number %d after %d, expected them in ascending order", p.Proposals[i].Number, p.Proposals[i-1].Number)
		}
		if err := p.Proposals[i].check(); err != nil {
			return fmt.Errorf("proposal %d: %w", p.Proposals[i].Number, err)
		}
	}
	return nil
}

// badProposal is an error of the form of proposals, for which RFC 2408 5.4 to 5.6 have a notification of its own.
func badProposal(format string, args ...any) error {
	return reasonf(NotifyBadProposalSyntax, format, args...)
}

func (p *Proposal) check() error {
	if len(p.Transforms) == 0 || len(p.Transforms) > math.MaxUint8 {
		return badProposal("%d transforms, expected 1 to 255", len(p.Transforms))
	}
	if err := checkSPI(p.Protocol, len(p.SPI)); err != nil {
		return err
	}
	for i := range p.Transforms {
		if err := checkAttributes(p.Transforms[i].Attributes); err != nil {
			return reasonf(NotifyBadProposalSyntax, "transform %d: %w", p.Transforms[i].Number, err)
		}
	}
	return nil
}

// checkSPI holds the length of an SPI in a proposal against its protocol. Of a protocol that is not known nothing is: the proposal is not to be chosen.
func checkSPI(protocol ProtocolID, length int) error {
	switch {
	case protocol == ProtocolISAKMP && length > maxISAKMPSPI: // RFC 2408 3.5: from zero to sixteen, ignored
		return reasonf(NotifyInvalidSPI, "SPI of %d octets for ISAKMP, expected at most %d", length, maxISAKMPSPI)
	case (protocol == ProtocolAH || protocol == ProtocolESP) && length != 4:
		return reasonf(NotifyInvalidSPI, "SPI of %d octets for %v, expected 4", length, protocol)
	case protocol == ProtocolIPCOMP && length != 2 && length != 4: // RFC 3173 4.1
		return reasonf(NotifyInvalidSPI, "SPI of %d octets for IPCOMP, expected 2 or 4", length)
	case length > math.MaxUint8:
		return reasonf(NotifyInvalidSPI, "SPI of %d octets, expected at most 255", length)
	}
	return nil
}

func (p *SA) read(body *cryptobyte.String) error {
	whole := []byte(*body)
	var doi, situation uint32
	if !body.ReadUint32(&doi) {
		return errors.New("the payload ends within its DOI")
	}
	if DOI(doi) != DOIIPsec {
		return reasonf(NotifyDOINotSupported, "DOI %d, expected %d (IPsec)", doi, DOIIPsec)
	}
	if !body.ReadUint32(&situation) {
		return errors.New("the payload ends within its situation")
	}
	if situation != situationIdentityOnly {
		return reasonf(NotifySituationNotSupported, "situation %#x, expected %#x (identity only)", situation, situationIdentityOnly)
	}
	for more := true; more; {
		if len(p.Proposals) == MaxProposals {
			return badProposal("more than %d proposals", MaxProposals)
		}
		inner, last, err := substructure(body, PayloadProposal)
		if err != nil {
			return reasonf(NotifyBadProposalSyntax, "proposal at position %d: %w", len(p.Proposals)+1, err)
		}
		var proposal Proposal
		if err := proposal.read(&inner); err != nil {
			return reasonf(NotifyBadProposalSyntax, "proposal at position %d: %w", len(p.Proposals)+1, err)
		}
		p.Proposals = append(p.Proposals, proposal)
		more = !last
	}
	p.received = whole
	return nil
}

// substructure cuts one proposal or transform off s. Its header names the type of the next: the same, or none in the last.
// Its reserved octets are ignored: they say nothing, and RFC 2408 has no check of them.
func substructure(s *cryptobyte.String, kind PayloadType) (inner cryptobyte.String, last bool, err error) {
	var next uint8
	var length uint16
	if !s.ReadUint8(&next) || !s.Skip(1) || !s.ReadUint16(&length) {
		return nil, false, errors.New("the payload ends within its header")
	}
	if PayloadType(next) != PayloadNone && PayloadType(next) != kind {
		return nil, false, fmt.Errorf("next payload %d, expected 0 or %d", next, uint8(kind))
	}
	if length < subHeaderLength || int(length)-subHeaderLength > len(*s) {
		return nil, false, fmt.Errorf("length %d, expected %d to the %d left", length, subHeaderLength, len(*s)+subHeaderLength)
	}
	return cryptobyte.String(take(s, int(length)-subHeaderLength)), PayloadType(next) == PayloadNone, nil
}

func (p *Proposal) read(s *cryptobyte.String) error {
	var spi, transforms uint8
	found := len(*s)
	if !s.ReadUint8(&p.Number) || !s.ReadUint8((*uint8)(&p.Protocol)) || !s.ReadUint8(&spi) || !s.ReadUint8(&transforms) {
		return fmt.Errorf("%d octets after its length, expected at least %d", found, proposalFixedLength)
	}
	if int(spi) > len(*s) {
		return fmt.Errorf("SPI of %d octets, but only %d are left", spi, len(*s))
	}
	p.SPI = take(s, int(spi))
	// The count is checked against the octets before memory is taken for it.
	if int(transforms)*(subHeaderLength+transformFixedLength) > len(*s) {
		return fmt.Errorf("%d transforms, but only %d octets are left", transforms, len(*s))
	}
	p.Transforms = make([]Transform, transforms)
	for i := range p.Transforms {
		inner, last, err := substructure(s, PayloadTransform)
		if err != nil {
			return fmt.Errorf("transform at position %d: %w", i+1, err)
		}
		if final := i+1 == len(p.Transforms); last != final {
			return fmt.Errorf("transform at position %d: marked as last: %t, but the proposal has %d", i+1, last, transforms)
		}
		if err := p.Transforms[i].read(&inner); err != nil {
			return fmt.Errorf("transform at position %d: %w", i+1, err)
		}
	}
	if !s.Empty() {
		return fmt.Errorf("%d octets after the last transform, expected none", len(*s))
	}
	return nil
}

func (t *Transform) read(s *cryptobyte.String) (err error) {
	if !s.ReadUint8(&t.Number) || !s.ReadUint8(&t.ID) || !s.Skip(2) {
		return errors.New("the transform ends within its header")
	}
	t.Attributes, err = readAttributes(s)
	return err
}

func (p *SA) write(body *cryptobyte.Builder) {
	if p.received != nil {
		body.AddBytes(p.received)
		return
	}
	body.AddUint32(uint32(DOIIPsec))
	body.AddUint32(situationIdentityOnly)
	for i := range p.Proposals {
		addSubstructure(body, PayloadProposal, i+1 == len(p.Proposals), p.Proposals[i].write)
	}
}

// addSubstructure writes one proposal or transform; its length takes in the header, and is known behind the rest.
func addSubstructure(b *cryptobyte.Builder, kind PayloadType, last bool, write func(*cryptobyte.Builder)) {
	before, err := b.Bytes()
	if err != nil {
		return // which b keeps
	}
	if last {
		kind = PayloadNone
	}
	b.AddUint8(uint8(kind))
	b.AddUint8(0)
	b.AddUint16(0)
	write(b)
	after, err := b.Bytes()
	if err != nil {
		return
	}
	length := len(after) - len(before)
	if length > math.MaxUint16 {
		b.SetError(fmt.Errorf("%d octets in a proposal or transform, expected at most %d", length-subHeaderLength, math.MaxUint16-subHeaderLength))
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
		addSubstructure(b, PayloadTransform, i+1 == len(p.Transforms), p.Transforms[i].write)
	}
}

func (t *Transform) write(b *cryptobyte.Builder) {
	b.AddUint8(t.Number)
	b.AddUint8(t.ID)
	b.AddUint16(0)
	writeAttributes(b, t.Attributes)
}
