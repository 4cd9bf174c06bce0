package config

import (
	"fmt"
	"io"
	"os"
	"syscall"
)

// MaxFile is the largest configuration that is read, in bytes.
const MaxFile = 64 << 20

// ReadFile reads a configuration file whole. It waits for nobody: a named pipe or a device in the place of the file is
// an error, and so is a file larger than MaxFile.
func ReadFile(path string) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: expected a regular file, found %s", path, kindOf(info.Mode()))
	}
	text, err := ReadText(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return text, nil
}

// ReadText reads a configuration to its end, or fails beyond MaxFile bytes.
func ReadText(from io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(from, MaxFile+1))
	if err == nil && len(text) > MaxFile {
		err = fmt.Errorf("expected a file of at most %d MiB, found more", MaxFile>>20)
	}
	return text, err
}

// kindOf names what is in the place of a file.
func kindOf(mode os.FileMode) string {
	switch {
	case mode.IsDir():
		return "a folder"
	case mode&os.ModeNamedPipe != 0:
		return "a pipe"
	case mode&os.ModeDevice != 0:
		return "a device"
	}
	return "something else"
}
