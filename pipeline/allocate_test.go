package pipeline

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
)

// What allocates lives in files that only the control side calls: a data core
// has everything it needs from the start.
func TestWorkersDoNotAllocate(t *testing.T) {
	control := []string{"acl.c", "crypto_devices.c", "dataplane.c", "grace.c", "next_hops.c", "publish.c", "publish_ipv6.c", "reassembly.c", "sa.c", "sad.c"}
	files, err := filepath.Glob("*.c")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d C files, %v: is the test run in its package?", len(files), err)
	}
	// Taking an mbuf from its pool is no allocation of memory.
	allocation := regexp.MustCompile(`\b(\w*[mcz]alloc\w*|realloc|free|strdup|rte_\w+_create)\(`)
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		calls := allocation.FindAllString(string(text), -1)
		if slices.Contains(control, name) != (len(calls) > 0) {
			t.Errorf("%s: expected allocation in %v only, found %q", name, control, calls)
		}
	}
}
