package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unicode"
	"unicode/utf8"
)

// A preshared key that stands in a wrong place of the file is not shown in the mistake.
func TestMistakesShowNoKey(t *testing.T) {
	const key = "S3cret/Key+Material*0123456789"
	for _, slip := range [][2]string{
		{"psk_file: site-b.psk", "psk_file: " + key},
		{"psk_file: site-b.psk", "psk_file: *" + key},
		{"psk_file: site-b.psk", "psk: " + key},
		{"auth: {psk_file: site-b.psk}", "auth: " + key},
		{"auth: {psk_file: site-b.psk}", "auth: {" + key + "}"},
		{"peer: site-b}", "peer: site-b, auth_methods: [" + key + "]}"},
	} {
		_, err := parseBase(t, strings.Replace(base, slip[0], slip[1], 1))
		if err == nil || !strings.Contains(err.Error(), "gw.yaml:") || strings.Contains(err.Error(), "S3cret") {
			t.Errorf("%s: expected a mistake with its line and without the key, found %v", slip[1], err)
		}
	}
}

// Each mistake is one line of bounded length that a terminal can print, whatever the file says.
func TestMistakesFitATerminal(t *testing.T) {
	for name, text := range map[string]string{
		"long value":        strings.Replace(base, "name: gw-a", "name: "+strings.Repeat("v", 1<<20), 1),
		"long address":      strings.Replace(base, "10.1.0.1/24", strings.Repeat("1", 1<<20), 1),
		"long key":          base + "? " + strings.Repeat("k", 1<<20) + "\n: 1\n",
		"key with escapes":  base + `"\e[2J\e[31mevil\nname": 1` + "\n",
		"long anchor":       base + "x: *" + strings.Repeat("k", 1<<20) + "\n",
		"text with escapes": strings.Replace(base, "  - name: site", `  - name: site`+"\n    "+`description: "\e[2J"`, 1),
	} {
		_, err := parseBase(t, text)
		if err == nil {
			t.Errorf("%s: expected a mistake", name)
			continue
		}
		for line := range strings.SplitSeq(err.Error(), "\n") {
			if utf8.RuneCountInString(line) > 1500 || !strings.Contains(line, "gw.yaml:") || strings.ContainsFunc(line, unicode.IsControl) {
				t.Errorf("%s: expected one short line of text, found %.200q", name, line)
			}
		}
	}
}

// What is read of a text before it is checked takes no longer for keys that are many, or the same: if the time for n of them were that of n times n,
// this would outlast the limit of all tests.
func TestHeadOfManyKeys(t *testing.T) {
	text := []byte("state_dir: /s\n" + strings.Repeat("a: 1\n", 200_000) + "active_policy: p\n")
	if head := HeadOf(text); head != (Head{StateDir: "/s", ActivePolicy: "p"}) {
		t.Errorf("found %+v", head)
	}
}

// What is no regular file, or is too large, is refused at once: nobody waits for the writer of a pipe, or reads a device for ever.
func TestReadFileWaitsForNobody(t *testing.T) {
	folder := t.TempDir()
	pipe, huge := filepath.Join(folder, "pipe"), filepath.Join(folder, "huge")
	if err := errors.Join(syscall.Mkfifo(pipe, 0o600), os.WriteFile(huge, nil, 0o600), os.Truncate(huge, MaxFile+1)); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		pipe: "expected a regular file, found a pipe", "/dev/zero": "expected a regular file, found a device",
		folder: "expected a regular file, found a folder", huge: "expected a file of at most 64 MiB, found more",
	} {
		if _, err := ReadFile(path); err == nil || !strings.Contains(err.Error(), path+": "+want) {
			t.Errorf("%s: expected %q, found %v", path, want, err)
		}
	}
}
