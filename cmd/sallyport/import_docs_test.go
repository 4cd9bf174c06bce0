package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// The examples of docs/IMPORT.md are what the command does: it makes the files that the page shows, says what the page
// says, and leaves each key in a file of its own.
func TestImportExamples(t *testing.T) {
	page, err := os.ReadFile("../../docs/IMPORT.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(page)
	sources := append(blocks(text, "bat"), blocks(text, "text")...)
	runs, configurations := blocks(text, "console"), blocks(text, "yaml")
	if len(sources) != 2 || len(runs) != 2 || len(configurations) != 2 {
		t.Fatalf("expected 2 examples, found %d sources, %d commands, %d configurations", len(sources), len(runs), len(configurations))
	}
	keyFiles := regexp.MustCompile("`([A-Za-z]+\\.psk)` beside it").FindAllStringSubmatch(text, -1)
	t.Chdir(t.TempDir())
	for i, run := range runs {
		command, said, _ := strings.Cut(run, "\n")
		words := strings.Fields(strings.TrimPrefix(command, "$ sallyport "))
		if err := os.WriteFile(words[2], []byte(sources[i]), 0o600); err != nil {
			t.Fatal(err)
		}
		got := sallyport(t, words...)
		if got.code != exitGood || got.out+got.err != said {
			t.Errorf("%s: exit code %d, found\n%s%swant\n%s", command, got.code, got.out, got.err, said)
		}
		made, err := os.ReadFile("gw.yaml")
		if err != nil {
			t.Fatal(err)
		}
		if string(made) != configurations[i] {
			t.Errorf("%s made\n%swant\n%s", command, made, configurations[i])
		}
		key, err := os.ReadFile(keyFiles[i][1])
		if err != nil || !strings.Contains(sources[i], strings.TrimSpace(string(key))) {
			t.Errorf("%s: the key file %s: %v", command, keyFiles[i][1], err)
		}
		if got := sallyport(t, "check", "-c", "gw.yaml"); got.code != exitGood {
			t.Errorf("the configuration of %s is refused: %s%s", command, got.out, got.err)
		}
		if err := os.Remove("gw.yaml"); err != nil {
			t.Fatal(err)
		}
	}
}
