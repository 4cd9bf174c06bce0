package trials

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"sallyport/perf/lab"
	"sallyport/perf/lab/labtest"
	"sallyport/perf/report"
)

// gatewayOf is the configuration of docs/TRAFFIC.md, which has two tunnels.
func gatewayOf(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/TRAFFIC.md")
	if err != nil {
		t.Fatal(err)
	}
	sample := regexp.MustCompile("(?s)```yaml gw.yaml\n(.*?)```").FindSubmatch(text)
	if sample == nil {
		t.Fatal("docs/TRAFFIC.md has no gw.yaml")
	}
	return string(sample[1])
}

// sampleOf is the command of docs/LAB.md with these words, without its comment.
func sampleOf(t *testing.T, words string) []string {
	t.Helper()
	text, err := os.ReadFile("../../docs/LAB.md")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "sallyport lab rfc2544 ") && strings.Contains(line, words) {
			command, _, _ := strings.Cut(line, "#")
			return strings.Fields(command)[1:]
		}
	}
	t.Fatalf("docs/LAB.md has no sallyport lab rfc2544 with %q", words)
	return nil
}

// The command of the page measures a gateway as shipped, of two sizes over one and two tunnels; before the gateway is there it says so, and what it has when it is interrupted it writes.
func TestCommand(t *testing.T) {
	l := labtest.NewBetween(t)
	program, tester := l.Program, l.Tester
	l.Configure(t, gatewayOf(t))
	command := append([]string{program}, sampleOf(t, "--max-rate 2kpps")...)
	file := filepath.Join(l.Dir, "out.json")
	read := func() *report.Report {
		t.Helper()
		r, err := report.Read(file)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}

	if out, err := tester.Run(t.Context(), command...); err == nil || !strings.Contains(out, "the target is down") {
		t.Errorf("without a gateway: %v\n%s", err, out)
	}
	if r := read(); r.Verdict.Good || !strings.Contains(r.Verdict.Text, "128 bytes, 1 tunnel: the target is down") || len(r.Rows) != 0 {
		t.Errorf("without a gateway: %+v", r)
	}

	// What would come out in the end is said at once.
	for want, more := range map[string][]string{
		"which nothing changes":                     {"--benchmark", "throughput,reconf"},
		"-1 tunnels that change: expected 1":        {"--benchmark", "reconf", "--change", "-1"},
		"1 tunnels that change: expected 1 or more": {"--change", "1"},
		"expected none for packets in clear":        {"--clear", "10.1.0.0/24=10.2.0.0/24", "--tunnels", "1"},
		"expected a file for each":                  {"--html", "out.json"},
	} {
		if out, err := tester.Run(t.Context(), append(command, more...)...); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "target is down") {
			t.Errorf("%q: %v, expected %q and no trial\n%s", more, err, want, out)
		}
	}

	process := l.Start(t)
	out, err := tester.Run(t.Context(), command...)
	if err != nil {
		log, _ := os.ReadFile(process.LogPath)
		t.Fatalf("%v\n%s\n%s", err, out, log)
	}
	t.Log(out)
	if !strings.Contains(out, "throughput, kpps") || !strings.Contains(out, "latency at 50 %") || !strings.Contains(out, "goes on with --sequence") {
		t.Errorf("it does not print what it has measured:\n%s", out)
	}
	r := read()
	for _, name := range []string{"128 bytes, 1 tunnel", "512 bytes, 1 tunnel", "128 bytes, 2 tunnels", "512 bytes, 2 tunnels", "128 bytes, 1 tunnel, latency at 50 %", "512 bytes, 2 tunnels, latency at 50 %"} {
		i := slices.IndexFunc(r.Rows, func(row report.Row) bool { return row.Name == name })
		if i < 0 || strings.Contains(name, "latency") && (len(r.Rows[i].Figures) != 5 || r.Rows[i].Figures[1].Median() <= 0) {
			t.Errorf("row %q is not as expected: %+v", name, r.Rows)
		}
	}
	if page, err := os.ReadFile(filepath.Join(l.Dir, "out.html")); err != nil || strings.Count(string(page), "<svg ") != 2+4 || r.Tool != "rfc2544" || r.Interrupted || r.Machine.DPDK == "" || r.Command[1] != "lab" {
		t.Errorf("%v, %d plots, %+v", err, strings.Count(string(page), "<svg "), r.Verdict)
	}

	started, err := tester.Start(lab.Command{Name: "interrupted", Args: append(command, "--latency-trials", "1000", "--sequence", "1000000")})
	if err != nil {
		t.Fatal(err)
	}
	err = lab.Until(t.Context(), nil, "the first of a thousand trials for latency", labtest.Limit, func() (bool, error) {
		text, err := os.ReadFile(started.LogPath)
		return regexp.MustCompile(`128 bytes, 1 tunnel, latency: trial [0-9]+, [0-9]+ frames/s for 200ms; about [0-9hms.]+ left, [0-9hms.]+ of all`).Match(text), err
	})
	if err != nil {
		t.Fatal(err)
	}
	started.Signal(syscall.SIGINT)
	if err := started.Wait(t.Context()); err == nil {
		t.Error("an interrupted run ended with exit code 0")
	}
	if r := read(); !r.Interrupted || r.Verdict.Text != "interrupted after 0 of 4 cases" || len(r.Rows) == 0 || r.Rows[0].Name != "128 bytes, 1 tunnel" {
		t.Errorf("interrupted: %+v", r)
	}
}
