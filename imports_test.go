// Package sallyport has no code of its own: this test keeps the import rule of
// docs/DESIGN.md, so that a package can be understood without those above it.
package sallyport

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "sallyport/"

// mayImport lists, for each top-level package tree, the other trees of this
// module that it may see. A tree that is absent here may import anything.
var mayImport = map[string][]string{
	"policy":   {},
	"crypto":   {},
	"pmd":      {},
	"ike":      {"policy", "crypto"},
	"pki":      {"ike", "crypto"},
	"pipeline": {"pmd", "policy", "crypto"},
	"offload":  {"pipeline", "pmd", "policy", "crypto"},
	// appliance composes the product; the lab is above it and never part of it.
	"appliance": {"policy", "crypto", "pmd", "ike", "pki", "pipeline", "offload"},
	"internal":  {},
	"configs":   {"appliance", "policy", "pki"},
}

// onlyInTests lists imports that only a test may make, because tests need a
// running EAL or a decoder that the code under test must not depend on.
var onlyInTests = map[string][]string{
	"crypto": {"pmd"},
	"ike":    {},
}

// forTests are packages that only a test may import: crypto devices that misbehave, one that does all of ESP in software, and what starts DPDK for tests.
var forTests = []string{module + "crypto/cryptodev/faulty", module + "crypto/cryptodev/wholedev", module + "pmd/eal/ealtest"}

func TestImportsPointOneWay(t *testing.T) {
	files := 0
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && name != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if d.IsDir() || path.Ext(name) != ".go" {
			return nil
		}
		files++
		checkImports(t, filepath.ToSlash(name))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 10 {
		t.Fatalf("looked at %d Go files only: is the test run from the module's root?", files)
	}
}

func checkImports(t *testing.T, name string) {
	t.Helper()
	from, _, _ := strings.Cut(name, "/")
	allowed, ruled := mayImport[from]
	if strings.HasSuffix(name, "_test.go") {
		allowed = append(allowed[:len(allowed):len(allowed)], onlyInTests[from]...)
	}
	parsed, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	for _, spec := range parsed.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil || !strings.HasPrefix(imported, module) {
			continue
		}
		if slices.Contains(forTests, imported) && !strings.HasSuffix(name, "_test.go") {
			t.Errorf("%s imports %s, which is for tests alone", name, imported)
		}
		to, _, _ := strings.Cut(strings.TrimPrefix(imported, module), "/")
		if ruled && to != from && !slices.Contains(allowed, to) {
			t.Errorf("%s imports %s; %s may import only %v of this module", name, imported, from, allowed)
		}
	}
}
