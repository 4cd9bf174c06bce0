package hostile

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"sallyport/perf/lab/labtest"
	"sallyport/perf/report"
)

// run attacks in small, and has the rows from the file that they are also written to.
func run(t *testing.T, o Options) (rows []Row, text string) {
	t.Helper()
	var out strings.Builder
	dir := t.TempDir()
	o.Quick, o.JSON, o.Report, o.HTML, o.Out = true, filepath.Join(dir, "rows.json"), filepath.Join(dir, "report.json"), filepath.Join(dir, "page.html"), &out
	if err := Run(t.Context(), o); err != nil {
		t.Errorf("%v\n%s", err, out.String())
	}
	t.Log(out.String())
	b, err := os.ReadFile(o.JSON)
	if err == nil {
		err = json.Unmarshal(b, &rows)
	}
	if err != nil {
		t.Fatal(err)
	}
	wantReport(t, o, rows)
	return rows, out.String()
}

// wantReport expects a report of what the rows say, and its page.
func wantReport(t *testing.T, o Options, rows []Row) {
	t.Helper()
	r, err := report.Read(o.Report)
	if err != nil || r.Interrupted || len(r.Rows) != len(rows) {
		t.Fatalf("a report of %d rows was expected, found %+v, %v", len(rows), r, err)
	}
	good := true
	for i, row := range r.Rows {
		if row.Name != rows[i].Scenario || len(row.Figures) != 1+len(rows[i].Verdicts) {
			t.Errorf("row %s of the report has %d figures, expected the rate and what is judged of %s: %d", row.Name, len(row.Figures), rows[i].Scenario, len(rows[i].Verdicts))
		}
		for k, v := range rows[i].Verdicts {
			good = good && v.Met
			if f := row.Figures[1+k]; f.Met() != v.Met || f.Median() != v.Value {
				t.Errorf("%s: the report has %+v for %+v", row.Name, f, v)
			}
		}
	}
	if page, err := os.ReadFile(o.HTML); err != nil || r.Verdict.Good != good || !strings.Contains(string(page), r.Verdict.Text) {
		t.Errorf("%+v, expected good to be %t and the page to say the text: %v", r.Verdict, good, err)
	}
}

// Each attack in small on a gateway as shipped. What it sends is refused, by the counters that are expected; the memory that it costs is bounded; and peers of the
// configuration, in whose names the forged floods are, connect meanwhile, while another peer's tunnel keeps its SAs.
// S-088: spoofed first messages, in a real peer's name too, leave state bounded and let the peer in.
// S-090: of soft SAs with silent targets there are no more than their limit.
// S-089: the slow path is behind a bounded queue, whose overflow is counted.
func TestScenarios(t *testing.T) {
	rows, text := run(t, Options{Binary: labtest.Program(t)})
	if len(rows) != len(scenarios) {
		t.Fatalf("%d rows of %d scenarios", len(rows), len(scenarios))
	}
	checkPage(t, text)
	for i, r := range rows {
		s := scenarios[i]
		if r.Scenario != s.Name || s.most == 0 && r.Messages < quickMessages || r.Messages == 0 || r.Received == 0 || r.Seconds <= 0 {
			t.Errorf("a row that says too little: %+v", r)
		}
		found := 0.0
		for _, counter := range s.refusals {
			found += r.Refused[counter]
		}
		if found == 0 {
			t.Errorf("%s: nothing was refused by %v: %v", r.Scenario, s.refusals, r.Refused)
		}
		if len(r.Connections) == 0 {
			t.Errorf("%s: no peer has connected meanwhile", r.Scenario)
		}
		for _, v := range r.Verdicts {
			if !v.Met || !strings.Contains(text, v.What) {
				t.Errorf("%s: %+v", r.Scenario, v)
			}
		}
	}
}

// The page has every scenario with what refuses it, and its sample is what the command prints, but for numbers.
func checkPage(t *testing.T, printed string) {
	t.Helper()
	page, err := os.ReadFile("../../docs/HOSTILE.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range scenarios {
		row := regexp.MustCompile("(?m)^\\| `" + s.Name + "` \\|.*$").FindString(string(page))
		if !strings.Contains(row, s.Summary) {
			t.Errorf("docs/HOSTILE.md has no row of %s that says %q: %q", s.Name, s.Summary, row)
		}
		for _, counter := range s.refusals {
			if !strings.Contains(row, "`"+counter+"`") {
				t.Errorf("docs/HOSTILE.md does not say that %s counts: %q", counter, row)
			}
		}
	}
	_, sample, _ := strings.Cut(string(page), "\n\ninit-forged\n")
	sample, _, _ = strings.Cut(sample, "```")
	_, printed, _ = strings.Cut(printed, "\n\ninit-forged\n")
	printed, _, _ = strings.Cut(printed, "\n\n")
	if want, found := shape(sample), shape(printed); want != found {
		t.Errorf("docs/HOSTILE.md shows\n%s\nand the command prints\n%s", want, found)
	}
}

