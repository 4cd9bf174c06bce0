package main

import (
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// row is one test that has none within it.
type row struct {
	group   string // its package
	name    string
	result  string
	seconds float64
	facts   map[string]string // what the test said of itself (testing.T.Attr)
}

// table collects what a table of tests is made of.
type table struct {
	rows  []row
	facts map[string]map[string]string // by package and test
}

// see takes one event.
func (t *table) see(e event) {
	key := e.Package + "\x00" + e.Test
	switch e.Action {
	case "attr":
		if t.facts == nil {
			t.facts = map[string]map[string]string{}
		}
		if t.facts[key] == nil {
			t.facts[key] = map[string]string{}
		}
		t.facts[key][e.Key] = e.Value
	case "pass", "fail", "skip":
		// A test ends after those within it.
		if within := e.Test + "/"; e.Test == "" || slices.ContainsFunc(t.rows, func(r row) bool { return strings.HasPrefix(r.name, within) && r.group == e.Package }) {
			return
		}
		t.rows = append(t.rows, row{e.Package, e.Test, e.Action, e.Elapsed, t.facts[key]})
	}
}

// write makes the table, in Markdown: a row for each test, with the facts that any of them has as columns.
func (t *table) write(w io.Writer) error {
	var columns []string
	passed := 0
	for _, r := range t.rows {
		for name := range r.facts {
			if !slices.Contains(columns, name) {
				columns = append(columns, name)
			}
		}
		if r.result == "pass" {
			passed++
		}
	}
	slices.Sort(columns)
	var text strings.Builder
	fmt.Fprintf(&text, "%d of %d passed.\n\n", passed, len(t.rows))
	cells := append([]string{"package", "test", "result", "s"}, columns...)
	fmt.Fprintf(&text, "| %s |\n|%s\n", strings.Join(cells, " | "), strings.Repeat("---|", len(cells)))
	for _, r := range t.rows {
		cells := []string{path.Base(r.group), r.name, r.result, fmt.Sprintf("%.1f", r.seconds)}
		for _, name := range columns {
			cells = append(cells, r.facts[name])
		}
		fmt.Fprintf(&text, "| %s |\n", strings.Join(cells, " | "))
	}
	_, err := io.WriteString(w, text.String())
	return err
}

// save writes the table to a file and shows it.
func (t *table) save(file string, shown io.Writer) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	to, err := os.Create(file)
	if err != nil {
		return err
	}
	if err := t.write(io.MultiWriter(to, shown)); err != nil {
		return err
	}
	return to.Close()
}
