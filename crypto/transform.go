package crypto

import (
	"fmt"
	"slices"
)

// TransformType is the kind of a transform in an SA payload (RFC 7296 section
// 3.3.2).
type TransformType uint8

const (
	TransformEncr  TransformType = 1
	TransformPRF   TransformType = 2
	TransformInteg TransformType = 3
	TransformDH    TransformType = 4
	TransformESN   TransformType = 5

	// Additional key exchanges 1 to 7 have types of their own (RFC 9370), up to 12.
	TransformAdditionalKE1 TransformType = 6
	TransformAdditionalKE7 TransformType = 12
)

// AdditionalKEs is how many additional key exchanges there can be.
const AdditionalKEs = 7

// AdditionalKE is the type of additional key exchange i, which counts from 0.
func AdditionalKE(i int) TransformType { return TransformAdditionalKE1 + TransformType(i) }

// additional is the index of an additional key exchange.
func (t TransformType) additional() (i int, ok bool) {
	return int(t) - int(TransformAdditionalKE1), t >= TransformAdditionalKE1 && t <= TransformAdditionalKE7
}

// String names the type as error messages use it.
func (t TransformType) String() string {
	switch t {
	case TransformEncr:
		return "cipher"
	case TransformPRF:
		return "PRF"
	case TransformInteg:
		return "integrity algorithm"
	case TransformDH:
		return "key exchange"
	case TransformESN:
		return "sequence number form"
	}
	if i, ok := t.additional(); ok {
		return fmt.Sprintf("additional key exchange %d", i+1)
	}
	return fmt.Sprintf("transform type %d", uint8(t))
}

// Transform is one algorithm as the SA payload carries it. KeyBits is the value
// of the Key Length attribute, 0 for a transform without one.
type Transform struct {
	Type    TransformType
	ID      uint16
	KeyBits uint16
}

// String returns the IANA name, with the key length where there is one.
func (t Transform) String() string {
	var name string
	switch t.Type {
	case TransformEncr:
		name = EncrID(t.ID).String()
	case TransformPRF:
		name = PRFID(t.ID).String()
	case TransformInteg:
		name = IntegID(t.ID).String()
	case TransformDH:
		name = DHID(t.ID).String()
	case TransformESN:
		name = ESNID(t.ID).String()
	default:
		name = fmt.Sprintf("%s:%d", t.Type, t.ID)
		if i, ok := t.Type.additional(); ok {
			name = fmt.Sprintf("KE%d %s", i+1, DHID(t.ID))
		}
	}
	if t.KeyBits != 0 {
		name += fmt.Sprintf("-%d", t.KeyBits)
	}
	return name
}

// serves reports whether this package knows the algorithm with that key length, and SAs
// of the protocol may use it.
func (t Transform) serves(p Protocol) bool {
	if _, ok := t.Type.additional(); ok {
		method := Transform{Type: TransformDH, ID: t.ID, KeyBits: t.KeyBits}
		return t.ID == uint16(DHNone) || method.serves(p)
	}
	if !slices.ContainsFunc(keywordTable, func(k keyword) bool { return k.transform() == t }) {
		return false
	}
	switch t.Type {
	case TransformEncr:
		row, _ := encrByID(EncrID(t.ID))
		return p == ProtocolESP || p == ProtocolIKE && row.use&useIKE != 0
	case TransformInteg:
		row, _ := integByID(IntegID(t.ID))
		return p == ProtocolAH || p == ProtocolESP && row.use&useAHOnly == 0 || p == ProtocolIKE && row.use&useIKE != 0
	case TransformPRF:
		return p == ProtocolIKE
	case TransformESN:
		return p != ProtocolIKE
	}
	return true
}

// legacy reports whether the algorithm is one that a configuration must allow by name.
func (t Transform) legacy() bool {
	switch t.Type {
	case TransformEncr:
		row, _ := encrByID(EncrID(t.ID))
		return row.use&useLegacy != 0
	case TransformInteg:
		row, _ := integByID(IntegID(t.ID))
		return row.use&useLegacy != 0
	case TransformPRF:
		row, _ := prfByID(PRFID(t.ID))
		return row.use&useLegacy != 0
	case TransformESN:
		return false
	}
	row, _ := exchangeByID(DHID(t.ID))
	return row.use&useLegacy != 0
}

// Protocol is a security protocol identifier (RFC 7296 section 3.3.1).
type Protocol uint8

const (
	ProtocolIKE Protocol = 1
	ProtocolAH  Protocol = 2
	ProtocolESP Protocol = 3
)

// String returns the name of the protocol.
func (p Protocol) String() string {
	switch p {
	case ProtocolIKE:
		return "IKE"
	case ProtocolAH:
		return "AH"
	case ProtocolESP:
		return "ESP"
	}
	return fmt.Sprintf("protocol %d", uint8(p))
}
