package negotiate

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// rowOf is one of so many SAs a second, in ten parts that differ by a spread.
func rowOf(reference bool, outstanding int, perSecond, spread float64) Row {
	r := Row{Reference: reference, Outstanding: outstanding, SARate: perSecond, from: time.Unix(0, 0)}
	at := r.from
	for part := range parts {
		each := perSecond * (1 + spread*float64(part%2*2-1))
		for range 10 {
			at = at.Add(time.Duration(float64(time.Second) / each))
			r.ends = append(r.ends, at)
		}
	}
	return r
}

// S-117: overload is not shed where a rate is below 90 % of the best by more than what was measured differs within itself; of what may be noise, and of loads that hardly differ, nothing is said.
func TestVerdict(t *testing.T) {
	for name, c := range map[string]struct {
		hurried, reference Row
		shed               bool
		undecided          string
	}{
		"far below":            {rowOf(false, 1500, 50, 0.1), rowOf(true, 32, 100, 0.1), false, ""},
		"a little below":       {rowOf(false, 1500, 88, 0.01), rowOf(true, 32, 100, 0.01), false, ""},
		"below, within noise":  {rowOf(false, 1500, 80, 0.4), rowOf(true, 32, 100, 0.4), false, "may be noise"},
		"as good":              {rowOf(false, 1500, 97, 0.1), rowOf(true, 32, 100, 0.1), true, ""},
		"better":               {rowOf(false, 1500, 110, 0.1), rowOf(true, 32, 100, 0.1), true, ""},
		"hardly another load":  {rowOf(false, 40, 70, 0.01), rowOf(true, 32, 100, 0.01), false, "are no overload"},
		"nothing of a spread":  {Row{Outstanding: 1500, SARate: 50}, Row{Reference: true, SARate: 100}, false, "may be noise"},
		"nothing was complete": {Row{Outstanding: 1500}, Row{Reference: true}, false, "may be noise"},
	} {
		v, ok := verdict([]Row{c.hurried, c.reference})
		if !ok || v.Shed != c.shed || !strings.Contains(v.Undecided, c.undecided) || c.undecided == "" && v.Undecided != "" {
			t.Errorf("%s: %+v", name, v)
		}
		if _, err := json.Marshal(v); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if said := judged([]any{v}); said.Good != (c.shed || c.undecided != "") {
			t.Errorf("%s: %+v", name, said)
		}
	}
	// Four measurements that differ say more than the parts of each.
	var rows []Row
	for _, perSecond := range []float64{60, 110, 65, 105} {
		rows = append(rows, rowOf(false, 1500, perSecond, 0.01), rowOf(true, 32, 100, 0.01))
	}
	if v, _ := verdict(rows); v.Undecided == "" || v.Shed {
		t.Errorf("measurements that differ by a half: %+v", v)
	}
	cut := rowOf(false, 1500, 10, 0.1)
	cut.CutShort = true
	if v, ok := verdict([]Row{cut, rowOf(true, 32, 100, 0.1)}); ok {
		t.Errorf("of a row that was cut short: %+v", v)
	}
}

// A row says how long it still takes.
func TestLeft(t *testing.T) {
	began := time.Unix(0, 0)
	slow := round{plan: plan{interval: 50 * time.Millisecond, callers: 100}, first: began}
	quick := round{plan: plan{callers: 100, bound: 32}, first: began, Completed: 20, Failed: 5}
	limited := quick
	limited.limit = 7 * time.Second
	for name, c := range map[string]struct {
		round round
		want  time.Duration
	}{"by the plan": {slow, 3 * time.Second}, "by those so far": {quick, 6 * time.Second}, "not beyond its limit": {limited, 5 * time.Second}, "nobody knows": {round{first: began}, 0}} {
		if got := c.round.left(began.Add(2 * time.Second)); got != c.want {
			t.Errorf("%s: %v left, expected %v", name, got, c.want)
		}
	}
	told := 0
	slow.tell = func(*round, time.Time) { told++ }
	for ms := range 3500 {
		slow.progress(began.Add(time.Duration(ms) * time.Millisecond))
	}
	if told != 3 {
		t.Errorf("told %d times in 3.5 seconds, expected once a second", told)
	}
}
