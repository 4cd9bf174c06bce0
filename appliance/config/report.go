package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Error is one mistake in a configuration file.
type Error struct {
	File string
	Line int    // 0 where it has none
	Key  string // path, such as ports[0].mtu; empty for the file as a whole
	Text string // what was expected and what was found
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

// report collects the mistakes of a file.
type report struct {
	path   string
	lines  map[string]int // of every key that the file has
	errors []*Error
	faulty map[string]bool // keys with an error, whose values are not to be judged again
}

// add notes a mistake. A key is reported once: what follows from its first mistake is no news.
func (r *report) add(key, format string, args ...any) {
	if r.faulty[key] {
		return
	}
	if r.faulty == nil {
		r.faulty = map[string]bool{}
	}
	r.faulty[key] = true
	r.errors = append(r.errors, &Error{File: r.path, Line: r.line(key), Key: key, Text: fmt.Sprintf(format, args...)})
}

// addAt notes a mistake at a line that is not the key's own.
func (r *report) addAt(line int, key, format string, args ...any) {
	r.errors = append(r.errors, &Error{File: r.path, Line: line, Key: key, Text: fmt.Sprintf(format, args...)})
}

// line is where the key, or the nearest key around it, stands in the file.
func (r *report) line(key string) int {
	for key != "" {
		if line, known := r.lines[key]; known {
			return line
		}
		key = key[:max(strings.LastIndexAny(key, ".["), 0)]
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
	return errors.Join(errs...)
}
