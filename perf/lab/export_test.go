package lab

import (
	"fmt"
	"path/filepath"
)

// ScratchDir is removed when the tests of this package have run.
var ScratchDir string

// OwnNamespaces is a pattern for the names of a process's namespaces.
func OwnNamespaces(pid int) string {
	return filepath.Join(namespaceDir, fmt.Sprintf("sp-%d-*", pid))
}
