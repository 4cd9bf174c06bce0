package report

import (
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
)

// ofOne is a report of one row with one figure.
func ofOne(better Better, samples ...float64) *Report {
	r := sample()
	r.Verdict.Good = true
	r.Plots, r.Rows = nil, []Row{{Name: "row", Figures: []Figure{{Name: "figure", Unit: "Mpps", Better: better, Samples: samples}}}}
	return r
}

// What is noise is called noise, what is none is called by its direction, and what cannot be told is not told.
func TestCompareTellsNoise(t *testing.T) {
	for name, c := range map[string]struct {
		a, b   []float64
		better Better
		want   string
		ratio  float64
	}{
		"ten percent":          {[]float64{10, 10.1, 9.9, 10, 10.05}, []float64{11, 11.1, 10.9, 11, 11.05}, Higher, "better", 1.1},
		"ten percent less":     {[]float64{10, 10.1, 9.9, 10, 10.05}, []float64{9, 9.1, 8.9, 9, 9.05}, Higher, "worse", 0.9},
		"less latency":         {[]float64{10, 10.1, 9.9, 10, 10.05}, []float64{9, 9.1, 8.9, 9, 9.05}, Lower, "better", 0.9},
		"of no direction":      {[]float64{10, 10.1, 9.9, 10, 10.05}, []float64{11, 11.1, 10.9, 11, 11.05}, Neither, "more", 1.1},
		"inside of the spread": {[]float64{10, 12, 8, 11, 9}, []float64{10.5, 12.5, 8.5, 11.5, 9.5}, Higher, Noise, 1.05},
		"nothing":              {[]float64{4, 4, 4, 4, 4}, []float64{4, 4, 4, 4, 4}, Higher, "the same", 1},
		"once each":            {[]float64{10}, []float64{11}, Higher, TooFew + " (1 and 1)", 1.1},
		"three each":           {[]float64{10, 10, 10.1}, []float64{11, 11, 11.1}, Higher, TooFew + " (3 and 3)", 1.1},
		"three and thirty":     {[]float64{10, 10, 10.1}, []float64{11, 11, 11.1, 11, 11, 11.1, 11, 11, 11.1, 11}, Higher, "better", 1.1},
		"from nothing":         {[]float64{0, 0, 0, 0, 0}, []float64{3, 4, 5, 3, 4}, Lower, "worse", 0},
	} {
		d, err := Compare(ofOne(c.better, c.a...), ofOne(c.better, c.b...))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got := d.Figures[0]
		if got.Verdict != c.want || got.Ratio < c.ratio-1e-9 || got.Ratio > c.ratio+1e-9 || got.Ratio != 0 && (got.Low > got.Ratio || got.High < got.Ratio) {
			t.Errorf("%s: expected %q at %g, found %+v", name, c.want, c.ratio, got)
		}
	}
}

// Of 100 pairs of reports on the same thing about one in twenty is called different at most, and of as many that differ by half a spread most are.
func TestCompareOverMany(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 7))
	draw := func(mean float64) []float64 {
		samples := make([]float64, 15)
		for i := range samples {
			samples[i] = mean * (1 + 0.05*random.NormFloat64())
		}
		return samples
	}
	differs := func(mean float64) (n int) {
		for range 100 {
			c := compare("row", Figure{Better: Higher, Samples: draw(100)}, Figure{Better: Higher, Samples: draw(mean)})
			if c.Verdict == "worse" || mean == 100 && c.Verdict != Noise {
				n++
			}
		}
		return n
	}
	if n := differs(100); n > 10 {
		t.Errorf("expected at most one in twenty of 100 the same called different, and some to spare, found %d", n)
	}
	if n := differs(90); n < 95 {
		t.Errorf("expected nearly all of 100 that lose 10 %% called worse, found %d", n)
	}
}

