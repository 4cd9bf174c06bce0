package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"sallyport/perf/bench"
)

// TestProfile builds what make profile runs, and has it count: the stages of each row are all of it, and those that its packets pass have
// cycles. No figure is held against a time.
func TestProfile(t *testing.T) {
	folder := t.TempDir()
	binary, name := filepath.Join(folder, "sallyport"), filepath.Join(folder, "rows.json")
	if out, err := exec.CommandContext(t.Context(), "../../scripts/go", "build", "-tags", "profile", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !slices.Contains(definitions(t, binary), "sp_profile_take") {
		t.Error("the program does not count cycles by stage")
	}
	out, err := exec.CommandContext(t.Context(), binary, "lab", "bench", "--table", "profile", "--quick", "--huge-pages", "off", "--json", name).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var rows []bench.ProfileRow
	if err := json.Unmarshal(text, &rows); err != nil {
		t.Fatal(err)
	}
	if len(rows) != 2*4 { // directions, two sizes and two numbers of tunnels
		t.Errorf("%d rows, expected 8:\n%s", len(rows), out)
	}
	for _, row := range rows {
		if row.Whole < 0.95 || row.Whole > 1.02 {
			t.Errorf("%s: the stages are %.3f of what was measured, expected all of it", row.Case, row.Whole)
		}
		passed := []string{"housekeeping", "receive", "parse", "flow cache", "sort", "SA", "transmit"}
		if row.Direction == string(bench.Outbound) {
			passed = append(passed, "encapsulate", "encrypt")
		} else {
			passed = append(passed, "decapsulate", "decrypt")
		}
		for _, stage := range row.Stages {
			if slices.Contains(passed, stage.Name) != (stage.Looks > 0) {
				t.Errorf("%s: stage %q was looked at %g times per packet, its packets pass %v", row.Case, stage.Name, stage.Looks, passed)
			}
		}
	}
}
