package importer

import (
	"strings"
	"unicode"
)

// section is a section of a swanctl.conf.
type section struct {
	line     int
	name     string
	settings []*setting
	sections []*section
	bases    []string // sections that this one takes its settings from (child : base1, base2 { })

	last   map[string]*setting // the last setting of each key, which is the one that counts
	byName map[string]*section
}

func newSection(line int, name string) *section {
	return &section{line: line, name: name, last: map[string]*setting{}, byName: map[string]*section{}}
}

// setting is key = value. Its text may be a secret.
type setting struct {
	line int
	key  string
	text string
}

func (s *section) put(each *setting) {
	s.settings = append(s.settings, each)
	s.last[each.key] = each
}

func (s *section) enter(inner *section) {
	s.sections = append(s.sections, inner)
	s.byName[inner.name] = inner
}

// text is the value of a key, "" without one.
func (s *section) text(key string) string {
	if each := s.last[key]; each != nil {
		return each.text
	}
	return ""
}

// at is the line of a key, or of the section.
func (s *section) at(key string) int {
	if each := s.last[key]; each != nil {
		return each.line
	}
	return s.line
}

// swanctlParser reads a file in the form of strongswan.conf. After a mistake it goes on in the next line.
type swanctlParser struct {
	*report
	rest  []rune
	line  int
	open  []*section
	inner int // depth of sections beyond maxDepth, whose contents are left out
}

// parse reads the whole file.
func (p *swanctlParser) parse(text string) *section {
	root := newSection(1, "")
	p.rest, p.line, p.open = []rune(text), 1, []*section{root}
	for p.skipSpace(); len(p.rest) > 0; p.skipSpace() {
		p.statement()
	}
	for _, s := range p.open[1:] {
		if p.truncated {
			break
		}
		p.problem(s.line, "section %s has no } to close it", quote(s.name))
	}
	return root
}

// skipSpace skips blanks, line ends and comments.
func (p *swanctlParser) skipSpace() {
	for len(p.rest) > 0 {
		switch c := p.rest[0]; {
		case c == '\n':
			p.line++
		case c == '#':
			p.skipLine()
			continue
		case !unicode.IsSpace(c) && c != '\x1a':
			return
		}
		p.rest = p.rest[1:]
	}
}

func (p *swanctlParser) skipBlanks() {
	for len(p.rest) > 0 && (p.rest[0] == ' ' || p.rest[0] == '\t') {
		p.rest = p.rest[1:]
	}
}

func (p *swanctlParser) skipLine() {
	for len(p.rest) > 0 && p.rest[0] != '\n' {
		p.rest = p.rest[1:]
	}
}

// statement reads a section's beginning or end, a setting or an include.
func (p *swanctlParser) statement() {
	line := p.line
	if p.rest[0] == '}' {
		p.rest = p.rest[1:]
		p.close(line)
		return
	}
	name, ok := p.name()
	if !ok {
		if len(p.rest) > 0 { // else a quotation mark was open, which is reported
			p.problem(line, "expected a section or a setting, found %q", p.rest[0])
			p.skipLine()
		}
		return
	}
	if name == "include" && !p.at('=') && !p.at('{') && !p.at(':') {
		file, _ := p.value()
		p.lost(line, "include %s: that file is not read: import it too", quote(file))
		return
	}
	p.skipBlanks()
	switch {
	case p.at('='):
		p.rest = p.rest[1:]
		text, ok := p.value()
		if ok && p.inner == 0 {
			p.open[len(p.open)-1].put(&setting{line, name, text})
		}
	case p.at(':'):
		p.rest = p.rest[1:]
		p.begin(line, name, p.bases())
	default:
		p.skipSpace()
		if !p.at('{') { // what it was may be a secret on a line of its own
			p.problem(line, "expected = or { behind the name at the beginning of the line, found neither")
			return
		}
		p.begin(line, name, nil)
	}
}

