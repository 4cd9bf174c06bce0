package isakmp

import (
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
)

// KE is a Key Exchange payload, RFC 2408 3.7. How long Data must be is the group's to say.
type KE struct{ Data []byte }

func (p *KE) PayloadType() PayloadType { return PayloadKE }
func (p *KE) String() string           { return PayloadKE.String() }

func (p *KE) check() error {
	if len(p.Data) == 0 {
		return reasonf(NotifyInvalidKeyInformation, "no key exchange data")
	}
	return nil
}

func (p *KE) read(body *cryptobyte.String) error {
	p.Data = rest(body)
	return nil
}

func (p *KE) write(body *cryptobyte.Builder) { body.AddBytes(p.Data) }

// Nonce is a Nonce payload, RFC 2408 3.13.
type Nonce struct{ Data []byte }

// A nonce's length in octets, RFC 2409 section 5.
const (
	MinNonce = 8
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

// Hash is a Hash payload, RFC 2408 3.11. Its length is that of the negotiated hash, which the comparison with the right one tells.
type Hash struct{ Data []byte }

// MaxHash is the length of the longest hash, SHA2-512, in octets.
const MaxHash = 64

func (p *Hash) PayloadType() PayloadType { return PayloadHash }
func (p *Hash) String() string           { return PayloadHash.String() }

func (p *Hash) check() error {
	if len(p.Data) == 0 || len(p.Data) > MaxHash {
		return reasonf(NotifyInvalidHashInformation, "%d octets, expected 1 to %d", len(p.Data), MaxHash)
	}
	return nil
}

func (p *Hash) read(body *cryptobyte.String) error {
	p.Data = rest(body)
	return nil
}

func (p *Hash) write(body *cryptobyte.Builder) { body.AddBytes(p.Data) }

// Sig is a Signature payload, RFC 2408 3.12.
type Sig struct{ Data []byte }

func (p *Sig) PayloadType() PayloadType { return PayloadSig }
func (p *Sig) String() string           { return PayloadSig.String() }

func (p *Sig) check() error {
	if len(p.Data) == 0 {
		return reasonf(NotifyInvalidSignature, "no signature data")
	}
	return nil
}

func (p *Sig) read(body *cryptobyte.String) error {
	p.Data = rest(body)
	return nil
}

func (p *Sig) write(body *cryptobyte.Builder) { body.AddBytes(p.Data) }

// Cert is a Certificate payload, RFC 2408 3.9.
type Cert struct {
	Encoding CertEncoding
	Data     []byte
}

func (p *Cert) PayloadType() PayloadType { return PayloadCert }
func (p *Cert) String() string           { return PayloadCert.String() }

func (p *Cert) check() error {
	if len(p.Data) == 0 {
		return reasonf(NotifyInvalidCertificate, "no certificate data for %v", p.Encoding)
	}
	return nil
}

func (p *Cert) read(body *cryptobyte.String) error { return readCert(body, &p.Encoding, &p.Data) }

func (p *Cert) write(body *cryptobyte.Builder) {
	body.AddUint8(uint8(p.Encoding))
	body.AddBytes(p.Data)
}

// CertReq is a Certificate Request payload, RFC 2408 3.10. IKEv2 has hashes of keys in its place.
type CertReq struct {
	Encoding  CertEncoding
	Authority []byte // the DER-encoded distinguished name of an acceptable authority; empty: any
}

func (p *CertReq) PayloadType() PayloadType { return PayloadCertReq }
func (p *CertReq) String() string           { return PayloadCertReq.String() }

func (p *CertReq) check() error { return nil }

func (p *CertReq) read(body *cryptobyte.String) error {
	return readCert(body, &p.Encoding, &p.Authority)
}

func (p *CertReq) write(body *cryptobyte.Builder) {
	body.AddUint8(uint8(p.Encoding))
	body.AddBytes(p.Authority)
}

func readCert(body *cryptobyte.String, encoding *CertEncoding, data *[]byte) error {
	if !body.ReadUint8((*uint8)(encoding)) {
		return errors.New("no body, expected a certificate encoding")
	}
	*data = rest(body)
	return nil
}
