package peerbench

import (
	"path/filepath"
	"strings"
	"testing"
)

// What is committed as results are reports by the schema, whole, each with its page; they say which machine they are of, and name no file of it.
func TestResults(t *testing.T) {
	files, err := filepath.Glob("../results/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("expected results, found %v, %v", files, err)
	}
	for _, file := range files {
		r := wantReport(t, file)
		if r.Interrupted || r.Machine.CPU == "" || len(r.Rows) == 0 || r.Ended.Before(r.Started) {
			t.Errorf("%s is not of a whole run: %d rows, interrupted %t, machine %v", file, len(r.Rows), r.Interrupted, r.Machine)
		}
		for _, word := range r.Command {
			if filepath.IsAbs(word) {
				t.Errorf("%s was made by a command with %s: run it in the repository's folder", file, word)
			}
		}
		if page := strings.TrimSuffix(file, ".json") + ".html"; !exists(page) {
			t.Errorf("%s has no page: expected %s", file, page)
		}
	}
}

func exists(file string) bool {
	found, err := filepath.Glob(file)
	return err == nil && len(found) == 1
}
