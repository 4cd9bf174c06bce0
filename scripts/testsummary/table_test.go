package main

import (
	"strings"
	"testing"
)

// TestTable: tests that have others within them are no rows, packages have a table each, attributes are its columns.
func TestTable(t *testing.T) {
	var all table
	for _, e := range []event{
		{Action: "attr", Package: "m/p", Test: "A/one", Key: "wire", Value: "20 ESP"},
		{Action: "pass", Package: "m/p", Test: "A/one", Elapsed: 61.25},
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
	const want = `2 of 3 passed, in 1 min.

- fail: p A/two

## p

| test | result | s | wire |
|---|---|---|---|
| A/one | pass | 61.2 | 20 ESP |
| A/two | fail | 0.0 |  |

## q

| test | result | s |
|---|---|---|
| A | pass | 0.0 |
`
	if text.String() != want {
		t.Errorf("found\n%s\nwant\n%s", text.String(), want)
	}
}
