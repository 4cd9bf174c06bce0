package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"time"
)

// What a file says of itself. A change by which an older program would misread a file makes it another version.
const (
	format  = "sallyport-lab-report"
	version = 1
)

// maxFile is far more than any report takes, in bytes.
const maxFile = 64 << 20

// Report is what a tool of the lab has measured in one run.
type Report struct {
	Format      string    `json:"format"`
	Version     int       `json:"version"`
	Tool        string    `json:"tool"`    // rfc2544, bench
	Command     []string  `json:"command"` // as it was given, the program first
	Machine     Machine   `json:"machine"`
	Started     time.Time `json:"started"`
	Ended       time.Time `json:"ended"`
	Interrupted bool      `json:"interrupted"` // what is here is what there was by then
	Verdict     Verdict   `json:"verdict"`
	Rows        []Row     `json:"rows"`
	Plots       []Plot    `json:"plots,omitempty"`
}

// Verdict is the run in one sentence.
type Verdict struct {
	Good bool   `json:"good"` // it has measured what it was asked for, and what it measured is as it should be
	Text string `json:"text"`
}

// Row is a thing that was measured. Its name is the only one of its kind in a report and the same in each run: by it rows are compared.
type Row struct {
	Name    string   `json:"name"`
	Figures []Figure `json:"figures"`
	Note    string   `json:"note,omitempty"` // what a reader of the figures has to know
	Detail  any      `json:"detail,omitempty"`
}

// Better says which way a figure is good.
type Better string

const (
	Higher  Better = "higher"
	Lower   Better = "lower"
	Neither Better = "" // it describes
)

// Figure is a quantity of a row, measured once or several times.
type Figure struct {
	Name    string    `json:"name"`
	Unit    string    `json:"unit"` // as it is printed: Mpps, us, %
	Better  Better    `json:"better,omitempty"`
	Target  *float64  `json:"target,omitempty"` // at least this, or at most where less is better
	Samples []float64 `json:"samples"`          // in the order in which they were measured
}

// MarshalJSON adds what most readers want of the samples.
func (f Figure) MarshalJSON() ([]byte, error) {
	type plain Figure
	low, median, high := f.Spread()
	return json.Marshal(struct {
		plain
		Median float64 `json:"median"`
		Min    float64 `json:"min"`
		Max    float64 `json:"max"`
	}{plain(f), median, low, high})
}

// Spread is the least sample, the median and the largest one.
func (f Figure) Spread() (low, median, high float64) {
	sorted := slices.Sorted(slices.Values(f.Samples))
	n := len(sorted)
	if n == 0 {
		return 0, 0, 0
	}
	return sorted[0], (sorted[(n-1)/2] + sorted[n/2]) / 2, sorted[n-1]
}

// Median is that of the samples.
func (f Figure) Median() float64 {
	_, median, _ := f.Spread()
	return median
}

// Met says whether the median reaches the target; without one it does.
func (f Figure) Met() bool {
	switch {
	case f.Target == nil:
		return true
	case f.Better == Lower:
		return f.Median() <= *f.Target
	default:
		return f.Median() >= *f.Target
	}
}

// New begins the report of a tool.
func New(tool string, command []string, machine Machine, started time.Time) *Report {
	return &Report{Format: format, Version: version, Tool: tool, Command: command, Machine: machine, Started: started}
}

// validate finds what makes a report one that cannot be read again or compared.
func (r *Report) validate() error {
	var errs []error
	wrong := func(form string, args ...any) { errs = append(errs, fmt.Errorf(form, args...)) }
	if r.Tool == "" {
		wrong("expected the name of a tool, found none")
	}
	names := map[string]bool{}
	for _, row := range r.Rows {
		if row.Name == "" || names[row.Name] {
			wrong("row %q: expected a name that no other row has", row.Name)
		}
		names[row.Name] = true
		figures := map[string]bool{}
		for _, f := range row.Figures {
			if f.Name == "" || figures[f.Name] {
				wrong("row %q, figure %q: expected a name that no other figure of the row has", row.Name, f.Name)
			}
			figures[f.Name] = true
			if len(f.Samples) == 0 || slices.ContainsFunc(f.Samples, notFinite) {
				wrong("row %q, figure %q: expected samples that are numbers, found %v", row.Name, f.Name, f.Samples)
			}
			if f.Better != Higher && f.Better != Lower && f.Better != Neither {
				wrong("row %q, figure %q: expected better to be %s, %s or absent, found %q", row.Name, f.Name, Higher, Lower, f.Better)
			}
		}
	}
	for _, p := range r.Plots {
		if err := p.validate(); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func notFinite(x float64) bool { return math.IsNaN(x) || math.IsInf(x, 0) }

// WriteJSON writes the file, of a run that was interrupted too. Without a name it writes nothing.
func (r *Report) WriteJSON(name string) error {
	if name == "" {
		return nil
	}
	if err := r.validate(); err != nil {
		return fmt.Errorf("report: %s: %w", name, err)
	}
	if r.Rows == nil {
		r.Rows = []Row{} // which is an array in JSON
	}
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return WriteFile(name, append(b, '\n'))
}

// Read reads a file that WriteJSON has written.
func Read(name string) (*Report, error) {
	info, err := os.Stat(name) // not once it is open: a pipe would wait for who writes
	if err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxFile {
		return nil, fmt.Errorf("report: %s: expected a regular file of at most %d bytes", name, maxFile)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	r, err := parse(b)
	if err != nil {
		return nil, fmt.Errorf("report: %s: %w", name, err)
	}
	return r, nil
}

func parse(b []byte) (*Report, error) {
	if bytes.HasPrefix(bytes.TrimSpace(b), []byte("[")) {
		return nil, errors.New("expected a report, found rows without one, as --json of lab bench, negotiate and hostile writes them; their --report writes one")
	}
	var head struct {
		Format  string `json:"format"`
		Version int    `json:"version"`
	}
	if len(bytes.TrimSpace(b)) == 0 {
		return nil, errors.New("expected a report of the lab in JSON, found an empty file")
	}
	err := json.Unmarshal(b, &head)
	if end := (*json.SyntaxError)(nil); errors.As(err, &end) && end.Offset >= int64(len(b)) {
		return nil, fmt.Errorf("expected a whole report of the lab, found one that is cut off after %d bytes: copy or measure it again", len(b))
	}
	if err != nil {
		return nil, fmt.Errorf("expected a report of the lab in JSON: %w", err)
	}
	if head.Format != format {
		return nil, fmt.Errorf("expected a report of the lab (format %q), found format %q", format, head.Format)
	}
	if head.Version != version {
		return nil, fmt.Errorf("expected version %d, found version %d: read it with the program that wrote it, or measure again", version, head.Version)
	}
	r := &Report{}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("expected a report of version %d: %w", version, err)
	}
	return r, r.validate()
}
