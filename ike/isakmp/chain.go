package isakmp

import (
	"encoding/binary"
	"fmt"
	"slices"

	"golang.org/x/crypto/cryptobyte"
)

// Chain is the decrypted content of a message.
type Chain struct {
	Payloads []Payload // at least one
	Octets   []byte    // they as they came, without the padding behind them
}

// Rest is what follows the first payload, as it came: what HASH(1) and HASH(2) of quick mode and HASH(1) of an informational
// exchange cover (RFC 2409 5.5 and 5.7), when the first payload is that HASH.
func (c *Chain) Rest() []byte {
	return c.Octets[binary.BigEndian.Uint16(c.Octets[2:]):]
}

// ParsePayloads reads a decrypted chain of payloads whose first has the given type, and the padding after it, whose content
// does not matter. Its errors are *[SyntaxError].
func ParsePayloads(first PayloadType, plaintext []byte) (*Chain, error) {
	if len(plaintext) > MaxMessage {
		return nil, malformed(PayloadNone, "%d octets of payloads, expected at most %d", len(plaintext), MaxMessage)
	}
	if first == PayloadNone {
		return nil, malformed(PayloadNone, "an encrypted message without payloads, expected at least one")
	}
	octets := slices.Clone(plaintext)
	r := reader{next: first, unread: cryptobyte.String(octets)}
	payloads, err := r.read()
	if err != nil {
		return nil, err
	}
	if len(r.unread) > MaxPadding {
		return nil, malformed(PayloadNone, "%d octets after the last payload, expected at most %d of padding", len(r.unread), MaxPadding)
	}
	return &Chain{Payloads: payloads, Octets: slices.Clip(octets[:len(octets)-len(r.unread)])}, nil
}

// PrependHash puts a HASH payload before a chain that [MarshalPayloads] emitted, whose first payload is of type first: the hash covers the
// octets of that chain, so they come before it. The result begins with a payload of type [PayloadHash]. An empty chain has the type [PayloadNone].
func PrependHash(hash []byte, first PayloadType, chain []byte) ([]byte, error) {
	builder := cryptobyte.NewBuilder(make([]byte, 0, payloadHeaderLength+len(hash)+len(chain)))
	if err := writePayload(builder, &Hash{Data: hash}, first); err != nil {
		return nil, fmt.Errorf("isakmp message: %v payload to send: %w", PayloadHash, err)
	}
	b, err := builder.Bytes()
	if err == nil && len(b)+len(chain) > MaxMessage {
		err = fmt.Errorf("isakmp message: %d octets of payloads to send, expected at most %d", len(b)+len(chain), MaxMessage)
	}
	if err != nil {
		return nil, err
	}
	return append(b, chain...), nil
}

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
