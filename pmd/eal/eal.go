package eal

/*
#cgo pkg-config: libdpdk
#cgo CFLAGS: -Wall -Wextra -Werror
// cgo's own wrapper of a void function without arguments has an unused parameter.
#cgo CFLAGS: -Wno-unused-parameter
#include "eal_init.h"
#include <stdlib.h>
#include <rte_eal.h>
*/
import "C"

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Environment is the running EAL.
type Environment struct {
	HugePages bool     // memory is on huge pages
	Reason    string   // why it is or is not, for the operator
	Args      []string // what rte_eal_init was given
	MainCore  int      // CPU of DPDK's own threads

	log      *logSink
	stop     chan struct{}
	stopped  chan error
	stopOnce sync.Once
	stopErr  error
}

// started says that rte_eal_init has run: it keeps state that a second run would find.
var started atomic.Bool

// Start starts DPDK. It can do so once in the life of a process; a Config that is refused before DPDK sees it does not count.
// DPDK's log lines go to log, with the attribute source=dpdk.
func Start(cfg Config, log *slog.Logger) (*Environment, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("DPDK configuration: %w", err)
	}
	pools, err := readHugePages(os.DirFS(hugePageDir))
	if err != nil {
		return nil, err
	}
	huge, why, err := chooseHugePages(cfg.HugePages, cfg.MemoryMB, pools)
	if err != nil {
		return nil, err
	}
	if !started.CompareAndSwap(false, true) {
		return nil, errors.New("DPDK was started before in this process and starts only once; use the first Environment, or a new process")
	}
	env := &Environment{HugePages: huge, Reason: why, Args: cfg.arguments(huge), MainCore: cfg.MainCore,
		stop: make(chan struct{}), stopped: make(chan error, 1)}
	if env.log, err = openLog(log); err != nil {
		return nil, err
	}
	log.Info("starting DPDK", "version", Version(), "huge_pages", huge, "reason", why, "memory_mb", cfg.MemoryMB,
		"arguments", strings.Join(env.Args[1:], " "))
	ready := make(chan error)
	go env.mainThread(ready)
	if err := <-ready; err != nil {
		env.log.close()
		return nil, err
	}
	return env, nil
}

// Stop closes all ports and devices and gives DPDK's memory back: no DPDK object may be used during and after it, so data
// cores stop first. Later calls return what the first one did.
func (e *Environment) Stop() error {
	e.stopOnce.Do(func() {
		close(e.stop)
		e.stopErr = <-e.stopped
		e.log.close()
	})
	return e.stopErr
}

// mainThread is DPDK's main lcore. Its goroutine never unlocks the thread, which DPDK's thread-local state marks for good; the
// thread ends with the goroutine.
func (e *Environment) mainThread(ready chan<- error) {
	runtime.LockOSThread()
	if err := Explain(func() error { return e.initialize() }); err != nil {
		ready <- err
		return
	}
	ready <- nil
	<-e.stop
	err := Explain(func() error {
		if code := C.sp_eal_cleanup(); code != 0 {
			return fmt.Errorf("stopping DPDK: %w", syscall.Errno(-code))
		}
		return nil
	})
	e.stopped <- err
}

// failed says why DPDK has not started. Huge pages that were free a moment ago may be another's by now.
func (e *Environment) failed(code syscall.Errno) error {
	advice := ""
	if e.HugePages && code == syscall.ENOMEM {
		advice = fmt.Sprintf("; %s, which another process may have taken meanwhile: start again, or do without huge pages (%s)", e.Reason, HugePagesOff)
	}
	return fmt.Errorf("starting DPDK with %q: %w%s", strings.Join(e.Args[1:], " "), code, advice)
}

// initialize runs rte_eal_init on the calling thread and restores the thread's affinity. Go makes new threads from a clean one
// while a goroutine is locked, so no Go thread inherits the mask; DPDK's own threads do, as they should: with one CPU in the mask
// the EAL has no other to put them on, and keeps off the data cores.
func (e *Environment) initialize() error {
	var before, main unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return fmt.Errorf("reading the CPU affinity: %w", err)
	}
	main.Set(e.MainCore)
	if err := unix.SchedSetaffinity(0, &main); err != nil {
		return fmt.Errorf("main core %d: %w: expected a CPU that is online and allowed to this process", e.MainCore, err)
	}
	code := C.sp_eal_init(C.int(len(e.Args)), cArguments(e.Args))
	if err := unix.SchedSetaffinity(0, &before); err != nil {
		return fmt.Errorf("restoring the CPU affinity: %w", err)
	}
	var errs []error
	if code != 0 {
		errs = append(errs, e.failed(syscall.Errno(-code)))
	}
	// The EAL makes a runtime directory even when it has nothing to put there. Removed now, none stays after a kill.
	if dir := C.GoString(C.rte_eal_get_runtime_dir()); dir != "" {
		if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, fmt.Errorf("removing DPDK's empty runtime directory: %w", err))
		}
	}
	return errors.Join(errs...)
}

// cArguments makes an argv. It is never freed: the EAL keeps pointers into its arguments.
func cArguments(args []string) **C.char {
	argv := (**C.char)(C.calloc(C.size_t(len(args)+1), C.sizeof_uintptr_t))
	for i, slots := 0, unsafe.Slice(argv, len(args)); i < len(args); i++ {
		slots[i] = C.CString(args[i])
	}
	return argv
}
