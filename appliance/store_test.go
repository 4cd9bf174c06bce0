package appliance

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// newTestStore keeps a configuration file with a text in it.
func newTestStore(t *testing.T, text string) *store {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "sallyport.yaml")
	if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
	return newStore(path, filepath.Join(dir, "state"))
}

// errCrash is what a file system says that is no longer there.
var errCrash = errors.New("the machine has stopped")

// crashing is a file system that does so many steps and then stops for good. A
// write that it stops in has written half.
type crashing struct {
	disk
	steps int
}

func (c *crashing) step() error {
	if c.steps == 0 {
		return errCrash
	}
	c.steps--
	return nil
}

func (c *crashing) Write(path string, text []byte, like attributes) error {
	if err := c.step(); err != nil {
		return errors.Join(err, os.WriteFile(path, text[:len(text)/2], 0o600))
	}
	return c.disk.Write(path, text, like)
}

func (c *crashing) Rename(from, to string) error {
	if err := c.step(); err != nil {
		return err
	}
	return c.disk.Rename(from, to)
}

func (c *crashing) SyncFolder(path string) error {
	if err := c.step(); err != nil {
		return err
	}
	return c.disk.SyncFolder(path)
}

func (c *crashing) MakeFolder(path string) error {
	if err := c.step(); err != nil {
		return err
	}
	return c.disk.MakeFolder(path)
}

func (c *crashing) Remove(path string) error {
	if err := c.step(); err != nil {
		return err
	}
	return c.disk.Remove(path)
}

// A crash at any step of a change leaves the old or the new file whole, and only
// whole backups; the next change works.
func TestCrashLeavesOneFileWhole(t *testing.T) {
	before, after := []byte("name: before\n"), []byte("name: after, and longer\n")
	changed := 0
	for steps := 0; ; steps++ {
		s := newTestStore(t, string(before))
		s.on = &crashing{steps: steps}
		_, _, err := s.save(after, before)
		s.on = disk{} // the machine is back
		present, reading := s.read()
		if reading != nil || !bytes.Equal(present, before) && !bytes.Equal(present, after) {
			t.Fatalf("stopped after %d steps: expected a whole file, found %q, %v", steps, present, reading)
		}
		if isNew := bytes.Equal(present, after); isNew != (err == nil || errors.Is(err, errNotLasting)) {
			t.Errorf("stopped after %d steps: the new file is there: %v, but save said %v", steps, isNew, err)
		} else if isNew {
			changed++
		}
		numbers, listing := s.backups()
		if listing != nil {
			t.Fatal(listing)
		}
		for _, n := range numbers {
			if text, _, err := s.load(n); err != nil || !bytes.Equal(text, before) {
				t.Errorf("stopped after %d steps: backup %d holds %q, %v", steps, n, text, err)
			}
		}
		if _, _, err := s.save(before, present); err != nil {
			t.Errorf("stopped after %d steps: the next change: %v", steps, err)
		}
		if err == nil {
			break
		}
	}
	if changed != 2 {
		t.Errorf("expected the new file after the step that renames it and after the last, found it %d times", changed)
	}
}

func TestBackupsAreNumberedPrivateAndBounded(t *testing.T) {
	s := newTestStore(t, "text 0")
	for i := 1; i <= keptBackups+5; i++ {
		number, overwritten, err := s.save(fmt.Appendf(nil, "text %d", i), fmt.Appendf(nil, "text %d", i-1))
		if err != nil || number != i || overwritten != 0 {
			t.Fatalf("change %d: backup %d, overwritten %d, %v", i, number, overwritten, err)
		}
	}
	numbers, err := s.backups()
	if err != nil || len(numbers) != keptBackups || numbers[0] != 6 || numbers[len(numbers)-1] != keptBackups+5 {
		t.Errorf("expected the last %d backups, found %d from %v, %v", keptBackups, len(numbers), numbers[:1], err)
	}
	if text, number, err := s.load(0); err != nil || number != keptBackups+5 || string(text) != fmt.Sprintf("text %d", keptBackups+4) {
		t.Errorf("latest backup: %d with %q, %v", number, text, err)
	}
	if _, _, err := s.load(2); !errors.As(err, new(badRequest)) {
		t.Errorf("expected a backup that is gone to be the client's mistake, found %v", err)
	}
	for path, want := range map[string]fs.FileMode{s.backupPath(7): 0o600, s.backupFolder(): 0o700, s.path: 0o640} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: expected mode %o, found %v, %v", path, want, info, err)
		}
	}
}

