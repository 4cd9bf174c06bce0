package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// The committed corpus is what this command writes.
func TestCorpus(t *testing.T) {
	want := corpus()
	files, err := os.ReadDir("../corpus")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if want[f.Name()] == nil {
			t.Errorf("corpus/%s is no seed of this command", f.Name())
		}
	}
	for name, seed := range want {
		if got, err := os.ReadFile(filepath.Join("../corpus", name)); err != nil || !bytes.Equal(got, seed) {
			t.Errorf("corpus/%s is not what this command writes: run `go run . ../corpus` in this folder (%v)", name, err)
		}
	}
}
