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

// write makes a table of each package in Markdown, below how many tests passed and what failed: a row for each test, with the facts that
// any of the package has as columns.
func (t *table) write(w io.Writer) error {
	var text, failed strings.Builder
	var groups []string
	passed, seconds := 0, 0.0
	for _, r := range t.rows {
		if !slices.Contains(groups, r.group) {
			groups = append(groups, r.group)
		}
		seconds += r.seconds
		if r.result == "pass" {
			passed++
		} else {
			fmt.Fprintf(&failed, "- %s: %s %s\n", r.result, path.Base(r.group), r.name)
		}
	}
	fmt.Fprintf(&text, "%d of %d passed, in %.0f min.\n\n", passed, len(t.rows), seconds/60)
	if failed.Len() > 0 {
		text.WriteString(failed.String() + "\n")
	}
	for _, group := range groups {
		rows := slices.DeleteFunc(slices.Clone(t.rows), func(r row) bool { return r.group != group })
		fmt.Fprintf(&text, "## %s\n\n", path.Base(group))
		writeRows(&text, rows)
	}
	_, err := io.WriteString(w, strings.TrimSuffix(text.String(), "\n"))
	return err
}

// writeRows makes the table of one package.
func writeRows(text *strings.Builder, rows []row) {
	var columns []string
	for _, r := range rows {
		for name := range r.facts {
			if !slices.Contains(columns, name) {
				columns = append(columns, name)
			}
		}
	}
	slices.Sort(columns)
	cells := append([]string{"test", "result", "s"}, columns...)
	fmt.Fprintf(text, "| %s |\n|%s\n", strings.Join(cells, " | "), strings.Repeat("---|", len(cells)))
	for _, r := range rows {
		cells := []string{r.name, r.result, fmt.Sprintf("%.1f", r.seconds)}
		for _, name := range columns {
			cells = append(cells, r.facts[name])
		}
		fmt.Fprintf(text, "| %s |\n", strings.Join(cells, " | "))
	}
	text.WriteByte('\n')
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
