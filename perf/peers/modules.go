package peers

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// moduleTree is where Debian's package user-mode-linux puts its kernel's modules, one folder a
// version.
const moduleTree = "/usr/lib/uml/modules"

// guestModules are what a guest needs beyond what its kernel has built in: a writable root, IPsec's
// protocols and the transforms of the suites that tests use.
var guestModules = []string{"overlay", "xfrm_user", "esp4", "ah4", "xfrm4_tunnel", "authenc", "echainiv", "seqiv",
	"cbc", "ctr", "gcm", "ghash-generic", "hmac", "sha512_generic"}

// modules returns the newest module folder and the files to load from it, each after those it needs.
func modules() (dir string, files []string, err error) {
	versions, _ := filepath.Glob(filepath.Join(moduleTree, "*", "modules.dep"))
	if len(versions) == 0 {
		return "", nil, fmt.Errorf("peers: expected the kernel modules of package user-mode-linux under %s, found none; run make deps", moduleTree)
	}
	dependencies := slices.Max(versions)
	text, err := os.ReadFile(dependencies)
	if err != nil {
		return "", nil, fmt.Errorf("peers: %w", err)
	}
	files, err = loadOrder(string(text), guestModules)
	return filepath.Dir(dependencies), files, err
}

// loadOrder reads modules.dep (modules.dep(5)): "FILE: NEEDED NEEDED...", the needed ones in the
// reverse of the order in which to load them.
func loadOrder(dependencies string, names []string) ([]string, error) {
	byName := map[string][]string{} // to its needed files and itself, in load order
	for line := range strings.Lines(dependencies) {
		file, needed, _ := strings.Cut(strings.TrimSpace(line), ":")
		order := strings.Fields(needed)
		slices.Reverse(order)
		name := strings.TrimSuffix(filepath.Base(file), ".ko")
		byName[name] = append(order, file)
	}
	var files []string
	for _, name := range names {
		order, known := byName[name]
		if !known {
			return nil, fmt.Errorf("peers: expected kernel module %s in modules.dep, it is not there", name)
		}
		for _, file := range order {
			if !slices.Contains(files, file) {
				files = append(files, file)
			}
		}
	}
	return files, nil
}
