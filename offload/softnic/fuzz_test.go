package softnic_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// TestFuzzNIC runs the NIC under AddressSanitizer and UndefinedBehaviorSanitizer: frames of a fuzzer in both directions, and packets that go out, are damaged and come in
// again. Those that are not damaged must come as they went.
func TestFuzzNIC(t *testing.T) {
	limit := 5 * time.Second
	if text := os.Getenv("SALLYPORT_FUZZ_TIME"); text != "" { // make fuzz sets it
		var err error
		if limit, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	binary := filepath.Join(dir, "fuzz_nic")
	if out, err := exec.CommandContext(t.Context(), "fuzz/build.sh", binary).CombinedOutput(); err != nil {
		t.Fatalf("building the fuzzer: %v\n%s", err, out)
	}
	fuzzer := exec.CommandContext(t.Context(), binary, "-max_len=1600", "-max_total_time="+strconv.Itoa(int(limit.Seconds())))
	fuzzer.Dir = dir // where libFuzzer writes an input that fails
	// DPDK makes a folder below the first; the NIC's memory is DPDK's, where the sanitizer looks for no pointers and so takes for lost what they lead to.
	fuzzer.Env = append(os.Environ(), "RUNTIME_DIRECTORY="+dir, "ASAN_OPTIONS=detect_leaks=0")
	if out, err := fuzzer.CombinedOutput(); err != nil {
		inputs, _ := filepath.Glob(filepath.Join(dir, "crash-*"))
		for _, name := range inputs {
			input, _ := os.ReadFile(name)
			t.Logf("%s: %x", filepath.Base(name), input)
		}
		t.Fatalf("%v\n%s", err, out)
	}
}
