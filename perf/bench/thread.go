package bench

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"

	"sallyport/pmd/eal"
)

// thread is a data core: an operating-system thread on a CPU of its own that DPDK knows. Functions run on it one by one.
type thread struct {
	work     chan func()
	done     chan struct{}
	realTime bool // nothing else runs on the CPU while the thread does
}

// newThread starts it, with real-time priority if that is wanted and this process may.
func newThread(core int, realTime bool) (*thread, error) {
	t := &thread{work: make(chan func()), done: make(chan struct{}), realTime: realTime}
	ready := make(chan error)
	go t.run(core, ready)
	if err := <-ready; err != nil {
		return nil, err
	}
	return t, nil
}

// run never unlocks its thread, so the thread's affinity ends with it.
func (t *thread) run(core int, ready chan<- error) {
	defer close(t.done)
	runtime.LockOSThread()
	var only unix.CPUSet
	only.Set(core)
	if err := unix.SchedSetaffinity(0, &only); err != nil {
		ready <- fmt.Errorf("bench: measuring on CPU %d: %w: want one that is online and allowed to this process", core, err)
		return
	}
	if _, err := eal.RegisterThread(); err != nil {
		ready <- fmt.Errorf("bench: %w", err)
		return
	}
	defer eal.UnregisterThread()
	if t.realTime {
		t.realTime = unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}, 0) == nil
	}
	ready <- nil
	for f := range t.work {
		f()
	}
}

// start lets f run on the thread; its result comes by the channel.
func (t *thread) start(f func() error) <-chan error {
	result := make(chan error, 1)
	t.work <- func() { result <- f() }
	return result
}

// do runs f on the thread and waits for it.
func (t *thread) do(f func() error) error { return <-t.start(f) }

func (t *thread) stop() {
	close(t.work)
	<-t.done
}

// lastCores are the n CPUs with the highest numbers that this process may use, or as many as there are, the last one first:
// interrupts and the system's own work prefer low ones.
func lastCores(n int) ([]int, error) {
	var allowed unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		return nil, fmt.Errorf("bench: reading the CPU affinity: %w", err)
	}
	var cores []int
	for cpu := len(allowed)*64 - 1; cpu >= 0 && len(cores) < n; cpu-- {
		if allowed.IsSet(cpu) {
			cores = append(cores, cpu)
		}
	}
	return cores, nil
}
