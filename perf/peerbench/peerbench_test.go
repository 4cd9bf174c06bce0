package peerbench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"sallyport/perf/bench"
	"sallyport/perf/lab"
	"sallyport/perf/lab/labtest"
	"sallyport/perf/report"
)

// The comparison in small: strongSwan and, where they have been built, ipsec-secgw and VPP stand beside this gateway in one table; without them their rows say why.
func TestRun(t *testing.T) {
	dir, binary := t.TempDir(), labtest.Program(t)
	for name, program := range map[string]string{"built": "", "absent": filepath.Join(dir, "none")} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			file := filepath.Join(t.TempDir(), "out.json")
			o := Options{Quick: true, Secgw: program, VPP: program, JSON: file, HTML: file + ".html", Binary: binary, Out: &out}
			if err := Run(t.Context(), o); err != nil {
				t.Fatalf("%v\n%s", err, out.String())
			}
			t.Log(out.String())
			r := wantReport(t, file)
			if r.Interrupted || !r.Verdict.Good || len(r.Rows) != 4 || len(r.Plots) != 1 {
				t.Errorf("%d rows, %d plots, %+v", len(r.Rows), len(r.Plots), r.Verdict)
			}
			for _, row := range r.Rows {
				whole, missing := len(row.Figures) == figures, strings.Contains(row.Note, "not measured here: ")
				if strings.Contains(row.Name, "strongSwan") && !whole || whole == missing {
					t.Errorf("%s has %d figures and the note %q", row.Name, len(row.Figures), row.Note)
				}
				for peer, how := range map[string]string{"ipsec-secgw": "scripts/secgw builds it", "VPP": "scripts/vpp builds it"} {
					if strings.HasSuffix(row.Name, peer) && program != "" && (whole || !strings.Contains(row.Note, how)) {
						t.Errorf("%s without that program: %d figures, %q", row.Name, len(row.Figures), row.Note)
					}
				}
			}
			if heads := strings.Count(out.String(), "times the peer"); heads != 1 {
				t.Errorf("%d tables, expected one:\n%s", heads, out.String())
			}
		})
	}
}

// Who is interrupted gets what there is, and an error.
func TestInterrupt(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	stop()
	file := filepath.Join(t.TempDir(), "out.json")
	var out strings.Builder
	if err := Run(ctx, Options{Quick: true, JSON: file, Binary: "/none/such", Out: &out}); !errors.Is(err, errInterrupted) {
		t.Errorf("found %v, expected %v", err, errInterrupted)
	}
	if r := wantReport(t, file); !r.Interrupted || r.Verdict.Good {
		t.Errorf("%+v, expected a report of an interruption", r.Verdict)
	}
}

// Who is interrupted while lab bench measures lets it end in order: it gives back what it has taken of the machine.
func TestInterruptedBench(t *testing.T) {
	dir := t.TempDir()
	began, ended, program := filepath.Join(dir, "began"), filepath.Join(dir, "ended"), filepath.Join(dir, "bench")
	script := fmt.Sprintf("#!/bin/sh\ntrap 'touch %s; exit 1' TERM\ntouch %s\nwhile :; do sleep 0.05; done\n", ended, began)
	if err := os.WriteFile(program, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	cpus, err := processors()
	if err != nil {
		t.Fatal(err)
	}
	ctx, interrupt := context.WithCancel(t.Context())
	measuring := make(chan error)
	go func() {
		_, err := (&Options{Binary: program}).bench(ctx, cpus, bench.Outbound, 64)
		measuring <- err
	}()
	err = lab.Until(t.Context(), nil, "a run of lab bench", time.Minute, func() (bool, error) {
		_, err := os.Stat(began)
		return err == nil, nil
	})
	interrupt()
	if found := <-measuring; !errors.Is(found, context.Canceled) || err != nil {
		t.Errorf("%v, %v: expected %v", err, found, context.Canceled)
	}
	if _, err := os.Stat(ended); err != nil {
		t.Errorf("lab bench could not clean up: %v", err)
	}
}

// A turn that does not come off is one figure less, unless there is none at all.
func TestTurnsThatDoNotComeOff(t *testing.T) {
	turn, wrong := 0, errors.New("no memory")
	s := subject{[]*item{{name: "now and then"}}, func(context.Context) ([]turns, error) {
		if turn++; turn%2 == 0 {
			return nil, wrong
		}
		return []turns{{6, 2}}, nil
	}}
	o := Options{Rounds: 3, Progress: io.Discard}
	if err := o.rounds(t.Context(), []subject{s}); err != nil {
		t.Error(err)
	}
	row := s.items[0].row()
	if len(row.Figures) != figures || len(row.Figures[2].Samples) != 2 || row.Figures[2].Median() != 3 || !strings.Contains(row.Note, "turns that did not come off: 1") {
		t.Errorf("%+v", row)
	}
	s.items, s.measure = []*item{{name: "never"}}, func(context.Context) ([]turns, error) { return nil, wrong }
	if err := o.rounds(t.Context(), []subject{s}); !errors.Is(err, wrong) {
		t.Errorf("found %v, expected %v", err, wrong)
	}
}

func TestOptions(t *testing.T) {
	for _, c := range []struct {
		o    Options
		want string
	}{{Options{Rounds: 101}, "101 rounds: want 1 to 100"}, {Options{Rounds: -1}, "-1 rounds"}, {Options{Peers: 5001}, "5001 peers: want 1 to 5000"}, {Options{JSON: "/none/such/out.json"}, "/none/such/out.json"}} {
		if err := Run(t.Context(), c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("found %v, expected %q", err, c.want)
		}
	}
}

// What ipsec-secgw gets has the sizes that lab bench says it has.
func TestFrames(t *testing.T) {
	const fileHeader, record, ethernet = 24, 16, 14
	for direction, longer := range map[bench.Direction]int{bench.Outbound: 0, bench.Inbound: ipLen + 8 + 8 + 2 + 2 + 16} { // header, ESP, IV, padding, trailer, ICV
		file, err := frames(direction, 64)
		if err != nil {
			t.Fatal(err)
		}
		if want := fileHeader + sourcePackets*(record+ethernet+64+longer); len(file) != want {
			t.Errorf("%s: %d octets, expected %d", direction, len(file), want)
		}
	}
}

// wantReport reads a report that fits the schema.
func wantReport(t *testing.T, file string) *report.Report {
	t.Helper()
	schema, err := jsonschema.NewCompiler().Compile("../../docs/schema/lab.json")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err == nil {
		err = schema.Validate(value)
	}
	if err != nil {
		t.Errorf("%s: %v", file, err)
	}
	r, err := report.Read(file)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
