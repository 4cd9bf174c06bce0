package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Error is one mistake in a configuration file.
type Error struct {
	File string
	Line int    // 0 where it has none
	Key  string // path, such as ports[0].mtu; empty for the file as a whole
	Text string // what was expected and what was found

	// Transient is set where the file may be good as it is: a resolver did not answer.
	Transient bool
}

// Error is "file:line: key: text".
func (e *Error) Error() string {
	text := e.File
	if e.Line > 0 {
		text += fmt.Sprintf(":%d", e.Line)
	}
	if e.Key != "" {
		text += ": " + e.Key
	}
	return text + ": " + e.Text
}

// maxErrors is how many mistakes of a file are listed: nobody reads more, and a hostile file can have a million.
const maxErrors = 1000

// Bounds in characters of what one mistake shows, because keys and values may be of any length.
const (
	maxShownKey  = 200
	maxShownText = 1000
)

// forTerminal is a text that stays one line of bounded length and cannot control a terminal, whatever a file says.
func forTerminal(text string, limit int) string {
	shown, length := strings.Builder{}, 0
	for _, c := range text {
		if length++; length > limit {
			return shown.String() + "..."
		}
		if !unicode.IsPrint(c) {
			c = utf8.RuneError
		}
		shown.WriteRune(c)
	}
	return shown.String()
}

// report collects the mistakes of a file.
type report struct {
	path   string
	lines  map[string]int  // of every key that the file has
	empty  map[string]bool // keys without a value, which are as good as none
	errors []*Error        // at most maxErrors
	more   int             // mistakes beyond them
	faulty map[string]bool // keys with an error: what follows from it is no news
	around map[string]bool // keys with an error at them or inside their values
	broken map[string]bool // keys whose values are not of the right kind, which says nothing of the keys inside
}

func newReport(path string) *report {
	return &report{path: path, lines: map[string]int{}, empty: map[string]bool{}, faulty: map[string]bool{}, around: map[string]bool{}, broken: map[string]bool{}}
}

// add notes a mistake, the first one of a key.
func (r *report) add(key, format string, args ...any) {
	if r.faulty[key] || r.isBroken(key) {
		return
	}
	r.faulty[key] = true
	r.addAt(r.line(key), key, format, args...)
}

// addTransient notes a mistake that may be none at the next try.
func (r *report) addTransient(key, format string, args ...any) {
	listed := len(r.errors)
	r.add(key, format, args...)
	for _, e := range r.errors[listed:] {
		e.Transient = true
	}
}

// addAt notes a mistake at a line that is not the key's own.
func (r *report) addAt(line int, key, format string, args ...any) {
	if len(r.errors) == maxErrors {
		r.more++
	} else {
		text := fmt.Sprintf(format, args...)
		r.errors = append(r.errors, &Error{File: r.path, Line: line, Key: forTerminal(key, maxShownKey), Text: forTerminal(text, maxShownText)})
	}
	for ; key != "" && !r.around[key]; key = parent(key) {
		r.around[key] = true
	}
}

// breakAt notes that a value is not of the right kind.
func (r *report) breakAt(key, format string, args ...any) {
	r.add(key, format, args...)
	r.broken[key] = true
}

// isBroken reports whether the key, or one around it, has a value of the wrong kind.
func (r *report) isBroken(key string) bool {
	for ; key != ""; key = parent(key) {
		if r.broken[key] {
			return true
		}
	}
	return false
}

// anyWithin reports whether there is a mistake at the key or inside its value.
func (r *report) anyWithin(key string) bool { return r.around[key] }

// parent is the key around a key, "" at the top.
func parent(key string) string { return key[:max(strings.LastIndexAny(key, ".["), 0)] }

// line is where the key, or the nearest key around it, stands in the file.
func (r *report) line(key string) int {
	for key != "" {
		if line, known := r.lines[key]; known {
			return line
		}
		key = parent(key)
	}
	return 0
}

// err joins the mistakes in the order of the file; nil if there are none.
func (r *report) err() error {
	slices.SortStableFunc(r.errors, func(a, b *Error) int { return a.Line - b.Line })
	errs := make([]error, len(r.errors))
	for i, e := range r.errors {
		errs[i] = e
	}
	if r.more > 0 {
		errs = append(errs, &Error{File: r.path, Text: fmt.Sprintf("%d more mistakes, which are not listed: correct these first", r.more)})
	}
	return errors.Join(errs...)
}

// oneLine is the text of an error without line breaks, so that every mistake stays one line.
func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
