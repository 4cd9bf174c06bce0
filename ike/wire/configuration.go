package wire

import (
	"fmt"
	"math"

	"golang.org/x/crypto/cryptobyte"
)

// Configuration is a Configuration payload (CP), RFC 7296 3.15.
type Configuration struct {
	Type       ConfigType
	Attributes []ConfigAttribute
}

// ConfigType is what a Configuration payload asks or says.
type ConfigType uint8

const (
	ConfigRequest ConfigType = 1
	ConfigReply   ConfigType = 2
	ConfigSet     ConfigType = 3
	ConfigAck     ConfigType = 4
)

var configNames = map[ConfigType]string{ConfigRequest: "CFG_REQUEST", ConfigReply: "CFG_REPLY", ConfigSet: "CFG_SET", ConfigAck: "CFG_ACK"}

func (t ConfigType) String() string { return named(configNames, "configuration type", t) }

// ConfigAttribute is one attribute, RFC 7296 3.15.1.
type ConfigAttribute struct {
	Type  uint16 // 15 bits
	Value []byte
}

const configReservedBit = 0x8000 // sent as zero and ignored

func (p *Configuration) PayloadType() PayloadType { return PayloadConfiguration }
func (p *Configuration) String() string           { return fmt.Sprintf("CP(%v)", p.Type) }

func (p *Configuration) check() error {
	if len(p.Attributes) > MaxConfigAttributes {
		return fmt.Errorf("more than %d attributes", MaxConfigAttributes)
	}
	for _, a := range p.Attributes {
		if a.Type >= configReservedBit || len(a.Value) > math.MaxUint16 {
			return fmt.Errorf("attribute %d with %d octets, expected a type of 15 bits and at most %d octets", a.Type, len(a.Value), math.MaxUint16)
		}
	}
	return nil
}

func (p *Configuration) read(body *cryptobyte.String) error {
	if !body.ReadUint8((*uint8)(&p.Type)) || !body.Skip(3) {
		return fmt.Errorf("the payload ends before its attributes")
	}
	for !body.Empty() {
		if len(p.Attributes) == MaxConfigAttributes {
			return fmt.Errorf("more than %d attributes", MaxConfigAttributes)
		}
		var a ConfigAttribute
		var length uint16
		left := len(*body)
		if !body.ReadUint16(&a.Type) || !body.ReadUint16(&length) {
			return fmt.Errorf("%d octets left for an attribute, expected at least 4", left)
		}
		a.Type &^= configReservedBit
		if int(length) > len(*body) {
			return fmt.Errorf("attribute %d has %d octets, but only %d are left", a.Type, length, len(*body))
		}
		a.Value = take(body, int(length))
		p.Attributes = append(p.Attributes, a)
	}
	return nil
}

func (p *Configuration) write(body *cryptobyte.Builder) {
	body.AddUint8(uint8(p.Type))
	body.AddUint24(0)
	for _, a := range p.Attributes {
		body.AddUint16(a.Type)
		body.AddUint16(uint16(len(a.Value)))
		body.AddBytes(a.Value)
	}
}
