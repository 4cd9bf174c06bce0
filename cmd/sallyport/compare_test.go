package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The commands of docs/LAB.md are run on the files that it shows and print what it says; -update writes the outputs anew.
func TestLabDoc(t *testing.T) {
	page, err := filepath.Abs("../../docs/LAB.md")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	ran := 0
	rewritten := regexp.MustCompile("(?ms)^```([a-z]+)(?: ([a-z0-9.-]+))?\n(.*?)^```$").ReplaceAllStringFunc(string(text), func(block string) string {
		head, body, _ := strings.Cut(block, "\n")
		body = strings.TrimSuffix(body, "```")
		if _, name, named := strings.Cut(head, " "); named {
			if err := os.WriteFile(name, []byte(body), 0o644); err != nil {
				t.Fatal(err)
			}
			return block
		}
		if head != "```console" {
			return block
		}
		var printed strings.Builder
		for _, line := range regexp.MustCompile(`(?m)^\$ sallyport (.*)$`).FindAllStringSubmatch(body, -1) {
			ran++
			got := sallyport(t, strings.Fields(line[1])...)
			printed.WriteString(line[0] + "\n" + got.out + got.err)
		}
		if printed.String() != body && !*update {
			t.Errorf("docs/LAB.md says\n%s\nand the commands print\n%s\nwrite it with -update if it is right", body, printed.String())
		}
		return head + "\n" + printed.String() + "```"
	})
	if ran < 2 {
		t.Errorf("%d commands in docs/LAB.md, expected those that it explains", ran)
	}
	if *update {
		if err := os.WriteFile(page, []byte(rewritten), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// A comparison that cannot be made says why.
func TestCompareRefuses(t *testing.T) {
	folder := t.TempDir()
	rows := filepath.Join(folder, "rows.json")
	if err := os.WriteFile(rows, []byte("[]"), 0o644); err != nil {
		t.Fatal(err)
	}
	begun, empty := filepath.Join(folder, "begun.json"), filepath.Join(folder, "empty.json")
	for file, text := range map[string]string{begun: `{"format": "sallyport-lab-report", "version": 1, "rows": [{"name": "64 by`, empty: ""} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"cut off":   {[]string{begun, begun}, "begun.json: expected a whole report of the lab, found one that is cut off after 73 bytes"},
		"empty":     {[]string{empty, empty}, "empty.json: expected a report of the lab in JSON, found an empty file"},
		"one file":  {[]string{rows}, "expected sallyport lab compare A.json B.json, found 1 arguments"},
		"no file":   {[]string{filepath.Join(folder, "none"), rows}, "no such file"},
		"no report": {[]string{rows, rows}, "rows.json: expected a report, found rows without one"},
		"a folder":  {[]string{folder, rows}, "expected a regular file"},
	} {
		if got := sallyport(t, append([]string{"lab", "compare"}, c.args...)...); got.code != exitFailed || got.out != "" || !strings.Contains(got.err, c.want) {
			t.Errorf("%s: expected %q, found %+v", name, c.want, got)
		}
	}
}
