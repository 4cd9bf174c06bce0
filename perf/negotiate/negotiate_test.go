package negotiate

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/perf/lab/labtest"
)

// run measures, and has the rows and verdicts from the file that they are also written to.
func run(t *testing.T, o Options) (rows []Row, verdicts []Verdict, costs []Cost, text string) {
	t.Helper()
	var out strings.Builder
	o.JSON, o.Out, o.Progress = filepath.Join(t.TempDir(), "rows.json"), &out, io.Discard
	if err := Run(t.Context(), o); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	t.Log(out.String())
	b, err := os.ReadFile(o.JSON)
	if err != nil {
		t.Fatal(err)
	}
	var all []json.RawMessage
	if err := json.Unmarshal(b, &all); err != nil {
		t.Fatal(err)
	}
	for _, raw := range all {
		var of struct{ Table string }
		if err = json.Unmarshal(raw, &of); err == nil && of.Table == tableCost {
			costs = append(costs, Cost{})
			err = json.Unmarshal(raw, &costs[len(costs)-1])
		} else if err == nil && of.Table == tableVerdict {
			verdicts = append(verdicts, Verdict{})
			err = json.Unmarshal(raw, &verdicts[len(verdicts)-1])
		} else if err == nil {
			rows = append(rows, Row{})
			err = json.Unmarshal(raw, &rows[len(rows)-1])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return rows, verdicts, costs, out.String()
}

// referenceBest is the reference's best rate in SAs/s, on a Pentium III (S-116).
const referenceBest = 19.38969

// A whole gateway is negotiated with by IKEv1 and by IKEv2, at the six intervals of the sweep, and says of itself what the peers say.
// S-116: six rows with MM/s, QM/s and SAs/s for each version; at 50 ms and slower every initiation completes; at 0 ms the rate is above the reference's best.
// S-117: the rate at 0 ms is at least 90 % of the sweep's best.
// C-14: the gateway has 1 MM and 2 QM SAs for each first connection that has completed, the rule is printed, and no rate is above what the starts allow.
// S-083: the sweep has rates without PFS, with that of session keys, and with that of master keys, for which only the peers are set.
func TestRun(t *testing.T) {
	binary := labtest.Program(t)
	t.Run("sweep", func(t *testing.T) {
		rows, verdicts, _, text := run(t, Options{Binary: binary, Time: 300 * time.Millisecond, Peers: 60, Outstanding: 20})
		var found []string
		best := map[string]float64{}
		for _, r := range rows {
			checkRow(t, &r)
			if r.Reference {
				continue
			}
			found = append(found, fmt.Sprintf("%s %d", r.Version, r.Interval))
			best[r.Version] = max(best[r.Version], r.SARate)
			if r.Completed != r.Initiated {
				t.Errorf("%d of %d initiations completed: %+v", r.Completed, r.Initiated, r)
			}
			if r.GatewayMM != r.Completed || r.GatewayQM != r.Completed || math.Abs(r.SARate-r.MMRate-2*r.QMRate) > 1e-9 {
				t.Errorf("%d main modes and %d quick modes on the gateway for %d first connections, expected one each: %+v", r.GatewayMM, r.GatewayQM, r.Completed, r)
			}
			if r.Interval > 0 && r.SARate > 3*1000/float64(r.Interval)*(1+1e-9) {
				t.Errorf("%g SAs/s with a start each %d ms", r.SARate, r.Interval)
			}
		}
		want := []string{"v1 250", "v1 200", "v1 150", "v1 100", "v1 50", "v1 0", "v2 250", "v2 200", "v2 150", "v2 100", "v2 50", "v2 0"}
		if !slices.Equal(found, want) || len(verdicts) != 2 {
			t.Errorf("rows %v and %d verdicts, expected %v and one for each version", found, len(verdicts), want)
		}
		for _, r := range rows {
			if r.Interval == 0 && !r.Reference && (r.SARate <= referenceBest || r.SARate < shedTarget*best[r.Version]) {
				t.Errorf("%g SAs/s at 0 ms, expected above %g and above 90 %% of the best, %g", r.SARate, referenceBest, best[r.Version])
			}
		}
		for _, part := range []string{"MM/s", "QM/s", "SAs/s", "counting rule", "3 SAs for each connection", "at most 20", "at 0 ms", "32 at once"} {
			if !strings.Contains(text, part) {
				t.Errorf("the report does not say %q:\n%s", part, text)
			}
		}
	})
	t.Run("PFS", func(t *testing.T) {
		const quickModes = 2
		rows, _, costs, text := run(t, Options{Binary: binary, Intervals: []int{0}, PFS: []string{PFSNone, PFSSession, PFSMaster}, QuickModes: quickModes, Peers: 12, Outstanding: 6})
		mainModes := map[string]int{PFSNone: 1, PFSSession: 1, PFSMaster: quickModes}
		if len(rows) != 2*2*len(mainModes) {
			t.Errorf("%d rows, expected two for each of two versions and %d kinds of PFS", len(rows), len(mainModes))
		}
		for _, r := range rows {
			checkRow(t, &r)
			if r.Completed != r.Initiated || r.PeersMM != mainModes[r.PFS]*r.Completed || r.PeersQM != quickModes*r.Completed ||
				r.GatewayMM != r.PeersMM || r.GatewayQM != r.PeersQM {
				t.Errorf("expected %d main modes and %d quick modes for each connection: %+v", mainModes[r.PFS], quickModes, r)
			}
		}
		var compared []string
		for _, c := range costs {
			compared = append(compared, c.Version+" "+c.PFS)
			if c.Share <= 0 || math.Abs(c.Share*c.Without-c.QMRate) > 1e-6 {
				t.Errorf("a cost of PFS that does not add up: %+v", c)
			}
		}
		if want := []string{"v1 session", "v1 master", "v2 session", "v2 master"}; !slices.Equal(compared, want) || strings.Count(text, "quick modes/s at 0 ms, ") != len(want) {
			t.Errorf("the costs of %v, expected %v:\n%s", compared, want, text)
		}
	})
	t.Run("certificates", func(t *testing.T) {
		rows, _, _, _ := run(t, Options{Binary: binary, Intervals: []int{0}, Auth: []string{AuthCertificate, AuthRSA}, Peers: 12, Outstanding: 6})
		var found []string
		for _, r := range rows {
			checkRow(t, &r)
			found = append(found, r.Version+" "+r.Authentication)
			if r.Completed != r.Initiated {
				t.Errorf("expected all to complete by certificate: %+v", r)
			}
		}
		if want := []string{"v1 certificate", "v1 certificate-rsa", "v2 certificate", "v2 certificate-rsa"}; !slices.Equal(slices.Compact(found), want) {
			t.Errorf("rows of %v, expected %v", found, want)
		}
	})
}

// checkRow looks at what a reader of the JSON relies on.
func checkRow(t *testing.T, r *Row) {
	t.Helper()
	if r.Initiated != r.Completed+r.Failed || r.Initiated == 0 || r.Seconds <= 0 || r.MMRate < 0 || r.QMRate < 0 || r.Failed > 0 && len(r.Failures) == 0 || r.SetUpMedian > r.SetUp99 {
		t.Errorf("a row that does not add up: %+v", r)
	}
}

// What cannot be measured is refused, all of it at once.
func TestOptions(t *testing.T) {
	_, err := Options{Versions: []string{"v3"}, PFS: []string{"none", "none"}, Auth: []string{"eap"}, Intervals: []int{-1}, QuickModes: 11, Peers: -1, Outstanding: 1 << 20, Time: -1}.withDefaults()
	if err == nil {
		t.Fatal("expected errors")
	}
	for _, part := range []string{`"v3"`, `"none"`, `"eap"`, "-1 ms", "11 quick modes", "-1 peers", "1048576 connections", "-1ns"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("expected a word about %s:\n%v", part, err)
		}
	}
	if _, err := (Options{Time: 10 * time.Minute, Intervals: []int{50, 20, 10}}).withDefaults(); err == nil || !strings.Contains(err.Error(), "peers would be needed") {
		t.Errorf("more peers than there are addresses: %v", err)
	}
	o, err := Options{PFS: []string{PFSMaster}}.withDefaults()
	if err != nil || o.QuickModes != pfsQuickModes || len(o.rounds()) != 7 {
		t.Errorf("%+v, %v: expected %d quick modes and six intervals with one measurement to compare 0 ms with", o, err, pfsQuickModes)
	}
}

// A file for the rows that cannot be written is found before anything is measured.
func TestFileThatCannotBeWritten(t *testing.T) {
	name := filepath.Join(t.TempDir(), "none", "rows.json")
	err := Run(t.Context(), Options{Binary: "/nonexistent", JSON: name, Out: io.Discard})
	if err == nil || !strings.Contains(err.Error(), name) {
		t.Errorf("found %v, expected an error about %s", err, name)
	}
}

// Ctrl-C ends a measurement at once, whatever it is at, and so does a terminal that closes. Nothing stays behind, and the file of rows is whole.
func TestInterrupt(t *testing.T) {
	binary := labtest.Program(t)
	handled := make(chan os.Signal, 1)
	signal.Notify(handled, syscall.SIGHUP) // else what runs under nohup has a child that ignores it too
	defer signal.Stop(handled)
	for at, c := range map[string]struct {
		by          os.Signal
		least, most int // rows
	}{"gateway 1 of 1": {os.Interrupt, 0, 0}, "it is up": {syscall.SIGHUP, 0, 1}, "of 2400 connections have begun": {os.Interrupt, 1, 1}} {
		t.Run(at, func(t *testing.T) {
			text := interrupt(t, binary, at, c.by)
			var rows []Row
			if err := json.Unmarshal(text, &rows); err != nil || len(rows) < c.least || len(rows) > c.most {
				t.Fatalf("the file of rows is %q, %v; expected an array of %d to %d", text, err, c.least, c.most)
			}
			for _, r := range rows { // as far as it was measured
				if !r.CutShort || r.Initiated == 0 || r.Initiated >= 2400 || r.Completed > r.Initiated || r.Seconds <= 0 || !strings.HasSuffix(r.name(), "cut short") {
					t.Errorf("a row that was cut short: %+v", r)
				}
			}
		})
	}
}

// interrupt has a measurement of ten minutes get a signal when it says that it is at a point, and gives its rows.
func interrupt(t *testing.T, binary, at string, by os.Signal) []byte {
	dir := t.TempDir()
	rows := filepath.Join(dir, "rows.json")
	command := exec.CommandContext(t.Context(), binary, "lab", "negotiate", "--ike", "v1", "--interval", "250", "--time", "10m", "--json", rows)
	command.Env = append(os.Environ(), "TMPDIR="+dir)
	progress, err := command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	limit := time.AfterFunc(5*time.Minute, func() { _ = command.Process.Kill() }) // of a machine that is very busy
	defer limit.Stop()
	var said strings.Builder
	lines := bufio.NewScanner(progress)
	for sent := false; lines.Scan(); {
		fmt.Fprintln(&said, lines.Text())
		if !sent && strings.Contains(lines.Text(), at) {
			sent = true
			if err := command.Process.Signal(by); err != nil {
				t.Error(err)
			}
		}
	}
	if err := command.Wait(); err == nil || command.ProcessState.ExitCode() != 1 || !strings.HasSuffix(said.String(), "sallyport: negotiate: interrupted\n") {
		t.Errorf("%v, expected exit code 1 and a word about the interruption:\n%s", err, said.String())
	}
	text, err := os.ReadFile(rows)
	if err != nil {
		t.Error(err)
	}
	lab := fmt.Sprintf("sp-%d-*", command.Process.Pid)
	for _, place := range []string{"/run/netns", "/run/sallyport-lab", dir} {
		if left, err := filepath.Glob(filepath.Join(place, lab)); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	}
	if running := processesWith(t, dir); len(running) > 0 {
		t.Errorf("still running: %q", running)
	}
	return text
}

// processesWith has the command lines of processes that name a folder.
func processesWith(t *testing.T, dir string) (list []string) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if text, err := os.ReadFile(file); err == nil && bytes.Contains(text, []byte(dir)) { // others end meanwhile
			list = append(list, string(bytes.ReplaceAll(text, []byte{0}, []byte{' '})))
		}
	}
	return list
}