// shape is a report without its numbers, and without the counters that rose.
func shape(report string) string {
	report = regexp.MustCompile(`(?m)^  refused .*$`).ReplaceAllString(report, "  refused")
	return strings.TrimSpace(regexp.MustCompile(`[0-9]+(\.[0-9]+)?`).ReplaceAllString(report, "N"))
}

// What cannot be done is refused, all of it at once.
func TestOptions(t *testing.T) {
	_, err := Options{Scenarios: []string{"teardrop", "init-random", "init-random"}, Messages: 1, Windows: -1, Window: -1, Load: -1}.withDefaults()
	if err == nil {
		t.Fatal("expected errors")
	}
	for _, part := range []string{`"teardrop"`, `"init-random"`, "1 messages", "-1 windows", "-1ns", "-1 packets/s"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("expected a word about %s:\n%v", part, err)
		}
	}
	if _, err = (Options{Load: 99, Window: time.Second}).withDefaults(); err == nil || !strings.Contains(err.Error(), "want 100 packets in a window") {
		t.Errorf("a window with too few packets to judge: %v", err)
	}
	o, err := Options{}.withDefaults()
	if err != nil || o.Messages != defaultMessages || len(o.Scenarios) != len(scenarios) {
		t.Errorf("%+v, %v: expected every scenario with %d messages", o, err, defaultMessages)
	}
	if o, err = (Options{Quick: true}).withDefaults(); err != nil || o.Messages != quickMessages {
		t.Errorf("%+v, %v: expected %d messages", o, err, quickMessages)
	}
}

// A file for the rows that cannot be written is found before anything is attacked.
func TestFileThatCannotBeWritten(t *testing.T) {
	name := filepath.Join(t.TempDir(), "none", "rows.json")
	if err := Run(t.Context(), Options{Binary: "/nonexistent", JSON: name, Out: io.Discard}); err == nil || !strings.Contains(err.Error(), name) {
		t.Errorf("found %v, expected an error about %s", err, name)
	}
}

// A verdict is met up to what is wanted, and speed is not judged in small.
func TestJudge(t *testing.T) {
	good := Row{MemoryBefore: 100 << 20, MemoryHalf: 110 << 20, MemoryMost: 120 << 20, Connections: []Connection{{Connected: true, Seconds: 4.9}},
		SAs: 2, SAsLeft: 2, RefusedRate: refusedWanted, ESP: &Throughput{Share: shareWanted}}
	for _, c := range []struct {
		change func(*Row)
		quick  bool
		missed int
	}{
		{func(*Row) {}, false, 0},
		{func(r *Row) { r.MemoryMost = 180 << 20 }, false, 2},
		{func(r *Row) { r.MemoryHalf = 100 << 20 }, false, 1},
		{func(r *Row) { r.Connections[0].Seconds = 5.1 }, false, 1},
		{func(r *Row) { r.Connections[0].Seconds = 5.1 }, true, 0},
		{func(r *Row) { r.Connections[0].Connected = false }, true, 1},
		{func(r *Row) { r.SAsLeft = 1 }, true, 1},
		{func(r *Row) { r.SAs, r.SAsLeft = 0, 0 }, true, 1},
		{func(r *Row) { r.ESP = &Throughput{Share: 0.949} }, false, 1},
		{func(r *Row) { r.RefusedRate = refusedWanted - 1 }, false, 1},
		{func(r *Row) { r.RefusedRate, r.ESP = 0, nil }, true, 0},
	} {
		r := good
		r.Connections = []Connection{good.Connections[0]}
		c.change(&r)
		r.judge(c.quick, true)
		missed := 0
		for _, v := range r.Verdicts {
			if !v.Met {
				missed++
			}
		}
		if missed != c.missed {
			t.Errorf("%d lines missed, expected %d: %+v", missed, c.missed, r.Verdicts)
		}
		if row := r.report(); (row.Note != "") != (missed > 0) {
			t.Errorf("%d lines missed, and the report's row notes %q", missed, row.Note)
		}
	}
}
