package appliance

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"sallyport/appliance/api"
	"sallyport/ike"
)

// S-110: switched on while two gateways negotiate the log has every message with its payloads, switched off none; it holds no key.
func TestIKELogOfAGateway(t *testing.T) {
	r := newRig(t, passive(siteA())+"# keylog\n", siteB())
	g := r.gateways[0]
	do := func(path, name string) {
		t.Helper()
		if _, err := g.api.Act(t.Context(), path, api.Action{Name: name, Wait: 20}); err != nil {
			t.Fatal(err)
		}
	}
	turn := func(on bool) api.IKELog {
		t.Helper()
		var state api.IKELog
		if err := g.api.Post(t.Context(), api.PathIKELog, api.SwitchIKELog{On: on}, &state); err != nil || state.On != on {
			t.Fatalf("switched to %t: %+v, error %v", on, state, err)
		}
		return state
	}
	if before := get[api.IKELog](r, g, api.PathIKELog); before.On || before.File != filepath.Join(g.cfg.State, "ike.log") {
		t.Fatalf("at the start the log is %+v, expected it off, in the state folder", before)
	}
	path := turn(true).File
	do(api.PathUp, "far")
	off := turn(false)
	do(api.PathRekey, "nets")
	if after := get[api.IKELog](r, g, api.PathIKELog); after.On || after.Octets != off.Octets {
		t.Errorf("switched off the log goes on: %+v, before %+v", after, off)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`(?m)^\S+Z switched on$`, `(?m)^\S+Z sent 192\.0\.2\.1:500 > 192\.0\.2\.2:500 far: IKEv2 IKE_SA_INIT request 0 of IKE SA [0-9a-f]{16} 0{16}\n    SA: `,
		`(?m)^\S+Z received 192\.0\.2\.2:500 > 192\.0\.2\.1:500 far: IKEv2 IKE_AUTH response 1 .*\n(    .*\n)*    TSr: `, `(?m)^\S+Z switched off$`,
	} {
		if !regexp.MustCompile(want).Match(text) {
			t.Errorf("nothing in the log matches %s:\n%s", want, text)
		}
	}
	keys, err := os.ReadFile(g.loaded.KeyLog)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range regexp.MustCompile(`[0-9a-f]{40}`).FindAll(keys, -1) {
		if bytes.Contains(text, key[:16]) {
			t.Error("the log holds a key")
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%s: %v, error %v, expected it to be its owner's alone", path, info, err)
	}
}

// S-110: each start begins a new file and keeps the former as .sav, also one that logs nothing; a file that is full ends.
func TestIKELogFile(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "state")
	message := ike.Observation{Time: time.Unix(1000, 0), Sent: true, Local: netip.MustParseAddrPort("192.0.2.1:500"), Remote: netip.MustParseAddrPort("192.0.2.2:500"),
		Lines: func() []string { return []string{"a message", "its payload"} }}
	const line = "1970-01-01T00:16:40.000Z sent 192.0.2.1:500 > 192.0.2.2:500 (not known yet): a message\n    its payload\n"
	var said bytes.Buffer
	start := func() *ikeLog { return newIKELog(folder, slog.New(slog.NewTextHandler(&said, nil))) }
	read := func(name string) string {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}

	l := start()
	l.observe(message) // off
	for _, on := range []bool{true, false, true} {
		if err := l.turn(on); err != nil {
			t.Fatal(err)
		}
		l.observe(message)
	}
	if err := l.close(); err != nil {
		t.Fatal(err)
	}
	former := read("ike.log")
	if got := strings.Count(former, line); got != 2 || strings.Count(former, "switched") != 3 {
		t.Errorf("the log has the message %d times, expected it twice, with 3 switches:\n%s", got, former)
	}

	l = start()
	if _, err := os.Stat(l.path); !os.IsNotExist(err) || read("ike.log.sav") != former {
		t.Errorf("after a start ike.log is there (error %v), or ike.log.sav is not the former file", err)
	}
	if err := l.turn(true); err != nil {
		t.Fatal(err)
	}
	l.limit = l.size + len(line) + 1
	l.observe(message)
	l.observe(message)
	if text := read("ike.log"); strings.Count(text, line) != 1 || !strings.HasSuffix(text, "Z full: switched off\n") || l.view().On {
		t.Errorf("a full log is %+v:\n%s", l.view(), text)
	}
	if err := l.turn(true); err == nil || !strings.Contains(said.String(), "the file is full") {
		t.Errorf("a full log is switched on again, error %v, log %s", err, said.String())
	}
	l.file.Close()
	l.limit, l.size = ikeLogLimit, 0
	if err := l.turn(true); err != nil || l.view().On || !strings.Contains(said.String(), "cannot be written") {
		t.Errorf("a log that cannot be written: %+v, error %v, log %s", l.view(), err, fmt.Sprint(said.String()))
	}
}

// A file that was moved away or deleted gets what is written until the log is switched on once more, which begins another.
func TestIKELogIsMoved(t *testing.T) {
	l := newIKELog(t.TempDir(), slog.New(slog.DiscardHandler))
	defer l.close()
	on := func() string {
		t.Helper()
		if err := l.turn(true); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(l.path)
		if err != nil {
			t.Fatal(err)
		}
		if view := l.view(); !view.On || view.Octets != len(text) || strings.Count(string(text), "switched on") != 1 {
			t.Fatalf("the log is %+v and holds %q", view, text)
		}
		return string(text)
	}
	before := on()
	on() // changes nothing
	if err := os.Rename(l.path, l.path+".1"); err != nil {
		t.Fatal(err)
	}
	on()
	if text, err := os.ReadFile(l.path + ".1"); err != nil || string(text) != before {
		t.Errorf("the file that was moved holds %q, error %v", text, err)
	}
	if err := os.Remove(l.path); err != nil {
		t.Fatal(err)
	}
	on()
}
