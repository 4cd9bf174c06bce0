package wire

import (
	"fmt"

	"golang.org/x/crypto/cryptobyte"
)

// Cert is a Certificate payload, RFC 7296 3.6.
type Cert struct {
	Encoding CertEncoding
	Data     []byte
}

func (p *Cert) PayloadType() PayloadType { return PayloadCert }
func (p *Cert) String() string           { return PayloadCert.String() }

func (p *Cert) check() error {
	if len(p.Data) == 0 {
		return fmt.Errorf("no certificate data for %v", p.Encoding)
	}
	return nil
}

func (p *Cert) read(body *cryptobyte.String) error { return readCert(body, &p.Encoding, &p.Data) }

func (p *Cert) write(body *cryptobyte.Builder) {
	body.AddUint8(uint8(p.Encoding))
	body.AddBytes(p.Data)
}

// CertReq is a Certificate Request payload, RFC 7296 3.7.
type CertReq struct {
	Encoding    CertEncoding
	Authorities []byte // SHA-1 hashes of the public keys of trusted authorities, 20 octets each, when Encoding is an X.509 one; may be empty
}

func (p *CertReq) PayloadType() PayloadType { return PayloadCertReq }
func (p *CertReq) String() string           { return PayloadCertReq.String() }

func (p *CertReq) check() error { return nil }

func (p *CertReq) read(body *cryptobyte.String) error {
	return readCert(body, &p.Encoding, &p.Authorities)
}

func (p *CertReq) write(body *cryptobyte.Builder) {
	body.AddUint8(uint8(p.Encoding))
	body.AddBytes(p.Authorities)
}

func readCert(body *cryptobyte.String, encoding *CertEncoding, data *[]byte) error {
	if !body.ReadUint8((*uint8)(encoding)) {
		return fmt.Errorf("no body, expected a certificate encoding")
	}
	*data = rest(body)
	return nil
}
