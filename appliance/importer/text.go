package importer

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"
)

// maxInput is the largest file that is read, in bytes.
const maxInput = 16 << 20

// decoded is a file as text.
type decoded struct {
	text    string
	assumed string // the code page, where the file does not say it
}

// decode turns a file of any usual code page into text. An error is about octets that are no text.
func decode(data []byte) (decoded, error) {
	if len(data) > maxInput {
		return decoded{}, fmt.Errorf("expected a file of at most %d MiB, found %d bytes", maxInput>>20, len(data))
	}
	how, assumed := encodingOf(data)
	text, err := how.NewDecoder().Bytes(data)
	if err != nil {
		return decoded{}, errors.New("expected text, found octets that are none")
	}
	text = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
	text = bytes.ReplaceAll(text, []byte("\r"), []byte("\n"))
	return decoded{string(text), assumed}, nil
}

// encodingOf finds out how a file was saved: by its byte order mark, else by its octets. The second result is a note
// where that was a guess.
func encodingOf(data []byte) (encoding.Encoding, string) {
	little := unicode.UTF16(unicode.LittleEndian, unicode.UseBOM)
	big := unicode.UTF16(unicode.BigEndian, unicode.UseBOM)
	switch {
	case bytes.HasPrefix(data, []byte{0xEF, 0xBB, 0xBF}):
		return unicode.UTF8BOM, ""
	case bytes.HasPrefix(data, []byte{0xFF, 0xFE}):
		return little, ""
	case bytes.HasPrefix(data, []byte{0xFE, 0xFF}):
		return big, ""
	case looksUTF16(data, 1):
		return unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM), "UTF-16, low octet first"
	case looksUTF16(data, 0):
		return unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM), "UTF-16, high octet first"
	case utf8.Valid(data):
		return encoding.Nop, ""
	case looksOEM(data):
		return charmap.CodePage850, "code page 850"
	default:
		return charmap.Windows1252, "Windows-1252"
	}
}

// looksUTF16 reports whether the octets at even (0) or odd (1) places are nearly all zero and the others are not, as in
// UTF-16 of a Western language.
func looksUTF16(data []byte, zeroes int) bool {
	sample := data[:min(len(data), 4096)]
	var counts [2]int
	for i, octet := range sample {
		if octet == 0 {
			counts[i&1]++
		}
	}
	half := len(sample) / 2
	return half > 0 && len(data)%2 == 0 && counts[zeroes] > half*3/4 && counts[1-zeroes] == 0
}

// looksOEM tells code page 850, which a command prompt writes, from Windows-1252, which editors write: letters with
// accents are from 0x80 to 0xA5 in the first and from 0xC0 on in the second. 0xE1 is the German sharp s of the first.
func looksOEM(data []byte) bool {
	oem, ansi := 0, 0
	for _, octet := range data {
		switch {
		case octet >= 0x80 && octet <= 0xA5, octet == 0xE1:
			oem++
		case octet >= 0xC0:
			ansi++
		}
	}
	return oem > ansi
}

// textLine is a line with its number.
type textLine struct {
	number int
	text   string
}

// readText decodes the file and reports what is not text. Without any text left it returns false.
func (r *report) readText(data []byte) (string, bool) {
	d, err := decode(data)
	if err != nil {
		r.problem(0, "%s", err)
		return "", false
	}
	if d.assumed != "" {
		r.info(0, "the file does not say its code page: %s is assumed; if letters with accents are wrong, save it as UTF-8 and import it again", d.assumed)
	}
	if line, char := firstControl(d.text); line > 0 {
		r.problem(line, "expected text, found the control character %U: the file is binary, or has been damaged", char)
		return "", false
	}
	if strings.TrimSpace(d.text) == "" {
		r.problem(0, "the file is empty: nothing to import")
		return "", false
	}
	return d.text, true
}

// firstControl finds a character that no text has, with its line; 0 without one.
func firstControl(text string) (int, rune) {
	line := 1
	for _, c := range text {
		switch {
		case c == '\n':
			line++
		case c == '\t' || c == '\f' || c == '\x1a': // a page break, and the end of file mark of old editors
		case c < ' ' || c == 0x7f || c == utf8.RuneError:
			return line, c
		}
	}
	return 0, 0
}
