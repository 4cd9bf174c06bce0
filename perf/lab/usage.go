package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Usage is what a process has had of the machine.
type Usage struct {
	Resident int           // memory, in octets
	Worker   time.Duration // CPU time of the threads that may run on one given CPU only
	Others   time.Duration // and of all others that are there
}

// Usage reads it; worker is the CPU of a data core.
func (p *Process) Usage(worker int) (u Usage, err error) {
	dir := filepath.Join("/proc", strconv.Itoa(p.PID()))
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return u, fmt.Errorf("lab: %w", err)
	}
	kib, err := strconv.Atoi(strings.TrimSuffix(field(string(status), "VmRSS:"), " kB"))
	if err != nil {
		return u, fmt.Errorf("lab: VmRSS of process %d: %w", p.PID(), err)
	}
	u.Resident = kib << 10
	threads, err := filepath.Glob(filepath.Join(dir, "task", "*"))
	if err != nil {
		return u, fmt.Errorf("lab: %w", err)
	}
	for _, thread := range threads {
		spent, bound, err := threadTime(thread, worker)
		switch {
		case errors.Is(err, os.ErrNotExist): // it has ended
		case err != nil:
			return u, fmt.Errorf("lab: %w", err)
		case bound:
			u.Worker += spent
		default:
			u.Others += spent
		}
	}
	return u, nil
}

// threadTime is the CPU time of a thread (the first field of schedstat, in nanoseconds), and whether it may run on one CPU only.
func threadTime(dir string, cpu int) (spent time.Duration, bound bool, err error) {
	times, err := os.ReadFile(filepath.Join(dir, "schedstat"))
	if err != nil {
		return 0, false, err
	}
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return 0, false, err
	}
	first, _, _ := strings.Cut(string(times), " ")
	ns, err := strconv.ParseInt(first, 10, 64)
	return time.Duration(ns), field(string(status), "Cpus_allowed_list:") == strconv.Itoa(cpu), err
}

// field is the rest of the line of a text of /proc that begins with a name.
func field(text, name string) string {
	for line := range strings.Lines(text) {
		if rest, found := strings.CutPrefix(line, name); found {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}
