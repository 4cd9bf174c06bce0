package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sallyport/appliance/api"
)

// What is sent to a gateway is what the file holds: one in another code page is refused with its line, not mended on the way.
func TestApplyRefusesOtherCodePages(t *testing.T) {
	s := runs(t, storedPolicies)
	before, err := os.ReadFile(filepath.Join(s.dir, "gw.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for name, head := range map[string]string{"latin-1": "# f\xfcr\n", "UTF-16": "\xff\xfe#\x00\n\x00", "binary": "#\x00\n"} {
		s.file("new.yaml", head+string(before), 0o600)
		got := sallyport(t, "config", "apply", filepath.Join(s.dir, "new.yaml"))
		if got.code != exitBad || !strings.Contains(got.err, "new.yaml:1: expected text in UTF-8, found") {
			t.Errorf("%s: %+v, expected a refusal with its line", name, got)
		}
	}
	if now, err := os.ReadFile(filepath.Join(s.dir, "gw.yaml")); err != nil || string(now) != string(before) {
		t.Errorf("%v, the refused files have changed the gateway's:\n%s", err, now)
	}
}

// What cannot be read is named once, with what is in its place.
func TestFoldersAreNoFiles(t *testing.T) {
	folder := t.TempDir()
	for _, args := range [][]string{{"config", "apply", folder}, {"policy", "diff", folder}, {"import", "swanctl", folder}, {"import", "netsh", folder}, {"check", "-c", folder}} {
		if got := sallyport(t, args...); got.code != exitBad || strings.Count(got.err, folder) != 1 || !strings.Contains(got.err, "a directory") && !strings.Contains(got.err, "a folder") {
			t.Errorf("%v: %+v", args, got)
		}
	}
}

// A number with letters behind it is no number of a backup.
func TestRollbackTakesNumbersOnly(t *testing.T) {
	runs(t, storedPolicies)
	asks[api.Change](t, "policy", "activate", "B")
	for _, number := range []string{"1O", "1.5", "0", "+", "99999999999999999999", "2"} {
		if got := sallyport(t, "config", "rollback", number); got.code == exitGood || !strings.Contains(got.err, "backup") {
			t.Errorf("rollback %s: %+v, expected to be refused", number, got)
		}
	}
	if shown := asks[api.Policies](t, "policy", "show"); shown.Active != "B" {
		t.Errorf("policy %s is in force, expected B", shown.Active)
	}
}

// A pipe in the place of the gateway's file holds nothing up: the reload fails, and the next change is carried out.
func TestPipeInPlaceOfTheFile(t *testing.T) {
	s := runs(t, storedPolicies)
	path := filepath.Join(s.dir, "gw.yaml")
	if err := os.Rename(path, path+".good"); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan printed, 1)
	go func() { done <- sallyport(t, "reload") }()
	select {
	case got := <-done:
		if got.code == exitGood || !strings.Contains(got.err, "expected a regular file, found a pipe") {
			t.Errorf("%+v", got)
		}
	case <-time.After(2 * time.Minute):
		t.Fatal("reload waits for a writer of the pipe")
	}
	if err := os.Rename(path+".good", path); err != nil {
		t.Fatal(err)
	}
	asks[api.Change](t, "policy", "activate", "B")
}
