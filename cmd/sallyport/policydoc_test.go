package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

// An operator's page that is not run goes stale. Its commands are run here, in
// order, and their outputs compared with the page; -update writes them anew.
func TestPolicyDoc(t *testing.T) { runPage(t, "../../docs/POLICY.md", 10) }

func TestTunnelsDoc(t *testing.T) { runPage(t, "../../docs/TUNNELS.md", 3, "--lab") }

func TestCertificatesDoc(t *testing.T) { runPage(t, "../../docs/CERTIFICATES.md", 20) }

// runPage runs a page with at least so many commands. Fenced blocks of it that have a
// file's name are that file, console blocks are a session on a gateway that runs
// gw-a.yaml with the flags, or with the word setup on one that comes before the gateway.
func runPage(t *testing.T, page string, fewest int, flags ...string) {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	s := newSession(t)
	fence := regexp.MustCompile("(?ms)^```([a-z]+)(?: ([a-z0-9.-]+))?\n(.*?)^```$")
	commandsOf := func(session string) [][]string {
		return regexp.MustCompile(`(?m)^\$ (.*)$`).FindAllStringSubmatch(session, -1)
	}
	before := map[string]string{} // what each setup printed
	for _, block := range fence.FindAllStringSubmatch(string(text), -1) {
		switch {
		case block[2] == setup:
			before[block[0]] = s.run(commandsOf(block[3]))
		case block[2] != "":
			s.write(block[2], block[3])
		}
	}
	s.start("gw-a.yaml", flags...)
	ran := 0
	rewritten := fence.ReplaceAllStringFunc(string(text), func(block string) string {
		part := fence.FindStringSubmatch(block)
		if part[1] != "console" {
			return block
		}
		commands := commandsOf(part[3])
		ran += len(commands)
		printed, heading := before[block], "```console "+setup+"\n"
		if part[2] != setup {
			printed, heading = s.run(commands), "```console\n"
		}
		if same := stable(printed) == stable(part[3]); !same && !*update {
			t.Errorf("%s says\n%s\nand the commands print\n%s\nwrite it with -update if it is right", page, part[3], printed)
		} else if same {
			return block
		}
		return heading + stable(printed) + "```"
	})
	if ran < fewest {
		t.Errorf("%d commands in %s, expected those that it explains", ran, page)
	}
	if *update {
		if err := os.WriteFile(page, []byte(rewritten), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// run has one shell carry out the commands and returns what a terminal would
// show: each command, and what it printed.
func (s *session) run(commands [][]string) string {
	s.t.Helper()
	const mark = "\x1e"
	var script strings.Builder
	for _, c := range commands {
		// The exit code is there for the next command.
		fmt.Fprintf(&script, "%s\n__code=$?; printf '%s'; (exit $__code)\n", c[1], mark)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	shell := exec.CommandContext(ctx, "bash", "-c", script.String())
	shell.Dir, shell.Env = s.dir, s.env
	out, err := shell.CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		s.t.Fatal(err)
	}
	outputs := strings.Split(string(out), mark)
	if len(outputs) != len(commands)+1 {
		s.t.Fatalf("%d outputs of %d commands:\n%s", len(outputs)-1, len(commands), out)
	}
	var text strings.Builder
	for i, c := range commands {
		fmt.Fprintf(&text, "$ %s\n%s", c[1], outputs[i])
	}
	return strings.ReplaceAll(text.String(), s.dir+"/", "")
}

// setup marks a session that comes before the gateway starts.
const setup = "setup"

// stable puts sample values in the place of what differs from run to run: when a backup was made, and how long the session's folder makes
// it; when a certificate ends, and its random serial number; when a CRL was made, and how long its signature is.
func stable(text string) string {
	for _, sample := range [][2]string{
		{`(?m)\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ(  \S+ +)\d+$`, "2026-11-21T09:30:00Z${1}1523"},
		{`\d{4}-\d\d-\d\d(  \d+ +)`, "2036-11-19$1"},
		{`[0-9A-F]{13}\.\.\.`, "6F4A0C21E9D37..."},
		{`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ(, next attempt in \S+)?`, "2026-11-21T09:30:00Z"},
		{`(IKE_SA_INIT) \d times`, "$1 3 times"}, // of a screen that says why
		{`(next\s+sending in) [0-9.]+m?s`, "$1 900ms"},
	} {
		text = regexp.MustCompile(sample[0]).ReplaceAllString(text, sample[1])
	}
	return text
}