// The rate at 0 ms is of the time in which as many connections are under way as may be; with too few peers for that it is of all the time, and not of none.
func TestWindow(t *testing.T) {
	for _, c := range []struct {
		callers, bound int
		counted        int
	}{{10, 4, 6}, {8, 4, 4}, {7, 4, 7}, {4, 4, 4}, {1, 4, 1}, {4, 1, 3}} {
		r := &round{plan: plan{callers: c.callers, bound: c.bound}, spent: func() (time.Duration, error) { return 0, nil }}
		now := time.Unix(0, 0)
		r.begin(now)
		for began := 0; !r.over(); {
			for ; r.due(now); began++ {
				r.initiated(now)
			}
			now = now.Add(time.Second)
			if r.open() > 0 {
				r.mainMode(now)
				r.completed(now, now)
			}
		}
		if got := float64(r.mainModes) / r.seconds(); r.seconds() <= 0 || got < 0.5 || got > 1 || r.mainModes < c.counted {
			t.Errorf("%d of %d at once: %d main modes in %.0f s, expected at least %d and one a second", c.bound, c.callers, r.mainModes, r.seconds(), c.counted)
		}
	}
}

func TestCPUTime(t *testing.T) {
	var before, after unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &before); err != nil {
		t.Fatal(err)
	}
	spent, err := CPUTime(os.Getpid())
	if err := errors.Join(err, unix.Getrusage(unix.RUSAGE_SELF, &after)); err != nil {
		t.Fatal(err)
	}
	total := func(u unix.Rusage) time.Duration { return time.Duration(u.Utime.Nano() + u.Stime.Nano()) }
	const rounding = 50 * time.Millisecond // of user and system time, which a kernel may count in ticks
	if spent < total(before)-rounding || spent > total(after)+rounding {
		t.Errorf("CPU time %v: want it between %v and %v", spent, total(before), total(after))
	}
	if _, err := CPUTime(1 << 22); err == nil {
		t.Error("CPU time of a process that is not there: want an error") // the kernel has no number as high
	}
}
