// Command requirements lists the rows of docs/REQUIREMENTS.md and, for each,
// the tests that prove it. A test proves a row by carrying its id in a comment
// ("// S-047"); a row without such a test is open.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
)

func main() {
	root := flag.String("root", ".", "the checkout to look in")
	open := flag.Bool("open", false, "list only rows without a proof")
	flag.Parse()
	if err := run(os.Stdout, *root, *open); err != nil {
		fmt.Fprintln(os.Stderr, "requirements:", err)
		os.Exit(1)
	}
}

// row is one requirement: a line of a table whose first cell is an id.
type row struct{ id, text string }

var (
	rowID   = regexp.MustCompile(`^(?:S-\d{3}|C-\d{2})$`)
	proofID = regexp.MustCompile(`\b(?:S-\d{3}|C-\d{2})\b`)
	comment = regexp.MustCompile(`(?://|#|/\*).*$`)
)

func run(out io.Writer, root string, openOnly bool) error {
	table, err := os.Open(filepath.Join(root, "docs", "REQUIREMENTS.md"))
	if err != nil {
		return err
	}
	defer table.Close()
	rows, err := readRows(table)
	if err != nil {
		return err
	}
	if len(rows) == 0 {
		return fmt.Errorf("%s: expected table rows that begin with an id such as | S-001 |, found none", table.Name())
	}
	proofs, err := findProofs(root)
	if err != nil {
		return err
	}
	return report(out, rows, proofs, openOnly)
}

func readRows(r io.Reader) ([]row, error) {
	var rows []row
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		cells := strings.Split(lines.Text(), "|")
		if len(cells) < 4 {
			continue
		}
		if id := strings.TrimSpace(cells[1]); rowID.MatchString(id) {
			rows = append(rows, row{id: id, text: strings.TrimSpace(cells[2])})
		}
	}
	return rows, lines.Err()
}

// findProofs returns, for each id, the test files that name it in a comment.
func findProofs(root string) (map[string][]string, error) {
	proofs := make(map[string][]string)
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && name != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if d.IsDir() || !isTest(name) {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		for id := range commentIDs(string(text)) {
			proofs[id] = append(proofs[id], relative)
		}
		return nil
	})
	for _, files := range proofs {
		sort.Strings(files)
	}
	return proofs, err
}

func isTest(name string) bool {
	return strings.HasSuffix(name, "_test.go") && !strings.Contains(filepath.ToSlash(name), "internal/tools/requirements/")
}

func commentIDs(text string) map[string]bool {
	ids := make(map[string]bool)
	for _, line := range strings.Split(text, "\n") {
		for _, id := range proofID.FindAllString(comment.FindString(line), -1) {
			ids[id] = true
		}
	}
	return ids
}

func report(out io.Writer, rows []row, proofs map[string][]string, openOnly bool) error {
	proven := 0
	for _, r := range rows {
		files := proofs[r.id]
		if len(files) > 0 {
			proven++
		}
		if openOnly && len(files) > 0 {
			continue
		}
		where := "open"
		if len(files) > 0 {
			where = strings.Join(files, " ")
		}
		if _, err := fmt.Fprintf(out, "%s  %-90s  %s\n", r.id, shorten(r.text, 90), where); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(out, "%d of %d rows named by a test\n", proven, len(rows))
	return err
}

func shorten(s string, limit int) string {
	if runes := []rune(s); len(runes) > limit {
		return string(runes[:limit-1]) + "…"
	}
	return s
}
