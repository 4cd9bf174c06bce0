package isakmp

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/crypto/cryptobyte"
)

// Message is one ISAKMP message as [Parse] reads it: with its payloads, or with its ciphertext. The caller puts the payloads of the
// decrypted [Chain] in place.
type Message struct {
	Header
	Payloads   []Payload
	Ciphertext []byte // all that is behind the header of an encrypted message
}

// Parse reads a whole datagram (after the non-ESP marker of port 4500). Its errors are those of [ParseHeader] and *[SyntaxError].
func Parse(datagram []byte) (*Message, error) {
	h, err := ParseHeader(datagram)
	if err != nil {
		return nil, err
	}
	rest := slices.Clone(datagram[HeaderLength:])
	if h.Encrypted() {
		if len(rest) == 0 {
			return nil, malformed(PayloadNone, "nothing behind the header of an encrypted message, expected ciphertext")
		}
		return &Message{Header: h, Ciphertext: slices.Clip(rest)}, nil
	}
	c := reader{next: h.NextPayload, unread: cryptobyte.String(rest), clear: true}
	payloads, err := c.read()
	if err != nil {
		return nil, err
	}
	if !c.unread.Empty() {
		return nil, refused(NotifyUnequalPayloadLengths, PayloadNone, "%d octets after the last payload, expected none", len(c.unread))
	}
	return &Message{Header: h, Payloads: payloads}, nil
}

// Marshal emits the message: with its ciphertext when the encryption bit is set, otherwise with its payloads. Version and Length of the
// header are taken from what is emitted, and NextPayload of a message in clear.
func (m *Message) Marshal() ([]byte, error) {
	if m.Encrypted() {
		b, err := m.Prefix(m.NextPayload, len(m.Ciphertext))
		return append(b, m.Ciphertext...), err
	}
	first, payloads, err := MarshalPayloads(m.Payloads)
	if err != nil {
		return nil, err
	}
	b, err := m.append(make([]byte, 0, HeaderLength+len(payloads)), first, HeaderLength+len(payloads))
	if err != nil {
		return nil, err
	}
	return append(b, payloads...), nil
}

// String is the message in one line for logs, without any content: "main mode [ SA V(DPD) V(NAT-T) ]", "quick mode 5f3a90c1 [ HASH SA NONCE ID ID ]".
func (m *Message) String() string {
	var b strings.Builder
	b.WriteString(m.Exchange.String())
	if m.MessageID != 0 {
		fmt.Fprintf(&b, " %08x", m.MessageID)
	}
	b.WriteString(" [ ")
	if m.Payloads == nil && m.Ciphertext != nil {
		fmt.Fprintf(&b, "%d octets of ciphertext ", len(m.Ciphertext))
	}
	for _, p := range m.Payloads {
		b.WriteString(p.String())
		b.WriteByte(' ')
	}
	b.WriteByte(']')
	return b.String()
}

// MarshalText makes the encoders of logs, JSON among them, print String instead of the content.
func (m *Message) MarshalText() ([]byte, error) { return []byte(m.String()), nil }
