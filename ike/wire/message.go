package wire

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/crypto/cryptobyte"
)

// Message is one IKE message: as [Parse] reads it, in clear or with an [*Encrypted] payload last; or, once the caller has put the payloads that
// were inside SK in place of it, decrypted.
type Message struct {
	Header
	Payloads []Payload
}

// Parse reads a whole datagram (after the non-ESP marker of port 4500). Its errors are those of [ParseHeader], *[SyntaxError] and *[CriticalError].
func Parse(datagram []byte) (*Message, error) {
	h, err := ParseHeader(datagram)
	if err != nil {
		return nil, err
	}
	message := slices.Clone(datagram)
	c := chain{message: message, next: h.NextPayload, unread: cryptobyte.String(message[HeaderLength:])}
	payloads, err := c.read()
	if err != nil {
		return nil, err
	}
	return &Message{Header: h, Payloads: payloads}, nil
}

// Marshal emits the message, in clear or with an Encrypted or Fragment payload whose body the caller has sealed. NextPayload, version and
// Length of the header are taken from what is emitted.
func (m *Message) Marshal() ([]byte, error) {
	first, payloads, err := MarshalPayloads(m.Payloads)
	if err != nil {
		return nil, err
	}
	b, err := m.Header.append(make([]byte, 0, HeaderLength+len(payloads)), first, HeaderLength+len(payloads))
	if err != nil {
		return nil, err
	}
	return append(b, payloads...), nil
}

// String is the message in one line for logs, without any content: "IKE_AUTH request 1 [ IDi AUTH SA TSi TSr N(INITIAL_CONTACT) ]".
func (m *Message) String() string {
	kind := "request"
	if m.Response() {
		kind = "response"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%v %s %d [ ", m.Exchange, kind, m.MessageID)
	for _, p := range m.Payloads {
		b.WriteString(p.String())
		b.WriteByte(' ')
	}
	b.WriteByte(']')
	return b.String()
}

// MarshalText makes the encoders of logs, JSON among them, print String instead of the content.
func (m *Message) MarshalText() ([]byte, error) { return []byte(m.String()), nil }
