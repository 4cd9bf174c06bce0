package isakmp

import (
	"fmt"
	"strings"
)

// ESPTransform is a transform of an ESP proposal, RFC 2407 4.4.4.
type ESPTransform uint8

const (
	ESPDES         ESPTransform = 2
	ESP3DES        ESPTransform = 3
	ESPRC5         ESPTransform = 4
	ESPIDEA        ESPTransform = 5
	ESPCAST        ESPTransform = 6
	ESPBlowfish    ESPTransform = 7
	ESPNull        ESPTransform = 11
	ESPAES         ESPTransform = 12 // RFC 3602
	ESPAESCTR      ESPTransform = 13 // RFC 3686
	ESPAESCCM8     ESPTransform = 14 // RFC 4309
	ESPAESCCM12    ESPTransform = 15
	ESPAESCCM16    ESPTransform = 16
	ESPAESGCM8     ESPTransform = 18 // RFC 4106
	ESPAESGCM12    ESPTransform = 19
	ESPAESGCM16    ESPTransform = 20
	ESPCamellia    ESPTransform = 22
	ESPNullAESGMAC ESPTransform = 23 // RFC 4543
)

var espNames = map[ESPTransform]string{
	ESPDES: "DES", ESP3DES: "3DES", ESPRC5: "RC5", ESPIDEA: "IDEA", ESPCAST: "CAST", ESPBlowfish: "Blowfish", ESPNull: "NULL", ESPAES: "AES-CBC", ESPAESCTR: "AES-CTR",
	ESPAESCCM8: "AES-CCM-8", ESPAESCCM12: "AES-CCM-12", ESPAESCCM16: "AES-CCM-16", ESPAESGCM8: "AES-GCM-8", ESPAESGCM12: "AES-GCM-12", ESPAESGCM16: "AES-GCM-16",
	ESPCamellia: "Camellia-CBC", ESPNullAESGMAC: "NULL-AES-GMAC",
}

func (t ESPTransform) String() string { return named(espNames, "ESP transform", t) }

// AHTransform is a transform of an AH proposal, RFC 2407 4.4.3. The authentication algorithm attribute must say the same once more.
type AHTransform uint8

const (
	AHMD5        AHTransform = 2
	AHSHA1       AHTransform = 3
	AHDES        AHTransform = 4
	AHSHA256     AHTransform = 5 // RFC 4868
	AHSHA384     AHTransform = 6
	AHSHA512     AHTransform = 7
	AHRIPEMD     AHTransform = 8
	AHAESXCBC    AHTransform = 9  // RFC 3566
	AHAESGMAC128 AHTransform = 11 // RFC 4543
	AHAESGMAC192 AHTransform = 12
	AHAESGMAC256 AHTransform = 13
)

var ahNames = map[AHTransform]string{
	AHMD5: "MD5", AHSHA1: "SHA-1", AHDES: "DES", AHSHA256: "SHA2-256", AHSHA384: "SHA2-384", AHSHA512: "SHA2-512", AHRIPEMD: "RIPEMD-160",
	AHAESXCBC: "AES-XCBC", AHAESGMAC128: "AES-128-GMAC", AHAESGMAC192: "AES-192-GMAC", AHAESGMAC256: "AES-256-GMAC",
}

func (t AHTransform) String() string { return named(ahNames, "AH transform", t) }

// AuthAlgorithm is an authentication algorithm of ESP or AH, RFC 2407 4.5; 0: none given.
type AuthAlgorithm uint16

const (
	AuthHMACMD5    AuthAlgorithm = 1
	AuthHMACSHA1   AuthAlgorithm = 2
	AuthDESMAC     AuthAlgorithm = 3
	AuthKPDK       AuthAlgorithm = 4
	AuthHMACSHA256 AuthAlgorithm = 5 // RFC 4868
	AuthHMACSHA384 AuthAlgorithm = 6
	AuthHMACSHA512 AuthAlgorithm = 7
	AuthRIPEMD     AuthAlgorithm = 8
	AuthAESXCBC    AuthAlgorithm = 9  // RFC 3566
	AuthAESGMAC128 AuthAlgorithm = 11 // RFC 4543
	AuthAESGMAC192 AuthAlgorithm = 12
	AuthAESGMAC256 AuthAlgorithm = 13
)

var authAlgorithmNames = map[AuthAlgorithm]string{
	AuthHMACMD5: "HMAC-MD5", AuthHMACSHA1: "HMAC-SHA-1", AuthDESMAC: "DES-MAC", AuthKPDK: "KPDK", AuthHMACSHA256: "HMAC-SHA2-256", AuthHMACSHA384: "HMAC-SHA2-384",
	AuthHMACSHA512: "HMAC-SHA2-512", AuthRIPEMD: "HMAC-RIPEMD", AuthAESXCBC: "AES-XCBC", AuthAESGMAC128: "AES-128-GMAC", AuthAESGMAC192: "AES-192-GMAC", AuthAESGMAC256: "AES-256-GMAC",
}

