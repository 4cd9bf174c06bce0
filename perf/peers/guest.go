package peers

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/perf/lab"
)

//go:embed guest/init.sh
var guestInit []byte

//go:embed guest/xstate.c
var guestState []byte

//go:embed guest/echo.c
var guestEcho []byte

// guestDir is the guest's view of Guest.HostDir.
const guestDir = "/i"

// guestMemory is what a guest may use, in MiB; pages it never touches cost nothing.
const guestMemory = 192

// guestLimit is how long a guest may take to boot. Alone on a core it takes 2 s.
const guestLimit = 3 * time.Minute

// commandLimit is how long a command in a guest may take, on a busy machine: longer than what any of them waits for itself.
const commandLimit = 5 * time.Minute

// Guest is a Linux kernel that runs as a process: a peer with its own IP stack, XFRM and ESP. Its
// interface vec0 is a link of the namespace it was started in.
type Guest struct {
	HostDir string // its files, seen by the guest as /i
	Process *lab.Process

	mu   sync.Mutex // one command at a time
	next int
}

// StartGuest boots a guest in the namespace, with the namespace's link as its only interface; the
// namespace's kernel must be silent there (lab.RawGateway).
func StartGuest(ctx context.Context, l *lab.Lab, in *lab.Namespace, name, link string) (*Guest, error) {
	g := &Guest{HostDir: filepath.Join(l.Dir, name), next: 1}
	moduleDir, err := g.prepare(ctx)
	if err != nil {
		return nil, err
	}
	daemonDir, err := daemonDir()
	if err != nil {
		return nil, err
	}
	g.Process, err = in.Start(lab.Command{
		Name: name + "-kernel",
		Args: []string{"linux.uml", "umid=" + name, "uml_dir=" + g.HostDir + "/", fmt.Sprintf("mem=%dM", guestMemory),
			"root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", "init=" + g.HostDir + "/init.sh",
			"guest=" + g.HostDir, "modules=" + moduleDir, "daemons=" + daemonDir, "con=null", "con0=null,fd:1", "quiet",
			"vec0:transport=raw,ifname=" + link + ",depth=32"},
		Env:     []string{"LD_PRELOAD=" + filepath.Join(g.HostDir, "xstate.so"), "TMPDIR=" + memoryDir(g.HostDir)},
		OwnPIDs: true,
	})
	if err != nil {
		return nil, err
	}
	err = lab.Until(ctx, nil, "guest "+name+" to boot", guestLimit, func() (bool, error) {
		_, err := os.Stat(filepath.Join(g.HostDir, "ready"))
		return err == nil, g.Process.Alive()
	})
	if err != nil {
		return nil, fmt.Errorf("peers: %w", err)
	}
	return g, nil
}

// prepare writes what the guest reads at boot and returns the folder of its modules.
func (g *Guest) prepare(ctx context.Context) (string, error) {
	moduleDir, err := moduleDir()
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(g.HostDir, 0o700); err != nil {
		return "", fmt.Errorf("peers: %w", err)
	}
	if err := os.WriteFile(filepath.Join(g.HostDir, "init.sh"), guestInit, 0o700); err != nil {
		return "", fmt.Errorf("peers: %w", err)
	}
	return moduleDir, g.compile(ctx, "xstate", guestState, "xstate.so", "-shared", "-fPIC")
}

// compile makes a program or library for the guest, in HostDir.
func (g *Guest) compile(ctx context.Context, name string, source []byte, output string, flags ...string) error {
	path := filepath.Join(g.HostDir, name+".c")
	if err := os.WriteFile(path, source, 0o600); err != nil {
		return fmt.Errorf("peers: %w", err)
	}
	args := append([]string{"-O2", "-Wall", "-Wextra", "-Werror", "-o", filepath.Join(g.HostDir, output), path}, flags...)
	if out, err := exec.CommandContext(ctx, "cc", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("peers: compiling guest/%s.c: %w: %s", name, err, out)
	}
	return nil
}

// memoryDir is where the guest's memory, an unlinked file, lives: in memory when that has room.
func memoryDir(fallback string) string {
	const shared = "/dev/shm"
	var fs unix.Statfs_t
	if unix.Statfs(shared, &fs) != nil || fs.Bavail*uint64(fs.Bsize) < 2*guestMemory<<20 {
		return fallback
	}
	return shared
}

// Run runs a command in the guest and returns its standard output. Commands of one guest run one
// after the other.
func (g *Guest) Run(ctx context.Context, args ...string) (string, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	number := strconv.Itoa(g.next)
	g.next++
	path := func(file string) string { return filepath.Join(g.HostDir, file+"."+number) }
	if err := os.WriteFile(path("part"), []byte(shellLine(args)), 0o600); err != nil {
		return "", fmt.Errorf("peers: %w", err)
	}
	if err := os.Rename(path("part"), path("command")); err != nil {
		return "", fmt.Errorf("peers: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	status, err := g.answer(ctx, path("status"))
	output, _ := os.ReadFile(path("output"))
	complaint, _ := os.ReadFile(path("errors"))
	if err == nil && status != "0" {
		err = errors.New("exit status " + status)
	}
	if err != nil {
		return string(output), fmt.Errorf("peers: %s in the guest: %w: %s%s", strings.Join(args, " "), err, output, complaint)
	}
	return string(output), nil
}

// answer waits for the file with the exit status.
func (g *Guest) answer(ctx context.Context, path string) (string, error) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		b, err := os.ReadFile(path)
		if err == nil {
			return strings.TrimSpace(string(b)), nil
		}
		select {
		case <-tick.C:
		case <-g.Process.Done():
			return "", g.Process.Alive()
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

// shellLine quotes args for the guest's shell.
func shellLine(args []string) string {
	quoted := make([]string, len(args))
	for i, a := range args {
		quoted[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
	}
	return strings.Join(quoted, " ") + "\n"
}
