package importer

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"sallyport/crypto"
)

// Result is a configuration made from another system's.
type Result struct {
	YAML  []byte    // a complete configuration file, with REPLACE beside what the source does not say
	Notes []Note    // what an operator has to know, in the order of lines
	Keys  []KeyFile // preshared keys that the source holds
}

// The severities of a note.
const (
	SeverityLost    = "lost"    // has no equivalent and is left out
	SeverityChanged = "changed" // is there in another form, or has to be completed
	SeverityInfo    = "info"    // is there as it was, and needs a word
)

// Note is something that an operator has to know of an import. Line is 0 where it is about the file as a whole.
type Note struct {
	Line     int    `json:"line"`
	Severity string `json:"severity"`
	Text     string `json:"text"`
}

// KeyFile is a preshared key of the source. The configuration names its file, relative to its own folder; the file must
// have mode 0600 and the key as its only line.
type KeyFile struct {
	Name   string
	Line   int
	Secret crypto.Secret
}

// Error is one mistake in a file to import.
type Error struct {
	File string
	Line int // 0 for the file as a whole
	Text string
}

// Error is "file:line: text".
func (e *Error) Error() string {
	if e.Line == 0 {
		return e.File + ": " + e.Text
	}
	return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Text)
}

// Bounds of what one import reports, so that junk cannot fill the memory.
const (
	maxProblems = 1000
	maxNotes    = 20000
)

// report collects the notes and the mistakes of an import.
type report struct {
	file     string
	notes    []Note
	problems []*Error
	more     int // problems beyond maxProblems
	silent   int // notes beyond maxNotes

	truncated bool // the end of the file could not be read: what is missing is no news
}

func (r *report) note(line int, severity, format string, args ...any) {
	if len(r.notes) >= maxNotes {
		r.silent++
		return
	}
	r.notes = append(r.notes, Note{Line: line, Severity: severity, Text: fmt.Sprintf(format, args...)})
}

func (r *report) lost(line int, format string, args ...any) {
	r.note(line, SeverityLost, format, args...)
}

func (r *report) changed(line int, format string, args ...any) {
	r.note(line, SeverityChanged, format, args...)
}

func (r *report) info(line int, format string, args ...any) {
	r.note(line, SeverityInfo, format, args...)
}

// problem notes a mistake; with one there is no result.
func (r *report) problem(line int, format string, args ...any) {
	if len(r.problems) >= maxProblems {
		r.more++
		return
	}
	r.problems = append(r.problems, &Error{File: r.file, Line: line, Text: fmt.Sprintf(format, args...)})
}

// err joins the mistakes in the order of lines; nil if there are none.
func (r *report) err() error {
	slices.SortStableFunc(r.problems, func(a, b *Error) int { return cmp.Compare(a.Line, b.Line) })
	var errs []error
	for _, e := range r.problems {
		errs = append(errs, e)
	}
	if r.more > 0 {
		errs = append(errs, fmt.Errorf("%s: %d more mistakes are not listed: correct these first", r.file, r.more))
	}
	return errors.Join(errs...)
}

// sorted is the notes in the order of lines, each once.
func (r *report) sorted() []Note {
	slices.SortStableFunc(r.notes, func(a, b Note) int { return cmp.Compare(a.Line, b.Line) })
	notes := slices.Compact(r.notes)
	if r.silent > 0 {
		notes = append(notes, Note{Severity: SeverityLost, Text: fmt.Sprintf("%d more notes are not listed: import the file in parts", r.silent)})
	}
	return notes
}

// maxQuoted is the most characters of a value that a message shows.
const maxQuoted = 60

// quote shows text from a file in a message. It must not be a secret.
func quote(text string) string {
	if runes := []rune(text); len(runes) > maxQuoted {
		return strconv.Quote(string(runes[:maxQuoted])) + "..."
	}
	return strconv.Quote(text)
}
