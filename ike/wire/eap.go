package wire

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
)

// EAP is an Extensible Authentication Protocol payload, RFC 7296 3.16: one whole EAP message.
type EAP struct{ Message []byte }

func (p *EAP) PayloadType() PayloadType { return PayloadEAP }
func (p *EAP) String() string           { return PayloadEAP.String() }

func (p *EAP) check() error {
	const header = 4 // code, identifier, length
	if len(p.Message) < header {
		return fmt.Errorf("EAP message of %d octets, expected at least %d", len(p.Message), header)
	}
	if length := binary.BigEndian.Uint16(p.Message[2:]); int(length) != len(p.Message) {
		return fmt.Errorf("EAP message gives a length of %d octets, the payload has %d", length, len(p.Message))
	}
	return nil
}

func (p *EAP) read(body *cryptobyte.String) error {
	p.Message = rest(body)
	return nil
}

func (p *EAP) write(body *cryptobyte.Builder) { body.AddBytes(p.Message) }
