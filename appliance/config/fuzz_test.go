package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Any file parses or fails: no panic, no configuration beside an error, and every error is one line with the file's name.
func FuzzParse(f *testing.F) {
	f.Add(base)
	samples, err := filepath.Glob("../../configs/*.yaml")
	if err != nil || len(samples) == 0 {
		f.Fatal("no sample configurations", err)
	}
	for _, name := range samples {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	for _, seed := range []string{
		"", "---", "a: &a [*a]", "? [x]: y", "name: !!binary aGk=", "ports: [null, {}, []]", "<<: *x", "policies: [{rules: [{ports: 9}]}]",
		"peers: [{auth: {psk_file: /dev/zero}}]", "dataplane: {workers: [-1, 99999999999999999999]}", "filter_lists: [{filters: [{source: 0.0.0.0-255.255.255.255}]}]",
		"routes: &r [{to: &t 0.0.0.0/0, via: *t}]\nports: *r", "\"a\\0b\": {c::d: 1}", "name: \xff",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		config, err := Parse("gw.yaml", []byte(text), twoCores())
		if (config == nil) == (err == nil) {
			t.Fatalf("configuration %v with error %v", config, err)
		}
		if err == nil {
			return
		}
		for _, one := range err.(interface{ Unwrap() []error }).Unwrap() {
			if line := one.Error(); !strings.HasPrefix(line, "gw.yaml") || strings.Contains(line, "\n") {
				t.Errorf("error %q, want one line that starts with the file", line)
			}
		}
	})
}
