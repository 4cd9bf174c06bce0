package traffic

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/perf/lab/labtest"
	"sallyport/perf/report"
)

// The commands of the page write the configuration of a gateway with many tunnels, negotiate all of them with a gateway that runs by it, and send by each.
// S-118
func TestManyTunnelsPage(t *testing.T) {
	text := page(t)
	l := labtest.NewBetween(t)
	commands := strings.Split(strings.TrimSpace(block(t, text, "sh many")), "\n")
	run := func(command string, more ...string) (string, error) {
		return l.Tester.Run(t.Context(), append(append([]string{l.Program}, strings.Fields(command)[1:]...), more...)...)
	}
	if out, err := run(commands[0]); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	written, err := os.ReadFile(filepath.Join(l.Dir, "many.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	l.Configure(t, string(written))
	process := l.Start(t)
	file := filepath.Join(l.Dir, "out.json")
	out, err := run(commands[1], "--json", file, "--wait", labtest.Limit.String())
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, out, process.Tail())
	}
	t.Log(out)
	if line := strings.TrimSpace(block(t, text, "text")); !strings.Contains(shape(out), shape(line)) {
		t.Errorf("docs/TRAFFIC.md shows %q, and the command prints\n%s", line, out)
	}
	r, err := report.Read(file)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Verdict.Good || r.Verdict.Text == "" || len(r.Rows) != 4 {
		t.Errorf("verdict %+v, %d rows", r.Verdict, len(r.Rows))
	}
	// The gateway has been told that the tunnels are gone: the same again is no different.
	if out, err := run(commands[1], "--wait", labtest.Limit.String(), "--proposal", "aes128gcm16", "--tunnels", "20"); err != nil || !strings.Contains(out, "20 of 20 tunnels are up") {
		t.Errorf("once more: %v\n%s", err, out)
	}
}
