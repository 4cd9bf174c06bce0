package lab

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// stateDir holds one lock file per living lab, named as the lab. A lab whose lock can be taken has
// no owner any more.
const stateDir = "/run/sallyport-lab"

// keptSuffix marks the lock file of a lab that was left up on purpose: no sweep touches it.
const keptSuffix = ".kept"

// labs numbers the labs of this process, so that several can be up at once.
var labs atomic.Uint32

// Lab is the owner of namespaces, processes and files. Close undoes everything in reverse order.
type Lab struct {
	// Name is unique on this machine: "sp-PID-NUMBER". Namespaces are named after it.
	Name string
	// Dir holds configurations, sockets, logs and captures of this lab, readable by root only.
	Dir string

	lock *os.File
	keep bool

	mu         sync.Mutex
	closed     bool
	undo       []func() error
	namespaces []*Namespace
}

// New makes an empty lab. Labs left behind by processes that no longer live are removed first.
func New() (*Lab, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("lab: expected root, which namespaces and packet sockets need; run it as root")
	}
	if err := errors.Join(shareNamespaceDir(), sweep()); err != nil {
		return nil, err
	}
	l := &Lab{Name: fmt.Sprintf("sp-%d-%d", os.Getpid(), labs.Add(1))}
	lock, err := takeLock(filepath.Join(stateDir, l.Name), unix.LOCK_EX)
	if err != nil {
		return nil, err
	}
	l.lock = lock
	l.Dir, err = os.MkdirTemp("", l.Name+"-")
	if err == nil {
		_, err = fmt.Fprintln(lock, l.Dir) // for the sweep of a later run
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lab: making a folder for %s: %w", l.Name, err), l.Close())
	}
	return l, nil
}

// Defer adds a step that Close takes, before those added earlier.
func (l *Lab) Defer(step func() error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.undo = append(l.undo, step)
}

// Keep makes the lab survive: processes started from now on outlive this one, and Close leaves all
// of it up. KeptInstructions says how to look around and how to clean.
func (l *Lab) Keep() { l.keep = true }

// Unkeep takes Keep back: Close removes everything again.
func (l *Lab) Unkeep() { l.keep = false }

// Close stops every process, removes every namespace and file, and reports what could not be undone.
// Closing twice is harmless.
func (l *Lab) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	undo := l.undo
	namespaces := l.namespaces
	l.mu.Unlock()

	lockPath := filepath.Join(stateDir, l.Name)
	if l.keep {
		return errors.Join(os.Rename(lockPath, lockPath+keptSuffix), l.lock.Close())
	}
	var errs []error
	for _, step := range slices.Backward(undo) {
		errs = append(errs, step())
	}
	for _, n := range slices.Backward(namespaces) {
		errs = append(errs, n.close())
	}
	errs = append(errs, os.RemoveAll(l.Dir), os.Remove(lockPath), l.lock.Close())
	return errors.Join(errs...)
}

// KeptInstructions tells a person how to look around in a kept lab and how to remove it.
func (l *Lab) KeptInstructions(w io.Writer) {
	var names []string
	for _, n := range l.namespaces {
		names = append(names, n.Name)
	}
	all := strings.Join(names, " ")
	fmt.Fprintf(w, "lab %s stays up; files in %s\n", l.Name, l.Dir)
	fmt.Fprintf(w, "  look:  ip netns exec %s tcpdump -ni %s\n", l.Name+"-wan", wanBridge)
	fmt.Fprintf(w, "  clean: for n in %s; do ip netns pids $n | xargs -r kill -9; ip netns del $n; done; rm -rf %s %s\n",
		all, l.Dir, filepath.Join(stateDir, l.Name+keptSuffix))
}
