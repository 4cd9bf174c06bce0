package isakmp

import (
	"fmt"
	"strings"
)

// TransformKeyIKE is the only transform of an ISAKMP proposal, RFC 2407 4.4.2.
const TransformKeyIKE uint8 = 1

// Types of the attributes of phase 1, RFC 2409 appendix A. Those that describe a group of one's own are not supported.
const (
	attributeIKEEncryption   = 1
	attributeIKEHash         = 2
	attributeIKEAuth         = 3
	attributeIKEGroup        = 4
	attributeIKELifeType     = 11
	attributeIKELifeDuration = 12
	attributeIKEPRF          = 13
	attributeIKEKeyLength    = 14
)

// Encryption is an encryption algorithm of phase 1, RFC 2409 appendix A.
type Encryption uint16

const (
	EncryptionDES      Encryption = 1
	EncryptionIDEA     Encryption = 2
	EncryptionBlowfish Encryption = 3
	EncryptionRC5      Encryption = 4
	Encryption3DES     Encryption = 5
	EncryptionCAST     Encryption = 6
	EncryptionAES      Encryption = 7 // RFC 3602 5.3
	EncryptionCamellia Encryption = 8
)

var encryptionNames = map[Encryption]string{
	EncryptionDES: "DES-CBC", EncryptionIDEA: "IDEA-CBC", EncryptionBlowfish: "Blowfish-CBC", EncryptionRC5: "RC5-CBC", Encryption3DES: "3DES-CBC",
	EncryptionCAST: "CAST-CBC", EncryptionAES: "AES-CBC", EncryptionCamellia: "Camellia-CBC",
}

func (e Encryption) String() string { return named(encryptionNames, "encryption", e) }

// HashAlgorithm is a hash of phase 1; its HMAC is the PRF.
type HashAlgorithm uint16

const (
	HashMD5    HashAlgorithm = 1
	HashSHA1   HashAlgorithm = 2
	HashTiger  HashAlgorithm = 3
	HashSHA256 HashAlgorithm = 4
	HashSHA384 HashAlgorithm = 5
	HashSHA512 HashAlgorithm = 6
)

var hashNames = map[HashAlgorithm]string{
	HashMD5: "MD5", HashSHA1: "SHA-1", HashTiger: "Tiger", HashSHA256: "SHA2-256", HashSHA384: "SHA2-384", HashSHA512: "SHA2-512",
}

func (h HashAlgorithm) String() string { return named(hashNames, "hash", h) }

// AuthMethod is how the peers prove their identities in phase 1.
type AuthMethod uint16

const (
	AuthPreSharedKey    AuthMethod = 1
	AuthDSSSignature    AuthMethod = 2
	AuthRSASignature    AuthMethod = 3
	AuthRSAEncryption   AuthMethod = 4
	AuthRevisedRSA      AuthMethod = 5
	AuthECDSASHA256P256 AuthMethod = 9 // RFC 4754
	AuthECDSASHA384P384 AuthMethod = 10
	AuthECDSASHA512P521 AuthMethod = 11

	// XAUTH and hybrid authentication are in drafts only; known for their names.
	authHybridInitRSA AuthMethod = 64221
	authXAUTHInitPSK  AuthMethod = 65001
	authXAUTHInitRSA  AuthMethod = 65005
)

var authNames = map[AuthMethod]string{
	AuthPreSharedKey: "pre-shared key", AuthDSSSignature: "DSS signature", AuthRSASignature: "RSA signature", AuthRSAEncryption: "RSA encryption",
	AuthRevisedRSA: "revised RSA encryption", AuthECDSASHA256P256: "ECDSA with SHA-256 on P-256", AuthECDSASHA384P384: "ECDSA with SHA-384 on P-384",
	AuthECDSASHA512P521: "ECDSA with SHA-512 on P-521", authHybridInitRSA: "hybrid RSA", authXAUTHInitPSK: "XAUTH with pre-shared key", authXAUTHInitRSA: "XAUTH with RSA signature",
}

func (m AuthMethod) String() string { return named(authNames, "authentication method", m) }

// Group is a Diffie-Hellman group, RFC 2409 section 6 and its registry; phase 2 has the same.
type Group uint16

var groupNames = map[Group]string{
	1: "MODP-768", 2: "MODP-1024", 3: "EC2N-155", 4: "EC2N-185", 5: "MODP-1536", 14: "MODP-2048", 15: "MODP-3072", 16: "MODP-4096", 17: "MODP-6144", 18: "MODP-8192",
	19: "ECP-256", 20: "ECP-384", 21: "ECP-521", 22: "MODP-1024-S160", 23: "MODP-2048-S224", 24: "MODP-2048-S256", 25: "ECP-192", 26: "ECP-224",
	27: "brainpoolP224r1", 28: "brainpoolP256r1", 29: "brainpoolP384r1", 30: "brainpoolP512r1", 31: "Curve25519",
}

