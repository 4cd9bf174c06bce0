package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRowsWithAndWithoutProof(t *testing.T) {
	root := t.TempDir()
	write(t, root, "docs/REQUIREMENTS.md", "| ID | Requirement |\n|---|---|\n| S-001 | One is active. | x |\n| C-02 | Both hold. | x |\n| S-003 | Named in a string only. | x |\n")
	write(t, root, "policy/a_test.go", "package policy\n\n// S-001: one policy is active\nfunc x() { _ = \"S-003\" }\n")
	write(t, root, "policy/a.go", "package policy\n\n// C-02 in code that is not a test proves nothing\n")

	var all, open strings.Builder
	if err := run(&all, root, false); err != nil {
		t.Fatal(err)
	}
	if err := run(&open, root, true); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(all.String(), "policy/a_test.go") || !strings.Contains(all.String(), "1 of 3 rows") {
		t.Errorf("full report:\n%s", &all)
	}
	if strings.Contains(open.String(), "S-001") || !strings.Contains(open.String(), "C-02") || !strings.Contains(open.String(), "S-003") {
		t.Errorf("open rows: expected C-02 and S-003 only, found:\n%s", &open)
	}
}

func TestEmptyTableIsAnError(t *testing.T) {
	root := t.TempDir()
	write(t, root, "docs/REQUIREMENTS.md", "nothing here\n")
	if err := run(&strings.Builder{}, root, false); err == nil {
		t.Error("expected an error for a file without rows")
	}
}

// The repository's own table must stay readable by the tool.
func TestOwnTable(t *testing.T) {
	var out strings.Builder
	if err := run(&out, "../../..", false); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"S-001", "S-120", "C-20"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("row %s is missing from the report", want)
		}
	}
}

func write(t *testing.T, root, name, text string) {
	t.Helper()
	full := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(full, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
