package wire

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"golang.org/x/crypto/cryptobyte"
)

// Payload is one payload of a message. String names it as logs do ("IDi", "N(COOKIE)") and never shows its content, so that printing a
// message cannot leak what was encrypted.
type Payload interface {
	PayloadType() PayloadType
	String() string

	read(body *cryptobyte.String) error // reads the body; what it leaves unread is an error of the caller's
	check() error                       // the rules of its section of RFC 7296, on parse and on emission
	write(body *cryptobyte.Builder)
}

// Unknown is a payload of a type this codec does not know. It is kept, so that what was parsed is emitted again, and otherwise ignored; with the
// critical bit set it would have refused its message.
type Unknown struct {
	Type     PayloadType
	Critical bool
	Body     []byte
}

func (p *Unknown) PayloadType() PayloadType { return p.Type }
func (p *Unknown) String() string           { return fmt.Sprintf("?(%d)", uint8(p.Type)) }

func (p *Unknown) check() error {
	if newPayload(p.Type) != nil || p.Type == PayloadNone || p.Type == PayloadEncrypted || p.Type == PayloadFragment {
		return fmt.Errorf("an unknown payload has type %d, which is a known one", uint8(p.Type))
	}
	return nil
}

func (p *Unknown) read(body *cryptobyte.String) error {
	p.Body = rest(body)
	return nil
}

func (p *Unknown) write(body *cryptobyte.Builder) { body.AddBytes(p.Body) }

// newPayload gives an empty payload of a known type that may stand anywhere in a chain, or nil.
func newPayload(t PayloadType) Payload {
	switch t {
	case PayloadSA:
		return &SA{}
	case PayloadKE:
		return &KE{}
	case PayloadIDi, PayloadIDr:
		return &ID{Initiator: t == PayloadIDi}
	case PayloadCert:
		return &Cert{}
	case PayloadCertReq:
		return &CertReq{}
	case PayloadAuth:
		return &Auth{}
	case PayloadNonce:
		return &Nonce{}
	case PayloadNotify:
		return &Notify{}
	case PayloadDelete:
		return &Delete{}
	case PayloadVendorID:
		return &VendorID{}
	case PayloadTSi, PayloadTSr:
		return &TS{Initiator: t == PayloadTSi}
	case PayloadConfiguration:
		return &Configuration{}
	case PayloadEAP:
		return &EAP{}
	}
	return nil
}

const criticalBit = 0x80 // RFC 7296 3.2

// chain reads payloads one after the other. Each names the type of the next; the first type comes from the header or from SK.
type chain struct {
	message []byte // the octets the chain ends with, for the AAD of an SK payload; nil inside SK
	next    PayloadType
	unread  cryptobyte.String
	body    cryptobyte.String // of the payload being read; here, so that it costs one allocation a chain and not one a payload
}

// read reads the chain to its end. An SK or SKF payload ends it: its next-payload field belongs to what is inside (RFC 7296 3.14).
func (c *chain) read() ([]Payload, error) {
	var payloads []Payload
	for c.next != PayloadNone {
		if len(payloads) == MaxPayloads {
			return nil, syntaxf(PayloadNone, "more than %d payloads", MaxPayloads)
		}
		p, err := c.readPayload()
		if err != nil {
			return nil, err
		}
		if payloads == nil {
			payloads = make([]Payload, 0, usualPayloads)
		}
		payloads = append(payloads, p)
	}
	if !c.unread.Empty() {
		return nil, syntaxf(PayloadNone, "%d octets after the last payload, expected none", len(c.unread))
	}
	return payloads, nil
}

func (c *chain) readPayload() (Payload, error) {
	current := c.next
	var next, flags uint8
	var length uint16
	if !c.unread.ReadUint8(&next) || !c.unread.ReadUint8(&flags) || !c.unread.ReadUint16(&length) {
		return nil, syntaxf(current, "the message ends within the payload's 4-octet header")
	}
	if length < payloadHeaderLength || int(length)-payloadHeaderLength > len(c.unread) {
		return nil, syntaxf(current, "length %d, expected %d to the %d left in the message", length, payloadHeaderLength, len(c.unread)+payloadHeaderLength)
	}
	c.body = take(&c.unread, int(length)-payloadHeaderLength)
	if current == PayloadEncrypted || current == PayloadFragment {
		c.next = PayloadNone
		return c.readEncrypted(current, PayloadType(next))
	}
	c.next = PayloadType(next)
	p := newPayload(current)
	if p == nil {
		if flags&criticalBit != 0 {
			return nil, &CriticalError{Type: current}
		}
		p = &Unknown{Type: current}
	}
	return p, c.readBody(p)
}

