package pipeline

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The journey in doc.go names files that exist, and every file with code is named.
func TestDocNamesTheFiles(t *testing.T) {
	text, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`[a-z0-9_]+\.(go|c|h)\b`).FindAllString(string(text), -1)
	for _, name := range named {
		if _, err := os.Stat(name); err != nil {
			t.Errorf("doc.go names %s: %v", name, err)
		}
	}
	sources, err := filepath.Glob("*.[gc]*") // .go and .c
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range sources {
		if !strings.HasSuffix(name, "_test.go") && name != "doc.go" && !slices.Contains(named, name) {
			t.Errorf("doc.go does not name %s", name)
		}
	}
}
