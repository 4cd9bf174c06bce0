package pipeline

/*
#include "fastpath.h"
*/
import "C"

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"sallyport/pmd/eal"
)

// Start runs each worker's loop on a core of its own, until Stop. cores has one CPU number for each worker; the same number
// may stand twice on a machine with few cores, with an idle mode other than IdlePoll.
func (d *Dataplane) Start(cores []int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.c == nil:
		return errClosed
	case d.started:
		return fmt.Errorf("pipeline: the workers run already")
	case len(cores) != d.cfg.Workers:
		return fmt.Errorf("pipeline: %d cores for %d workers: want one for each", len(cores), d.cfg.Workers)
	case slices.Contains(d.bursting, true):
		return fmt.Errorf("pipeline: a worker is inside RunBurst: end that first")
	}
	C.sp_dataplane_resume(d.c)
	ready := make(chan error, len(cores))
	for worker, core := range cores {
		d.running.Go(func() { d.work(worker, core, ready) })
	}
	var failed error
	for range cores {
		if err := <-ready; err != nil {
			failed = err
		}
	}
	if failed != nil {
		C.sp_dataplane_stop(d.c)
		d.running.Wait()
		return failed
	}
	d.started = true
	return nil
}

// work is the life of a data core. It never unlocks its thread: the thread's affinity and registration end with it.
func (d *Dataplane) work(worker, core int, ready chan<- error) {
	runtime.LockOSThread()
	var only unix.CPUSet
	only.Set(core)
	if err := unix.SchedSetaffinity(0, &only); err != nil {
		ready <- fmt.Errorf("pipeline: worker %d on core %d: %w: want a CPU that is online and allowed to this process", worker, core, err)
		return
	}
	if _, err := eal.RegisterThread(); err != nil {
		ready <- fmt.Errorf("pipeline: worker %d: %w", worker, err)
		return
	}
	defer eal.UnregisterThread()
	ready <- nil
	C.sp_worker_loop(d.c, C.uint32_t(worker))
}

// InFlight is the number of packets inside the worker's crypto devices. Callers of RunBurst go on until it is 0 before they
// take the data plane to be at rest.
func (d *Dataplane) InFlight(worker int) int {
	return int(C.sp_worker_in_flight(d.c, C.uint32_t(worker)))
}

// Stop ends the worker loops and returns when the last has left. Packets still in a ring stay there.
func (d *Dataplane) Stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.started {
		return
	}
	C.sp_dataplane_stop(d.c)
	d.running.Wait()
	d.started = false
}

// KeepOff moves all present threads of the process off the data cores and sets GOMAXPROCS to the number of cores that are
// left; threads made later inherit the affinity. Call it once, early. When nothing is left the threads share the data cores:
// shared is true, and the workers should have an idle mode other than IdlePoll.
func KeepOff(dataCores []int) (shared bool, err error) {
	var allowed unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		return false, fmt.Errorf("pipeline: reading the CPU affinity: %w", err)
	}
	rest := allowed
	for _, core := range dataCores {
		if !allowed.IsSet(core) {
			return false, fmt.Errorf("pipeline: data core %d is not among the CPUs allowed to this process", core)
		}
		rest.Clear(core)
	}
	if rest.Count() == 0 {
		runtime.GOMAXPROCS(max(allowed.Count(), 2))
		return true, nil
	}
	// With GOMAXPROCS 1 a goroutine that computes would hold up the slow path for a scheduler's slice of 10 ms.
	runtime.GOMAXPROCS(max(rest.Count(), 2))
	return false, moveThreads(&rest)
}

// moveThreads sets the affinity of every thread of the process. A thread may start another meanwhile, which inherits the
// affinity of before, so it looks until a round finds no new one.
func moveThreads(to *unix.CPUSet) error {
	moved := map[int]bool{}
	for {
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return fmt.Errorf("pipeline: listing the threads of this process: %w", err)
		}
		found := false
		for _, task := range tasks {
			tid, err := strconv.Atoi(task.Name())
			if err != nil || moved[tid] {
				continue
			}
			moved[tid], found = true, true
			if err := unix.SchedSetaffinity(tid, to); err != nil && err != unix.ESRCH {
				return fmt.Errorf("pipeline: moving thread %d off the data cores: %w", tid, err)
			}
		}
		if !found {
			return nil
		}
	}
}
