package wire

import "golang.org/x/crypto/cryptobyte"

// VendorID is a Vendor ID payload, RFC 7296 3.12.
type VendorID struct{ Data []byte }

func (p *VendorID) PayloadType() PayloadType { return PayloadVendorID }
func (p *VendorID) String() string           { return PayloadVendorID.String() }
func (p *VendorID) check() error             { return nil }

func (p *VendorID) read(body *cryptobyte.String) error {
	p.Data = rest(body)
	return nil
}

func (p *VendorID) write(body *cryptobyte.Builder) { body.AddBytes(p.Data) }
