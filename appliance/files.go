package appliance

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"sallyport/appliance/config"
)

// files is what the store does to the file system; disk is the real one, tests
// have a twin that stops at any step, as a crash does.
type files interface {
	Read(path string) ([]byte, error)
	// Write makes a file whole and on stable storage under a name that nobody reads.
	Write(path string, text []byte, like attributes) error
	// Rename puts a file in the place of another in one step.
	Rename(from, to string) error
	// SyncFolder makes the names in a folder last.
	SyncFolder(path string) error
	MakeFolder(path string) error
	List(path string) ([]fs.DirEntry, error)
	Remove(path string) error
}

// attributes are those of a file that another one takes the place of.
type attributes struct {
	mode     fs.FileMode
	uid, gid int
}

// private is for files of the gateway's own.
var private = attributes{mode: 0o600, uid: -1, gid: -1}

// attributesOf are a file's, so that its successor is read by the same people.
func attributesOf(path string) (attributes, error) {
	info, err := os.Stat(path)
	if err != nil {
		return attributes{}, err
	}
	a := attributes{mode: info.Mode().Perm(), uid: -1, gid: -1}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		a.uid, a.gid = int(stat.Uid), int(stat.Gid)
	}
	return a, nil
}

// disk is the file system of this machine.
type disk struct{}

func (disk) Read(path string) ([]byte, error)        { return config.ReadFile(path) }
func (disk) Rename(from, to string) error            { return os.Rename(from, to) }
func (disk) MakeFolder(path string) error            { return os.MkdirAll(path, 0o700) }
func (disk) List(path string) ([]fs.DirEntry, error) { return os.ReadDir(path) }
func (disk) Remove(path string) error                { return os.Remove(path) }

// Write replaces what a crash may have left under the name. A link there is not followed.
func (disk) Write(path string, text []byte, like attributes) (err error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			err = errors.Join(err, os.Remove(path))
		}
	}()
	if _, err := f.Write(text); err != nil {
		return err
	}
	if err := f.Chown(like.uid, like.gid); err != nil { // before the mode, which it may clear bits of
		return err
	}
	if err := f.Chmod(like.mode); err != nil {
		return err
	}
	return f.Sync()
}

func (disk) SyncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// errNotLasting says that a file is in its place, and that a loss of power may
// still bring its predecessor back.
var errNotLasting = errors.New("the file is in its place, but its folder could not be written to stable storage")

// replace puts a text in the place of a file: at every moment the name stands
// for the old text or for the new one, whole.
func replace(on files, path string, text []byte, like attributes) error {
	fresh := path + ".new"
	if err := on.Write(fresh, text, like); err != nil {
		return fmt.Errorf("writing %s: %w", fresh, err)
	}
	if err := on.Rename(fresh, path); err != nil {
		return errors.Join(fmt.Errorf("replacing %s: %w", path, err), on.Remove(fresh))
	}
	if err := on.SyncFolder(filepath.Dir(path)); err != nil {
		return fmt.Errorf("%s: %w: %w", path, errNotLasting, err)
	}
	return nil
}
