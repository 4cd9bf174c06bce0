package report

import (
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"text/tabwriter"

	"golang.org/x/perf/benchmath"
)

// What a comparison holds to be more than noise: a chance of one in twenty at most that two samples of the same thing differ by so much.
const (
	significance = 0.05
	resamples    = 2000
	mostSamples  = 10_000 // of a figure: they are drawn and sorted so often that more would take minutes
)

// Comparison is one figure in two reports.
type Comparison struct {
	Row, Figure string
	Unit        string
	A, B        float64 // medians
	Ratio       float64 // B/A; 0 where A is 0
	Low, High   float64 // 95 % of the ratios of medians of samples drawn again
	Verdict     string
}

// What a comparison can end with.
const (
	Noise  = "within the noise"
	TooFew = "too few samples to tell"
)

// Difference is all that two reports differ by.
type Difference struct {
	Machines []string // what their machines do not share
	Warnings []string
	Figures  []Comparison
	OnlyA    []string // rows, and figures of rows
	OnlyB    []string
}

// Compare matches rows and figures by their names.
func Compare(a, b *Report) (*Difference, error) {
	if a.Tool != b.Tool {
		return nil, fmt.Errorf("report: expected two reports of one tool, found one of %s and one of %s", a.Tool, b.Tool)
	}
	d := &Difference{Machines: a.Machine.differences(b.Machine)}
	for _, of := range []struct {
		name string
		*Report
	}{{"A", a}, {"B", b}} {
		if of.Interrupted {
			d.Warnings = append(d.Warnings, of.name+" was interrupted: what it has is compared")
		}
		if !of.Verdict.Good && of.Verdict.Text != "" {
			d.Warnings = append(d.Warnings, of.name+" says: "+of.Verdict.Text)
		}
	}
	in := figures(b)
	for _, row := range a.Rows {
		for _, f := range row.Figures {
			key := [2]string{row.Name, f.Name}
			other, both := in[key]
			switch {
			case !both:
				d.OnlyA = append(d.OnlyA, row.Name+": "+f.Name)
			case other.Unit != f.Unit:
				return nil, fmt.Errorf("report: row %q: expected figure %q in one unit, found %q in A and %q in B", row.Name, f.Name, f.Unit, other.Unit)
			case max(len(f.Samples), len(other.Samples)) > mostSamples:
				return nil, fmt.Errorf("report: row %q, figure %q: expected at most %d samples, found %d in A and %d in B", row.Name, f.Name, mostSamples, len(f.Samples), len(other.Samples))
			default:
				d.Figures = append(d.Figures, compare(row.Name, f, other))
			}
			delete(in, key)
		}
	}
	for _, row := range b.Rows {
		for _, f := range row.Figures {
			if _, left := in[[2]string{row.Name, f.Name}]; left {
				d.OnlyB = append(d.OnlyB, row.Name+": "+f.Name)
			}
		}
	}
	if len(d.Figures) == 0 {
		return nil, fmt.Errorf("report: expected rows that both reports have, found none: A has %d, B has %d", len(a.Rows), len(b.Rows))
	}
	return d, nil
}

func figures(r *Report) map[[2]string]Figure {
	all := map[[2]string]Figure{}
	for _, row := range r.Rows {
		for _, f := range row.Figures {
			all[[2]string{row.Name, f.Name}] = f
		}
	}
	return all
}

// compare decides by the Mann-Whitney U test, which assumes nothing of how samples are distributed, and shows beside it how far the ratio is to be trusted. Either may find
// the difference to be noise: what the ratio leaves open is not called a difference.
func compare(row string, a, b Figure) Comparison {
	c := Comparison{Row: row, Figure: a.Name, Unit: a.Unit, A: a.Median(), B: b.Median()}
	if c.A != 0 {
		c.Ratio = c.B / c.A
		c.Low, c.High = resample(a.Samples, b.Samples)
	}
	thresholds := benchmath.Thresholds{CompareAlpha: significance}
	test := benchmath.AssumeNothing.Compare(benchmath.NewSample(slices.Clone(a.Samples), &thresholds), benchmath.NewSample(slices.Clone(b.Samples), &thresholds))
	lowA, _, highA := a.Spread()
	lowB, _, highB := b.Spread()
	switch {
	case lowA == highA && lowB == highB && lowA == lowB:
		c.Verdict = "the same"
	case test.P > significance && !enough(len(a.Samples), len(b.Samples)):
		c.Verdict = fmt.Sprintf("%s (%d and %d)", TooFew, len(a.Samples), len(b.Samples))
	case test.P > significance, c.Ratio != 0 && c.Low <= 1 && c.High >= 1:
		c.Verdict = Noise
	default:
		c.Verdict = direction(a.Better, c.B > c.A)
	}
	return c
}

// enough says whether samples of these sizes could differ by more than chance at all: of all the orders in which they can come, two have each of A before each of B or behind it.
func enough(a, b int) bool {
	orders := 1.0
	for i := 1; i <= min(a, b); i++ {
		orders *= float64(max(a, b)+i) / float64(i)
	}
	return 2/orders <= significance
}

func direction(better Better, more bool) string {
	switch {
	case better == Neither && more:
		return "more"
	case better == Neither:
		return "less"
	case (better == Higher) == more:
		return "better"
	default:
		return "worse"
	}
}

// resample draws samples of the same sizes from what was measured, again and again, and says between which ratios of medians 95 % of them are. It draws the same each time.
func resample(a, b []float64) (low, high float64) {
	random := rand.New(rand.NewPCG(1, 2))
	median := func(of []float64) float64 {
		drawn := make([]float64, len(of))
		for i := range drawn {
			drawn[i] = of[random.IntN(len(of))]
		}
		return Figure{Samples: drawn}.Median()
	}
	var ratios []float64
	for range resamples {
		if of := median(a); of != 0 {
			ratios = append(ratios, median(b)/of)
		}
	}
	if len(ratios) == 0 {
		return 0, 0
	}
	slices.Sort(ratios)
	cut := int(float64(len(ratios)) * significance / 2)
	return ratios[cut], ratios[len(ratios)-1-cut]
}

// WriteText prints it. What makes the figures ones that cannot be compared stands first.
func (d *Difference) WriteText(w io.Writer) error {
	var b strings.Builder
	if len(d.Machines) > 0 {
		fmt.Fprintln(&b, "DIFFERENT MACHINES: the ratios say as much of them as of what was measured")
		for _, line := range d.Machines {
			fmt.Fprintln(&b, "  "+line)
		}
	}
	for _, line := range d.Warnings {
		fmt.Fprintln(&b, line)
	}
	if b.Len() > 0 {
		fmt.Fprintln(&b)
	}
	columns := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(columns, "\t\tA\tB\tB/A\t95 %")
	for _, c := range d.Figures {
		ratio, spread := "", ""
		if c.Ratio != 0 {
			ratio, spread = fmt.Sprintf("%.3f", c.Ratio), fmt.Sprintf("%.3f-%.3f", c.Low, c.High)
		}
		unit, factor := shownUnit(c.Unit, max(c.A, c.B))
		fmt.Fprintf(columns, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", c.Row, Figure{Name: c.Figure, Unit: unit}.heading(), number(c.A*factor), number(c.B*factor), ratio, spread, c.Verdict)
	}
	if err := columns.Flush(); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	for _, only := range []struct {
		of   string
		list []string
	}{{"A", d.OnlyA}, {"B", d.OnlyB}} {
		for _, name := range only.list {
			fmt.Fprintf(&b, "only in %s: %s\n", only.of, name)
		}
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}
