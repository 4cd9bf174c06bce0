package isakmp

import (
	"encoding/binary"
	"fmt"
	"math"

	"golang.org/x/crypto/cryptobyte"
)

// Payload is one payload of a message. String names it as logs do ("SA", "N(CONNECTED)") and never shows its content, so that printing a
// message cannot leak what was encrypted.
type Payload interface {
	PayloadType() PayloadType
	String() string

	read(body *cryptobyte.String) error // reads the body; what it leaves unread is an error of the caller's
	check() error                       // the rules of its section of the RFC, on parse and on emission
	write(body *cryptobyte.Builder)
}

// Unknown is a payload of a type this codec does not know. It is kept, because a hash may cover it, and refused by [Check] unless its type is a private one.
type Unknown struct {
	Type PayloadType
	Body []byte
}

func (p *Unknown) PayloadType() PayloadType { return p.Type }
func (p *Unknown) String() string           { return fmt.Sprintf("?(%d)", uint8(p.Type)) }

func (p *Unknown) check() error {
	switch p.Type {
	case PayloadNone, PayloadProposal, PayloadTransform:
		return reasonf(NotifyInvalidPayloadType, "stands in a message, expected a payload that may")
	}
	if newPayload(p.Type) != nil {
		return fmt.Errorf("an unknown payload has type %d, which is a known one", uint8(p.Type))
	}
	return nil
}

func (p *Unknown) read(body *cryptobyte.String) error {
	p.Body = rest(body)
	return nil
}

func (p *Unknown) write(body *cryptobyte.Builder) { body.AddBytes(p.Body) }

// newPayload gives an empty payload of a known type, or nil.
func newPayload(t PayloadType) Payload {
	switch t {
	case PayloadSA:
		return &SA{}
	case PayloadKE:
		return &KE{}
	case PayloadID:
		return &ID{}
	case PayloadCert:
		return &Cert{}
	case PayloadCertReq:
		return &CertReq{}
	case PayloadHash:
		return &Hash{}
	case PayloadSig:
		return &Sig{}
	case PayloadNonce:
		return &Nonce{}
	case PayloadNotify:
		return &Notify{}
	case PayloadDelete:
		return &Delete{}
	case PayloadVendorID:
		return &VendorID{}
	case PayloadNATD, PayloadNATDDraft:
		return &NATD{Draft: t == PayloadNATDDraft}
	case PayloadNATOA, PayloadNATOADraft:
		return &NATOA{Draft: t == PayloadNATOADraft}
	case PayloadFragment:
		return &Fragment{}
	}
	return nil
}

// Body is a payload without its generic header, what RFC 2409 section 3.2 writes <P>_b: of a payload that was parsed exactly as it came.
func Body(p Payload) ([]byte, error) {
	if sa, ok := p.(*SA); ok && sa.received != nil {
		return sa.received, nil
	}
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("isakmp message: body of a %v payload: %w", p.PayloadType(), err)
	}
	builder := cryptobyte.NewBuilder(make([]byte, 0, usualBody))
	p.write(builder)
	return builder.Bytes()
}

// reader reads payloads one after the other. Each names the type of the next; the first type comes from the header.
type reader struct {
	next   PayloadType
	unread cryptobyte.String
	clear  bool              // not from ciphertext: a fragment may stand here
	body   cryptobyte.String // of the payload being read; here, so that it costs one allocation a chain and not one a payload
}

// read reads to the end of the chain, which may be before that of the octets.
func (r *reader) read() ([]Payload, error) {
	var payloads []Payload
	for r.next != PayloadNone {
		if len(payloads) == MaxPayloads {
			return nil, malformed(PayloadNone, "more than %d payloads", MaxPayloads)
		}
		p, err := r.readPayload()
		if err != nil {
			return nil, err
		}
		if payloads == nil {
			payloads = make([]Payload, 0, usualPayloads)
		}
		payloads = append(payloads, p)
	}
	return payloads, nil
}

func (r *reader) readPayload() (Payload, error) {
	current := r.next
	var reserved uint8
	var length uint16
	if !r.unread.ReadUint8((*uint8)(&r.next)) || !r.unread.ReadUint8(&reserved) || !r.unread.ReadUint16(&length) {
		return nil, malformed(current, "the message ends within the payload's 4-octet header")
	}
	if reserved != 0 {
		return nil, malformed(current, "reserved octet of its header is %d, expected 0", reserved) // RFC 2408 5.3
	}
	if length < payloadHeaderLength || int(length)-payloadHeaderLength > len(r.unread) {
		return nil, malformed(current, "length %d, expected %d to the %d left in the message", length, payloadHeaderLength, len(r.unread)+payloadHeaderLength)
	}
	if current == PayloadFragment && !r.clear {
		return nil, malformed(current, "stands inside an encrypted message, expected it in clear only")
	}
	r.body = take(&r.unread, int(length)-payloadHeaderLength)
	p := newPayload(current)
	if p == nil {
		p = &Unknown{Type: current}
	}
	err := p.read(&r.body)
	if err == nil && !r.body.Empty() {
		err = fmt.Errorf("%d octets after its end, expected none", len(r.body))
	}
	if err == nil {
		err = p.check()
	}
	if err != nil {
		return nil, inPayload(current, err)
	}
	return p, nil
}

// MarshalPayloads emits a chain of payloads and says which type its first has: what is encrypted, before padding.
func MarshalPayloads(payloads []Payload) (first PayloadType, b []byte, err error) {
	if len(payloads) > MaxPayloads {
		return PayloadNone, nil, fmt.Errorf("isakmp message: %d payloads to send, expected at most %d", len(payloads), MaxPayloads)
	}
	builder := cryptobyte.NewBuilder(make([]byte, 0, usualLength))
	for i, p := range payloads {
		next := PayloadNone
		if i+1 < len(payloads) {
			next = payloads[i+1].PayloadType()
		}
		if err := writePayload(builder, p, next); err != nil {
			return PayloadNone, nil, fmt.Errorf("isakmp message: %v payload to send: %w", p.PayloadType(), err)
		}
	}
	if len(payloads) > 0 {
		first = payloads[0].PayloadType()
	}
	b, err = builder.Bytes()
	if err == nil && len(b) > MaxMessage {
		err = fmt.Errorf("isakmp message: %d octets of payloads to send, expected at most %d", len(b), MaxMessage)
	}
	if err != nil {
		return PayloadNone, nil, err
	}
	return first, b, nil
}

func writePayload(b *cryptobyte.Builder, p Payload, next PayloadType) error {
	if err := p.check(); err != nil {
		return err
	}
	before, err := b.Bytes()
	if err != nil {
		return err
	}
	b.AddUint8(uint8(next))
	b.AddUint8(0)
	b.AddUint16(0) // the length, which is known behind the body
	p.write(b)
	after, err := b.Bytes()
	if err != nil {
		return err
	}
	length := len(after) - len(before)
	if length > math.MaxUint16 {
		return fmt.Errorf("%d octets of body, expected at most %d", length-payloadHeaderLength, math.MaxUint16-payloadHeaderLength)
	}
	binary.BigEndian.PutUint16(after[len(before)+lengthAt:], uint16(length))
	return nil
}

// Messages are mostly no longer than usualLength, in octets, the bodies of payloads no longer than usualBody, and they have no more payloads than usualPayloads.
const (
	usualLength   = 512
	usualBody     = 64
	usualPayloads = 8
)

// lengthAt is where the header of a payload, a proposal or a transform has the length.
const lengthAt = 2
