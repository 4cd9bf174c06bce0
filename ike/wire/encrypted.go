package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/crypto/cryptobyte"
)

var errEmptyBody = errors.New("no body, expected IV, ciphertext and ICV")

// Encrypted is an SK payload, RFC 7296 3.14: always the last of its message.
type Encrypted struct {
	FirstPayload PayloadType // the first payload inside; PayloadNone when there is none
	Body         []byte      // IV, ciphertext with padding and pad length, ICV; the cipher knows where one ends and the next begins
	// AAD is the message from its first octet up to Body: the associated data of an AEAD (RFC 5282 5.1); with Body it is what a separate
	// integrity algorithm covers, all but the ICV. Parse fills it; Marshal ignores it.
	AAD []byte
}

func (p *Encrypted) PayloadType() PayloadType { return PayloadEncrypted }
func (p *Encrypted) String() string           { return PayloadEncrypted.String() }

func (p *Encrypted) check() error {
	if len(p.Body) == 0 {
		return errEmptyBody
	}
	return nil
}

func (p *Encrypted) read(body *cryptobyte.String) error {
	p.Body = rest(body)
	return nil
}

func (p *Encrypted) write(body *cryptobyte.Builder) { body.AddBytes(p.Body) }

// EncryptedOverhead is how many octets of a message with an SK payload are not its body.
const EncryptedOverhead = HeaderLength + payloadHeaderLength

// EncryptedPrefix gives the octets of a message up to the body of its SK payload, which is its only payload in clear: the associated data to seal
// the body with, and, with the body of body octets appended, the datagram.
func EncryptedPrefix(h Header, first PayloadType, body int) ([]byte, error) {
	length := EncryptedOverhead + body
	b, err := h.append(make([]byte, 0, length), PayloadEncrypted, length)
	if err != nil {
		return nil, err
	}
	b = append(b, byte(first), 0)
	return binary.BigEndian.AppendUint16(b, uint16(payloadHeaderLength+body)), nil
}

// nextPayloadAt is where the header names its first payload.
const nextPayloadAt = 16

// WholePrefix is EncryptedPrefix for a message received: its own octets up to the body of SK, reserved bits and payloads in clear with them, and lengths as
// of body octets. For a message in fragments it is made from the AAD of the first, as if the message had come in one piece (RFC 9242 3.3.2).
func WholePrefix(aad []byte, body int) []byte {
	b := slices.Clone(aad)
	at, sealed := nextPayloadAt, HeaderLength
	for PayloadType(b[at]) != PayloadEncrypted && PayloadType(b[at]) != PayloadFragment {
		at, sealed = sealed, sealed+int(binary.BigEndian.Uint16(b[sealed+2:]))
	}
	b[at] = byte(PayloadEncrypted)
	b = b[:sealed+payloadHeaderLength] // a fragment's number and total are left out
	binary.BigEndian.PutUint32(b[HeaderLength-4:], uint32(len(b)+body))
	binary.BigEndian.PutUint16(b[sealed+2:], uint16(payloadHeaderLength+body))
	return b
}

// FragmentOverhead is how many octets of a message with an SKF payload are not its body.
const FragmentOverhead = HeaderLength + payloadHeaderLength + fragmentHeaderLength

// FragmentPrefix is EncryptedPrefix for a message with an SKF payload: fragment says everything but the body, which will have body octets.
func FragmentPrefix(h Header, fragment Fragment, body int) ([]byte, error) {
	if err := fragment.checkNumbers(); err != nil {
		return nil, &SyntaxError{Payload: PayloadFragment, Err: err}
	}
	b, err := h.append(make([]byte, 0, FragmentOverhead+body), PayloadFragment, FragmentOverhead+body)
	if err != nil {
		return nil, err
	}
	b = append(b, byte(fragment.FirstPayload), 0)
	b = binary.BigEndian.AppendUint16(b, uint16(FragmentOverhead-HeaderLength+body))
	b = binary.BigEndian.AppendUint16(b, fragment.Number)
	return binary.BigEndian.AppendUint16(b, fragment.Total), nil
}

// Fragment is an SKF payload, RFC 7383 2.5: one piece of the chain that an SK payload would hold, encrypted on its own.
type Fragment struct {
	FirstPayload  PayloadType // in the first fragment the first payload of the whole chain, PayloadNone in the others
	Number, Total uint16      // Number counts from 1 to Total
	Body          []byte      // as in Encrypted
	AAD           []byte      // as in Encrypted; takes in Number and Total
}

func (p *Fragment) PayloadType() PayloadType { return PayloadFragment }
func (p *Fragment) String() string           { return fmt.Sprintf("SKF(%d/%d)", p.Number, p.Total) }

func (p *Fragment) check() error {
	if len(p.Body) == 0 {
		return errEmptyBody
	}
	return p.checkNumbers()
}

func (p *Fragment) checkNumbers() error {
	switch {
	case p.Number == 0 || p.Number > p.Total:
		return fmt.Errorf("fragment number %d of %d, expected 1 to the total", p.Number, p.Total)
	case p.Total > MaxFragments:
		return fmt.Errorf("%d fragments in total, expected at most %d", p.Total, MaxFragments)
	case p.Number > 1 && p.FirstPayload != PayloadNone:
		return fmt.Errorf("fragment number %d names the first payload, expected that of number 1 only", p.Number)
	}
	return nil
}

func (p *Fragment) read(body *cryptobyte.String) error {
	found := len(*body)
	if !body.ReadUint16(&p.Number) || !body.ReadUint16(&p.Total) {
		return fmt.Errorf("%d octets of body, expected the 4 of fragment number and total first", found)
	}
	p.Body = rest(body)
	return nil
}

func (p *Fragment) write(body *cryptobyte.Builder) {
	body.AddUint16(p.Number)
	body.AddUint16(p.Total)
	body.AddBytes(p.Body)
}
