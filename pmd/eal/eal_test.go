package eal

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// logBuffer is slog's output, safe to read while DPDK logs.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func (b *logBuffer) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// What TestMain noted around the one Start of this process.
var (
	startLog         logBuffer
	affinityBefore   unix.CPUSet
	processorsBefore int
	environment      *Environment
)

func TestMain(m *testing.M) {
	if mode := os.Getenv(childMode); mode != "" {
		os.Exit(runChild(mode))
	}
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	// The main thread's mask stands for the process: no test pins it.
	if err := unix.SchedGetaffinity(os.Getpid(), &affinityBefore); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	processorsBefore = runtime.GOMAXPROCS(0)
	var err error
	environment, err = Start(Config{HugePages: HugePagesOff, MemoryMB: 128, MainCore: firstCPU(), LogLevel: "debug"}, startLog.logger())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	for range 2 { // the second is the same as the first
		if err := environment.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	if left := runtimeDirs(os.Getpid()); len(left) != 0 {
		fmt.Fprintln(os.Stderr, "left on disk:", left)
		code = 1
	}
	return code
}

// firstCPU is a CPU that this process may use.
func firstCPU() int {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return 0
	}
	for cpu := range 1024 {
		if set.IsSet(cpu) {
			return cpu
		}
	}
	return 0
}

// runtimeDirs lists what DPDK keeps on disk for the process.
func runtimeDirs(pid int) []string {
	left, _ := filepath.Glob(fmt.Sprintf("/var/run/dpdk/sallyport-%d*", pid)) // the pattern is well-formed
	pages, _ := filepath.Glob(fmt.Sprintf("/dev/hugepages/sallyport-%d*", pid))
	return append(left, pages...)
}

// TestAffinityUnchanged guards against the trap that rte_eal_init pins its thread: a thread made from that one would stay on
// the main core, and Go would think the machine has one CPU.
func TestAffinityUnchanged(t *testing.T) {
	tasks, err := filepath.Glob("/proc/self/task/*")
	if err != nil || len(tasks) == 0 {
		t.Fatal("no threads found: ", err)
	}
	for _, task := range tasks {
		name, err := os.ReadFile(filepath.Join(task, "comm"))
		if errors.Is(err, os.ErrNotExist) {
			continue // the thread has ended
		}
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(string(name), "eal-") {
			continue // DPDK's own threads belong on the main core
		}
		var tid int
		if _, err := fmt.Sscanf(filepath.Base(task), "%d", &tid); err != nil {
			t.Fatal(err)
		}
		checkAffinity(t, tid)
	}
	if now := runtime.GOMAXPROCS(0); now != processorsBefore {
		t.Errorf("GOMAXPROCS is %d, was %d before the start", now, processorsBefore)
	}
}

// TestNewThreadsAffinity makes Go start threads, all held at once.
func TestNewThreadsAffinity(t *testing.T) {
	const threads = 20
	var ready, done sync.WaitGroup
	release := make(chan struct{})
	for range threads {
		ready.Add(1)
		done.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			checkAffinity(t, 0)
			ready.Done()
			<-release
		})
	}
	ready.Wait()
	close(release)
	done.Wait()
}

func checkAffinity(t *testing.T, tid int) {
	t.Helper()
	var now unix.CPUSet
	if err := unix.SchedGetaffinity(tid, &now); err != nil && !errors.Is(err, unix.ESRCH) {
		t.Error(err)
	} else if err == nil && now != affinityBefore {
		t.Errorf("thread %d may use CPUs %v, the process had %v before the start", tid, now, affinityBefore)
	}
}

func TestInterruptThreadIsOnMainCore(t *testing.T) {
	tasks, err := filepath.Glob("/proc/self/task/*")
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, task := range tasks {
		name, err := os.ReadFile(filepath.Join(task, "comm"))
		if err != nil || !strings.HasPrefix(string(name), "eal-intr") {
			continue
		}
		found = true
		var tid int
		if _, err := fmt.Sscanf(filepath.Base(task), "%d", &tid); err != nil {
			t.Fatal(err)
		}
		var now, want unix.CPUSet
		want.Set(environment.MainCore)
		if err := unix.SchedGetaffinity(tid, &now); err != nil || now != want {
			t.Errorf("the interrupt thread may use CPUs %v (%v), want only the main core", now, err)
		}
	}
	if !found {
		t.Error("no interrupt thread")
	}
}

