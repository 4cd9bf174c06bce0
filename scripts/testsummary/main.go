// Command testsummary reads the events of "go test -json" and prints one line a package, the
// whole output of whatever failed, and a closing line of counts. It exits with 1 when something
// failed, when a test was skipped (a skipped proof proves nothing) and when no test ran. With -table
// it also writes a table of all tests to a file, and shows it.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
)

// event is one line of go test -json (see go doc test2json); build events carry ImportPath.
type event struct {
	Action     string
	Package    string
	ImportPath string
	Test       string
	Elapsed    float64
	Output     string
	Key, Value string // of an attribute
}

// counts are the tests (subtests included) and failed packages seen so far.
type counts struct{ passed, failed, skipped int }

func main() {
	file := flag.String("table", "", "write a table of the tests to this `file`")
	flag.Parse()
	var all table
	good := summarise(os.Stdin, os.Stdout, all.see)
	if *file != "" {
		if err := all.save(*file, os.Stdout); err != nil {
			fmt.Fprintf(os.Stderr, "testsummary: %v\n", err)
			good = false
		}
	}
	if !good {
		os.Exit(1)
	}
}

// summarise turns the events of r into text on w, shows each to see, and reports whether all is well.
func summarise(r io.Reader, w io.Writer, see func(event)) bool {
	var total counts
	output := map[string]*strings.Builder{} // by package and test, dropped when that passes
	failedTests := map[string]bool{}        // packages whose failure a test already explains
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			fmt.Fprintln(w, lines.Text()) // a message of the go command itself
			continue
		}
		see(e)
		key := e.Package + e.ImportPath + "\x00" + e.Test
		switch e.Action {
		case "output", "build-output":
			if output[key] == nil {
				output[key] = &strings.Builder{}
			}
			output[key].WriteString(e.Output)
			continue
		case "pass", "fail", "skip", "build-fail":
		default:
			continue
		}
		text := ""
		if output[key] != nil {
			text = output[key].String()
		}
		delete(output, key)
		report(w, e, text, &total, failedTests)
	}
	if err := lines.Err(); err != nil {
		fmt.Fprintf(w, "testsummary: reading events: %v\n", err)
		total.failed++
	}
	fmt.Fprintf(w, "%d passed, %d failed, %d skipped\n", total.passed, total.failed, total.skipped)
	return total.failed == 0 && total.skipped == 0 && total.passed > 0
}

// report prints what one finished test, package or build deserves and counts it.
func report(w io.Writer, e event, text string, total *counts, failedTests map[string]bool) {
	if e.Test == "" {
		switch {
		case e.Action == "pass":
			fmt.Fprintf(w, "ok   %s %.1f s\n", e.Package, e.Elapsed)
		case e.Action == "skip": // a package without tests
		default:
			fmt.Fprintf(w, "FAIL %s%s %.1f s\n%s", e.Package, e.ImportPath, e.Elapsed, text)
			if !failedTests[e.Package] {
				total.failed++
			}
		}
		return
	}
	switch e.Action {
	case "pass":
		total.passed++
	case "skip":
		total.skipped++
		fmt.Fprintf(w, "SKIP %s %s: a test must not skip\n%s", e.Package, e.Test, text)
	default:
		total.failed++
		failedTests[e.Package] = true
		fmt.Fprintf(w, "FAIL %s %s %.1f s\n%s", e.Package, e.Test, e.Elapsed, text)
	}
}
