package report

import (
	"bytes"
	"image"
	"image/draw"
	"image/png"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A browser shows the page whole, in light and in dark, on a wide screen and on a narrow one; it fetches nothing and has nothing to complain about.
func TestPageInBrowser(t *testing.T) {
	r := sample()
	file := filepath.Join(t.TempDir(), "report.html")
	if err := r.WriteHTML(file); err != nil {
		t.Fatal(err)
	}
	page := "file://" + file
	b := newBrowser(t)
	b.view(1240, "light")
	b.open(page)
	for _, view := range []struct {
		width  int
		scheme string
	}{{1240, "light"}, {1240, "dark"}, {400, "light"}} {
		b.view(view.width, view.scheme)
		lookAtPlots(t, b, r, view.width)
		lookAtText(t, b, view.scheme)
		picture := b.picture()
		wantDrawn(t, b, picture, view.scheme)
		if t.Failed() {
			t.Fatalf("at %d pixels, %s", view.width, view.scheme)
		}
	}
	if complaints := b.complaints(page); len(complaints) > 0 {
		t.Errorf("the page has complaints:\n%s", strings.Join(complaints, "\n"))
	}
	// That would have been seen: the page is asked to fetch something.
	b.look(`new Promise(done => { const i = new Image(); i.onerror = () => done(true); i.src = "http://127.0.0.1:9/x.png" })`, new(bool))
	if len(b.complaints(page)) == 0 {
		t.Error("an image from elsewhere was not refused aloud")
	}
}

// lookAtPlots: each is there, has a size, lines, a name and a description for who does not see it, and a table beside or below it.
func lookAtPlots(t *testing.T, b *browser, r *Report, width int) {
	t.Helper()
	var plots []struct {
		Width, Height      float64
		Paths              int
		Name, Description  string
		TableRows          int
		Outside, Overlaps  bool
		Legend, AxisLabels int
	}
	b.look(`[...document.querySelectorAll("figure svg")].map(svg => {
		const box = svg.getBoundingClientRect(), [name, description] = svg.getAttribute("aria-labelledby").split(" ").map(id => document.getElementById(id));
		const words = [...svg.querySelectorAll("text")].map(text => text.getBoundingClientRect());
		const crosses = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
		return {Width: box.width, Height: box.height, Paths: svg.querySelectorAll("path").length, Name: name.textContent, Description: description.textContent,
			TableRows: svg.closest("section").querySelectorAll("tbody tr").length, Legend: svg.closest("figure").querySelectorAll("li").length, AxisLabels: words.length,
			Outside: words.some(word => word.left < box.left - 1 || word.right > box.right + 1 || word.top < box.top - 1 || word.bottom > box.bottom + 1),
			Overlaps: words.some((a, i) => words.some((b, j) => i < j && crosses(a, b)))};
	})`, &plots)
	if len(plots) != len(r.Plots) {
		t.Fatalf("expected %d plots, found %d", len(r.Plots), len(plots))
	}
	for i, p := range plots {
		want := r.Plots[i]
		if p.Name != want.Title || p.Description != want.Description || p.Legend != len(want.Series) {
			t.Errorf("plot %d: expected its title, description and a legend of %d, found %+v", i, len(want.Series), p)
		}
		if p.Width < min(float64(width)*0.8, 600) || p.Height < p.Width/3 || p.Paths < 2*len(want.Series)+len(want.References) || p.TableRows != len(want.named()) {
			t.Errorf("plot %d: expected it drawn with a table of %d rows, found %+v", i, len(want.named()), p)
		}
		if p.Outside || p.Overlaps {
			t.Errorf("plot %d: expected words inside of it and beside each other, found %+v", i, p)
		}
	}
	var wide bool
	if b.look(`document.documentElement.scrollWidth > document.documentElement.clientWidth`, &wide); wide {
		t.Error("the page is wider than the window")
	}
}

// lookAtText: all of it can be read on its background (WCAG 2, 1.4.3: a contrast of 4.5).
func lookAtText(t *testing.T, b *browser, scheme string) {
	t.Helper()
	var faint []string
	b.look(`(() => {
		const numbers = colour => colour.match(/[0-9.]+/g).map(Number);
		const light = colour => { const [r, g, b] = numbers(colour).map(c => { c /= 255; return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4 }); return 0.2126 * r + 0.7152 * g + 0.0722 * b };
		const behind = element => { for (; element; element = element.parentElement) { const c = getComputedStyle(element).backgroundColor; if (numbers(c)[3] !== 0) return c } };
		return [...document.body.querySelectorAll("*")].filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) && !e.closest("title, desc")).map(e => {
			const style = getComputedStyle(e), ink = light(e.closest("svg") ? style.fill : style.color), paper = light(behind(e));
			return [(Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05), e.outerHTML.slice(0, 80)];
		}).filter(([contrast]) => !(contrast >= 4.5)).map(String);
	})()`, &faint)
	if len(faint) > 0 {
		t.Errorf("%s: expected text that can be read, found %q", scheme, faint)
	}
}

// wantDrawn holds the picture against the colours of the page: each series has left its own in it, and most of it is paper.
func wantDrawn(t *testing.T, b *browser, picture []byte, scheme string) {
	t.Helper()
	decoded, err := png.Decode(bytes.NewReader(picture))
	if err != nil {
		t.Fatal(err)
	}
	rgba := image.NewRGBA(decoded.Bounds())
	draw.Draw(rgba, rgba.Bounds(), decoded, decoded.Bounds().Min, draw.Src)
	var colours map[string][3]uint8
	b.look(`Object.fromEntries(["--paper", "--series-0", "--series-1", "--series-2", "--series-3", "--series-4", "--series-5", "--reference"].map(name => {
		const probe = document.createElement("i"); probe.style.color = "var(" + name + ")"; document.body.append(probe);
		const colour = getComputedStyle(probe).color.match(/[0-9]+/g).map(Number); probe.remove(); return [name, colour] }))`, &colours)
	for name, colour := range colours {
		least, found := 50, 0
		if name == "--paper" {
			least = len(rgba.Pix) / 4 / 2
		}
		for pixel := range slices.Chunk(rgba.Pix, 4) {
			if near(pixel[0], colour[0]) && near(pixel[1], colour[1]) && near(pixel[2], colour[2]) {
				found++
			}
		}
		if found < least {
			t.Errorf("%s: expected at least %d of %d pixels of %s %v, found %d", scheme, least, len(rgba.Pix)/4, name, colour, found)
		}
	}
	if folder := os.Getenv("SALLYPORT_PICTURES"); folder != "" { // for who wants to see it
		if err := os.WriteFile(filepath.Join(folder, scheme+".png"), picture, 0o644); err != nil {
			t.Error(err)
		}
	}
}

// near is for the edges of thin lines, which are mixed with the paper.
func near(a, b uint8) bool { return max(a, b)-min(a, b) <= 24 }

// What comes from elsewhere - names, notes, the command - is text on the page and nothing else.
func TestPageEscapes(t *testing.T) {
	r := sample()
	const hostile = `<script>alert(1)</script><img src=x>`
	r.Tool, r.Verdict.Text, r.Rows[0].Name, r.Rows[0].Note, r.Command = hostile, hostile, hostile, hostile, []string{hostile}
	p := &r.Plots[0]
	p.Title, p.Description, p.X.Label, p.Y.Unit, p.Series[0].Name, p.References[0].Name, p.X.Ticks[0].Label = hostile, hostile, hostile, hostile, hostile, hostile, hostile
	var b bytes.Buffer
	if err := r.writePage(&b); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"<script", "<img", "src=x>"} {
		if strings.Contains(b.String(), bad) {
			t.Errorf("found %q in the page", bad)
		}
	}
	if n := strings.Count(b.String(), "&lt;script"); n < 11 {
		t.Errorf("expected the text in 11 places, found it in %d", n)
	}
}

