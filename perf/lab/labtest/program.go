// Package labtest has what the tests of several labs share.
package labtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// Program is the gateway's program, built from this tree, with these build tags. All tests of one run share one file for each set of tags, in the folder that make build
// writes to: Go links it for the first of them, and finds for the others that nothing has changed. Each gets a name of its own for it, since a later run may replace it.
func Program(t testing.TB, tags ...string) string {
	t.Helper()
	path, err := Build(t.TempDir(), tags...)
	if err != nil {
		t.Fatalf("building the gateway: %v", err)
	}
	return path
}

// Build is Program for those that keep it longer than one test: its name is in a folder of theirs.
func Build(folder string, tags ...string) (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	name := "sallyport"
	arguments := []string{"build", "-trimpath"}
	for _, tag := range tags {
		name += "-" + tag
		arguments = append(arguments, "-tags", tag)
	}
	shared := filepath.Join(root, "bin", "test", name)
	if err := os.MkdirAll(filepath.Dir(shared), 0o755); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(shared+".lock", os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return "", fmt.Errorf("lock of %s: %w", shared, err)
	}
	build := exec.Command(filepath.Join(root, "scripts", "go"), append(arguments, "-o", shared, "./cmd/sallyport")...)
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	own := filepath.Join(folder, name)
	if err := os.Link(shared, own); err == nil {
		return own, nil
	}
	text, err := os.ReadFile(shared) // the folder is on another file system
	if err == nil {
		err = os.WriteFile(own, text, 0o755)
	}
	return own, err
}

// moduleRoot is the folder of go.mod, above the one that a package's tests run in.
func moduleRoot() (string, error) {
	folder, err := os.Getwd()
	for ; err == nil; folder = filepath.Dir(folder) {
		if _, err := os.Stat(filepath.Join(folder, "go.mod")); err == nil {
			return folder, nil
		}
		if folder == filepath.Dir(folder) {
			return "", errors.New("expected go.mod above the folder of the test, found none")
		}
	}
	return "", err
}
