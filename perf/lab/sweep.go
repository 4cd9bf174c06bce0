package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"
)

// takeLock creates path and holds it for as long as this process lives. How says whether to wait
// (unix.LOCK_EX) or to fail (with unix.LOCK_NB) while another holds it.
func takeLock(path string, how int) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, fmt.Errorf("lab: %w", err)
		}
		if err := unix.Flock(int(f.Fd()), how); err != nil {
			return nil, errors.Join(fmt.Errorf("lab: expected %s to be free: %w", path, err), f.Close())
		}
		// A sweep that held the lock meanwhile has removed the file: then this lock protects nothing.
		mine, err := f.Stat()
		if err != nil {
			return nil, errors.Join(fmt.Errorf("lab: %w", err), f.Close())
		}
		if now, err := os.Stat(path); err == nil && os.SameFile(mine, now) {
			return f, nil
		}
		f.Close()
	}
}

// namespaceOwner finds the lab's name in that of one of its namespaces.
var namespaceOwner = regexp.MustCompile(`^(sp-\d+-\d+)-`)

// sweep removes what labs of dead processes left: their processes died with them, names do not.
func sweep() error {
	names := map[string]bool{}
	locks, _ := filepath.Glob(filepath.Join(stateDir, "sp-*"))
	for _, path := range locks {
		names[filepath.Base(path)] = true
	}
	namespaces, _ := filepath.Glob(filepath.Join(namespaceDir, "sp-*"))
	for _, path := range namespaces {
		if m := namespaceOwner.FindStringSubmatch(filepath.Base(path)); m != nil {
			names[m[1]] = true
		}
	}
	var errs []error
	for name := range names {
		if !names[name+keptSuffix] && !strings.HasSuffix(name, keptSuffix) {
			errs = append(errs, sweepOne(name))
		}
	}
	return errors.Join(errs...)
}

// sweepOne removes the lab called name unless its owner lives.
func sweepOne(name string) error {
	path := filepath.Join(stateDir, name)
	lock, err := takeLock(path, unix.LOCK_EX|unix.LOCK_NB)
	if err != nil {
		return nil // alive, or another sweep is at it
	}
	defer lock.Close()
	var errs []error
	left, _ := filepath.Glob(filepath.Join(namespaceDir, name+"-*"))
	for _, ns := range left {
		errs = append(errs, removeNamespace(filepath.Base(ns)))
	}
	// The lock file names the lab's folder, which is only trusted to be ours when its name says so.
	dir, err := os.ReadFile(path)
	if d := strings.TrimSpace(string(dir)); err == nil && strings.HasPrefix(filepath.Base(d), name+"-") {
		errs = append(errs, os.RemoveAll(d))
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// shareNamespaceDir makes the folder of namespace names a shared mount, as iproute2 does before it adds
// its first one. When iproute2 does so later, it covers the names that are there with copies, and
// those underneath can no longer be removed.
func shareNamespaceDir() error {
	if err := os.MkdirAll(namespaceDir, 0o755); err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	lock, err := os.Open(namespaceDir) // iproute2 takes the same lock
	if err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("lab: locking %s: %w", namespaceDir, err)
	}
	share := func() error { return unix.Mount("", namespaceDir, "none", unix.MS_SHARED|unix.MS_REC, "") }
	err = share()
	if err == unix.EINVAL { // not a mount yet
		if err = unix.Mount(namespaceDir, namespaceDir, "none", unix.MS_BIND|unix.MS_REC, ""); err == nil {
			err = share()
		}
	}
	if err != nil {
		return fmt.Errorf("lab: making %s a shared mount: %w", namespaceDir, err)
	}
	return nil
}
