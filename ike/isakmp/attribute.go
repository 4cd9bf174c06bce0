package isakmp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"golang.org/x/crypto/cryptobyte"
)

// Attribute is a data attribute, RFC 2408 3.3.
type Attribute struct {
	Type  uint16 // 15 bits
	Short bool   // the basic form of two octets without a length (TV); otherwise with one (TLV)
	Value []byte
}

const (
	attributeShort = 0x8000 // AF bit
	shortLength    = 2      // octets of a value in the basic form
	maxNumber      = 8      // octets of the longest number: lifetimes have 4 (RFC 2407 4.5), some peers write 8
)

// Basic is an attribute in the form of two octets.
func Basic(kind, value uint16) Attribute {
	return Attribute{Type: kind, Short: true, Value: binary.BigEndian.AppendUint16(nil, value)}
}

// Number is an attribute that may have either form: the basic one when the value fits it, otherwise four octets, as all peers read them.
func Number(kind uint16, value uint32) Attribute {
	if value <= math.MaxUint16 {
		return Basic(kind, uint16(value))
	}
	return Attribute{Type: kind, Value: binary.BigEndian.AppendUint32(nil, value)}
}

// Number reads a value of either form as a number.
func (a Attribute) Number() (uint64, error) {
	if len(a.Value) == 0 || len(a.Value) > maxNumber {
		return 0, fmt.Errorf("attribute %d has %d octets, expected a number of 1 to %d", a.Type, len(a.Value), maxNumber)
	}
	var number uint64
	for _, octet := range a.Value {
		number = number<<8 | uint64(octet)
	}
	return number, nil
}

// basic reads a value that must have the basic form: what RFC 2409 appendix A and RFC 2407 4.5 call basic must not be encoded as variable.
func (a Attribute) basic() (uint16, error) {
	if !a.Short {
		return 0, fmt.Errorf("attribute %d has the variable form, expected the basic one", a.Type)
	}
	return binary.BigEndian.Uint16(a.Value), nil
}

func checkAttributes(attributes []Attribute) error {
	if len(attributes) > MaxAttributes {
		return fmt.Errorf("%d attributes, expected at most %d", len(attributes), MaxAttributes)
	}
	for _, a := range attributes {
		switch {
		case a.Type >= attributeShort:
			return fmt.Errorf("attribute type %d, expected at most 15 bits", a.Type)
		case a.Short && len(a.Value) != shortLength:
			return fmt.Errorf("attribute %d has %d octets in the basic form, expected %d", a.Type, len(a.Value), shortLength)
		case len(a.Value) > math.MaxUint16:
			return fmt.Errorf("attribute %d has %d octets, expected at most %d", a.Type, len(a.Value), math.MaxUint16)
		}
	}
	return nil
}

// readAttributes reads all that s has.
func readAttributes(s *cryptobyte.String) ([]Attribute, error) {
	var attributes []Attribute
	for !s.Empty() {
		if len(attributes) == MaxAttributes {
			return nil, fmt.Errorf("more than %d attributes", MaxAttributes)
		}
		var a Attribute
		if err := a.read(s); err != nil {
			return nil, err
		}
		attributes = append(attributes, a)
	}
	return attributes, nil
}

func (a *Attribute) read(s *cryptobyte.String) error {
	var kind, length uint16
	if !s.ReadUint16(&kind) || len(*s) < shortLength {
		return errors.New("it ends within an attribute, expected at least 4 octets")
	}
	a.Type, a.Short = kind&^attributeShort, kind&attributeShort != 0
	if a.Short {
		a.Value = take(s, shortLength)
		return nil
	}
	s.ReadUint16(&length)
	if int(length) > len(*s) {
		return fmt.Errorf("attribute %d has %d octets, but only %d are left", a.Type, length, len(*s))
	}
	a.Value = take(s, int(length))
	return nil
}

func writeAttributes(b *cryptobyte.Builder, attributes []Attribute) {
	for _, a := range attributes {
		if a.Short {
			b.AddUint16(attributeShort | a.Type)
		} else {
			b.AddUint16(a.Type)
			b.AddUint16(uint16(len(a.Value)))
		}
		b.AddBytes(a.Value)
	}
}
