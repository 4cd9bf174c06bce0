package trials

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"sallyport/perf/report"
	"sallyport/perf/rfc2544"
	"sallyport/perf/traffic"
)

// fake is a tester with a gateway that forwards so many packets a second in each of two directions.
type fake struct {
	capacity, most float64
	fault          func(*traffic.Result)
	closed         bool
}

func (f *fake) Close() error {
	f.closed = true
	return nil
}

func (f *fake) Trial(_ context.Context, load traffic.Load) (*traffic.Result, error) {
	if wished := 2 * load.Rate.Packets; wished > f.most {
		return nil, &traffic.TooMuch{What: "packets/s", Wished: wished, Most: f.most, Why: "a fake"}
	}
	r := &traffic.Result{Seconds: load.Duration.Seconds(), Verdict: traffic.Forwards, Ports: make([]traffic.PortResult, 2)}
	for range 2 {
		sent := math.Round(load.Rate.Packets * r.Seconds)
		h := hdrhistogram.New(1, int64(time.Second), 3)
		h.RecordValues(20_000, 100)
		r.Streams = append(r.Streams, traffic.StreamResult{Sent: uint64(sent), Received: uint64(min(sent, f.capacity*r.Seconds)), Reordered: 1, Duplicates: 2, Latency: traffic.Latency{Histogram: h}})
	}
	if f.fault != nil {
		f.fault(r)
	}
	return r, nil
}

func runFake(t *testing.T, f *fake, most float64) (*report.Report, error) {
	t.Helper()
	r := report.New("rfc2544", []string{"test"}, report.Machine{}, time.Now())
	err := rfc2544.Run(t.Context(), rfc2544.Options{Limits: rfc2544.Limits{Max: most}}, []rfc2544.Case{{Size: "64", Octets: 64, Tunnels: 1}},
		func(context.Context, rfc2544.Case) (rfc2544.Bed, error) { return New(f, 2), nil }, r)
	if !f.closed {
		t.Error("the tester is open")
	}
	return r, err
}

// The rate is that of both directions; so is what is found, and how long packets take.
func TestBothDirections(t *testing.T) {
	r, err := runFake(t, &fake{capacity: 6e5, most: 5e6}, 0)
	if err != nil || !r.Verdict.Good {
		t.Fatalf("%v, %+v", err, r.Verdict)
	}
	if got := r.Rows[0].Figures[0].Median(); math.Abs(got-1.2) > 0.02*1.2 {
		t.Errorf("found %g Mpps, expected 1.2", got)
	}
	if got := r.Rows[1].Figures[1].Median(); math.Abs(got-20) > 0.1 {
		t.Errorf("a median of %g us, expected 20", got)
	}
	one := resultOf(&traffic.Result{Streams: []traffic.StreamResult{{Reordered: 1, Duplicates: 2}, {Reordered: 3, Duplicates: 4}}})
	if one.Reordered != 4 || one.Duplicated != 6 || one.Latency != nil || one.Down {
		t.Errorf("%+v", one)
	}
}

// Each thing that a tester finds wrong ends the run by its name, and so does a rate that the machine cannot make, with that which it can.
func TestFaultsOfTheTarget(t *testing.T) {
	for name, c := range map[string]struct {
		fault func(*traffic.Result)
		want  error
	}{
		"down": {func(r *traffic.Result) { *r = traffic.Result{Verdict: traffic.Down} }, rfc2544.ErrDown},
		"no tunnels": {func(r *traffic.Result) {
			*r = traffic.Result{Verdict: traffic.NoTunnels, Findings: []string{"nobody answers"}}
		}, rfc2544.ErrTunnels},
		"some tunnels":      {func(r *traffic.Result) { *r = traffic.Result{Verdict: traffic.SomeTunnels, Findings: []string{"half"}} }, rfc2544.ErrTunnels},
		"silent":            {func(r *traffic.Result) { r.Streams[0].Received, r.Streams[1].Received = 0, 0 }, rfc2544.ErrDropsAll},
		"leaks":             {func(r *traffic.Result) { r.Ports[1].Cleartext = 1 }, rfc2544.ErrLeaks},
		"reflects":          {func(r *traffic.Result) { r.Ports[0].Reflected = 1 }, rfc2544.ErrReflects},
		"mangles":           {func(r *traffic.Result) { r.Ports[0].Mangled = 1 }, rfc2544.ErrMangles},
		"other address":     {func(r *traffic.Result) { r.Ports[0].OtherAddress = 1 }, rfc2544.ErrStrange},
		"other tunnel":      {func(r *traffic.Result) { r.Ports[1].OtherTunnel = 1 }, rfc2544.ErrStrange},
		"second gateway":    {func(r *traffic.Result) { r.Ports[0].Rivals = 1 }, rfc2544.ErrRivals},
		"usurper":           {func(r *traffic.Result) { r.Ports[1].Usurped = 1 }, rfc2544.ErrRivals},
		"other keys":        {func(r *traffic.Result) { r.Ports[1].Integrity = 1 }, rfc2544.ErrUnreadable},
		"unknown SPI":       {func(r *traffic.Result) { r.Ports[1].UnknownSPI = 1 }, rfc2544.ErrUnreadable},
		"malformed padding": {func(r *traffic.Result) { r.Ports[1].Malformed = 1 }, rfc2544.ErrUnreadable},
	} {
		r, err := runFake(t, &fake{capacity: 6e5, most: 5e6, fault: c.fault}, 3e6)
		if !errors.Is(err, c.want) || r.Verdict.Good || !strings.Contains(r.Verdict.Text, c.want.Error()) {
			t.Errorf("%s: %v, %+v", name, err, r.Verdict)
		}
	}
	if _, err := runFake(t, &fake{capacity: 6e5, most: 1e6}, 3e6); !errors.Is(err, rfc2544.ErrGenerator) || !strings.Contains(err.Error(), "this machine can do at most 1000000") {
		t.Errorf("more than the machine can: %v", err)
	}
}

// A gateway that has had the sequence numbers lets everything pass but what is inbound: that is told from loss.
func TestUsedNumbers(t *testing.T) {
	for _, c := range []struct {
		sequence uint64
		received uint64
		want     bool
	}{{3000, 0, true}, {3000, 1, false}, {0, 0, false}} { // the last one is of SAs by IKE
		b := &bed{tester: &fake{capacity: 6e5, most: 5e6, fault: func(r *traffic.Result) {
			r.Sequence = c.sequence
			r.Streams[0].Direction, r.Streams[1].Direction, r.Streams[1].Received = traffic.Outbound, traffic.Inbound, c.received
		}}, directions: 2}
		if _, err := b.Trial(t.Context(), 1000, time.Second); err != nil || b.replays() != c.want {
			t.Errorf("%+v: %t, %v", c, b.replays(), err)
		}
	}
}

// deaf waits for a target that does not answer.
type deaf struct{ fake }

func (d *deaf) Trial(ctx context.Context, _ traffic.Load) (*traffic.Result, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// Who is interrupted while tunnels come up does not wait for them.
func TestInterruptedBefore(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	asked := make(chan float64)
	go func() { asked <- New(&deaf{}, 1).Most(ctx) }()
	interrupt()
	<-asked
}
