package peers

import (
	"fmt"
	"os"
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

// daemonDir returns the folder of the daemons that scripts/peer-daemons unpacks.
func daemonDir() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("peers: %w", err)
	}
	dir := filepath.Join(cache, "sallyport", "peer-daemons")
	if _, err := os.Stat(filepath.Join(dir, "complete")); err != nil {
		return "", fmt.Errorf("peers: expected the daemons of guests in %s: %w; run make deps", dir, err)
	}
	return dir, nil
}
