package report

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A file that cannot be written is found before there is something to write, and one that can stays as it is.
func TestWritable(t *testing.T) {
	dir := t.TempDir()
	there, absent := filepath.Join(dir, "there.json"), filepath.Join(dir, "absent.json")
	if err := os.WriteFile(there, []byte("before"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Writable(there, "", absent, "", os.DevNull); err != nil {
		t.Error(err)
	}
	if content, err := os.ReadFile(there); err != nil || string(content) != "before" {
		t.Errorf("the file has %q now, %v", content, err)
	}
	if _, err := os.Stat(absent); !os.IsNotExist(err) {
		t.Errorf("a file that was not there: %v", err)
	}
	link := filepath.Join(dir, "link.json")
	if err := os.Symlink(absent, link); err != nil {
		t.Fatal(err)
	}
	if err := Writable(link); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(absent); !os.IsNotExist(err) {
		t.Errorf("what a link leads to and was not there: %v", err)
	}
	if err := WriteFile(link, []byte("whole")); err != nil {
		t.Error(err)
	}
	if content, err := os.ReadFile(absent); err != nil || string(content) != "whole" {
		t.Errorf("what a link leads to has %q, %v", content, err)
	}
	if err := os.Remove(absent); err != nil {
		t.Fatal(err)
	}
	for want, names := range map[string][]string{
		"no such file":   {filepath.Join(dir, "none", "out.json")},
		"found a folder": {dir},
		"found it twice": {absent, dir + "/./absent.json"},
		"not a dir":      {filepath.Join(there, "out.json")},
	} {
		if err := Writable(names...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, expected %q", names, err, want)
		}
	}
}

// On a disk that is full the report before stays, and who wrote the new one is told.
func TestFullDisk(t *testing.T) {
	disk := t.TempDir()
	if err := unix.Mount("report", disk, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(disk, 0); err != nil {
			t.Error(err)
		}
	})
	name := filepath.Join(disk, "out.json")
	if err := sample().WriteJSON(name); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(name, make([]byte, 1<<20)); err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("a file larger than the disk: %v", err)
	}
	if _, err := Read(name); err != nil {
		t.Errorf("the report before: %v", err)
	}
	if left, err := os.ReadDir(disk); err != nil || len(left) != 1 {
		t.Errorf("the disk has %v, %v; expected the report alone", left, err)
	}
	if err := sample().WriteHTML("/dev/full"); err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("a page on a full disk: %v", err)
	}
}
