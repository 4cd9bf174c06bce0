package main

import (
	"strings"
	"testing"
)

func TestSummarise(t *testing.T) {
	for _, c := range []struct {
		name   string
		events []string
		ok     bool
		want   []string
		absent []string
	}{
		{"a pass hides its output",
			[]string{`{"Action":"output","Package":"p","Test":"A","Output":"noise\n"}`, `{"Action":"pass","Package":"p","Test":"A"}`, `{"Action":"pass","Package":"p","Elapsed":1.5}`},
			true, []string{"ok   p 1.5 s", "1 passed, 0 failed, 0 skipped"}, []string{"noise"}},
		{"a failure shows its output and counts once",
			[]string{`{"Action":"output","Package":"p","Test":"A","Output":"why\n"}`, `{"Action":"fail","Package":"p","Test":"A"}`, `{"Action":"fail","Package":"p"}`},
			false, []string{"FAIL p A", "why", "0 passed, 1 failed, 0 skipped"}, nil},
		{"a package that did not build is a failure",
			[]string{`{"ImportPath":"p","Action":"build-output","Output":"undefined: x\n"}`, `{"ImportPath":"p","Action":"build-fail"}`},
			false, []string{"undefined: x", "0 passed, 1 failed"}, nil},
		{"a skipped test is no proof",
			[]string{`{"Action":"pass","Package":"p","Test":"B"}`, `{"Action":"skip","Package":"p","Test":"A"}`},
			false, []string{"SKIP p A", "1 passed, 0 failed, 1 skipped"}, nil},
		{"no test at all is a failure", nil, false, []string{"0 passed, 0 failed"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out strings.Builder
			if ok := summarise(strings.NewReader(strings.Join(c.events, "\n")), &out, func(event) {}); ok != c.ok {
				t.Errorf("ok = %v, want %v", ok, c.ok)
			}
			for _, text := range c.want {
				if !strings.Contains(out.String(), text) {
					t.Errorf("output lacks %q:\n%s", text, out.String())
				}
			}
			for _, text := range c.absent {
				if strings.Contains(out.String(), text) {
					t.Errorf("output must not hold %q:\n%s", text, out.String())
				}
			}
		})
	}
}
