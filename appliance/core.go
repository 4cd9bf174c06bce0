package appliance

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// forbidCoreDumps keeps keys in memory: a process that is not dumpable leaves
// no core file, nor a report of a crash handler, and only root can look into
// it (S-069).
func forbidCoreDumps() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("forbidding core dumps, which would hold keys: %w", err)
	}
	return nil
}
