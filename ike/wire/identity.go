package wire

import (
	"fmt"

	"golang.org/x/crypto/cryptobyte"
)

// ID is an Identification payload, IDi or IDr, RFC 7296 3.5.
type ID struct {
	Initiator bool
	Type      IDType
	Reserved  [3]byte // zero when sent; kept, because the peer's AUTH covers it as it came
	Data      []byte
}

func (p *ID) PayloadType() PayloadType {
	if p.Initiator {
		return PayloadIDi
	}
	return PayloadIDr
}

func (p *ID) String() string { return p.PayloadType().String() }

// SignedOctets is the payload without its generic header: what AUTH covers as RestOfInitIDPayload or RestOfRespIDPayload (RFC 7296 2.15).
func (p *ID) SignedOctets() []byte {
	b := append([]byte{byte(p.Type)}, p.Reserved[:]...)
	return append(b, p.Data...)
}

func (p *ID) check() error {
	expected := "at least 1"
	var ok bool
	switch n := len(p.Data); p.Type {
	case IDIPv4Address:
		ok, expected = n == 4, "4"
	case IDIPv6Address:
		ok, expected = n == 16, "16"
	case IDNull:
		ok, expected = n == 0, "none" // RFC 7619 2.1
	default:
		ok = n > 0
	}
	if !ok {
		return fmt.Errorf("%d octets of identification data for %v, expected %s", len(p.Data), p.Type, expected)
	}
	return nil
}

func (p *ID) read(body *cryptobyte.String) error {
	if !body.ReadUint8((*uint8)(&p.Type)) || !body.CopyBytes(p.Reserved[:]) {
		return fmt.Errorf("the payload ends before its identification data")
	}
	p.Data = rest(body)
	return nil
}

func (p *ID) write(body *cryptobyte.Builder) { body.AddBytes(p.SignedOctets()) }

// Auth is an Authentication payload, RFC 7296 3.8.
type Auth struct {
	Method AuthMethod
	Data   []byte
}

func (p *Auth) PayloadType() PayloadType { return PayloadAuth }
func (p *Auth) String() string           { return PayloadAuth.String() }

func (p *Auth) check() error {
	if len(p.Data) == 0 {
		return fmt.Errorf("no authentication data for %v", p.Method)
	}
	return nil
}

func (p *Auth) read(body *cryptobyte.String) error {
	if !body.ReadUint8((*uint8)(&p.Method)) || !body.Skip(3) {
		return fmt.Errorf("the payload ends before its authentication data")
	}
	p.Data = rest(body)
	return nil
}

func (p *Auth) write(body *cryptobyte.Builder) {
	body.AddUint8(uint8(p.Method))
	body.AddUint24(0)
	body.AddBytes(p.Data)
}
