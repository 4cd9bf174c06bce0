package ike

import (
	encoding "encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// String is the text of RFC 4514.
func (n name) String() string {
	var relatives []string
	for _, relative := range slices.Backward(n) {
		var parts []string
		for _, a := range relative {
			parts = append(parts, a.String())
		}
		relatives = append(relatives, strings.Join(parts, "+"))
	}
	return strings.Join(relatives, ",")
}

func (a attribute) String() string {
	word := oidText(a.oid)
	if i := slices.IndexFunc(attributeTypes, func(t attributeType) bool { return t.oid == a.oid }); i >= 0 {
		if text, ok := a.text(); ok && text != "" { // nothing at all is read as a slip of the pen
			return attributeTypes[i].word + "=" + escape(text)
		}
		word = attributeTypes[i].word
	}
	var b cryptobyte.Builder
	b.AddASN1(a.tag, func(b *cryptobyte.Builder) { b.AddBytes([]byte(a.value)) })
	return word + "=#" + hex.EncodeToString(b.BytesOrPanic())
}

// escape writes a value as RFC 4514 2.4 has it, and what no terminal should see as hexadecimal octets.
func escape(text string) string {
	var b strings.Builder
	for i, r := range text {
		edge := i == 0 || i == len(text)-1
		switch {
		case strings.ContainsRune(`"+,;<>\`, r), i == 0 && r == '#', edge && r == ' ':
			b.WriteByte('\\')
			b.WriteRune(r)
		case !unicode.IsPrint(r):
			for _, octet := range []byte(string(r)) {
				fmt.Fprintf(&b, `\%02x`, octet)
			}
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// encodeName reads the text of RFC 4514 and gives the DER. Spaces around separators, which people write, are passed over.
func encodeName(text string) (string, error) {
	var n name
	for _, part := range splitUnescaped(text, ',') {
		var relative []attribute
		for _, pair := range splitUnescaped(part, '+') {
			a, err := readAttribute(pair)
			if err != nil {
				return "", err
			}
			relative = append(relative, a)
		}
		n = append(n, relative)
	}
	slices.Reverse(n)
	return n.der(), nil
}

// splitUnescaped splits where the separator does not stand behind a backslash.
func splitUnescaped(text string, separator byte) []string {
	var parts []string
	begin := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case separator:
			parts = append(parts, text[begin:i])
			begin = i + 1
		}
	}
	return append(parts, text[begin:])
}

// readAttribute reads one "type=value".
func readAttribute(pair string) (attribute, error) {
	word, written, ok := strings.Cut(pair, "=")
	word, written = strings.TrimSpace(word), trimUnescaped(written)
	if !ok || word == "" || written == "" {
		return attribute{}, fmt.Errorf("expected type=value in a distinguished name, like CN=gw-a, found %q", strings.TrimSpace(pair))
	}
	a := attribute{tag: asn1.UTF8String}
	for _, t := range attributeTypes {
		if strings.EqualFold(t.word, word) {
			a.oid, a.tag = t.oid, t.tag
		}
	}
	if a.oid == "" {
		if a.oid = parseOID(word); a.oid == "" {
			return attribute{}, fmt.Errorf("attribute type %q of a distinguished name is unknown, expected CN, O, OU, C or another of RFC 4514, or a dotted number", word)
		}
	}
	if digits, ok := strings.CutPrefix(written, "#"); ok {
		return a.withDER(digits)
	}
	var err error
	if a.value, err = unescape(written); err != nil {
		return attribute{}, err
	}
	if !utf8.ValidString(a.value) || strings.ContainsFunc(a.value, func(r rune) bool { return r > unicode.MaxASCII }) && a.tag != asn1.UTF8String {
		return attribute{}, fmt.Errorf("value %q of %s in a distinguished name has characters that it cannot hold", a.value, word)
	}
	return a, nil
}

// withDER takes a value that is given as the hexadecimal octets of its DER.
func (a attribute) withDER(digits string) (attribute, error) {
	octets, err := hex.DecodeString(digits)
	in, value := cryptobyte.String(octets), cryptobyte.String(nil)
	if err != nil || !in.ReadAnyASN1(&value, &a.tag) || len(in) > 0 {
		return attribute{}, fmt.Errorf("expected the DER of a value in hexadecimal digits after #, found %q", digits)
	}
	a.value = string(value)
	return a, nil
}

// trimUnescaped takes away spaces at both ends, but not one that a backslash protects.
func trimUnescaped(text string) string {
	text = strings.TrimLeft(text, " ")
	trimmed := strings.TrimRight(text, " ")
	backslashes := len(trimmed) - len(strings.TrimRight(trimmed, `\`))
	if backslashes%2 == 1 && len(trimmed) < len(text) {
		return trimmed + " "
	}
	return trimmed
}

func unescape(text string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			b.WriteByte(text[i])
			continue
		}
		rest := text[i+1:]
		switch {
		case rest != "" && strings.IndexByte(` "#+,;<=>\`, rest[0]) >= 0:
			b.WriteByte(rest[0])
			i++
		case len(rest) >= 2:
			octet, err := strconv.ParseUint(rest[:2], 16, 8)
			if err != nil {
				return "", fmt.Errorf(`expected a special character or two hexadecimal digits after \ in a distinguished name, found %q`, rest[:2])
			}
			b.WriteByte(byte(octet))
			i += 2
		default:
			return "", errors.New(`a distinguished name ends in \, expected the character that it protects`)
		}
	}
	return b.String(), nil
}

// oidText is an object identifier as dotted numbers, from its content octets; empty when those are not one.
func oidText(content string) string {
	var b cryptobyte.Builder
	addOID(&b, content)
	var oid encoding.ObjectIdentifier
	if in := cryptobyte.String(b.BytesOrPanic()); !in.ReadASN1ObjectIdentifier(&oid) {
		return ""
	}
	return oid.String()
}

// parseOID goes back; empty when the text is no object identifier.
func parseOID(text string) string {
	var oid encoding.ObjectIdentifier
	for _, digits := range strings.Split(text, ".") {
		n, err := strconv.ParseUint(digits, 10, 31)
		if err != nil {
			return ""
		}
		oid = append(oid, int(n))
	}
	var b cryptobyte.Builder
	b.AddASN1ObjectIdentifier(oid)
	der, err := b.Bytes()
	in, content := cryptobyte.String(der), cryptobyte.String(nil)
	if err != nil || !in.ReadASN1(&content, asn1.OBJECT_IDENTIFIER) {
		return ""
	}
	return string(content)
}
