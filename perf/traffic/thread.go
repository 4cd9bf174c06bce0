package traffic

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"

	"sallyport/pmd/eal"
)

// anyCore leaves the choice of a CPU to the kernel.
const anyCore = -1

// onCore runs f on a thread of its own that DPDK knows, on the CPU, and says by the channel when it is over. The thread ends with f: its affinity is never
// somebody else's.
func onCore(core int, f func()) <-chan error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		done <- runHere(core, f)
	}()
	return done
}

func runHere(core int, f func()) error {
	if core != anyCore {
		var only unix.CPUSet
		only.Set(core)
		if err := unix.SchedSetaffinity(0, &only); err != nil {
			return fmt.Errorf("CPU %d: %w: expected one that is online and allowed to this process", core, err)
		}
	}
	if _, err := eal.RegisterThread(); err != nil {
		return err
	}
	defer eal.UnregisterThread()
	f()
	return nil
}
