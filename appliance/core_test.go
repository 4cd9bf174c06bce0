package appliance

import (
	"testing"

	"golang.org/x/sys/unix"
)

// S-069: a crash writes no keys to disk.
func TestNoCoreDumps(t *testing.T) {
	if err := forbidCoreDumps(); err != nil {
		t.Fatal(err)
	}
	dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	if err != nil || dumpable != 0 {
		t.Errorf("expected a process that is not dumpable, found %d, %v", dumpable, err)
	}
}
