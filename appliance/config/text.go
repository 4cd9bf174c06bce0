package config

import (
	"bytes"
	"fmt"
	"unicode/utf8"
)

// CheckText refuses what cannot be a configuration whatever it says: octets that are no text.
func CheckText(path string, data []byte) error {
	r := newReport(path)
	r.isText(data)
	return r.err()
}

// isText reports octets that are no text.
func (r *report) isText(data []byte) bool {
	line, found := notText(data)
	if found != "" {
		r.addAt(line, "", "expected text in UTF-8, found %s", found)
	}
	return found == ""
}

// notText says where a text is not UTF-8 that YAML takes, and what is there; "" if it is all text. UTF-16, which the YAML
// package would take, is none: the gateway edits its file in place and sends it as JSON.
func notText(data []byte) (line int, found string) {
	if bytes.HasPrefix(data, []byte{0xff, 0xfe}) || bytes.HasPrefix(data, []byte{0xfe, 0xff}) {
		return 1, "UTF-16: save the file as UTF-8"
	}
	line = 1
	for at := 0; at < len(data); {
		c, size := utf8.DecodeRune(data[at:])
		switch {
		case c == utf8.RuneError && size == 1:
			return line, fmt.Sprintf("the octet 0x%02x of another code page: save the file as UTF-8", data[at])
		case c == '\n':
			line++
		case c < ' ' && c != '\t' && c != '\r', c >= 0x7f && c < 0xa0 && c != 0x85:
			return line, fmt.Sprintf("the control character %U: the file is binary, or has been damaged", c)
		}
		at += size
	}
	return 0, ""
}
