package ike

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
	"golang.org/x/text/unicode/norm"
)

// name is a distinguished name (RFC 5280 4.1.2.4): in its order in DER, which is from the country down, relative names, each of one attribute or, rarely,
// of several. Its text (RFC 4514) goes the other way.
type name [][]attribute

// attribute is one type and value of a relative name.
type attribute struct {
	oid   string // the content octets of the OBJECT IDENTIFIER
	tag   asn1.Tag
	value string // the content octets
}

// Tags of strings that cryptobyte does not name.
const (
	tagNumericString = asn1.Tag(18)
	tagBMPString     = asn1.Tag(30)
)

// attributeType is a type of attribute that has a name.
type attributeType struct {
	word, oid string
	tag       asn1.Tag // of a value that is given as text
}

// attributeTypes are those that the text names by a word: the table of RFC 4514 section 3, and what else is found in certificates.
var attributeTypes = []attributeType{
	{"CN", "\x55\x04\x03", asn1.UTF8String}, {"L", "\x55\x04\x07", asn1.UTF8String}, {"ST", "\x55\x04\x08", asn1.UTF8String},
	{"O", "\x55\x04\x0a", asn1.UTF8String}, {"OU", "\x55\x04\x0b", asn1.UTF8String}, {"C", "\x55\x04\x06", asn1.PrintableString},
	{"STREET", "\x55\x04\x09", asn1.UTF8String}, {"DC", "\x09\x92\x26\x89\x93\xf2\x2c\x64\x01\x19", asn1.IA5String},
	{"UID", "\x09\x92\x26\x89\x93\xf2\x2c\x64\x01\x01", asn1.UTF8String}, {"SN", "\x55\x04\x04", asn1.UTF8String},
	{"GN", "\x55\x04\x2a", asn1.UTF8String}, {"T", "\x55\x04\x0c", asn1.UTF8String}, {"serialNumber", "\x55\x04\x05", asn1.PrintableString},
	{"emailAddress", "\x2a\x86\x48\x86\xf7\x0d\x01\x09\x01", asn1.IA5String}, {"E", "\x2a\x86\x48\x86\xf7\x0d\x01\x09\x01", asn1.IA5String},
}

// readName reads the DER of a Name.
func readName(der string) (name, error) {
	var n name
	in := cryptobyte.String(der)
	var sequence cryptobyte.String
	if !in.ReadASN1(&sequence, asn1.SEQUENCE) || len(in) > 0 || len(sequence) == 0 {
		return nil, errors.New("no SEQUENCE of relative names with at least one in it")
	}
	for len(sequence) > 0 {
		var set, pair, oid, value cryptobyte.String
		var relative []attribute
		if !sequence.ReadASN1(&set, asn1.SET) || len(set) == 0 {
			return nil, errors.New("a relative name is no SET of attributes with at least one in it")
		}
		for len(set) > 0 {
			var tag asn1.Tag
			if !set.ReadASN1(&pair, asn1.SEQUENCE) || !pair.ReadASN1(&oid, asn1.OBJECT_IDENTIFIER) || !pair.ReadAnyASN1(&value, &tag) || len(pair) > 0 || oidText(string(oid)) == "" {
				return nil, errors.New("an attribute is no SEQUENCE of type and value")
			}
			relative = append(relative, attribute{string(oid), tag, string(value)})
		}
		n = append(n, relative)
	}
	return n, nil
}

// der writes the Name.
func (n name) der() string {
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		for _, relative := range n {
			var encoded []string
			for _, a := range relative {
				encoded = append(encoded, a.der())
			}
			slices.Sort(encoded) // DER: the parts of a SET OF are in order (X.690 11.6)
			b.AddASN1(asn1.SET, func(b *cryptobyte.Builder) { b.AddBytes([]byte(strings.Join(encoded, ""))) })
		}
	})
	return string(b.BytesOrPanic())
}

func (a attribute) der() string {
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		addOID(b, a.oid)
		b.AddASN1(a.tag, func(b *cryptobyte.Builder) { b.AddBytes([]byte(a.value)) })
	})
	return string(b.BytesOrPanic())
}

// text is the value as characters; false where it is no string, or not one of its kind.
func (a attribute) text() (string, bool) {
	switch a.tag {
	case asn1.UTF8String:
		return a.value, utf8.ValidString(a.value)
	case asn1.PrintableString, asn1.IA5String, tagNumericString, asn1.T61String:
		return a.value, !strings.ContainsFunc(a.value, func(r rune) bool { return r > unicode.MaxASCII })
	case tagBMPString:
		var units []uint16
		for i := 0; i+1 < len(a.value); i += 2 {
			units = append(units, uint16(a.value[i])<<8|uint16(a.value[i+1]))
		}
		return string(utf16.Decode(units)), len(a.value)%2 == 0
	}
	return "", false
}

// normal is the same for all names that are equal by RFC 5280 7.1: compatible characters, lower case, single spaces.
func (n name) normal() string {
	var b strings.Builder
	for _, relative := range n {
		var parts []string
		for _, a := range relative {
			if text, ok := a.text(); ok {
				parts = append(parts, fmt.Sprintf("%q=%q", a.oid, strings.Join(strings.Fields(strings.ToLower(norm.NFKC.String(text))), " ")))
			} else {
				parts = append(parts, fmt.Sprintf("%q=%d#%q", a.oid, a.tag, a.value))
			}
		}
		slices.Sort(parts)
		fmt.Fprintf(&b, "%s,", strings.Join(parts, "+"))
	}
	return b.String()
}