func (a AuthAlgorithm) String() string {
	return named(authAlgorithmNames, "authentication algorithm", a)
}

// Encapsulation is the mode of an SA, RFC 2407 4.5 and RFC 3947 5.1; 0: none given.
type Encapsulation uint16

const (
	EncapsulationTunnel       Encapsulation = 1
	EncapsulationTransport    Encapsulation = 2
	EncapsulationUDPTunnel    Encapsulation = 3
	EncapsulationUDPTransport Encapsulation = 4

	EncapsulationUDPTunnelDraft    Encapsulation = 61443 // of draft-ietf-ipsec-nat-t-ike up to 03
	EncapsulationUDPTransportDraft Encapsulation = 61444
)

var encapsulationNames = map[Encapsulation]string{
	EncapsulationTunnel: "tunnel", EncapsulationTransport: "transport", EncapsulationUDPTunnel: "tunnel in UDP", EncapsulationUDPTransport: "transport in UDP",
	EncapsulationUDPTunnelDraft: "tunnel in UDP (draft)", EncapsulationUDPTransportDraft: "transport in UDP (draft)",
}

func (e Encapsulation) String() string { return named(encapsulationNames, "encapsulation mode", e) }

// Types of the attributes of phase 2, RFC 2407 4.5 and RFC 4304 3. Key rounds, compression and what RFC 4359 has for signatures are not supported.
const (
	attributeLifeType      = 1
	attributeLifeDuration  = 2
	attributeGroup         = 3
	attributeEncapsulation = 4
	attributeAuth          = 5
	attributeKeyLength     = 6
	attributeESN           = 11
)

const esn64Bit = 1 // the one value of the ESN attribute: without it the numbers have 32 bits

// Phase2 is what the attributes of a transform of AH or ESP say; the transform's ID is apart.
type Phase2 struct {
	Encapsulation Encapsulation
	Auth          AuthAlgorithm
	KeyBits       uint16 // 0: none given
	Group         Group  // of perfect forward secrecy; 0: none
	ESN           bool
	Lifetime      Lifetime
}

// String is the attributes for people: "256 bits, HMAC-SHA2-256, ESN, MODP-2048, tunnel".
func (p Phase2) String() string {
	var parts []string
	if p.KeyBits != 0 {
		parts = append(parts, fmt.Sprintf("%d bits", p.KeyBits))
	}
	if p.Auth != 0 {
		parts = append(parts, p.Auth.String())
	}
	if p.ESN {
		parts = append(parts, "ESN")
	}
	if p.Group != 0 {
		parts = append(parts, p.Group.String())
	}
	if p.Encapsulation != 0 {
		parts = append(parts, p.Encapsulation.String())
	}
	return strings.Join(parts, ", ")
}

// Transform spells it out, for the transform id of AH or ESP.
func (p Phase2) Transform(number, id uint8) Transform {
	attributes := p.Lifetime.attributes(attributeLifeType, attributeLifeDuration)
	if p.Group != 0 {
		attributes = append(attributes, Basic(attributeGroup, uint16(p.Group)))
	}
	if p.Encapsulation != 0 {
		attributes = append(attributes, Basic(attributeEncapsulation, uint16(p.Encapsulation)))
	}
	if p.Auth != 0 {
		attributes = append(attributes, Basic(attributeAuth, uint16(p.Auth)))
	}
	if p.KeyBits != 0 {
		attributes = append(attributes, Basic(attributeKeyLength, p.KeyBits))
	}
	if p.ESN {
		attributes = append(attributes, Basic(attributeESN, esn64Bit))
	}
	return Transform{Number: number, ID: id, Attributes: attributes}
}

// Phase2 reads the attributes of a transform of AH or ESP. A transform that gives an error is not to be chosen; it is no reason to refuse the others.
func (t *Transform) Phase2() (Phase2, error) {
	var p Phase2
	var esn uint16
	field := func(kind uint16) *uint16 {
		switch kind {
		case attributeGroup:
			return (*uint16)(&p.Group)
		case attributeEncapsulation:
			return (*uint16)(&p.Encapsulation)
		case attributeAuth:
			return (*uint16)(&p.Auth)
		case attributeKeyLength:
			return &p.KeyBits
		case attributeESN:
			return &esn
		}
		return nil
	}
	var err error
	if p.Lifetime, err = t.spread(field, attributeLifeType, attributeLifeDuration); err != nil {
		return Phase2{}, err
	}
	if esn > esn64Bit {
		return Phase2{}, refusedTransform(t, fmt.Errorf("extended sequence numbers %d, expected %d", esn, esn64Bit))
	}
	p.ESN = esn == esn64Bit
	return p, nil
}
