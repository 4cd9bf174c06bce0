package report

import (
	"fmt"
	"slices"
	"strings"
)

// units.go: figures as they are shown. Files keep the unit that they were measured in, so that runs compare.

// smaller are the units of rates that small ones are shown in.
var smaller = map[string]string{"Mpps": "kpps", "kpps": "pps", "Gbps": "Mbps", "Mbps": "kbps"}

// leastShown is below which the largest figure in a unit is shown in the next smaller one.
const leastShown = 0.1

// shownUnit is the unit in which figures up to largest are shown, and what they are multiplied by for it.
func shownUnit(unit string, largest float64) (string, float64) {
	factor := 1.0
	for largest > 0 && largest*factor < leastShown && smaller[unit] != "" {
		unit, factor = smaller[unit], factor*1000
	}
	return unit, factor
}

// Rate is a rate as it is shown, with its unit.
func Rate(rate float64, unit string) string {
	shown, factor := shownUnit(unit, rate)
	return fmt.Sprintf("%.3g %s", rate*factor, shown)
}

// times is a figure in another unit.
func (f Figure) times(unit string, factor float64) Figure {
	f.Unit = unit
	if factor == 1 {
		return f
	}
	samples := make([]float64, len(f.Samples))
	for i, s := range f.Samples {
		samples[i] = s * factor
	}
	f.Samples = samples
	if f.Target != nil {
		target := *f.Target * factor
		f.Target = &target
	}
	return f
}

// scale has each column of a table in a unit that its largest figure is worth.
func (t *table) scale() {
	for column := range t.headings {
		largest := 0.0
		for _, row := range t.rows {
			largest = max(largest, row.Figures[column].Median())
		}
		unit, factor := shownUnit(t.rows[0].Figures[column].Unit, largest)
		for i := range t.rows {
			t.rows[i].Figures[column] = t.rows[i].Figures[column].times(unit, factor)
		}
		t.headings[column] = t.rows[0].Figures[column].heading()
	}
}

// scaled has the axes of a plot in units that their largest values are worth.
func (p Plot) scaled() Plot {
	x, y := 0.0, 0.0
	for _, s := range p.Series {
		for _, at := range s.Points {
			x, y = max(x, at.X), max(y, at.Y)
		}
	}
	var byX, byY float64
	p.X.Unit, byX = shownUnit(p.X.Unit, x)
	p.Y.Unit, byY = shownUnit(p.Y.Unit, y)
	if byX == 1 && byY == 1 {
		return p
	}
	points := func(from []Point) (list []Point) {
		for _, at := range from {
			list = append(list, Point{X: at.X * byX, Y: at.Y * byY, Low: at.Low * byY, High: at.High * byY})
		}
		return list
	}
	p.Series, p.References, p.X.Ticks = slices.Clone(p.Series), slices.Clone(p.References), slices.Clone(p.X.Ticks)
	for i := range p.Series {
		p.Series[i].Points = points(p.Series[i].Points)
	}
	for i := range p.References {
		p.References[i].At, p.References[i].Points = p.References[i].At*byY, points(p.References[i].Points)
	}
	for i := range p.X.Ticks {
		p.X.Ticks[i].At *= byX
	}
	return p
}

// widest is how many figures a line has at the most.
const widest = 8

// parts are the figures of a row in lines: of a wide one those whose names begin with the same words, up to a comma, stand together.
func (r Row) parts() (list [][]Figure) {
	if len(r.Figures) <= widest {
		return [][]Figure{r.Figures}
	}
	of := func(f Figure) string {
		group, _, grouped := strings.Cut(f.Name, ", ")
		if !grouped {
			return ""
		}
		return group
	}
	for i, f := range r.Figures {
		if i == 0 || of(f) != of(r.Figures[i-1]) || len(list[len(list)-1]) == widest {
			list = append(list, nil)
		}
		list[len(list)-1] = append(list[len(list)-1], f)
	}
	return list
}