// What somebody wrote to the file and did not load is not lost.
func TestUnloadedTextIsBackedUpToo(t *testing.T) {
	s := newTestStore(t, "in force")
	if err := os.WriteFile(s.path, []byte("by hand"), 0o600); err != nil {
		t.Fatal(err)
	}
	number, overwritten, err := s.save([]byte("applied"), []byte("in force"))
	if err != nil || number != 2 || overwritten != 1 {
		t.Fatalf("backup %d, overwritten %d, %v", number, overwritten, err)
	}
	if text, _, err := s.load(1); err != nil || string(text) != "by hand" {
		t.Errorf("backup 1 holds %q, %v", text, err)
	}
	if text, _, err := s.load(2); err != nil || string(text) != "in force" {
		t.Errorf("backup 2 holds %q, %v", text, err)
	}
}

// A text that is in force already still takes the file's place: a restart must not
// find what somebody wrote there and the gateway never took.
func TestTextInForceIsWrittenOverAnother(t *testing.T) {
	s := newTestStore(t, "by hand, with a mistake")
	number, overwritten, err := s.save([]byte("in force"), []byte("in force"))
	if err != nil || number != 0 || overwritten != 1 {
		t.Fatalf("backup %d, overwritten %d, %v", number, overwritten, err)
	}
	if text, err := s.read(); err != nil || string(text) != "in force" {
		t.Errorf("the file holds %q, %v", text, err)
	}
	if number, overwritten, err := s.save([]byte("in force"), []byte("in force")); err != nil || number+overwritten != 0 {
		t.Errorf("once more: backup %d, overwritten %d, %v", number, overwritten, err)
	}
}

// The file behind a link is replaced, not the link, also when the link leads elsewhere
// by then: tools that deploy files change the link.
func TestLinkToTheFileStays(t *testing.T) {
	s := newTestStore(t, "old")
	link := filepath.Join(t.TempDir(), "link.yaml")
	if err := os.Symlink(s.path, link); err != nil {
		t.Fatal(err)
	}
	linked := newStore(link, s.state)
	if _, _, err := linked.save([]byte("new"), []byte("old")); err != nil {
		t.Fatal(err)
	}
	if to, err := os.Readlink(link); err != nil || to != s.path {
		t.Errorf("the link leads to %q, %v", to, err)
	}
	if text, err := s.read(); err != nil || string(text) != "new" {
		t.Errorf("the file holds %q, %v", text, err)
	}
	other := newTestStore(t, "deployed")
	if err := errors.Join(os.Symlink(other.path, link+".new"), os.Rename(link+".new", link), os.Remove(s.path)); err != nil {
		t.Fatal(err)
	}
	if text, err := linked.read(); err != nil || string(text) != "deployed" {
		t.Errorf("the link leads to %q, %v", text, err)
	}
	if _, _, err := linked.save([]byte("newer"), []byte("new")); err != nil {
		t.Fatal(err)
	}
	if text, err := other.read(); err != nil || string(text) != "newer" {
		t.Errorf("the other file holds %q, %v", text, err)
	}
}

func TestFileWatchTakesOnlyWhatStands(t *testing.T) {
	var w fileWatch
	for i, look := range []struct {
		text, inForce string
		want          bool
	}{
		{"a", "a", false},
		{"b", "a", false},  // seen for the first time
		{"bb", "a", false}, // still being written
		{"bb", "a", true},
		{"bb", "a", false}, // tried, and refused
		{"c", "a", false},
		{"c", "a", true},
		{"c", "c", false}, // in force
		{"bb", "c", false},
		{"bb", "c", true}, // worth another try: what it is held against is new
	} {
		if got := w.settled([]byte(look.text), []byte(look.inForce)); got != look.want {
			t.Errorf("look %d: expected %v, found %v", i, look.want, got)
		}
	}
	if !slices.Equal(w.last, []byte("bb")) {
		t.Errorf("last look: %q", w.last)
	}
}
