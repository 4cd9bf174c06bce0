package crypto

import (
	"fmt"
	"slices"
)

// Suite is how one SA protects packets: a cipher with its key length, and an
// integrity algorithm unless the cipher is a combined-mode one. It serves ESP
// and the Encrypted payload of IKEv2 alike. A Suite without a cipher is one of AH.
// The lengths of an invalid Suite are meaningless; Validate first.
type Suite struct {
	Encr    EncrID  // 0: AH
	KeyBits int     // 0 for a cipher of one key size
	Integ   IntegID // IntegNone for AEAD
}

// Suites lists every valid suite of ESP, each cipher with each integrity algorithm it
// can go with, in the order of the registry.
func Suites() []Suite { return suitesOf(ProtocolESP) }

// IKESuites lists those that an IKE SA can use.
func IKESuites() []Suite { return suitesOf(ProtocolIKE) }

func suitesOf(p Protocol) []Suite {
	var suites []Suite
	for _, row := range encrTable {
		for _, bits := range row.keyBits {
			s := Suite{Encr: row.id, KeyBits: bits}
			if row.icv > 0 && s.serves(p) {
				suites = append(suites, s)
			}
			for _, integ := range integTable {
				if s.Integ = integ.id; row.icv == 0 && s.serves(p) {
					suites = append(suites, s)
				}
			}
		}
	}
	return suites
}

// AHSuites lists every suite of AH in the order of the registry.
func AHSuites() []Suite {
	var suites []Suite
	for _, integ := range integTable {
		suites = append(suites, Suite{Integ: integ.id})
	}
	return suites
}

// ParseSuite reads one cipher and, where it needs one, one integrity algorithm:
// "aes128gcm16", "aes256-sha256".
func ParseSuite(text string) (Suite, error) {
	s, err := parseSuite(text, ProtocolESP, TransformEncr, TransformInteg)
	if err == nil && s.AH() {
		err = fmt.Errorf("no cipher, expected one of %s", wordList(ProtocolESP, TransformEncr))
	}
	if err != nil {
		return Suite{}, fmt.Errorf("suite %s: %w", quoted(text), err)
	}
	return s, nil
}

// ParseAHSuite reads the integrity algorithm of an AH SA: "sha256".
func ParseAHSuite(text string) (Suite, error) {
	s, err := parseSuite(text, ProtocolAH, TransformInteg)
	if err != nil {
		return Suite{}, fmt.Errorf("AH suite %s: %w", quoted(text), err)
	}
	return s, nil
}

func parseSuite(text string, p Protocol, kinds ...TransformType) (s Suite, err error) {
	words, err := parseKeywords(text, p, kinds...)
	if err != nil {
		return Suite{}, err
	}
	for _, word := range words {
		switch {
		case word.kind == TransformEncr && s.Encr == 0:
			s.Encr, s.KeyBits = EncrID(word.id), word.keyBits
		case word.kind == TransformInteg && s.Integ == IntegNone:
			s.Integ = IntegID(word.id)
		default:
			return Suite{}, fmt.Errorf("%q is a second %s, a suite has one", word.name, word.kind)
		}
	}
	return s, s.Validate()
}

// Validate reports whether the parts exist and fit each other, for ESP or for AH.
func (s Suite) Validate() error {
	if s.AH() {
		return s.validateAH()
	}
	row, ok := encrByID(s.Encr)
	if !ok {
		return fmt.Errorf("cipher %s is not supported, expected one of %s", s.Encr, wordList(ProtocolESP, TransformEncr))
	}
	if !slices.Contains(row.keyBits, s.KeyBits) {
		return fmt.Errorf("%s has no key of %d bits, expected one of %v", row.name, s.KeyBits, row.keyBits)
	}
	if row.icv > 0 {
		if s.Integ != IntegNone {
			return fmt.Errorf("%s protects integrity itself, remove %s", row.name, s.Integ)
		}
		return nil
	}
	if integ, ok := integByID(s.Integ); !ok || integ.use&useAHOnly != 0 {
		return fmt.Errorf("%s needs an integrity algorithm, found %s, expected one of %s",
			row.name, s.Integ, wordList(ProtocolESP, TransformInteg))
	}
	return nil
}

func (s Suite) validateAH() error {
	if _, ok := integByID(s.Integ); !ok {
		return fmt.Errorf("integrity algorithm %s is not supported, expected one of %s", s.Integ, wordList(ProtocolAH, TransformInteg))
	}
	if s.KeyBits != 0 {
		return fmt.Errorf("a suite without cipher has a cipher key of %d bits, expected 0", s.KeyBits)
	}
	return nil
}

