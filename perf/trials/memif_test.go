package trials

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sallyport/perf/lab/labtest"
	"sallyport/perf/report"
)

// memifSample is the commands of docs/LAB.md for two processes that are joined by memif.
func memifSample(t *testing.T) (lines [][]string) {
	t.Helper()
	text, err := os.ReadFile("../../docs/LAB.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```sh memif\n(.*?)\n```").FindSubmatch(text)
	if block == nil {
		t.Fatal("docs/LAB.md has no commands for memif")
	}
	for line := range strings.Lines(string(block[1])) {
		lines = append(lines, strings.Fields(line)[1:])
	}
	return lines
}

// The commands of the page make all benchmarks over memif with a gateway as shipped. While tunnels get new keys, are removed and come back, frames of both kinds are sent, none comes
// twice or out of order, and the report has all of it; the gateway is left without tunnels, so that the same is possible again.
// S-118
func TestAllBenchmarks(t *testing.T) {
	l := labtest.NewBetween(t)
	commands := memifSample(t)
	run := func(command []string) (string, error) {
		return l.Tester.Run(t.Context(), append([]string{l.Program}, command...)...)
	}
	if out, err := run(commands[0]); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	written, err := os.ReadFile(filepath.Join(l.Dir, "many.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	l.Configure(t, string(written))
	process := l.StartIn(t, l.Tester)
	out, err := run(append(commands[1], "--wait", labtest.Limit.String()))
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, out, process.Tail())
	}
	t.Log(out)
	r, err := report.Read(filepath.Join(l.Dir, "out.json"))
	if err != nil {
		t.Fatal(err)
	}
	figures := func(name string, figures int) []report.Figure {
		t.Helper()
		i := slices.IndexFunc(r.Rows, func(row report.Row) bool { return row.Name == name })
		if i < 0 || len(r.Rows[i].Figures) < figures {
			t.Fatalf("row %q is not as expected: %+v", name, r.Rows)
		}
		return r.Rows[i].Figures
	}
	const of = "256 bytes, 30 tunnels"
	if f := figures(of, 3); f[0].Median() <= 0 {
		t.Errorf("throughput %+v", f)
	}
	if f := figures(of+", latency at 50 %", 5); f[0].Median() <= 0 || f[4].Median() < f[1].Median() {
		t.Errorf("latency %+v", f)
	}
	figures(of+", loss at 100 % of the highest rate", 2)
	figures(of+", back-to-back", 0)
	for _, change := range []string{"rekey", "remove", "add"} {
		for _, f := range figures(of+", "+change, 5+8) {
			value := f.Median()
			switch {
			case f.Name == "tunnels" && value != 6, strings.HasSuffix(f.Name, "sent") && value <= 0, f.Name == "change took" && value <= 0,
				strings.HasSuffix(f.Name, "reordered") && value != 0, strings.HasSuffix(f.Name, "duplicated") && value != 0:
				t.Errorf("%s: %s is %g", change, f.Name, value)
			}
		}
	}
	if page, err := os.ReadFile(filepath.Join(l.Dir, "out.html")); err != nil || strings.Count(string(page), "<svg ") == 0 {
		t.Errorf("the page: %v", err)
	}
}
