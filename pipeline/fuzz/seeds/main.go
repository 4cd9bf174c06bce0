// Seeds writes the corpus of the fuzzer of the fast path, pipeline/fuzz/corpus: one small program for each path that frames can take.
// Run it in this folder, after a change of what the bytes of a program mean or of the list of tunnels:
//
//	go run . ../corpus
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: seeds FOLDER")
		os.Exit(2)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "seeds:", err)
		os.Exit(1)
	}
}

// write makes the files of a folder those of the corpus, and no others.
func write(folder string) error {
	former, err := filepath.Glob(filepath.Join(folder, "*"))
	if err != nil {
		return err
	}
	for _, name := range former {
		if err := os.Remove(name); err != nil {
			return err
		}
	}
	for name, seed := range corpus() {
		if err := os.WriteFile(filepath.Join(folder, name), seed, 0o644); err != nil {
			return err
		}
	}
	return nil
}
