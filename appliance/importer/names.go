package importer

import (
	"fmt"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// maxName is the longest name that a configuration takes, in characters.
const maxName = 64

// spelled are letters that no accent can be taken off.
var spelled = strings.NewReplacer("ß", "ss", "æ", "ae", "Æ", "Ae", "ø", "o", "Ø", "O", "ł", "l", "Ł", "L", "đ", "d", "Đ", "D", "þ", "th", "Þ", "Th", "œ", "oe", "Œ", "Oe")

// fitName gives a name the form that a configuration takes: letters, digits, dots, hyphens and underscores. Accents go,
// everything else becomes a hyphen. It is empty where nothing is left.
func fitName(name string) string {
	var fitted strings.Builder
	hyphen := false
	for _, c := range norm.NFD.String(spelled.Replace(name)) {
		switch {
		case unicode.Is(unicode.Mn, c): // an accent on its own
		case c < 0x80 && (unicode.IsLetter(c) || unicode.IsDigit(c) || c == '.' || c == '_'):
			if hyphen && fitted.Len() > 0 {
				fitted.WriteByte('-')
			}
			hyphen = false
			fitted.WriteRune(c)
		default:
			hyphen = true
		}
		if fitted.Len() >= maxName {
			break
		}
	}
	return fitted.String()[:min(fitted.Len(), maxName)]
}

// namespace gives the parts of one kind names of their own.
type namespace struct {
	report *report
	kind   string
	taken  map[string]bool
}

func newNamespace(r *report, kind string) *namespace {
	return &namespace{report: r, kind: kind, taken: map[string]bool{}}
}

// name is the name that a part gets, and a note where it is not the one it had.
func (n *namespace) name(line int, wanted string) string {
	name := n.reserve(wanted)
	if name != wanted && wanted != "" {
		n.report.changed(line, "%s %s is named %s", n.kind, quote(wanted), name)
	}
	return name
}

// reserve takes the nearest free name.
func (n *namespace) reserve(wanted string) string {
	base := fitName(wanted)
	if base == "" {
		base = strings.ReplaceAll(n.kind, " ", "-")
	}
	name := base
	for i := 2; n.taken[name]; i++ {
		suffix := fmt.Sprintf("-%d", i)
		name = base[:min(len(base), maxName-len(suffix))] + suffix
	}
	n.taken[name] = true
	return name
}
