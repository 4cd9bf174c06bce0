package bench

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
)

// memory is what the process has, in bytes.
type memory struct {
	resident int64 // without huge pages
	heap     int64 // DPDK memory in use
}

// memoryNow tidies up, begins the search for a peak, and says what there is.
func memoryNow() (memory, error) {
	debug.FreeOSMemory()
	// proc(5): 5 sets the peak of the resident memory back
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		return memory{}, fmt.Errorf("bench: memory: %w", err)
	}
	return memoryOf("VmRSS")
}

// memoryPeak is the most resident memory since memoryNow, and the DPDK memory of this moment.
func memoryPeak() (memory, error) { return memoryOf("VmHWM") }

func memoryOf(field string) (memory, error) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return memory{}, fmt.Errorf("bench: memory: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(line, ":")
		if key != field {
			continue
		}
		kilobytes, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		if err != nil {
			return memory{}, fmt.Errorf("bench: memory: %s in /proc/self/status: %w", field, err)
		}
		return memory{resident: kilobytes << 10, heap: int64(heapBytes())}, nil
	}
	return memory{}, fmt.Errorf("bench: memory: no %s in /proc/self/status", field)
}

// since is what was taken more than before. Huge pages are not resident memory as the kernel counts it.
func (m memory) since(before memory, hugePages bool) float64 {
	if !hugePages {
		return float64(m.resident - before.resident)
	}
	return float64(m.resident - before.resident + m.heap - before.heap)
}

// collectGarbage runs the collector that quietCollector keeps from running by itself.
func collectGarbage() { runtime.GC() }