func TestSecondStartIsRefused(t *testing.T) {
	if _, err := Start(Config{HugePages: HugePagesOff}, slog.New(slog.DiscardHandler)); err == nil ||
		!strings.Contains(err.Error(), "starts only once") {
		t.Errorf("got %v", err)
	}
}

func TestEnvironmentSaysHow(t *testing.T) {
	if environment.HugePages || !strings.Contains(environment.Reason, "turned off") {
		t.Errorf("huge pages %v: %s", environment.HugePages, environment.Reason)
	}
	for _, part := range []string{`msg="starting DPDK"`, "huge_pages=false", "--no-huge", "DPDK 22.11"} {
		if !strings.Contains(startLog.String(), part) {
			t.Errorf("the log lacks %q", part)
		}
	}
}

func TestLogLevels(t *testing.T) {
	log := startLog.String()
	for _, line := range []string{
		`level=DEBUG msg="EAL: Main lcore 0 is ready`,
		`level=INFO msg="EAL: Selected IOVA mode 'VA'" source=dpdk`,
	} {
		if !strings.Contains(log, line) {
			t.Errorf("the log lacks %q", line)
		}
	}
}

func TestExplainAddsDPDKsReason(t *testing.T) {
	// A third registration attempt beyond RTE_MAX_LCORE is far; registering twice is not an error. A thread that EAL refuses is
	// hard to make, so the lines come from the stream itself.
	cause := errors.New("cause")
	err := Explain(func() error {
		environment.log.take(record(4, "EAL: the reason\nEAL: half a"))
		environment.log.take(record(4, " line\n"))
		environment.log.take(record(7, "EAL: chatter\n"))
		return cause
	})
	if !errors.Is(err, cause) || err.Error() != "cause (DPDK says: EAL: the reason | EAL: half a line)" {
		t.Errorf("got %v", err)
	}
	if err := Explain(func() error { environment.log.take(record(4, "x\n")); return nil }); err != nil {
		t.Errorf("got %v for a call that succeeded", err)
	}
}

// That a size of huge pages has none free is no warning, and still a reason for what fails by it.
func TestNoFreePagesIsNoWarning(t *testing.T) {
	const line, other = "EAL: No free 1048576 kB hugepages reported on node 0", "EAL: No free hugepages at all"
	cause := errors.New("cause")
	err := Explain(func() error {
		environment.log.take(record(5, line+"\n"+other+"\n"))
		return cause
	})
	if !errors.Is(err, cause) || !strings.Contains(err.Error(), line) {
		t.Errorf("got %v", err)
	}
	if log := startLog.String(); !strings.Contains(log, `level=INFO msg="`+line) || !strings.Contains(log, `level=WARN msg="`+other) {
		t.Errorf("the log has other levels:\n%s", log[max(0, len(log)-500):])
	}
}

// record is a record as the C side sends it, without losses.
func record(level byte, text string) []byte {
	header := make([]byte, recordHeaderSize)
	header[0] = level
	return append(header, text...)
}

func TestRegisterThread(t *testing.T) {
	seen := map[int]bool{}
	var mu sync.Mutex
	var registered, done sync.WaitGroup
	for range 3 {
		registered.Add(1)
		done.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			defer UnregisterThread()
			lcore, err := RegisterThread()
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			if seen[lcore] || lcore == 0 {
				t.Errorf("lcore %d is given twice or is the main one", lcore)
			}
			seen[lcore] = true
			mu.Unlock()
			registered.Done()
			registered.Wait()
		})
	}
	done.Wait()
}

func TestMachine(t *testing.T) {
	if !strings.HasPrefix(Version(), "DPDK 22.11") {
		t.Errorf("version %q", Version())
	}
	if hz := TSCHz(); hz < 1e8 || hz > 1e10 {
		t.Errorf("%d cycles per second", hz)
	}
	if flags := strings.Join(CPUFlags(), " "); !strings.Contains(flags, "SSE4_2") {
		t.Errorf("CPU flags %s: DPDK does not start without SSE4_2 here", flags)
	}
}
