package report

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"io"
)

// page is the whole of it: no script, nothing to be fetched, and a policy in its head by which the browser would refuse both.
//
//go:embed page.html
var page string

var pageTemplate = template.Must(template.New("page").Parse(page))

// shown is what the template shows.
type shown struct {
	*Report
	Ends    string
	Facts   []fact
	Figures []shownPlot
	Tables  []shownTable
	Glance  []glance
	Shades  [shades]struct{}
}

type fact struct{ Name, Value string }

// glance is a target of a row, met or missed.
type glance struct {
	Row, Figure, Value, Target string
	Met                        bool
}

type shownTable struct {
	Headings []string
	Rows     []shownRow
	Notes    bool
}

type shownRow struct {
	Name, Note string
	Cells      []shownCell
}

type shownCell struct {
	Median, Spread string
	Missed         bool
}

type shownPlot struct {
	*Plot
	Drawing  template.HTML
	Legend   []legend
	Headings []string
	Rows     [][]string
}

type legend struct {
	Variable int
	Sign     string
	Name     string
}

// WriteHTML writes the page as a file. Without a name it writes nothing.
func (r *Report) WriteHTML(name string) error {
	if name == "" {
		return nil
	}
	var b bytes.Buffer
	if err := r.writePage(&b); err != nil {
		return err
	}
	return WriteFile(name, b.Bytes())
}

func (r *Report) writePage(w io.Writer) error {
	if err := r.validate(); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	s := shown{Report: r, Ends: r.ends(), Facts: r.facts()}
	for i := range r.Plots {
		plot := r.Plots[i].scaled()
		p, err := plot.show(i)
		if err != nil {
			return err
		}
		s.Figures = append(s.Figures, p)
	}
	for _, t := range r.tables() {
		s.Tables = append(s.Tables, t.show())
	}
	for _, row := range r.Rows {
		for _, f := range row.Figures {
			if f.Target != nil {
				s.Glance = append(s.Glance, glance{row.Name, f.heading(), number(f.Median()), number(*f.Target), f.Met()})
			}
		}
	}
	if err := pageTemplate.Execute(w, s); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

// facts are the machine, line by line.
func (r *Report) facts() []fact {
	m := r.Machine
	list := []fact{{"CPU", m.CPU}, {"CPUs", fmt.Sprint(m.CPUs)}, {"Measured on", fmt.Sprintf("CPU %d, %s", m.Core, m.priority())}, {"Linux", m.Kernel}}
	if m.DPDK != "" {
		list = append(list, fact{"DPDK", m.DPDK})
	}
	return append(list, fact{"Memory", m.pages()})
}

func (t table) show() shownTable {
	s := shownTable{Headings: t.headings}
	for _, row := range t.rows {
		line := shownRow{Name: row.Name, Note: row.Note}
		s.Notes = s.Notes || row.Note != ""
		for _, f := range row.Figures {
			low, median, high := f.Spread()
			cell := shownCell{Median: number(median), Missed: !f.Met()}
			if low != high {
				cell.Spread = number(low) + "–" + number(high)
			}
			line.Cells = append(line.Cells, cell)
		}
		s.Rows = append(s.Rows, line)
	}
	return s
}

func (p *Plot) show(n int) (shownPlot, error) {
	drawing, err := p.svg(n)
	if err != nil {
		return shownPlot{}, err
	}
	s := shownPlot{Plot: p, Drawing: template.HTML(drawing), Headings: []string{p.X.title()}} // the library and embed escape what is not theirs
	for i, series := range p.Series {
		s.Legend = append(s.Legend, legend{i % shades, marks[i%shades].sign, series.Name})
		s.Headings = append(s.Headings, series.Name)
	}
	var curves []Reference // one at a single height says on the plot what there is to say
	for _, r := range p.References {
		if r.Points != nil {
			s.Headings, curves = append(s.Headings, r.Name), append(curves, r)
		}
	}
	for _, x := range p.named() {
		line := []string{p.X.text(x)}
		for _, series := range p.Series {
			line = append(line, cellAt(series.Points, x))
		}
		for _, r := range curves {
			line = append(line, cellAt(r.Points, x))
		}
		s.Rows = append(s.Rows, line)
	}
	return s, nil
}

func cellAt(points []Point, x float64) string {
	for _, at := range points {
		if at.X == x {
			return number(at.Y)
		}
	}
	return ""
}
