package report

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

// Small rates are shown in a smaller unit, all of a column in the same, and files keep what was measured; a row of many figures has several lines, and one without figures no heading.
func TestShown(t *testing.T) {
	r := New("rfc2544", []string{"test"}, Machine{}, time.Now())
	wide := Row{Name: "wide", Note: "once"}
	for _, name := range []string{"tunnels", "lost", "took", "staying, sent", "staying, lost", "staying, reordered", "changing, sent", "changing, lost", "changing, reordered"} {
		wide.Figures = append(wide.Figures, Figure{Name: name, Samples: []float64{7}})
	}
	rate := func(name string, mpps float64) Row {
		return Row{Name: name, Figures: []Figure{{Name: "throughput", Unit: "Mpps", Better: Higher, Samples: []float64{mpps}}, {Name: "frames", Unit: "Gbps", Samples: []float64{mpps * 0.5}}}}
	}
	r.Rows = []Row{rate("a", 0.0005), rate("b", 0.002), wide, {Name: "burst", Note: "no burst is lost"}}
	var text, page bytes.Buffer
	if err := r.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	if err := r.writePage(&page); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"   throughput, kpps  frames, Mbps\na  0.5               0.25\nb  2                 1\n", "tunnels  lost  took\nwide  7        7     7  once\n",
		"changing, sent  changing, lost  changing, reordered\nwide  7", "\n\nburst  no burst is lost\n"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("it does not have %q:\n%s", want, text.String())
		}
	}
	if strings.Count(text.String(), "once") != 1 || strings.Contains(page.String(), "<thead><tr><th scope=\"col\"></th><th scope=\"col\"></th></tr>") || !strings.Contains(page.String(), "throughput, kpps") {
		t.Errorf("the page:\n%s", page.String())
	}
	if r.Rows[0].Figures[0].Unit != "Mpps" || r.Rows[0].Figures[0].Samples[0] != 0.0005 {
		t.Errorf("what is shown has changed what was measured: %+v", r.Rows[0])
	}
	for _, c := range []struct {
		unit    string
		largest float64
		want    string
	}{{"Mpps", 14, "Mpps"}, {"Mpps", 0.1, "Mpps"}, {"Mpps", 0.09, "kpps"}, {"Mpps", 0.00001, "pps"}, {"Mpps", 0, "Mpps"}, {"us", 0.001, "us"}} {
		if unit, _ := shownUnit(c.unit, c.largest); unit != c.want {
			t.Errorf("%g %s are shown in %s, expected %s", c.largest, c.unit, unit, c.want)
		}
	}
}
