package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func manyFilters(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "      - {source: 10.1.%d.%d, destination: 10.2.0.0/24, protocol: tcp, destination_port: %d}\n", i>>8&255, i&255, 1+i%60000)
	}
	return strings.Replace(base, "    filters: [{source: 10.1.0.0/24, destination: 10.2.0.0/24}]\n", "    filters:\n"+b.String(), 1)
}

func BenchmarkParse10000(b *testing.B) {
	folder := b.TempDir()
	if err := writeKeyFile(folder, "site-b.psk", goodKey); err != nil {
		b.Fatal(err)
	}
	text := []byte(manyFilters(10000))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(folder+"/gw.yaml", text, twoCores()); err != nil {
			b.Fatal(err)
		}
	}
}
func writeKeyFile(folder, name, key string) error {
	return os.WriteFile(filepath.Join(folder, name), []byte(key), 0o600)
}
