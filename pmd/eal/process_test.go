package eal

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// childMode is the environment variable that makes the test binary a process of its own with its own DPDK.
const childMode = "SALLYPORT_EAL_CHILD"

// Modes of a child.
const (
	childWaits   = "waits"   // starts, says so, stops when its standard input ends
	childDevice  = "device"  // tries to start with a device that does not exist
	childCore    = "core"    // tries to start on a CPU that does not exist
	childRefused = "refused" // a refused configuration does not spoil the next Start
)

func runChild(mode string) int {
	var log logBuffer
	cfg := Config{HugePages: HugePagesOff, MemoryMB: 64, MainCore: firstCPU()}
	switch mode {
	case childWaits:
		cfg.Devices = []string{"net_null0"} // Stop closes it
	case childDevice:
		cfg.Devices = []string{"crypto_nonesuch0"}
	case childCore:
		cfg.MainCore = 1000
	case childRefused:
		if _, err := Start(Config{MemoryMB: -1}, log.logger()); err == nil {
			return 3
		}
	}
	env, err := Start(cfg, log.logger())
	if err != nil {
		fmt.Println(err)
		return 2
	}
	fmt.Println("ready")
	if mode == childWaits {
		_, _ = io.Copy(io.Discard, os.Stdin) // its end is the signal, however it comes
	}
	if err := env.Stop(); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// child is a running test process.
type child struct {
	*exec.Cmd
	stdin  io.WriteCloser
	stdout *bufio.Reader
	stderr bytes.Buffer
}

func startChild(t *testing.T, mode string) *child {
	t.Helper()
	c := &child{Cmd: exec.Command(os.Args[0])}
	c.Env = append(os.Environ(), childMode+"="+mode)
	c.Cmd.Stderr = &c.stderr
	var err error
	if c.stdin, err = c.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.stdout = bufio.NewReader(stdout)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if c.ProcessState == nil {
			_ = c.Process.Kill() // it may have ended by itself
			_ = c.Wait()
		}
	})
	return c
}

// line is the child's next line of output; its end ends the test.
func (c *child) line(t *testing.T) string {
	t.Helper()
	line, err := c.stdout.ReadString('\n')
	if err != nil {
		t.Fatalf("output %q: %v\n%s", line, err, &c.stderr)
	}
	return strings.TrimSpace(line)
}

// end closes the child's input and returns its exit code, and checks that it kept quiet and left nothing.
func (c *child) end(t *testing.T) int {
	t.Helper()
	c.stdin.Close()
	_ = c.Wait() // the exit code says it
	if c.stderr.Len() != 0 {
		t.Errorf("on stderr:\n%s", &c.stderr)
	}
	if left := runtimeDirs(c.Process.Pid); len(left) != 0 {
		t.Errorf("left on disk: %v", left)
	}
	return c.ProcessState.ExitCode()
}

// TestTwoProcesses has two processes and this one run DPDK at the same time.
func TestTwoProcesses(t *testing.T) {
	first, second := startChild(t, childWaits), startChild(t, childWaits)
	for _, c := range []*child{first, second} {
		if line := c.line(t); line != "ready" {
			t.Fatal(line)
		}
	}
	for _, c := range []*child{first, second} {
		if code := c.end(t); code != 0 {
			t.Errorf("exit code %d", code)
		}
	}
}

func TestKilledProcessLeavesNothing(t *testing.T) {
	c := startChild(t, childWaits)
	if line := c.line(t); line != "ready" {
		t.Fatal(line)
	}
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	c.end(t)
}

func TestFailedStart(t *testing.T) {
	for _, c := range []struct{ mode, says string }{
		{childDevice, "DPDK says: "},
		{childDevice, "crypto_nonesuch0"},
		{childCore, "main core 1000"},
	} {
		failing := startChild(t, c.mode)
		line := failing.line(t)
		if code := failing.end(t); code != 2 || !strings.Contains(line, c.says) {
			t.Errorf("exit code %d, %s; want 2 and %q", code, line, c.says)
		}
	}
}

func TestStartAfterRefusedConfiguration(t *testing.T) {
	c := startChild(t, childRefused)
	if line := c.line(t); line != "ready" {
		t.Error(line)
	}
	if code := c.end(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
