package report

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Writable finds out whether files can be written, before what they are for has taken minutes, and that each is another one. What they have stays. Empty names are none.
func Writable(names ...string) error {
	var errs []error
	taken := map[string]bool{}
	for _, name := range names {
		if name == "" {
			continue
		}
		whole, err := filepath.Abs(name)
		if err == nil && taken[whole] {
			err = fmt.Errorf("%s: expected a file for each of them, found it twice", name)
		}
		taken[whole] = true
		if err == nil {
			err = writable(name)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("report: %w", err))
		}
	}
	return errors.Join(errs...)
}

func writable(name string) error {
	info, err := os.Stat(name)
	switch {
	case err == nil && info.IsDir():
		return fmt.Errorf("%s: expected a file, found a folder", name)
	case err == nil && !info.Mode().IsRegular(): // a pipe would wait for who reads
		return nil
	}
	there := err == nil
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	if err := file.Close(); err != nil || there {
		return err
	}
	made, err := filepath.EvalSymlinks(name) // where a link leads to nothing yet, the link was there
	if err != nil {
		return err
	}
	return os.Remove(made)
}

// WriteFile writes a file whole or, where a disk is full, not at all: what it had stays. What is no regular file, such as a pipe, is written as it is.
func WriteFile(name string, content []byte) error {
	if info, err := os.Lstat(name); err == nil && !info.Mode().IsRegular() {
		return wrapped(os.WriteFile(name, content, 0o644))
	}
	beside := fmt.Sprintf("%s.%d", name, os.Getpid())
	err := os.WriteFile(beside, content, 0o644)
	if errors.Is(err, fs.ErrPermission) { // the folder is closed, the file may not be
		return wrapped(os.WriteFile(name, content, 0o644))
	}
	if err == nil {
		err = os.Rename(beside, name)
	}
	if err != nil {
		_ = os.Remove(beside) // it may not be there
	}
	return wrapped(err)
}

func wrapped(err error) error {
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}
