package crypto

import (
	"fmt"
	"slices"
)

// Suite is how one SA protects packets: a cipher with its key length, and an
// integrity algorithm unless the cipher is a combined-mode one. It serves ESP
// and the Encrypted payload of IKEv2 alike. The lengths of an invalid Suite are
// meaningless; Validate first.
type Suite struct {
	Encr    EncrID
	KeyBits int
	Integ   IntegID // IntegNone for AEAD
}

// Suites lists every valid suite, each cipher with each integrity algorithm it
// can go with, in the order of the registry.
func Suites() []Suite {
	var suites []Suite
	for _, row := range encrTable {
		for _, bits := range row.keyBits {
			if row.icv > 0 {
				suites = append(suites, Suite{Encr: row.id, KeyBits: bits})
				continue
			}
			for _, integ := range integTable {
				suites = append(suites, Suite{Encr: row.id, KeyBits: bits, Integ: integ.id})
			}
		}
	}
	return suites
}

// ParseSuite reads one cipher and, where it needs one, one integrity algorithm:
// "aes128gcm16", "aes256-sha256".
func ParseSuite(text string) (Suite, error) {
	words, err := parseKeywords(text, TransformEncr, TransformInteg)
	if err != nil {
		return Suite{}, fmt.Errorf("suite %q: %w", text, err)
	}
	var s Suite
	for _, word := range words {
		switch {
		case word.kind == TransformEncr && s.Encr == 0:
			s.Encr, s.KeyBits = EncrID(word.id), word.keyBits
		case word.kind == TransformInteg && s.Integ == IntegNone:
			s.Integ = IntegID(word.id)
		default:
			return Suite{}, fmt.Errorf("suite %q: %q is a second %s, a suite has one", text, word.name, word.kind)
		}
	}
	if err := s.Validate(); err != nil {
		return Suite{}, fmt.Errorf("suite %q: %w", text, err)
	}
	return s, nil
}

// Validate reports whether the parts exist and fit each other.
func (s Suite) Validate() error {
	row, ok := encrByID(s.Encr)
	if !ok {
		return fmt.Errorf("cipher %s is not supported, expected one of %s", s.Encr, wordList(TransformEncr))
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
	if _, ok := integByID(s.Integ); !ok {
		return fmt.Errorf("%s needs an integrity algorithm, found %s, expected one of %s",
			row.name, s.Integ, wordList(TransformInteg))
	}
	return nil
}

// String returns the keyword form that ParseSuite reads.
func (s Suite) String() string {
	text := keywordFor(TransformEncr, uint16(s.Encr), s.KeyBits)
	if s.Integ != IntegNone {
		text += "-" + keywordFor(TransformInteg, uint16(s.Integ), 0)
	}
	return text
}

// MarshalText gives JSON and the like the form of String.
func (s Suite) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// AEAD reports whether one algorithm does both encryption and integrity.
func (s Suite) AEAD() bool { return s.Encr.AEAD() }

// KeyLen is the length of the cipher key without the salt.
func (s Suite) KeyLen() int { return s.KeyBits / 8 }

// SaltLen is the length of the implicit part of the nonce (RFC 4106 section 4).
func (s Suite) SaltLen() int { return s.encr().salt }

// IntegKeyLen is the length of the integrity key, 0 for AEAD.
func (s Suite) IntegKeyLen() int { return s.integ().key }

// KeymatLen is the length of all keys of one direction in the order of RFC 7296
// section 2.17: cipher key, salt, integrity key.
func (s Suite) KeymatLen() int { return s.KeyLen() + s.SaltLen() + s.IntegKeyLen() }

// IVLen is the length of the IV that travels in the packet.
func (s Suite) IVLen() int { return s.encr().iv }

// ICVLen is the length of the integrity check value at the end of the packet.
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
