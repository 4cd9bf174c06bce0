package wire

import (
	"fmt"

	"golang.org/x/crypto/cryptobyte"
)

// KE is a Key Exchange payload, RFC 7296 3.4. How long Data must be is the group's to say.
type KE struct {
	Group uint16 // the ID of a [TransformDH] transform
	Data  []byte // the sender's public value
}

func (p *KE) PayloadType() PayloadType { return PayloadKE }
func (p *KE) String() string           { return PayloadKE.String() }

func (p *KE) check() error {
	if len(p.Data) == 0 {
		return fmt.Errorf("no key exchange data for group %d", p.Group)
	}
	return nil
}

func (p *KE) read(body *cryptobyte.String) error {
	found := len(*body)
	if !body.ReadUint16(&p.Group) || !body.Skip(2) {
		return fmt.Errorf("%d octets of body, expected at least 4", found)
	}
	p.Data = rest(body)
	return nil
}

func (p *KE) write(body *cryptobyte.Builder) {
	body.AddUint16(p.Group)
	body.AddUint16(0)
	body.AddBytes(p.Data)
}

// Nonce is a Nonce payload, RFC 7296 3.9.
type Nonce struct{ Data []byte }

// A nonce's length in octets, RFC 7296 3.9.
const (
	MinNonce = 16
	MaxNonce = 256
)

func (p *Nonce) PayloadType() PayloadType { return PayloadNonce }
func (p *Nonce) String() string           { return PayloadNonce.String() }

func (p *Nonce) check() error {
	if len(p.Data) < MinNonce || len(p.Data) > MaxNonce {
		return fmt.Errorf("%d octets, expected %d to %d", len(p.Data), MinNonce, MaxNonce)
	}
	return nil
}

func (p *Nonce) read(body *cryptobyte.String) error {
	p.Data = rest(body)
	return nil
}

func (p *Nonce) write(body *cryptobyte.Builder) { body.AddBytes(p.Data) }