// serves reports whether SAs of the protocol can use the suite.
func (s Suite) serves(p Protocol) bool {
	if s.Validate() != nil || s.AH() != (p == ProtocolAH) {
		return false
	}
	for _, t := range s.transforms() {
		if !t.serves(p) {
			return false
		}
	}
	return true
}

func (s Suite) transforms() []Transform {
	var list []Transform
	if s.Encr != 0 {
		list = append(list, Transform{TransformEncr, uint16(s.Encr), uint16(s.KeyBits)})
	}
	if s.Integ != IntegNone {
		list = append(list, Transform{Type: TransformInteg, ID: uint16(s.Integ)})
	}
	return list
}

// String returns the keyword form that ParseSuite reads, or ParseAHSuite for AH.
func (s Suite) String() string {
	text := ""
	if s.Encr != 0 || s.Integ == IntegNone {
		text = keywordFor(TransformEncr, uint16(s.Encr), s.KeyBits)
	}
	if s.Integ == IntegNone {
		return text
	}
	if text != "" {
		text += "-"
	}
	return text + keywordFor(TransformInteg, uint16(s.Integ), 0)
}

// MarshalText gives JSON and the like the form of String.
func (s Suite) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// AH reports whether the suite is one of AH: integrity alone.
func (s Suite) AH() bool { return s.Encr == 0 && s.Integ != IntegNone }

// AEAD reports whether one algorithm does both encryption and integrity.
func (s Suite) AEAD() bool { return s.Encr.AEAD() }

// Legacy reports whether the suite is weak by today's measure: DES, 3DES and HMAC-MD5,
// and the NULL cipher, which keeps no secret. They serve old peers and tests, and a
// configuration must allow them by name.
func (s Suite) Legacy() bool { return slices.ContainsFunc(s.transforms(), Transform.legacy) }

// KeyLen is the length of the cipher key without the salt, 0 for AH.
func (s Suite) KeyLen() int {
	if s.KeyBits == 0 {
		return s.encr().fixedKey
	}
	return s.KeyBits / 8
}

// SaltLen is the length of the implicit part of the nonce (RFC 4106 section 4, RFC 4309
// section 4, RFC 3686 section 4, RFC 7634 section 2; RFC 4543 section 3.2 for AH too).
func (s Suite) SaltLen() int { return s.encr().salt + s.integ().salt }

// IntegKeyLen is the length of the integrity key, 0 for AEAD.
func (s Suite) IntegKeyLen() int { return s.integ().key }

// KeymatLen is the length of all keys of one direction in the order of RFC 7296
// section 2.17: cipher key, salt, integrity key. AH with AES-GMAC has its salt behind
// the integrity key.
func (s Suite) KeymatLen() int { return s.KeyLen() + s.SaltLen() + s.IntegKeyLen() }

// CheckKeymat reports key material that an SA of the suite must not have: of another
// length than KeymatLen, or 3DES keys of which two neighbours are equal, for that is
// single DES (RFC 2451 section 2.3).
func (s Suite) CheckKeymat(keymat Secret) error {
	if keymat.Len() != s.KeymatLen() {
		return fmt.Errorf("%s takes %d octets of key material (key %d, salt %d, integrity %d), found %d",
			s, s.KeymatLen(), s.KeyLen(), s.SaltLen(), s.IntegKeyLen(), keymat.Len())
	}
	if s.Encr != Encr3DES {
		return nil
	}
	for _, start := range []int{0, 8} {
		differ := byte(0)
		for i, octet := range keymat.Bytes()[start : start+8] {
			differ |= (octet ^ keymat.Bytes()[start+8+i]) & 0xfe // the lowest bit is parity
		}
		if differ == 0 {
			return fmt.Errorf("%s takes 3 keys of 8 octets that differ each from the next, found two equal", s)
		}
	}
	return nil
}

// IVLen is the length of the IV that travels in the packet: in ESP before the payload, in
// AH with AES-GMAC before the ICV.
func (s Suite) IVLen() int { return s.encr().iv + s.integ().iv }

// ICVLen is the length of the integrity check value, in ESP at the end of the packet.
func (s Suite) ICVLen() int {
	if s.AEAD() {
		return s.encr().icv
	}
	return s.integ().icv
}

// BlockSize is the multiple to which ESP pads payload, padding, pad length and
// next header together: the cipher block, and never less than 4 (RFC 4303
// section 2.4).
func (s Suite) BlockSize() int { return s.encr().block }

func (s Suite) encr() encrRow {
	row, _ := encrByID(s.Encr)
	return row
}

func (s Suite) integ() integRow {
	row, _ := integByID(s.Integ)
	return row
}
