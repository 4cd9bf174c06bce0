package traffic

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"sallyport/perf/lab"
	"sallyport/perf/lab/labtest"
	"sallyport/perf/report"
)

// page is docs/TRAFFIC.md.
func page(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/TRAFFIC.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// block is the text of the page's first fenced block that begins so.
func block(t *testing.T, text, head string) string {
	t.Helper()
	_, rest, found := strings.Cut(text, "```"+head+"\n")
	body, _, ended := strings.Cut(rest, "```")
	if !found || !ended {
		t.Fatalf("docs/TRAFFIC.md has no block %q", head)
	}
	return body
}

// shape is a report without its numbers and without how columns are padded.
func shape(report string) string {
	report = regexp.MustCompile(`[0-9]+(\.[0-9]+)?`).ReplaceAllString(report, "N")
	return strings.TrimSpace(regexp.MustCompile(` +`).ReplaceAllString(report, " "))
}

// The gateway of the page runs in a namespace, and the page's command in another, joined to both of its ports; it prints what the page shows.
func TestPage(t *testing.T) {
	text := page(t)
	l := labtest.NewBetween(t)
	program, tester := l.Program, l.Tester
	l.Configure(t, block(t, text, "yaml gw.yaml"))

	sample := block(t, text, "console")
	command, printed, _ := strings.Cut(strings.TrimPrefix(sample, "$ sallyport "), "\n")
	run := func(more ...string) (string, error) {
		return tester.Run(t.Context(), append(append([]string{program}, strings.Fields(command)...), more...)...)
	}
	// A target that is not there is said to be down.
	if out, err := run(); err == nil || !strings.Contains(out, "verdict: down") {
		t.Errorf("without a gateway: %v\n%s", err, out)
	}

	process := l.Start(t)
	file := filepath.Join(l.Dir, "out.json")
	out, err := run("--json", file, "--wait", labtest.Limit.String())
	if err != nil {
		log, _ := os.ReadFile(process.LogPath)
		t.Fatalf("%v\n%s\n%s", err, out, log)
	}
	t.Log(out)
	checkReport(t, file)
	if want, got := shape(quietly(printed)), shape(quietly(out)); want != got {
		t.Errorf("docs/TRAFFIC.md shows\n%s\nand the command prints\n%s", want, got)
	}

	// An interrupted run has a result too.
	began := time.Now()
	started, err := tester.Start(lab.Command{Name: "interrupted", Args: append(append([]string{program}, strings.Fields(command)...), "--time", "1h", "--wait", labtest.Limit.String(), "--sequence", "100000", "--json", file)})
	if err != nil {
		t.Fatal(err)
	}
	err = lab.Until(t.Context(), nil, "a line of progress", labtest.Limit, func() (bool, error) {
		text, err := os.ReadFile(started.LogPath)
		return strings.Contains(string(text), " received, "), err
	})
	if err != nil {
		t.Fatal(err)
	}
	started.Signal(syscall.SIGINT)
	if err := started.Wait(t.Context()); err == nil {
		t.Error("an interrupted run ended with exit code 0")
	}
	r, err := report.Read(file)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Interrupted || time.Since(began) > time.Hour || len(r.Rows) != 4 {
		t.Errorf("interrupted %v, %d rows", r.Interrupted, len(r.Rows))
	}
}

// quietly leaves out what a busy machine may have lost, and who asked whom by ARP.
func quietly(printed string) string {
	var lines []string
	for line := range strings.Lines(printed) {
		if !strings.Contains(line, "beside them") && !strings.Contains(line, "this machine was late") && !strings.Contains(line, "own port lost") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

// checkReport has packets of both directions, and no more received than sent.
func checkReport(t *testing.T, file string) {
	t.Helper()
	r, err := report.Read(file)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Verdict.Good || r.Tool != "traffic" || len(r.Rows) != 4 {
		t.Errorf("verdict %+v of %s, %d rows", r.Verdict, r.Tool, len(r.Rows))
	}
	for _, row := range r.Rows[:2] {
		detail, _ := row.Detail.(map[string]any)
		sent, _ := detail["sent"].(float64)
		received, _ := detail["received"].(float64)
		lost, _ := detail["lost"].(float64)
		if received == 0 || sent != received+lost || sent > 1000 {
			t.Errorf("%s: sent %v, received %v, lost %v", row.Name, sent, received, lost)
		}
	}
}

// The page has every counter and every verdict.
func TestPageNamesAll(t *testing.T) {
	text := page(t)
	var p PortResult
	for _, c := range p.counters() {
		if !strings.Contains(text, "`"+c.name+"`") {
			t.Errorf("docs/TRAFFIC.md does not explain the counter %s", c.name)
		}
	}
	for _, v := range []Verdict{Down, NoTunnels, SomeTunnels, Silent, Leaks, Reflects, Mangles, OtherAddress, Unreadable, Nothing, Forwards} {
		if !strings.Contains(text, "| `"+string(v)+"` |") {
			t.Errorf("docs/TRAFFIC.md does not explain the verdict %s", v)
		}
	}
}

// What the command cannot do is refused with what was expected.
func TestOptions(t *testing.T) {
	file := filepath.Join(t.TempDir(), "gw.yaml")
	whole := block(t, page(t), "yaml gw.yaml")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		says   string
		change func(*Options, *string)
	}{
		{`rate "fast"`, func(o *Options, _ *string) { o.Rate = "fast" }},
		{`rate "-1pps"`, func(o *Options, _ *string) { o.Rate = "-1pps" }},
		{`size "x"`, func(o *Options, _ *string) { o.Sizes = "x" }},
		{`clear "10.1.0.0/24": expected two prefixes`, func(o *Options, _ *string) { o.Clear = []string{"10.1.0.0/24"} }},
		{"invalid MAC address", func(o *Options, _ *string) { o.ProtectedMAC = "here" }},
		{`direction "up"`, func(o *Options, _ *string) { o.Directions = []string{"up"} }},
		{`device "eth1" is of no known kind`, func(o *Options, _ *string) { o.Protected = "eth1" }},
		{"at most 1464", func(o *Options, _ *string) { o.Sizes = "imix" }},
		{"3 tunnels, expected 1 to 2", func(o *Options, _ *string) { o.Tunnels = 3 }},
		{`proposal "rot13"`, func(o *Options, _ *string) { o.Proposal = "rot13" }},
		{"gw.yaml", func(_ *Options, text *string) { *text = "name: [" }},
	} {
		o, text := Options{Gateway: file, Protected: "net_null0", Unprotected: "net_null1"}, whole
		c.change(&o, &text)
		write(text)
		err := Main(context.Background(), o)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v, want %q", err, c.says)
		}
	}
}

// The frames of all examples fit the tunnels of the page's gateway.
func TestExamplesFit(t *testing.T) {
	file := filepath.Join(t.TempDir(), "gw.yaml")
	if err := os.WriteFile(file, []byte(block(t, page(t), "yaml gw.yaml")), 0o600); err != nil {
		t.Fatal(err)
	}
	help, err := os.ReadFile("../../cmd/sallyport/traffic.go")
	if err != nil {
		t.Fatal(err)
	}
	examples := regexp.MustCompile(`sallyport lab traffic gw\.yaml .*--size (\S+)`).FindAllStringSubmatch(page(t)+string(help), -1)
	if len(examples) < 2 {
		t.Errorf("%d examples with a size", len(examples))
	}
	for _, e := range examples {
		o := Options{Gateway: file, Protected: "net_null0", Unprotected: "net_null1", Sizes: e[1]}.withDefaults()
		c, err := o.config()
		if err == nil {
			err = c.Validate()
		}
		if err != nil {
			t.Errorf("%s: %v", e[0], err)
		}
	}
}

func TestParseRate(t *testing.T) {
	for text, want := range map[string]Rate{"max": {}, "1000": {Packets: 1000}, "10kpps": {Packets: 10000}, "1.5Mpps": {Packets: 1.5e6}, "100Mbps": {Bits: 1e8}, "2Gbps": {Bits: 2e9}, "800bps": {Bits: 800}} {
		if got, err := ParseRate(text); err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "0", "pps", "NaN", "Inf", "1e20", "-5kpps", "10 kpps"} {
		if got, err := ParseRate(text); err == nil {
			t.Errorf("%q: %+v, want an error", text, got)
		}
	}
}
