package pipeline

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"
)

// fuzzTimeEnv says for how long TestFuzzFastPath feeds the C code, as a Go
// duration; `make fuzz` sets it.
const fuzzTimeEnv = "SALLYPORT_FUZZ_TIME"

// The fast path under AddressSanitizer and UndefinedBehaviorSanitizer: frames of a fuzzer on both ports, and ESP and AH of
// every kind that a peer has sealed or forged, mangled, truncated, cut into fragments and replayed. It replays the corpus,
// which the command in fuzz/seeds writes, and then mutates it. The harness checks after each input that counters add up,
// that no mbuf is lost, that the peer opens what we seal and that nothing protected left in clear.
func TestFuzzFastPath(t *testing.T) {
	limit := 20 * time.Second
	if text := os.Getenv(fuzzTimeEnv); text != "" {
		var err error
		if limit, err = time.ParseDuration(text); err != nil {
			t.Fatalf("%s: %v", fuzzTimeEnv, err)
		}
	}
	dir := t.TempDir()
	binary := filepath.Join(dir, "fuzz_fastpath")
	if out, err := exec.CommandContext(t.Context(), "fuzz/build.sh", binary).CombinedOutput(); err != nil {
		t.Fatalf("building the fuzzer: %v\n%s", err, out)
	}
	// New inputs go to the first folder, so that the committed corpus stays as it is.
	found := filepath.Join(dir, "found")
	if err := os.Mkdir(found, 0o755); err != nil {
		t.Fatal(err)
	}
	corpus, err := filepath.Abs("fuzz/corpus")
	if err != nil {
		t.Fatal(err)
	}
	fuzzer := exec.CommandContext(t.Context(), binary,
		"-max_total_time="+strconv.Itoa(int(limit.Seconds())), "-print_final_stats=1", found, corpus)
	fuzzer.Dir = dir // where libFuzzer writes a crashing input
	// DPDK makes a folder below this one, and leaves it there.
	fuzzer.Env = append(os.Environ(), "RUNTIME_DIRECTORY="+dir)
	out, err := fuzzer.CombinedOutput()
	if err != nil {
		t.Logf("%s", out)
		crashes, _ := filepath.Glob(filepath.Join(dir, "crash-*"))
		for _, name := range crashes {
			input, _ := os.ReadFile(name)
			t.Logf("%s: %x", filepath.Base(name), input)
		}
		t.Fatalf("%v: %s", err, broken(out))
	}
	t.Logf("%s", out[max(0, len(out)-1000):])
}

// broken is the line of a fuzzer's output that names the check that failed, or the sanitizer's error: last in a long log, where it is found.
func broken(out []byte) []byte {
	return bytes.TrimSpace(regexp.MustCompile(`(?m)^.*(\.c:\d+: |ERROR: AddressSanitizer|runtime error: ).*$`).Find(out))
}
