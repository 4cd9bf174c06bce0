package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Command says what to run in a namespace.
type Command struct {
	Name string   // unique in the lab; the log is Lab.Dir/NAME.log
	Args []string // program and arguments, no shell
	Env  []string // added to this process's environment
	Dir  string   // working directory, the lab's folder when empty
	// OwnPIDs gives the child a PID namespace of its own: whatever it started dies with it, without
	// one instruction more.
	OwnPIDs bool
}

// Process is a running child in a namespace, in a process group of its own.
type Process struct {
	Name    string
	LogPath string

	done chan struct{}

	mu     sync.Mutex // held while a signal is sent, so that the number is never a recycled one
	exited bool
	pid    int
	err    error
}

// Start runs c in the namespace until it ends, Stop is called, or the lab is closed. Output goes to
// the log file. The child is killed when this process dies, unless the lab is kept.
func (n *Namespace) Start(c Command) (*Process, error) {
	p := &Process{Name: c.Name, LogPath: filepath.Join(n.lab.Dir, c.Name+".log"), done: make(chan struct{})}
	log, err := os.OpenFile(p.LogPath, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lab: log of %s: %w", c.Name, err)
	}
	defer log.Close()
	cmd := n.command(c)
	cmd.Stdout, cmd.Stderr = log, log
	if err := n.Do(cmd.Start); err != nil {
		return nil, fmt.Errorf("lab: starting %s in %s: %w", c.Name, n.Name, err)
	}
	p.pid = cmd.Process.Pid
	go p.reap(cmd)
	n.lab.Defer(func() error { p.Kill(); return nil })
	return p, nil
}

// command prepares the child: own process group, dead when the namespace's thread is.
func (n *Namespace) command(c Command) *exec.Cmd {
	cmd := exec.Command(c.Args[0], c.Args[1:]...)
	cmd.Env = append(os.Environ(), c.Env...)
	cmd.Dir = c.Dir
	if cmd.Dir == "" {
		cmd.Dir = n.lab.Dir
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if c.OwnPIDs {
		cmd.SysProcAttr.Cloneflags = unix.CLONE_NEWPID
	}
	if !n.lab.keep {
		cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	}
	return cmd
}

// reap waits for the end of the child, ends what is left of its group and then frees its number.
func (p *Process) reap(cmd *exec.Cmd) {
	for {
		err := unix.Waitid(unix.P_PID, p.pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if err != unix.EINTR {
			break
		}
	}
	p.mu.Lock()
	p.exited = true
	_ = unix.Kill(-p.pid, unix.SIGKILL) // nobody left is the usual case
	p.mu.Unlock()
	p.err = cmd.Wait()
	close(p.done)
}

// Signal sends sig to the whole process group; an ended process is not an error.
func (p *Process) Signal(sig syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.exited {
		_ = unix.Kill(-p.pid, sig)
	}
}

// Kill ends the process group at once and waits for it.
func (p *Process) Kill() {
	p.Signal(syscall.SIGKILL)
	<-p.done
}

// Stop asks the process to end and kills it after limit. The error says when it had to, or how the
// process failed.
func (p *Process) Stop(limit time.Duration) error {
	p.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(limit):
		threads := p.threads()
		p.Signal(syscall.SIGQUIT) // a program in Go says where its goroutines are
		select {
		case <-p.done:
		case <-time.After(stackLimit):
			p.Kill()
		}
		return fmt.Errorf("lab: expected %s to end within %v of SIGTERM, it was killed; its threads:\n%s\nits log:\n%s", p.Name, limit, threads, p.Log())
	}
	if p.err != nil {
		return fmt.Errorf("lab: %s ended with %w; end of its log:\n%s", p.Name, p.err, p.Tail())
	}
	return nil
}

// stackLimit is how long a program that does not end has for saying why.
const stackLimit = 10 * time.Second

// threads is where the kernel has each thread of the process: its name, its state, and what it sleeps in.
func (p *Process) threads() string {
	p.mu.Lock() // the number is nobody else's meanwhile
	defer p.mu.Unlock()
	if p.exited {
		return "it has ended"
	}
	var all strings.Builder
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", p.pid)) // the pattern is well-formed
	for _, task := range tasks {
		fmt.Fprintf(&all, "%s:", filepath.Base(task))
		for _, file := range []string{"stat", "wchan", "syscall", "stack"} {
			said, err := os.ReadFile(filepath.Join(task, file))
			if err != nil {
				said = []byte(err.Error())
			}
			fmt.Fprintf(&all, " %s: %s", file, strings.TrimSpace(string(said)))
		}
		all.WriteByte('\n')
	}
	return all.String()
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits for the end of the process and returns how it failed.
func (p *Process) Wait(ctx context.Context) error {
	select {
	case <-p.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	if p.err != nil {
		return fmt.Errorf("lab: %s: %w; end of its log:\n%s", p.Name, p.err, p.Tail())
	}
	return nil
}

// Alive returns an error with the end of the log once the process has ended.
func (p *Process) Alive() error {
	select {
	case <-p.done:
		return fmt.Errorf("lab: expected %s to run, it ended (%v); end of its log:\n%s", p.Name, p.err, p.Tail())
	default:
		return nil
	}
}

// PID is the number of the process, valid until it has ended.
func (p *Process) PID() int { return p.pid }

// Log returns everything the process wrote.
func (p *Process) Log() string {
	b, err := os.ReadFile(p.LogPath)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// Tail returns the last lines of the log, for error messages.
func (p *Process) Tail() string {
	const lines = 25
	all := strings.Split(strings.TrimRight(p.Log(), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// Run runs a short command in the namespace and returns its standard output. The error carries what
// the command wrote to standard error.
func (n *Namespace) Run(ctx context.Context, args ...string) (string, error) {
	return n.runWith(ctx, nil, args...)
}

// runWith is Run with a standard input.
func (n *Namespace) runWith(ctx context.Context, input io.Reader, args ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd := n.command(Command{Args: args})
	cmd.Stdin, cmd.Stdout, cmd.Stderr = input, &stdout, &stderr
	cmd.WaitDelay = time.Second // a grandchild that keeps the pipe open must not hold us
	if err := n.Do(cmd.Start); err != nil {
		return "", fmt.Errorf("lab: %s in %s: %w", args[0], n.Name, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	defer stop()
	err := cmd.Wait()
	if ctx.Err() != nil {
		return stdout.String(), fmt.Errorf("lab: %s in %s: %w", strings.Join(args, " "), n.Name, ctx.Err())
	}
	if err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		return stdout.String(), fmt.Errorf("lab: %s in %s: %w: %s%s", strings.Join(args, " "), n.Name, err, stdout.String(), stderr.String())
	}
	return stdout.String(), nil
}