func (g Group) String() string { return named(groupNames, "group", g) }

// Phase1 is what a transform of an ISAKMP proposal says.
type Phase1 struct {
	Encryption Encryption
	KeyBits    uint16 // 0: none given, as for DES and 3DES
	Hash       HashAlgorithm
	Auth       AuthMethod
	Group      Group
	Lifetime   Lifetime
}

// String is the transform for people: "AES-CBC-256, SHA2-256, MODP-2048, pre-shared key".
func (p Phase1) String() string {
	encryption := p.Encryption.String()
	if p.KeyBits != 0 {
		encryption = fmt.Sprintf("%v-%d", p.Encryption, p.KeyBits)
	}
	return strings.Join([]string{encryption, p.Hash.String(), p.Group.String(), p.Auth.String()}, ", ")
}

// Transform spells it out.
func (p Phase1) Transform(number uint8) Transform {
	attributes := []Attribute{Basic(attributeIKEEncryption, uint16(p.Encryption))}
	if p.KeyBits != 0 {
		attributes = append(attributes, Basic(attributeIKEKeyLength, p.KeyBits))
	}
	attributes = append(attributes, Basic(attributeIKEHash, uint16(p.Hash)), Basic(attributeIKEGroup, uint16(p.Group)), Basic(attributeIKEAuth, uint16(p.Auth)))
	attributes = append(attributes, p.Lifetime.attributes(attributeIKELifeType, attributeIKELifeDuration)...)
	return Transform{Number: number, ID: TransformKeyIKE, Attributes: attributes}
}

// Phase1 reads a transform of an ISAKMP proposal. A transform that gives an error is not to be chosen; it is no reason to refuse the others.
func (t *Transform) Phase1() (Phase1, error) {
	if t.ID != TransformKeyIKE {
		return Phase1{}, refused(NotifyInvalidTransformID, PayloadSA, "transform %d of ISAKMP, expected %d (KEY_IKE)", t.ID, TransformKeyIKE)
	}
	var p Phase1
	field := func(kind uint16) *uint16 {
		switch kind {
		case attributeIKEEncryption:
			return (*uint16)(&p.Encryption)
		case attributeIKEHash:
			return (*uint16)(&p.Hash)
		case attributeIKEAuth:
			return (*uint16)(&p.Auth)
		case attributeIKEGroup:
			return (*uint16)(&p.Group)
		case attributeIKEKeyLength:
			return &p.KeyBits
		}
		return nil
	}
	var err error
	if p.Lifetime, err = t.spread(field, attributeIKELifeType, attributeIKELifeDuration); err != nil {
		return Phase1{}, err
	}
	// RFC 2409 section 4: these four are mandatory.
	if p.Encryption == 0 || p.Hash == 0 || p.Auth == 0 || p.Group == 0 {
		return Phase1{}, refused(NotifyBadProposalSyntax, PayloadSA, "transform %d (%v) lacks an attribute, expected encryption, hash, group and authentication method", t.Number, p)
	}
	return p, nil
}

// spread reads the attributes of a transform into the fields of their types, nil for one that is not supported, and the lifetime. All fields
// are numbers in the basic form.
func (t *Transform) spread(field func(kind uint16) *uint16, lifeType, lifeDuration uint16) (Lifetime, error) {
	life := lifetimeReader{lifeType: lifeType, lifeDuration: lifeDuration}
	for _, a := range t.Attributes {
		taken, err := life.take(a)
		if err == nil && !taken {
			err = a.store(field(a.Type))
		}
		if err != nil {
			return Lifetime{}, refusedTransform(t, err)
		}
	}
	lifetime, err := life.end()
	if err != nil {
		return Lifetime{}, refusedTransform(t, err)
	}
	return lifetime, nil
}

func refusedTransform(t *Transform, err error) error {
	return refused(NotifyAttributesNotSupported, PayloadSA, "transform %d: %w", t.Number, err)
}

// store reads an attribute into its field.
func (a Attribute) store(field *uint16) error {
	if field == nil {
		return fmt.Errorf("attribute %d is not supported", a.Type)
	}
	value, err := a.basic()
	switch {
	case err != nil:
		return err
	case value == 0:
		return fmt.Errorf("attribute %d is zero", a.Type)
	case *field != 0:
		return fmt.Errorf("attribute %d twice", a.Type)
	}
	*field = value
	return nil
}
