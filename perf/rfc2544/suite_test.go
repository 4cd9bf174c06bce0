package rfc2544

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"sallyport/perf/report"
)

// bed is a stub that can be measured while its tunnels change.
type bed struct {
	*stub
	changes chan uint64 // what a change loses, for a trial to take
	cost    uint64      // frames that a change loses
	lost    uint64
	fails   error
	closed  *int
}

func newBed(capacity float64, closed *int) *bed {
	return &bed{stub: newStub(capacity), changes: make(chan uint64), closed: closed}
}

func (b *bed) Close() error {
	*b.closed++
	return nil
}

func (b *bed) Most(context.Context) float64 { return 14.88e6 }

func (b *bed) Changes() []string { return []string{"100 tunnels added", "all tunnels rekeyed"} }

func (b *bed) Reconfigure(ctx context.Context, _ string) (int, error) {
	if b.fails != nil {
		return 100, b.fails
	}
	select {
	case b.changes <- b.cost:
		return 100, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func newReport() *report.Report {
	return report.New("rfc2544", []string{"sallyport", "lab", "rfc2544"}, report.Machine{CPU: "none", CPUs: 1}, time.Unix(1e9, 0))
}

// cases are of five sizes over three numbers of tunnels; the larger and the more, the slower.
func cases() (list []Case) {
	for _, tunnels := range []int{1, 1000, 60000} {
		for _, size := range []float64{64, 128, 512, 1518} {
			list = append(list, Case{fmt.Sprint(size), size, tunnels})
		}
		list = append(list, Case{"imix", 353.8, tunnels})
	}
	return list
}

func capacityOf(c Case) float64 {
	return 12e6 / (1 + c.Octets/500) / (1 + math.Log10(float64(c.Tunnels))/4)
}

// testOptions have the time of the case that is being measured.
func testOptions(current **stub) Options {
	var since time.Duration
	var last *stub
	return Options{Trial: time.Second, LossRatios: []float64{0, 0.005}, Repeat: 4,
		clock: func() time.Time {
			if s := *current; s != last {
				if last != nil {
					since += last.now.Sub(time.Unix(1e9, 0))
				}
				last = s
			}
			if last == nil {
				return time.Unix(1e9, 0)
			}
			return last.now.Add(since)
		},
		wait: func(context.Context, time.Duration) error { return nil }}
}

// A whole run: throughput within 2 % of what each target can do, with two loss ratios, latency, loss rate, bursts and changes under load; rows, plots and a page of it.
func TestRun(t *testing.T) {
	var current *stub
	closed := 0
	o := testOptions(&current)
	o.Benchmarks = Benchmarks
	var told bytes.Buffer
	o.Progress = &told
	r := newReport()
	all := cases()
	err := Run(t.Context(), o, all, func(_ context.Context, c Case) (Bed, error) {
		b := newBed(capacityOf(c), &closed)
		b.noise, b.cost, current = 0.002, 1500, b.stub
		b.change = func(r *Result) {
			if b.lost > 0 { // all but 500 of tunnels that change
				r.Changing = Part{Sent: 2000, Received: 2000 - (b.lost - 500), Reordered: 7, Duplicated: 3}
				r.Reordered, r.Duplicated = 9, 3
			}
			r.Received -= min(b.lost, r.Received)
			b.lost = 0
		}
		b.until = func(float64, time.Duration) {
			select {
			case b.lost = <-b.changes:
			default:
			}
		}
		return b, nil
	}, r)
	if err != nil || !r.Verdict.Good || r.Interrupted || closed != len(all) {
		t.Fatalf("%v, %+v, %d of %d beds closed", err, r.Verdict, closed, len(all))
	}
	rows := map[string]report.Row{}
	for _, row := range r.Rows {
		rows[row.Name] = row
	}
	for _, c := range all {
		for name, want := range map[string]float64{c.String(): capacityOf(c), c.String() + ", 0.5 % loss": capacityOf(c) / 0.995} {
			f := rows[name].Figures
			if len(f) != 4 || len(f[0].Samples) != 4 || math.Abs(f[0].Median()*1e6-want) > 0.02*want || math.Abs(f[1].Median()-f[0].Median()*c.Octets*8/1e3) > 0.01 {
				t.Errorf("%s: expected %g frames/s in four searches, found %+v", name, want, f)
			}
		}
		if f := rows[c.String()+", latency at 50 %"].Figures; len(f) != 5 || len(f[1].Samples) != 5 || f[1].Median() < 10 || f[4].Median() < f[1].Median() {
			t.Errorf("%s: latency %+v", c, f)
		}
		if f := rows[c.String()+", back-to-back"].Figures; len(f) != 3 || len(f[1].Samples) != 10 {
			t.Errorf("%s: bursts %+v", c, f)
		}
		if f := rows[c.String()+", 100 tunnels added"].Figures; len(f) != 5+8 || f[0].Median() != 100 || f[1].Median() != 1500 || f[2].Median() != 0 {
			t.Errorf("%s: changes %+v", c, f)
		} else {
			for i, want := range []float64{500, 2, 0, 2000, 1000, 7, 3} { // lost, reordered and duplicated of those that stay, and all of those that change
				if f[6+i].Median() != want {
					t.Errorf("%s: %s %g, expected %g", c, f[6+i].Name, f[6+i].Median(), want)
				}
			}
		}
		if f := rows[c.String()+", loss at 100 % of the highest rate"].Figures; len(f) != 2 || math.Abs(f[1].Median()-100*(1-capacityOf(c)/14.88e6)) > 1 {
			t.Errorf("%s: loss %+v", c, f)
		}
	}
	if len(r.Plots) != 2+2*len(all) || len(r.Plots[0].Series) != 3 || len(r.Plots[0].Series[0].Points) != 5 || len(r.Plots[1].Series) != 5 || len(r.Plots[1].Series[0].Points) != 3 {
		t.Errorf("expected throughput by size and by tunnels, then two plots of each case, found %d", len(r.Plots))
	}
	folder := t.TempDir()
	if folderKept := os.Getenv("SALLYPORT_PICTURES"); folderKept != "" { // for who wants to see it
		folder = folderKept
	}
	if err := errors.Join(r.WriteJSON(folder+"/rfc2544.json"), r.WriteHTML(folder+"/rfc2544.html")); err != nil {
		t.Error(err)
	}
	if again, err := report.Read(folder + "/rfc2544.json"); err != nil {
		t.Error(err)
	} else if d, err := report.Compare(r, again); err != nil || len(d.OnlyA)+len(d.OnlyB) > 0 {
		t.Errorf("%+v, %v", d, err)
	}
}

// A run that is interrupted, or whose target fails, has in its report what there was by then, and says what happened.
func TestRunThatEndsEarly(t *testing.T) {
	for name, c := range map[string]struct {
		trial   int
		change  func(*Result)
		cancel  bool
		verdict string
		want    error
		rows    int
	}{
		"interrupted at first":  {1, nil, true, "interrupted after 0 of 2 cases", errInterrupted, 0},
		"interrupted in search": {4, nil, true, "interrupted after 0 of 2 cases", errInterrupted, 1},
		"interrupted later":     {25, nil, true, "interrupted after 0 of 2 cases", errInterrupted, 1 + 2},
		"down":                  {1, func(r *Result) { *r = Result{Down: true} }, false, "64 bytes, 1 tunnel: the target is down", ErrDown, 0},
		"drops everything":      {1, func(r *Result) { r.Received = 0 }, false, "64 bytes, 1 tunnel: the target drops everything: none of 500 frames at 100 frames/s arrived", ErrDropsAll, 0},
		"mangles later":         {25, func(r *Result) { r.Mangled = 7 }, false, "64 bytes, 1 tunnel: the target mangles frames: 7 of", ErrMangles, 1 + 2},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var current *stub
		closed := 0
		o := testOptions(&current)
		o.Repeat, o.LossRatios, o.Width = 1, nil, 0.0001
		r := newReport()
		err := Run(ctx, o, []Case{{"64", 64, 1}, {"512", 512, 1}}, func(_ context.Context, _ Case) (Bed, error) {
			b := newBed(3e6, &closed)
			current = b.stub
			b.noise = 0.001
			b.before = func(trial int) {
				if trial == c.trial && c.cancel {
					cancel()
				}
			}
			b.change = func(r *Result) {
				if b.trials >= c.trial && c.change != nil {
					c.change(r)
				}
			}
			return b, nil
		}, r)
		if !errors.Is(err, c.want) || r.Verdict.Good || !strings.HasPrefix(r.Verdict.Text, c.verdict) || r.Interrupted != c.cancel || len(r.Rows) < c.rows || (c.rows == 0) != (len(r.Rows) == 0) || closed != 1 {
			t.Errorf("%s: %v, %+v, %d rows, %d beds closed", name, err, r.Verdict, len(r.Rows), closed)
		}
		if err := r.WriteHTML(t.TempDir() + "/report.html"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A target that dies at any time has the run end with that: what is lost from then on is no figure of it, and no search finds a throughput in it.
func TestTargetThatDies(t *testing.T) {
	for _, bench := range Benchmarks {
		trials := 0
		for dies := 1; dies == 1 || dies <= trials; dies++ { // before each trial of the whole run
			var current *stub
			closed := 0
			o := testOptions(&current)
			o.Benchmarks, o.Repeat, o.LossRatios, o.Width, o.Bursts, o.Latencies = []string{bench}, 1, nil, 0.1, 1, 2
			if dies == 1 {
				dies = math.MaxInt // to see how many there are
			}
			r := newReport()
			err := Run(t.Context(), o, []Case{{"64", 64, 1}}, func(context.Context, Case) (Bed, error) {
				b := newBed(3e6, &closed)
				current = b.stub
				b.until = func(float64, time.Duration) {
					select {
					case <-b.changes:
					default:
					}
				}
				b.change = func(r *Result) {
					if b.trials >= dies {
						r.Received = 0
					}
				}
				return b, nil
			}, r)
			if dies == math.MaxInt {
				trials, dies = current.trials, 1
				if err != nil || !r.Verdict.Good {
					t.Errorf("%s: %v, %+v", bench, err, r.Verdict)
				}
				continue
			}
			if bench == benchReconf && current.trials < dies {
				continue // a change takes as many trials as it happens to
			}
			if !errors.Is(err, ErrDropsAll) || r.Verdict.Good || closed != 1 {
				t.Errorf("%s: the target dies before trial %d of %d: %v, %+v", bench, dies, trials, err, r.Verdict)
			}
		}
	}
}

// A change that fails, or is not over when the load is, ends the run by its name.
func TestChangesThatFail(t *testing.T) {
	closed := 0
	b := newBed(1e6, &closed)
	b.fails = errors.New("no such peer")
	r := b.runner()
	r.wait = func(context.Context, time.Duration) error { return nil }
	if _, err := r.measureReconf(t.Context(), b, 5e5, time.Second); err == nil || !strings.Contains(err.Error(), "100 tunnels added under load, within trials of 1s: no such peer") {
		t.Errorf("a change that fails: %v", err)
	}
	r.wait = sleep
	if _, err := r.measureReconf(t.Context(), b, 5e5, time.Hour); err == nil || !strings.Contains(err.Error(), "context canceled") {
		t.Errorf("a change for which there was no time: %v", err)
	}
}

// Bursts are found to the frame where they are short; a target that keeps up has none that is longest.
func TestBursts(t *testing.T) {
	for buffer, want := range map[float64]float64{32: 32 / (1 - 2e6/10e6), 1000: 1000 / (1 - 2e6/10e6), 1: 1 / (1 - 2e6/10e6)} {
		s := newStub(2e6)
		s.buffer = buffer
		b, err := s.runner().measureBursts(t.Context(), 10e6, 3)
		if err != nil || b.Unlimited || len(b.Frames) != 3 || math.Abs(b.Frames[0]-want) > max(1.5, 0.02*want) {
			t.Errorf("buffer of %g: %+v, %v, expected %g", buffer, b, err, want)
		}
		if wait, most := b.Buffer(2e6).Seconds(), buffer/10e6; math.Abs(wait-most) > 0.02*most+2e-7 {
			t.Errorf("buffer of %g: %gs, expected %gs", buffer, wait, most)
		}
	}
	s := newStub(20e6)
	if b, err := s.runner().measureBursts(t.Context(), 10e6, 3); err != nil || !b.Unlimited || s.trials != 1 || b.Buffer(10e6) != 0 {
		t.Errorf("a target that keeps up: %+v, %v", b, err)
	}
	s.generates = 5e6
	if _, err := s.runner().measureBursts(t.Context(), 10e6, 3); !errors.Is(err, ErrGenerator) {
		t.Errorf("a generator that does not: %v", err)
	}
}

// The loss rate goes down from the highest rate until nothing is lost twice.
func TestLossRate(t *testing.T) {
	s := newStub(6.5e6)
	list, err := s.runner().measureLossRate(t.Context(), 10e6, time.Second)
	if err != nil || len(list) != 6 || math.Abs(list[0].Share-0.35) > 0.001 || list[3].Share == 0 || list[4].Share != 0 || list[5].Share != 0 {
		t.Errorf("%+v, %v", list, err)
	}
}

// The line says what is under way, how long it takes and how long all of it does; what has been measured is believed more than what was planned.
func TestProgress(t *testing.T) {
	now := time.Unix(0, 0)
	var out bytes.Buffer
	p := &progress{out: &out, terminal: true, clock: func() time.Time { return now }, steps: []step{
		{kind: "throughput", what: "64 bytes, 1 tunnel, throughput", planned: 100 * time.Second}, {kind: "latency", what: "64 bytes, 1 tunnel, latency", planned: 10 * time.Second},
		{kind: "throughput", what: "512 bytes, 1 tunnel, throughput", planned: 100 * time.Second}}}
	p.begin(0)
	want := func(line, text string) {
		t.Helper()
		if line != text {
			t.Errorf("expected %q, found %q", text, line)
		}
	}
	want(p.line(1, 14.88e6, time.Second, 30*time.Second), "64 bytes, 1 tunnel, throughput: trial 1, 14880000 frames/s for 1s; about 30s left, 2m20s of all")
	now = now.Add(25 * time.Second)
	want(p.line(9, 1e6, time.Second, 0), "64 bytes, 1 tunnel, throughput: trial 9, 1000000 frames/s for 1s; about 1m15s left, 3m5s of all")
	p.end()
	p.begin(1)
	want(p.line(10, 1e6, 1234567*time.Nanosecond, 2345*time.Millisecond), "64 bytes, 1 tunnel, latency: trial 10, 1000000 frames/s for 1ms; about 2.3s left, 27s of all")
	p.tell(&runner{trials: 9}, 1e6, time.Second, time.Second)
	p.over()
	want(out.String(), "\r64 bytes, 1 tunnel, latency: trial 10, 1000000 frames/s for 1s; about 1s left, 26s of all\x1b[K\n")
}

// The time that is left is about the time that it then takes: within a factor of two at the middle of a search, settling included.
func TestTimeLeft(t *testing.T) {
	for _, capacity := range []float64{25_000, 3.3e6, 14.1e6} {
		s := newStub(capacity)
		s.noise, s.settle = 0.005, 7*time.Second
		r := s.runner()
		type guess struct {
			at   time.Time
			left time.Duration
		}
		var guesses []guess
		r.tell = func(_ *runner, _ float64, _, left time.Duration) { guesses = append(guesses, guess{s.now, left}) }
		if _, err := r.search(t.Context(), []Goal{Throughput(10*time.Second, 0.002)}, testLimits); err != nil {
			t.Fatal(err)
		}
		middle := guesses[len(guesses)/2]
		if took := s.now.Sub(middle.at); middle.left < took/2 || middle.left > 2*took {
			t.Errorf("%g: %v left were %v", capacity, middle.left, took)
		}
	}
}

// What cannot be measured is refused, all of it at once.
func TestOptions(t *testing.T) {
	bad := Options{Benchmarks: []string{"speed", "latency", "latency"}, Limits: Limits{Min: 10, Max: 5}, Trial: time.Second, Initial: 2 * time.Second, Sum: time.Millisecond, LossRatios: []float64{0.7, math.NaN()},
		Width: 0.5, ExceedRatio: 1, Fractions: []float64{2}, Repeat: -1, Latencies: 5000}
	_, err := bad.withDefaults()
	for _, want := range []string{`"speed"`, `"latency"`, "rates of 10 to 5", "first trials of 2s", "together, of 1ms", "ratio of 0.7", "ratio of NaN", "width of 0.5", "exceed ratio of 1", "throughput of 2", "-1 searches", "5000 trials"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("expected %q in %v", want, err)
		}
	}
	if _, err := (Options{Limits: Limits{Min: 1, Max: 5}, Trial: time.Millisecond}).withDefaults(); err == nil || !strings.Contains(err.Error(), "have no frame") {
		t.Errorf("no frame: %v", err)
	}
	if _, err := (Options{Limits: Limits{Max: 14.88e6}}).withDefaults(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
}

// A target that has to learn of its neighbours first is no target that drops everything; one that loses all at some load has a row that says so, and no latency.
func TestFirstFramesAndLastOnes(t *testing.T) {
	s := newStub(1e6)
	s.change = func(r *Result) {
		if s.trials < probes {
			r.Received = 0
		}
	}
	if err := s.runner().probe(t.Context(), 100, time.Second); err != nil || s.trials != probes {
		t.Errorf("%v after %d trials", err, s.trials)
	}
	s.change = func(r *Result) { r.Received, r.Latency = 0, nil }
	list, err := s.runner().measureLatency(t.Context(), 1000, []float64{1}, 2, time.Second)
	if err != nil || len(list) != 1 || list[0].All != nil || list[0].Lost != 2000 {
		t.Fatalf("%+v, %v", list, err)
	}
	o := outcome{Case: Case{"64", 64, 1}, latency: list}
	if row := list[0].row(o.Case); len(row.Figures) != 0 || row.Note != "2000 of 2000 frames were lost" || len(o.plots()) != 0 {
		t.Errorf("%+v, %d plots", row, len(o.plots()))
	}
}
