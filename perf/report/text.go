package report

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// number prints a figure with as many digits as it is worth.
func number(x float64) string {
	switch size := math.Abs(x); {
	case x == 0:
		return "0"
	case x == math.Trunc(x) && size < 1e15:
		return strconv.FormatFloat(x, 'f', 0, 64)
	case size >= 1000:
		return strconv.FormatFloat(x, 'f', 0, 64)
	case size >= 1e-3:
		return strings.TrimSuffix(strings.TrimRight(strconv.FormatFloat(x, 'f', max(0, 3-int(math.Floor(math.Log10(size)))), 64), "0"), ".")
	default:
		return strconv.FormatFloat(x, 'g', 3, 64)
	}
}

// text prints a figure with its spread, and with its target in brackets.
func (f Figure) text() string {
	low, median, high := f.Spread()
	text := number(median)
	if low != high {
		text += fmt.Sprintf(" (%s-%s)", number(low), number(high))
	}
	if f.Target != nil {
		text += fmt.Sprintf(" [%s]", number(*f.Target))
	}
	if !f.Met() {
		text += " MISSED"
	}
	return text
}

// heading is what stands over a column of it.
func (f Figure) heading() string {
	if f.Unit == "" {
		return f.Name
	}
	return f.Name + ", " + f.Unit
}

// table is rows that have the same figures.
type table struct {
	headings []string
	rows     []Row
}

// tables have the rows with the same figures together, in the order in which the first of each came, as they are shown.
func (r *Report) tables() (list []table) {
	for _, row := range r.Rows {
		for _, part := range row.parts() {
			var headings []string
			for _, f := range part {
				headings = append(headings, f.heading())
			}
			i := slices.IndexFunc(list, func(t table) bool { return slices.Equal(t.headings, headings) })
			if i < 0 {
				i, list = len(list), append(list, table{headings: headings})
			}
			list[i].rows = append(list[i].rows, Row{Name: row.Name, Figures: slices.Clone(part), Note: row.Note})
			row.Note = "" // once is enough
		}
	}
	for i := range list {
		list[i].scale()
	}
	return list
}

// CommandLine is the command as a shell takes it.
func (r *Report) CommandLine() string {
	words := make([]string, len(r.Command))
	for i, word := range r.Command {
		if word == "" || strings.ContainsFunc(word, func(c rune) bool { return !strings.ContainsRune(plain, c) }) {
			word = "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
		}
		words[i] = word
	}
	return strings.Join(words, " ")
}

// plain are the characters that no shell takes for anything else.
const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=+,./:@%"

// ends says when and how it ended.
func (r *Report) ends() string {
	text := fmt.Sprintf("%s, %v", r.Started.UTC().Format(time.RFC3339), r.Ended.Sub(r.Started).Round(time.Second))
	if r.Interrupted {
		text += ", interrupted: this is what there was by then"
	}
	return text
}

// WriteText prints the report as tables: medians, in parentheses the least and the largest sample, in brackets the target.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n%s\n%s\n", r.CommandLine(), r.Machine, r.ends())
	for _, t := range r.tables() {
		fmt.Fprintln(&b)
		columns := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		if len(t.headings) > 0 { // of rows with a note alone
			fmt.Fprintln(columns, strings.Join(append([]string{""}, t.headings...), "\t"))
		}
		for _, row := range t.rows {
			cells := []string{row.Name}
			for _, f := range row.Figures {
				cells = append(cells, f.text())
			}
			if row.Note != "" {
				cells = append(cells, row.Note)
			}
			fmt.Fprintln(columns, strings.Join(cells, "\t"))
		}
		if err := columns.Flush(); err != nil {
			return fmt.Errorf("report: %w", err)
		}
	}
	if r.Verdict.Text != "" {
		fmt.Fprintf(&b, "\n%s\n", r.Verdict.Text)
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}
