package importer

import (
	"errors"
	"strings"
	"unicode"
)

// joinLines numbers the lines of a script. A line that ends in ^ (command prompt) or ` (PowerShell) goes on in the next.
func joinLines(text string) []textLine {
	var lines []textLine
	var joined strings.Builder // the line under way, which began in line first
	first, continued := 0, false
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimRight(strings.ReplaceAll(line, "\x1a", ""), " \t\f")
		part, more := strings.CutSuffix(line, "^")
		if !more {
			part, more = strings.CutSuffix(line, "`")
		}
		if isComment(line) {
			part, more = line, false
		}
		if continued {
			joined.WriteString(" " + strings.TrimSpace(part))
		} else {
			joined.Reset()
			joined.WriteString(part)
			first = i + 1
		}
		if continued = more; !more {
			lines = append(lines, textLine{first, joined.String()})
		}
	}
	if continued { // the file ends in ^
		lines = append(lines, textLine{first, joined.String()})
	}
	return lines
}

// isComment reports whether a line is one: of netsh (#), or of a batch file.
func isComment(line string) bool {
	line = strings.TrimLeft(line, " \t@")
	first, _, _ := strings.Cut(strings.ReplaceAll(line, "\t", " "), " ")
	return strings.HasPrefix(line, "#") || strings.HasPrefix(line, "::") || strings.EqualFold(first, "rem")
}

// word is a part of a command: a value, alone or behind "tag =".
type word struct {
	tag, value string
	tagged     bool
	quoted     bool // a part of the value is in quotation marks
}

// splitWords takes a command apart. isTag tells tags from values where blanks around "=" leave it open.
func splitWords(line string, isTag func(string) bool) ([]word, error) {
	s := &wordScanner{rest: line}
	var words []word
	for s.skipBlanks(); s.rest != ""; s.skipBlanks() {
		w, err := s.value(true)
		if err != nil {
			return nil, err
		}
		behind := strings.TrimLeft(s.rest, " \t")
		if !w.quoted && w.value != "" && strings.HasPrefix(behind, "=") {
			s.rest = behind[1:]
			if w, err = s.tagged(w.value, isTag); err != nil {
				return nil, err
			}
		} else if w.value == "" && !w.quoted {
			return nil, errors.New("expected a tag before =, found none")
		}
		words = append(words, w)
	}
	return words, nil
}

type wordScanner struct{ rest string }

func (s *wordScanner) skipBlanks() { s.rest = strings.TrimLeft(s.rest, " \t\f") }

// tagged reads the value behind "tag=". Behind a blank the next tag may stand, and the value is empty.
func (s *wordScanner) tagged(tag string, isTag func(string) bool) (word, error) {
	at := s.rest
	s.skipBlanks()
	if at != s.rest {
		next := *s
		ahead, err := next.value(true)
		if err == nil && !ahead.quoted && isTag(ahead.value) && strings.HasPrefix(strings.TrimLeft(next.rest, " \t"), "=") {
			return word{tag: tag, tagged: true}, nil
		}
	}
	w, err := s.value(false)
	w.tag, w.tagged = tag, true
	return w, err
}

// value reads up to a blank outside quotation marks, or up to "=" where that ends a tag.
func (s *wordScanner) value(untilEqual bool) (word, error) {
	var value strings.Builder
	quoted, inside := false, false
	for i, c := range s.rest {
		switch {
		case c == '"':
			quoted, inside = true, !inside
			continue
		case c == '“' || c == '”' || c == '„':
			if !inside {
				return word{}, errors.New("expected straight quotation marks (\"), found typographic ones")
			}
		case !inside && (unicode.IsSpace(c) || untilEqual && !quoted && c == '='):
			s.rest = s.rest[i:]
			return word{value: value.String(), quoted: quoted}, nil
		}
		value.WriteRune(c)
	}
	s.rest = ""
	if inside {
		return word{}, errors.New("expected a quotation mark (\") at the end of a value, found the end of the line")
	}
	return word{value: value.String(), quoted: quoted}, nil
}
