package main

import (
	"strings"
	"testing"
)

// TestTable: tests that have others within them are no rows, attributes are columns.
func TestTable(t *testing.T) {
	var all table
	for _, e := range []event{
		{Action: "attr", Package: "m/p", Test: "A/one", Key: "wire", Value: "20 ESP"},
		{Action: "pass", Package: "m/p", Test: "A/one", Elapsed: 1.25},
		{Action: "fail", Package: "m/p", Test: "A/two"},
		{Action: "fail", Package: "m/p", Test: "A"},
		{Action: "pass", Package: "m/q", Test: "A"},
		{Action: "fail", Package: "m/p"},
	} {
		all.see(e)
	}
	var text strings.Builder
	if err := all.write(&text); err != nil {
		t.Fatal(err)
	}
	const want = `2 of 3 passed.

| package | test | result | s | wire |
|---|---|---|---|---|
| p | A/one | pass | 1.2 | 20 ESP |
| p | A/two | fail | 0.0 |  |
| q | A | pass | 0.0 |  |
`
	if text.String() != want {
		t.Errorf("found\n%s\nwant\n%s", text.String(), want)
	}
}