// Plots that are hardly any are drawn too: one point, all of one height, nothing but 0.
func TestPlotsOfLittle(t *testing.T) {
	for name, points := range map[string][]Point{"one": {{X: 64, Y: 3}}, "level": {{X: 64, Y: 3}, {X: 128, Y: 3}}, "zero": {{X: 0, Y: 0}, {X: 1, Y: 0}}, "huge": {{X: 1, Y: 1e18}, {X: 2, Y: 2e18}},
		"small": {{X: 1, Y: 1e-9}, {X: 2, Y: 2e-9}}} {
		for _, log := range []bool{false, true} {
			p := Plot{Title: name, Description: name, X: Axis{Label: "x", Log: log}, Y: Axis{Label: "y", Log: log}, Series: []Series{{Name: "s", Points: points}, {Name: "none"}},
				References: []Reference{{Name: "r", At: 3}}}
			if err := p.validate(); (err != nil) != (log && name == "zero") {
				t.Errorf("%s, log %v: %v", name, log, err)
			} else if err != nil {
				continue
			}
			drawing, err := p.svg(0)
			if err != nil || strings.Contains(drawing, "NaN") || strings.Contains(drawing, "Inf") || strings.Count(drawing, "<text") < 4 {
				t.Errorf("%s, log %v: %v\n%s", name, log, err, drawing)
			}
		}
	}
}

// The axis of a loss that is 0 throughout begins there: less cannot be lost.
func TestAxisOfNothing(t *testing.T) {
	p := Plot{Title: "loss", Description: "d", X: Axis{Label: "x"}, Y: Axis{Label: "y"}, Series: []Series{{Name: "s", Points: []Point{{X: 1, Y: 0}, {X: 2, Y: 0}}}}}
	drawing, err := p.svg(0)
	if err != nil || strings.Contains(drawing, ">-") {
		t.Errorf("%v, expected no label below 0\n%s", err, drawing)
	}
}

// A line goes through all of its points, from left to right, though not all of them have marks.
func TestLinesAreWhole(t *testing.T) {
	p := Plot{Title: "t", Description: "d", X: Axis{Label: "x"}, Y: Axis{Label: "y"}, Series: []Series{{Name: "s"}}}
	for i := range 100 {
		p.Series[0].Points = append(p.Series[0].Points, Point{X: float64(i), Y: float64(i % 7)})
	}
	drawing, err := p.svg(0)
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`d="M([^"A]*)" style="fill:none;stroke:var\(--series-0\);stroke-width:1.75`).FindStringSubmatch(drawing)
	if line == nil {
		t.Fatalf("no line in\n%s", drawing)
	}
	points := strings.Split(line[1], "L")
	before := -1.0
	for _, text := range points {
		x, _, _ := strings.Cut(text, ",")
		at, err := strconv.ParseFloat(x, 64)
		if err != nil || at <= before {
			t.Fatalf("from %g to %s", before, text)
		}
		before = at
	}
	if marks := strings.Count(drawing, "A"); len(points) != 100 || marks < 6 || marks > 6*maxMarks {
		t.Errorf("%d points and %d arcs of marks", len(points), marks)
	}
}
