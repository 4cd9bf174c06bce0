package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// asProgram makes this test binary the sallyport program.
const asProgram = "SALLYPORT_TEST_IS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

// session is a folder with files, a gateway that runs there, and a shell.
type session struct {
	t   *testing.T
	dir string
	env []string
}

func newSession(t *testing.T) *session {
	t.Helper()
	// The path of a Unix socket is short.
	dir, err := os.MkdirTemp("", "sallyport-test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := &session{t: t, dir: dir, env: append(os.Environ(), "TZ=UTC", "PATH="+dir+"/bin:"+os.Getenv("PATH"), socketEnv+"="+dir+"/control.sock")}
	if err := os.Mkdir(filepath.Join(dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	s.file("bin/sallyport", fmt.Sprintf("#!/bin/sh\n%s=1 exec %q \"$@\"\n", asProgram, self), 0o755)
	s.file("site-b.psk", "q8Zt3vLx9Kp2Rw7Ys5Bn4Hd6Jf1GmCa0\n", 0o600)
	return s
}

func (s *session) file(name, text string, mode os.FileMode) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), mode); err != nil {
		s.t.Fatal(err)
	}
}

// write makes a file of the page. A gateway's ports become ones that need no
// interface, and what it keeps goes to the session's folder; no line moves.
func (s *session) write(name, text string) {
	s.t.Helper()
	text = regexp.MustCompile(`net_af_packet(\d),iface=[a-z0-9]+`).ReplaceAllString(text, "net_null$1")
	if strings.Contains(text, "\nports:") {
		text += fmt.Sprintf("state_dir: %s/state\ncontrol: {socket: %s/control.sock}\n", s.dir, s.dir)
	}
	s.file(name, text, 0o600)
}

// start runs the gateway until the test ends, and returns when it carries traffic.
func (s *session) start(config string, flags ...string) {
	s.t.Helper()
	gateway := exec.Command(filepath.Join(s.dir, "bin/sallyport"), append([]string{"run", "-c", config}, flags...)...)
	gateway.Dir, gateway.Env = s.dir, s.env
	log, err := gateway.StderrPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := gateway.Start(); err != nil {
		s.t.Fatal(err)
	}
	var said bytes.Buffer
	runs, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for lines := bufio.NewScanner(log); lines.Scan(); {
			fmt.Fprintln(&said, lines.Text())
			if strings.Contains(lines.Text(), `msg="gateway runs"`) {
				close(runs)
			}
		}
	}()
	s.t.Cleanup(func() {
		_ = gateway.Process.Signal(syscall.SIGINT) // it may have ended
		force := time.AfterFunc(2*time.Minute, func() { _ = gateway.Process.Kill() })
		defer force.Stop()
		<-ended
		if err := gateway.Wait(); err != nil || s.t.Failed() || !bytes.Contains(said.Bytes(), []byte(`msg="gateway stopped"`)) {
			s.t.Errorf("the gateway ended with %v and said\n%s", err, said.String())
		}
	})
	select {
	case <-runs:
	case <-ended:
		s.t.Fatal("the gateway ended before it ran")
	case <-time.After(2 * time.Minute):
		s.t.Fatal("the gateway does not run after two minutes")
	}
}