// readEncrypted reads an SK or SKF payload: only as the last one of a message in clear.
func (c *chain) readEncrypted(current, first PayloadType) (Payload, error) {
	if c.message == nil {
		return nil, syntaxf(current, "stands inside an encrypted payload, expected it in the clear part of a message only")
	}
	if !c.unread.Empty() {
		return nil, syntaxf(current, "%d octets follow it, expected it last", len(c.unread))
	}
	aad := len(c.message) - len(c.body)
	if current == PayloadEncrypted {
		p := &Encrypted{FirstPayload: first, AAD: slices.Clip(c.message[:aad])}
		return p, c.readBody(p)
	}
	// The associated data of a fragment takes in its number and total (RFC 7383 2.5).
	aad = min(aad+fragmentHeaderLength, len(c.message))
	p := &Fragment{FirstPayload: first, AAD: slices.Clip(c.message[:aad])}
	return p, c.readBody(p)
}

func (c *chain) readBody(p Payload) error {
	err := p.read(&c.body)
	if err == nil && !c.body.Empty() {
		err = fmt.Errorf("%d octets after its end, expected none", len(c.body))
	}
	if err == nil {
		err = p.check()
	}
	if err != nil {
		return &SyntaxError{Payload: p.PayloadType(), Err: err}
	}
	return nil
}

// ParsePayloads reads a chain of payloads whose first has the given type: the decrypted content of an SK payload without its padding.
func ParsePayloads(first PayloadType, b []byte) ([]Payload, error) {
	if len(b) > MaxMessage {
		return nil, syntaxf(PayloadNone, "%d octets of payloads, expected at most %d", len(b), MaxMessage)
	}
	c := chain{next: first, unread: slices.Clone(b)}
	return c.read()
}

// MarshalPayloads emits a chain of payloads and says which type its first has: the content of an SK payload before padding.
func MarshalPayloads(payloads []Payload) (first PayloadType, b []byte, err error) {
	if len(payloads) > MaxPayloads {
		return PayloadNone, nil, fmt.Errorf("ike message: %d payloads to send, expected at most %d", len(payloads), MaxPayloads)
	}
	builder := cryptobyte.NewBuilder(make([]byte, 0, usualLength))
	for i, p := range payloads {
		next := PayloadNone
		if i+1 < len(payloads) {
			next = payloads[i+1].PayloadType()
		}
		if err := writePayload(builder, p, next); err != nil {
			return PayloadNone, nil, fmt.Errorf("ike message: %v payload to send: %w", p.PayloadType(), err)
		}
	}
	if len(payloads) > 0 {
		first = payloads[0].PayloadType()
	}
	b, err = builder.Bytes()
	if err == nil && len(b) > MaxMessage {
		err = fmt.Errorf("ike message: %d octets of payloads to send, expected at most %d", len(b), MaxMessage)
	}
	if err != nil {
		return PayloadNone, nil, err
	}
	return first, b, nil
}

func writePayload(b *cryptobyte.Builder, p Payload, next PayloadType) error {
	var flags uint8
	switch p := p.(type) {
	case *Unknown:
		if p.Critical {
			flags = criticalBit
		}
	case *Encrypted:
		if next != PayloadNone {
			return fmt.Errorf("a %v payload follows it, expected it last", next)
		}
		next = p.FirstPayload
	case *Fragment:
		if next != PayloadNone {
			return fmt.Errorf("a %v payload follows it, expected it last", next)
		}
		next = p.FirstPayload
	}
	if err := p.check(); err != nil {
		return err
	}
	before, err := b.Bytes()
	if err != nil {
		return err
	}
	b.AddUint8(uint8(next))
	b.AddUint8(flags)
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

// Messages are mostly no longer than usualLength, in octets, and have no more payloads than usualPayloads.
const (
	usualLength   = 512
	usualPayloads = 8
)

// lengthAt is where the header of a payload, a proposal or a transform has the length.
const lengthAt = 2

// take cuts n octets off s, which has them, without spare capacity; none are nil.
func take(s *cryptobyte.String, n int) []byte {
	var b []byte
	if n == 0 || !s.ReadBytes(&b, n) {
		return nil
	}
	return slices.Clip(b)
}

// rest cuts off all that s has left.
func rest(s *cryptobyte.String) []byte { return take(s, len(*s)) }
