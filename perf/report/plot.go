package report

import (
	"errors"
	"fmt"
	"slices"
)

// Plot is what a page draws, and shows as a table beside it. A report says what is to be seen, not how it looks.
type Plot struct {
	Title       string      `json:"title"`
	Description string      `json:"description"` // what the plot shows, for those who do not see it
	X           Axis        `json:"x"`
	Y           Axis        `json:"y"`
	Series      []Series    `json:"series"`
	References  []Reference `json:"references,omitempty"`
}

// Axis is one of the two. Without ticks it has some; that of y begins at 0 unless it is logarithmic.
type Axis struct {
	Label string `json:"label"`
	Unit  string `json:"unit,omitempty"`
	Log   bool   `json:"log,omitempty"`
	Ticks []Tick `json:"ticks,omitempty"`
}

// Tick is a place of an axis that has a name: a size of frames, a percentile.
type Tick struct {
	At    float64 `json:"at"`
	Label string  `json:"label"`
}

// Series is a line through its points.
type Series struct {
	Name   string  `json:"name"`
	Points []Point `json:"points"`
}

// Point is a measurement. Low and High are its spread; both are 0 where there is none.
type Point struct {
	X    float64 `json:"x"`
	Y    float64 `json:"y"`
	Low  float64 `json:"low,omitempty"`
	High float64 `json:"high,omitempty"`
}

// Reference is a line to compare with: a floor, a peer, a target. It is at one height, or has points as a series has.
type Reference struct {
	Name   string  `json:"name"`
	At     float64 `json:"at,omitempty"`
	Points []Point `json:"points,omitempty"`
}

// Categories are ticks for things that have an order and no distance: the n-th is at n.
func Categories(names ...string) []Tick {
	ticks := make([]Tick, len(names))
	for i, name := range names {
		ticks[i] = Tick{float64(i), name}
	}
	return ticks
}

// title is what stands beside an axis.
func (a Axis) title() string {
	if a.Unit == "" {
		return a.Label
	}
	return a.Label + " (" + a.Unit + ")"
}

// text is a place of the axis in words: that of a tick, or a number.
func (a Axis) text(x float64) string {
	for _, tick := range a.Ticks {
		if tick.At == x {
			return tick.Label
		}
	}
	return number(x)
}

func (p *Plot) validate() error {
	var errs []error
	wrong := func(form string, args ...any) {
		errs = append(errs, fmt.Errorf("plot %q: "+form, append([]any{p.Title}, args...)...))
	}
	if p.Title == "" || p.Description == "" || p.X.Label == "" || p.Y.Label == "" {
		wrong("expected a title, a description and a label of each axis")
	}
	check := func(name string, points []Point) {
		for _, at := range points {
			if slices.ContainsFunc([]float64{at.X, at.Y, at.Low, at.High}, notFinite) {
				wrong("%s: expected numbers, found %+v", name, at)
			}
			if p.X.Log && at.X <= 0 || p.Y.Log && at.Y <= 0 {
				wrong("%s: expected numbers above 0 on a logarithmic axis, found %+v", name, at)
			}
		}
	}
	drawn := 0
	for _, s := range p.Series {
		check(s.Name, s.Points)
		drawn += len(s.Points)
	}
	for _, r := range p.References {
		if r.Points == nil {
			r.Points = []Point{{X: 1, Y: r.At}}
		}
		check(r.Name, r.Points)
	}
	if drawn == 0 {
		wrong("expected points, found none")
	}
	return errors.Join(errs...)
}

// columns are the places on the x axis that anything was measured at, in their order.
func (p *Plot) columns() []float64 {
	var places []float64
	for _, s := range p.Series {
		for _, at := range s.Points {
			places = append(places, at.X)
		}
	}
	for _, r := range p.References {
		for _, at := range r.Points {
			places = append(places, at.X)
		}
	}
	slices.Sort(places)
	return slices.Compact(places)
}

// named are those of them that are ticks: the rows of the table beside the plot. A curve has many more points. Where none is a tick, all of them are.
func (p *Plot) named() []float64 {
	all := p.columns()
	var named []float64
	for _, x := range all {
		if slices.ContainsFunc(p.X.Ticks, func(tick Tick) bool { return tick.At == x }) {
			named = append(named, x)
		}
	}
	if named == nil {
		return all
	}
	return named
}
