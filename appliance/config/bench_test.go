package config

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// withFilters is the base configuration with a second rule of n filters of all kinds.
func withFilters(n int) string {
	var b strings.Builder
	b.WriteString("  - name: many\n    updated: 2026-11-21\n    filters:\n")
	for i := range n {
		switch i % 4 {
		case 0:
			fmt.Fprintf(&b, "      - {source: any, destination: 10.%d.%d.0/24, protocol: tcp, destination_port: %d}\n", 16+i>>16, i>>8&255, 1+i&255)
		case 1:
			fmt.Fprintf(&b, "      - {source: 10.1.0.0/24, destination: 172.16.%d.%d, protocol: udp, destination_port: 1024-2048}\n", i>>8&255, i&255)
		case 2:
			fmt.Fprintf(&b, "      - {source: 10.20.%d.%d-10.21.0.0, destination: 10.30.0.0/16, mirrored: false}\n", i>>8&255, i&255)
		case 3:
			fmt.Fprintf(&b, "      - name: f%d\n        source: 2001:db8:1::/64\n        destination: 2001:db8:%x::/48\n", i, 2+i)
		}
	}
	return strings.NewReplacer("filter_actions:\n", b.String()+"filter_actions:\n  - {name: pass, action: permit}\n",
		"peer: site-b}", "peer: site-b}\n      - {name: many, filter_list: many, filter_action: pass}").Replace(base)
}

func parseFilters(tb testing.TB, folder string, text []byte) *Config {
	c, err := Parse(filepath.Join(folder, "gw.yaml"), text, twoCores())
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// keyFolder is a folder with the key that the base configuration names.
func keyFolder(tb testing.TB) string {
	folder := tb.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "site-b.psk"), []byte(goodKey), 0o600); err != nil {
		tb.Fatal(err)
	}
	return folder
}

func BenchmarkParse(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		b.Run(fmt.Sprintf("filters=%d", n), func(b *testing.B) {
			folder, text := keyFolder(b), []byte(withFilters(n))
			b.ReportAllocs()
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				parseFilters(b, folder, text)
			}
		})
	}
}

// Ten thousand filters are read, checked and compiled without more memory than a small machine has: twice what was
// measured. BenchmarkParse says how long it takes.
func TestManyFilters(t *testing.T) {
	folder, text := keyFolder(t), []byte(withFilters(10_000))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	c := parseFilters(t, folder, text)
	runtime.ReadMemStats(&after)
	if len(c.SPD.Entries) < 10_000 {
		t.Errorf("%d entries", len(c.SPD.Entries))
	}
	if allocated := (after.TotalAlloc - before.TotalAlloc) >> 20; allocated > 256 {
		t.Errorf("%d KiB of text took %d MiB, want at most 256", len(text)>>10, allocated)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if held := int64(after.HeapAlloc) - int64(before.HeapAlloc); held > 32<<20 {
		t.Errorf("the configuration holds %d MiB, want at most 32", held>>20)
	}
	runtime.KeepAlive(c)
}
