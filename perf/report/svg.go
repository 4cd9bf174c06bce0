package report

import (
	"fmt"
	"html"
	"image/color"
	"math"
	"regexp"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// The size of a plot in points, which its page scales to the width that there is.
const (
	plotWidth  = 640
	plotHeight = 330
)

// The library knows colours and a page has variables, which are others in light and in dark: each of them is drawn in a colour of its own, which stands for it.
// None is black, which the library leaves out.
var (
	ink       = color.RGBA{1, 0, 0, 255}
	faint     = color.RGBA{2, 0, 0, 255} // grid, axes
	reference = color.RGBA{3, 0, 0, 255}
)

// maxMarks is how many points of a line have a mark.
const maxMarks = 12

// shades is how many colours there are for series. A seventh series is drawn like the first.
const shades = 6

func shade(i int) color.Color { return color.RGBA{uint8(16 + i%shades), 0, 0, 255} }

// variables are the names that a page has for them.
var variables = func() *strings.Replacer {
	pairs := []string{"#010000", "var(--ink)", "#020000", "var(--faint)", "#030000", "var(--reference)"}
	for i := range shades {
		pairs = append(pairs, fmt.Sprintf("#%02X0000", 16+i), fmt.Sprintf("var(--series-%d)", i))
	}
	return strings.NewReplacer(pairs...)
}()

// marks tell series apart without colours too.
var marks = [shades]struct {
	draw.GlyphDrawer
	sign string // the same for a legend
}{{draw.CircleGlyph{}, "●"}, {draw.BoxGlyph{}, "■"}, {draw.PyramidGlyph{}, "▲"}, {draw.RingGlyph{}, "○"}, {draw.SquareGlyph{}, "□"}, {draw.TriangleGlyph{}, "△"}}

func style(size vg.Length, c color.Color) text.Style {
	return text.Style{Color: c, Font: font.From(font.Font{Typeface: "Liberation", Variant: "Sans"}, size), Handler: plot.DefaultTextHandler}
}

// svg draws the plot for a page that has the variables. n tells it from the page's others.
func (p *Plot) svg(n int) (string, error) {
	drawn := plot.New()
	drawn.BackgroundColor = color.Transparent
	p.axes(drawn)
	grid := plotter.NewGrid()
	grid.Horizontal = draw.LineStyle{Color: faint, Width: 0.5}
	grid.Vertical = draw.LineStyle{}
	drawn.Add(grid)
	for i, s := range p.Series {
		if err := addSeries(drawn, s, i); err != nil {
			return "", fmt.Errorf("report: plot %q: %w", p.Title, err)
		}
	}
	if err := p.addReferences(drawn); err != nil {
		return "", fmt.Errorf("report: plot %q: %w", p.Title, err)
	}
	p.ranges(drawn)
	canvas := vgsvg.New(plotWidth, plotHeight)
	const margin = 14 // of the last tick's label, half of which is beyond the axis, in whatever font
	drawn.Draw(draw.Crop(draw.New(canvas), 4, -margin, 6, -4))
	var b strings.Builder
	if _, err := canvas.WriteTo(&b); err != nil {
		return "", fmt.Errorf("report: plot %q: %w", p.Title, err)
	}
	return p.embed(b.String(), n)
}

// axes name the axes and place their ticks.
func (p *Plot) axes(drawn *plot.Plot) {
	for _, axis := range []struct {
		of   Axis
		axis *plot.Axis
		x    bool
	}{{p.X, &drawn.X, true}, {p.Y, &drawn.Y, false}} {
		a := axis.axis
		a.Label.Text = axis.of.title()
		label, tick := style(12, ink), style(11, ink)
		label.XAlign, label.YAlign = a.Label.TextStyle.XAlign, a.Label.TextStyle.YAlign
		tick.XAlign, tick.YAlign = a.Tick.Label.XAlign, a.Tick.Label.YAlign
		a.Label.TextStyle, a.Tick.Label = label, tick
		a.Label.Padding = 6
		a.LineStyle.Color, a.Tick.LineStyle.Color = faint, faint
		a.Padding = 4
		if !axis.x { // whose grid says enough
			a.LineStyle.Width, a.Tick.LineStyle.Width, a.Tick.Length, a.Padding = 0, 0, 0, 0
		}
		if axis.of.Log {
			a.Scale, a.Tick.Marker = plot.LogScale{}, plot.TickerFunc(decades)
		} else {
			a.Tick.Marker = plot.TickerFunc(steps)
		}
		if len(axis.of.Ticks) > 0 {
			ticks := plot.ConstantTicks{}
			for _, tick := range axis.of.Ticks {
				ticks = append(ticks, plot.Tick{Value: tick.At, Label: tick.Label})
			}
			a.Tick.Marker = ticks
		}
	}
}

// steps are some five ticks at 1, 2 or 5 times a power of ten.
func steps(low, high float64) (list []plot.Tick) {
	step := math.Pow(10, math.Floor(math.Log10((high-low)/4)))
	for _, times := range []float64{5, 2} {
		if (high-low)/(step*times) >= 4 {
			step *= times
			break
		}
	}
	for i := math.Ceil(low / step); i*step <= high*(1+1e-9); i++ {
		list = append(list, plot.Tick{Value: i * step, Label: number(i * step)})
	}
	return list
}

// decades are ticks at powers of ten, with those between them that fit.
func decades(low, high float64) (list []plot.Tick) {
	between := []float64{1, 2, 5}
	if high/low > 1000 {
		between = between[:1]
	}
	for power := math.Floor(math.Log10(low)); power <= math.Ceil(math.Log10(high)); power++ {
		for _, times := range between {
			if at := times * math.Pow(10, power); at >= low*(1-1e-9) && at <= high*(1+1e-9) {
				list = append(list, plot.Tick{Value: at, Label: number(at)})
			}
		}
	}
	return list
}

// spreads are the points with what is above and below them.
type spreads []Point

func (s spreads) Len() int                { return len(s) }
func (s spreads) XY(i int) (x, y float64) { return s[i].X, s[i].Y }
func (s spreads) YError(i int) (low, high float64) {
	if s[i].Low == 0 && s[i].High == 0 {
		return 0, 0
	}
	return s[i].Y - s[i].Low, s[i].High - s[i].Y
}

func addSeries(drawn *plot.Plot, s Series, i int) error {
	if len(s.Points) == 0 {
		return nil
	}
	line, points, err := plotter.NewLinePoints(spreads(s.Points))
	if err != nil {
		return err
	}
	bars, err := plotter.NewYErrorBars(spreads(s.Points))
	if err != nil {
		return err
	}
	line.LineStyle = draw.LineStyle{Color: shade(i), Width: 1.75}
	points.GlyphStyle = draw.GlyphStyle{Color: shade(i), Radius: 3.2, Shape: marks[i%shades]}
	if every := (len(s.Points) + maxMarks - 1) / maxMarks; every > 1 { // or the marks would hide the line
		var kept plotter.XYs // not in place: the line has the same points
		for at := range points.XYs {
			if at%every == 0 {
				kept = append(kept, points.XYs[at])
			}
		}
		points.XYs = kept
	}
	bars.LineStyle, bars.CapWidth = draw.LineStyle{Color: shade(i), Width: 1}, 6
	drawn.Add(bars, line, points)
	return nil
}

// addReferences draws lines to compare with, each with its name at its right end.
func (p *Plot) addReferences(drawn *plot.Plot) error {
	places := p.columns()
	for _, r := range p.References {
		points := r.Points
		if points == nil {
			points = []Point{{X: places[0], Y: r.At}, {X: places[len(places)-1], Y: r.At}}
		}
		line, err := plotter.NewLine(spreads(points))
		if err != nil {
			return err
		}
		line.LineStyle = draw.LineStyle{Color: reference, Width: 1.25, Dashes: []vg.Length{5, 3}}
		last := points[len(points)-1]
		labels, err := plotter.NewLabels(plotter.XYLabels{XYs: plotter.XYs{{X: last.X, Y: last.Y}}, Labels: []string{r.Name}})
		if err != nil {
			return err
		}
		labels.TextStyle[0] = style(10, reference)
		labels.TextStyle[0].XAlign, labels.TextStyle[0].YAlign = draw.XRight, draw.YBottom
		labels.Offset = vg.Point{Y: 3}
		drawn.Add(line, labels)
	}
	return nil
}

// ranges leaves room above, begins at 0 where that is fair, and gives an axis with one place on it some length.
func (p *Plot) ranges(drawn *plot.Plot) {
	for _, axis := range []struct {
		of Axis
		a  *plot.Axis
		y  bool
	}{{p.X, &drawn.X, false}, {p.Y, &drawn.Y, true}} {
		if axis.y && !axis.of.Log {
			axis.a.Min = min(axis.a.Min, 0)
			axis.a.Max += 0.08 * (axis.a.Max - axis.a.Min)
		}
		if axis.a.Min < axis.a.Max {
			continue
		}
		if axis.of.Log {
			axis.a.Min, axis.a.Max = axis.a.Min/2, axis.a.Max*2
		} else {
			axis.a.Max++
			if !axis.y { // where 0 is the least that there is
				axis.a.Min--
			}
		}
	}
	if p.Y.Log { // to the next ticks
		drawn.Y.Min = math.Pow(10, math.Floor(math.Log10(drawn.Y.Min)+1e-9))
		drawn.Y.Max *= 1.3
	}
}

var (
	prologue = regexp.MustCompile(`(?s)^.*?<svg[^>]*>`)
	family   = regexp.MustCompile(`font-family:[^;"]*;font-variant:[^;"]*;font-weight:[^;"]*;font-style:[^;"]*;`)
)

// embed makes it a part of a page: with a name and a description, in the page's font and colours, as wide as there is room.
func (p *Plot) embed(drawn string, n int) (string, error) {
	body := prologue.ReplaceAllLiteralString(drawn, "")
	if body == drawn {
		return "", fmt.Errorf("report: plot %q: expected an SVG element, found none", p.Title)
	}
	return fmt.Sprintf(`<svg viewBox="0 0 %d %d" role="img" aria-labelledby="plot-%d-title plot-%d-description" xmlns="http://www.w3.org/2000/svg">`+
		`<title id="plot-%d-title">%s</title><desc id="plot-%d-description">%s</desc>`, plotWidth, plotHeight, n, n,
		n, html.EscapeString(p.Title), n, html.EscapeString(p.Description)) + "\n" + variables.Replace(family.ReplaceAllLiteralString(body, "")), nil
}
