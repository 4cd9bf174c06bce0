package trials

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/ike"
	"sallyport/perf/report"
	"sallyport/perf/rfc2544"
	"sallyport/perf/traffic"
)

// Of the streams of both directions the last tunnels have some of their own, with their part of the flows; of a single tunnel nothing is left for the others.
func TestApart(t *testing.T) {
	both := []traffic.Stream{{Direction: traffic.Outbound, Flows: 100, Tunnels: 10}, {Direction: traffic.Inbound, Flows: 100, Tunnels: 10}}
	list := apart(both, 10, 3)
	if len(list) != 4 {
		t.Fatalf("%d streams, expected 4", len(list))
	}
	for i, want := range []traffic.Stream{{Name: "outbound", Tunnels: 7, Flows: 70}, {Name: "outbound, changing", First: 7, Tunnels: 3, Flows: 30},
		{Name: "inbound", Tunnels: 7, Flows: 70}, {Name: "inbound, changing", First: 7, Tunnels: 3, Flows: 30}} {
		if got := list[i]; got.Name != want.Name || got.First != want.First || got.Tunnels != want.Tunnels || got.Flows != want.Flows {
			t.Errorf("stream %d is %+v, expected %+v", i, got, want)
		}
	}
	if list := apart(both, 10, 10); len(list) != 2 || list[0].First != 0 || list[0].Flows != 100 {
		t.Errorf("all of them: %+v", list)
	}
	r := &run{}
	for tunnels, want := range map[int]int{1: 1, 9: 1, 1000: 100} {
		if got := r.changing(tunnels); got != want {
			t.Errorf("of %d tunnels %d change, expected %d", tunnels, got, want)
		}
	}
	r.Change = 100
	for tunnels, want := range map[int]int{1: 1, 1000: 100} {
		if got := r.changing(tunnels); got != want {
			t.Errorf("of %d tunnels %d of 100 change, expected %d", tunnels, got, want)
		}
	}
}

// changer is a tester whose tunnels change, or do not.
type changer struct {
	fake
	changes []string
	fails   error
	running chan struct{} // a change has been made
}

func (c *changer) Trial(ctx context.Context, load traffic.Load) (*traffic.Result, error) {
	r, err := c.fake.Trial(ctx, load)
	if err != nil {
		return r, err
	}
	r.Streams[0].Name, r.Streams[1].Name = "outbound", "outbound"+changing
	if load.Duration == reconfTrial && c.idle() {
		select {
		case <-c.running:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		r.Streams[1].Received -= 5
	}
	return r, nil
}

// idle says whether the trials that a change belongs to are of those with one: each second of that length.
func (c *changer) idle() bool {
	c.changes = append(c.changes, "")
	return len(c.changes)%2 == 0
}

const reconfTrial = 40 * time.Millisecond

func (c *changer) Change(_ context.Context, kind traffic.Change, tunnels []int) error {
	if !slices.Equal(tunnels, []int{7, 8, 9}) {
		return errors.New("other tunnels than those that change")
	}
	c.running <- struct{}{}
	return c.fails
}

// A run of the benchmark makes each change to the tunnels that are to change, and keeps what is lost of them apart.
func TestReconf(t *testing.T) {
	for name, fails := range map[string]error{"carried out": nil, "refused": traffic.ErrNotChanged} {
		c := &changer{fake: fake{capacity: 6e5, most: 5e6}, running: make(chan struct{}, 1), fails: fails}
		open := func(context.Context, rfc2544.Case) (rfc2544.Bed, error) {
			one := &oneOf{bed{tester: c, directions: 2}, &run{}}
			return &changeable{one, c, []traffic.Stream{{First: 7}}, 10}, nil
		}
		r := report.New("rfc2544", []string{"test"}, report.Machine{}, time.Now())
		err := rfc2544.Run(t.Context(), rfc2544.Options{Benchmarks: []string{rfc2544.Reconfiguration}, Limits: rfc2544.Limits{Min: 1000, Max: 1e5}, Trial: reconfTrial, Initial: reconfTrial / 2},
			[]rfc2544.Case{{Size: "64", Octets: 64, Tunnels: 10}}, open, r)
		if !errors.Is(err, fails) || (err == nil) != (fails == nil) {
			t.Errorf("%s: %v", name, err)
		}
		if fails != nil {
			continue
		}
		if len(r.Rows) != 3 {
			t.Fatalf("%s: %d rows", name, len(r.Rows))
		}
		for i, change := range []string{"rekey", "remove", "add"} {
			row := r.Rows[i]
			if !strings.HasSuffix(row.Name, "10 tunnels, "+change) || row.Figures[0].Median() != 3 || row.Figures[1].Median() != 5 {
				t.Errorf("%s: %+v", name, row)
			}
		}
	}
}

// Keys given by hand are changed by nobody: the benchmark is refused with what was expected.
func TestReconfByHand(t *testing.T) {
	r := &run{Options: Options{Bench: rfc2544.Options{Benchmarks: []string{rfc2544.Reconfiguration}}}}
	if err := r.checkChanges(); err == nil || !strings.Contains(err.Error(), "expected tunnels that IKE makes") {
		t.Errorf("tunnels without peers can be changed: %v", err)
	}
	r.target.Peers = []ike.Peer{{}}
	if err := r.checkChanges(); err != nil {
		t.Errorf("tunnels that IKE makes cannot be changed: %v", err)
	}
}