// What is not to be compared is refused, with why; what is compared and should not be is told first.
func TestCompareRefusesAndWarns(t *testing.T) {
	other := ofOne(Higher, 1, 2, 3)
	other.Tool = "bench"
	if _, err := Compare(ofOne(Higher, 1, 2, 3), other); err == nil || !strings.Contains(err.Error(), "one of rfc2544 and one of bench") {
		t.Errorf("two tools: %v", err)
	}
	other = ofOne(Higher, 1, 2, 3)
	other.Rows[0].Figures[0].Unit = "kpps"
	if _, err := Compare(ofOne(Higher, 1, 2, 3), other); err == nil || !strings.Contains(err.Error(), `"Mpps" in A and "kpps" in B`) {
		t.Errorf("two units: %v", err)
	}
	other = ofOne(Higher, 1, 2, 3)
	other.Rows[0].Name = "another"
	if _, err := Compare(ofOne(Higher, 1, 2, 3), other); err == nil || !strings.Contains(err.Error(), "found none: A has 1, B has 1") {
		t.Errorf("nothing in common: %v", err)
	}
	other = ofOne(Higher, 1, 2, 3)
	other.Machine.CPU, other.Machine.CPUs, other.Interrupted, other.Verdict = "Another CPU", 64, true, Verdict{Text: "the target drops everything"}
	other.Rows = append(other.Rows, Row{Name: "new", Figures: []Figure{{Name: "figure", Samples: []float64{1}}}})
	if _, err := Compare(ofOne(Higher, 1, 2), ofOne(Higher, make([]float64, mostSamples+1)...)); err == nil || !strings.Contains(err.Error(), "expected at most 10000 samples, found 2 in A and 10001 in B") {
		t.Errorf("more samples than can be compared: %v", err)
	}
	d, err := Compare(ofOne(Higher, 1, 2, 3), other)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := d.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(b.String(), "DIFFERENT MACHINES") {
		t.Errorf("expected the machines first, found\n%s", b.String())
	}
	for _, want := range []string{"Example CPU @ 2.00GHz (family 6 model 85) in A, Another CPU in B", "number of CPUs: 2 in A, 64 in B", "B was interrupted", "B says: the target drops everything", "only in B: new: figure"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("expected %q in\n%s", want, b.String())
		}
	}
}

// A report comes back from its file as it went; what is none is refused with what it is instead.
func TestReadRefuses(t *testing.T) {
	folder := t.TempDir()
	good := filepath.Join(folder, "good.json")
	if err := sample().WriteJSON(good); err != nil {
		t.Fatal(err)
	}
	r, err := Read(good)
	if err != nil {
		t.Fatal(err)
	}
	if d, err := Compare(sample(), r); err != nil || len(d.Figures) != 5 || len(d.OnlyA)+len(d.OnlyB)+len(d.Machines) != 0 {
		t.Errorf("the file holds something else: %+v, %v", d, err)
	}
	for name, c := range map[string]struct{ text, want string }{
		"rows of bench":  {`[{"table":"sizes"}]`, "found rows without one, as --json of lab bench, negotiate and hostile writes them"},
		"nothing":        {``, "expected a report of the lab in JSON"},
		"no JSON":        {`hello`, "expected a report of the lab in JSON"},
		"something else": {`{"version":1}`, `found format ""`},
		"of the future":  {`{"format":"sallyport-lab-report","version":2,"rows":7}`, "expected version 1, found version 2"},
		"broken":         {`{"format":"sallyport-lab-report","version":1,"rows":7}`, "expected a report of version 1"},
		"twice":          {`{"format":"sallyport-lab-report","version":1,"tool":"t","rows":[{"name":"a"},{"name":"a"}]}`, `row "a": expected a name that no other row has`},
		"empty":          {`{"format":"sallyport-lab-report","version":1,"tool":"t","rows":[{"name":"a","figures":[{"name":"f","samples":[]}]}]}`, "expected samples that are numbers"},
	} {
		if _, err := parse([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: expected %q, found %v", name, c.want, err)
		}
	}
	for _, missing := range []string{filepath.Join(folder, "none.json"), folder, "/dev/zero"} {
		if _, err := Read(missing); err == nil {
			t.Errorf("%s was read", missing)
		}
	}
}