// at reports whether the character is next, behind blanks.
func (p *swanctlParser) at(c rune) bool {
	for _, next := range p.rest {
		if next != ' ' && next != '\t' {
			return next == c
		}
	}
	return false
}

// name reads the name of a section or a setting.
func (p *swanctlParser) name() (string, bool) {
	if p.rest[0] == '"' {
		return p.quoted()
	}
	end := 0
	for end < len(p.rest) && !unicode.IsSpace(p.rest[end]) && !strings.ContainsRune(`{}=#",:`, p.rest[end]) {
		end++
	}
	name := string(p.rest[:end])
	p.rest = p.rest[end:]
	return name, end > 0
}

// bases reads the sections that a section refers to, up to its {.
func (p *swanctlParser) bases() []string {
	var bases []string
	for len(p.rest) > 0 && p.rest[0] != '{' && p.rest[0] != '}' && p.rest[0] != '=' {
		p.skipSpace()
		if len(p.rest) == 0 {
			break
		}
		base, ok := p.name()
		if !ok {
			break
		}
		bases = append(bases, base)
		p.skipSpace()
		if p.at(',') {
			p.skipBlanks()
			p.rest = p.rest[1:]
		}
	}
	return bases
}

// begin enters a section. One that is there already is continued.
func (p *swanctlParser) begin(line int, name string, bases []string) {
	p.skipSpace()
	if !p.at('{') {
		p.problem(line, "expected { behind the name of section %s", quote(name))
		return
	}
	p.rest = p.rest[1:]
	if len(p.open) > maxDepth {
		if p.inner == 0 {
			p.problem(line, "expected at most %d sections inside each other, found more", maxDepth)
		}
		p.inner++
		return
	}
	around := p.open[len(p.open)-1]
	s := around.byName[name]
	if s == nil {
		s = newSection(line, name)
		around.enter(s)
	}
	s.bases = append(s.bases, bases...)
	p.open = append(p.open, s)
}

// close leaves a section.
func (p *swanctlParser) close(line int) {
	switch {
	case p.inner > 0:
		p.inner--
	case len(p.open) == 1:
		p.problem(line, "} without a { before it")
	default:
		p.open = p.open[:len(p.open)-1]
	}
}

// value reads up to the end of the line, a comment or the end of the section. Parts in quotation marks may have any of these.
func (p *swanctlParser) value() (string, bool) {
	var text, blanks strings.Builder
	for p.skipBlanks(); len(p.rest) > 0; {
		switch c := p.rest[0]; {
		case c == '\n' || c == '#' || c == '}':
			return text.String(), true
		case c == '"':
			quoted, ok := p.quoted()
			if !ok {
				return "", false
			}
			text.WriteString(blanks.String())
			blanks.Reset()
			text.WriteString(quoted)
			continue
		case unicode.IsSpace(c):
			blanks.WriteRune(c) // kept between words, not at the end
		default:
			text.WriteString(blanks.String())
			blanks.Reset()
			text.WriteRune(c)
		}
		p.rest = p.rest[1:]
	}
	return text.String(), true
}

// quoted reads a text in quotation marks, which may go over several lines.
func (p *swanctlParser) quoted() (string, bool) {
	line := p.line
	var text strings.Builder
	for i := 1; i < len(p.rest); i++ {
		c := p.rest[i]
		switch {
		case c == '"':
			p.rest = p.rest[i+1:]
			return text.String(), true
		case c == '\\' && i+1 < len(p.rest):
			i++
			if p.rest[i] == '\n' { // the line goes on
				p.line++
				continue
			}
			text.WriteRune(unescape(p.rest[i]))
			continue
		case c == '\n':
			p.line++
		}
		text.WriteRune(c)
	}
	p.problem(line, "the quotation mark of this line has no other to close it: nothing behind it is read")
	p.rest, p.truncated = nil, true
	return "", false
}

// unescape is the character that a backslash and a letter stand for.
func unescape(c rune) rune {
	switch c {
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	}
	return c
}
