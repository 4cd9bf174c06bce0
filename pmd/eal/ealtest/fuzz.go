package ealtest

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

// fuzzTimeEnv says for how long a fuzzer runs, as a Go duration; `make fuzz` sets it.
const fuzzTimeEnv = "SALLYPORT_FUZZ_TIME"

// Fuzzer is one of C code, by libFuzzer and under sanitizers.
type Fuzzer struct {
	Build     string        // a script that builds it: build.sh OUTPUT
	Limit     time.Duration // for which it runs, unless it is told otherwise
	Leaks     bool          // memory that nothing points to is a finding. What DPDK's memory points to the sanitizer does not see
	Arguments []string      // of libFuzzer
	Corpus    string        // a folder of inputs to begin with, or empty; it stays as it is
}

// Run builds the fuzzer and runs it. What it finds is logged in whole.
func (f Fuzzer) Run(t *testing.T) {
	t.Helper()
	limit := f.Limit
	if text := os.Getenv(fuzzTimeEnv); text != "" {
		var err error
		if limit, err = time.ParseDuration(text); err != nil {
			t.Fatalf("%s: %v", fuzzTimeEnv, err)
		}
	}
	dir := t.TempDir()
	binary, found := filepath.Join(dir, "fuzzer"), filepath.Join(dir, "found")
	if out, err := exec.CommandContext(t.Context(), f.Build, binary).CombinedOutput(); err != nil {
		t.Fatalf("building the fuzzer: %v\n%s", err, out)
	}
	if err := os.Mkdir(found, 0o755); err != nil {
		t.Fatal(err)
	}
	// New inputs go to the first folder.
	arguments := append(append([]string{"-max_total_time=" + strconv.Itoa(int(limit.Seconds()))}, f.Arguments...), found)
	if f.Corpus != "" {
		corpus, err := filepath.Abs(f.Corpus)
		if err != nil {
			t.Fatal(err)
		}
		arguments = append(arguments, corpus)
	}
	fuzzer := exec.CommandContext(t.Context(), binary, arguments...)
	fuzzer.Dir = dir                                            // where libFuzzer writes an input that fails
	fuzzer.Env = append(os.Environ(), "RUNTIME_DIRECTORY="+dir) // DPDK makes a folder below this one, and leaves it there
	if !f.Leaks {
		fuzzer.Env = append(fuzzer.Env, "ASAN_OPTIONS=detect_leaks=0")
	}
	out, err := fuzzer.CombinedOutput()
	if err == nil {
		t.Logf("%s", out[max(0, len(out)-1000):])
		return
	}
	t.Logf("%s", out)
	crashes, _ := filepath.Glob(filepath.Join(dir, "crash-*"))
	for _, name := range crashes {
		input, _ := os.ReadFile(name)
		t.Logf("%s: %x", filepath.Base(name), input)
	}
	t.Fatalf("%v: %s", err, broken(out))
}

// broken is the line of a fuzzer's output that names the check that failed, or the sanitizer's error: last in a long log, where it is found.
func broken(out []byte) []byte {
	return bytes.TrimSpace(regexp.MustCompile(`(?m)^.*(\.c:\d+: |ERROR: AddressSanitizer|runtime error: ).*$`).Find(out))
}
