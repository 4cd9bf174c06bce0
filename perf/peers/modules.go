package peers

import (
	"fmt"
	"path/filepath"
	"slices"
)

// moduleTree is where Debian's package user-mode-linux puts its kernel's modules, one folder a
// version.
const moduleTree = "/usr/lib/uml/modules"

// moduleDir returns the newest folder of modules.
func moduleDir() (string, error) {
	versions, _ := filepath.Glob(filepath.Join(moduleTree, "*", "modules.dep"))
	if len(versions) == 0 {
		return "", fmt.Errorf("peers: expected the kernel modules of package user-mode-linux under %s, found none; run make deps", moduleTree)
	}
	return filepath.Dir(slices.Max(versions)), nil
}
