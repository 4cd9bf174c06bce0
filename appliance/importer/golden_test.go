package importer

import (
	"context"
	"crypto/sha256"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport/appliance/config"
)

var update = flag.Bool("update", false, "write the golden files anew")

// importFile imports a file of testdata by its name.
func importFile(t *testing.T, path string) (*Result, error) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return importAs(path, data)
}

func importAs(path string, data []byte) (*Result, error) {
	if strings.Contains(path, "swanctl") {
		return Swanctl(filepath.Base(path), data)
	}
	return Netsh(filepath.Base(path), data)
}

// show is a result as a golden file has it.
func show(result *Result, err error) string {
	if err != nil {
		return err.Error() + "\n"
	}
	var text strings.Builder
	text.Write(result.YAML)
	text.WriteString("\n# Notes\n")
	for _, n := range result.Notes {
		fmt.Fprintf(&text, "# %d %s: %s\n", n.Line, n.Severity, n.Text)
	}
	text.WriteString("\n# Keys\n")
	for _, k := range result.Keys {
		fmt.Fprintf(&text, "# %s from line %d: %d octets\n", k.Name, k.Line, k.Secret.Len())
	}
	return text.String()
}

// The imports of realistic files are as people have read and approved them.
func TestGolden(t *testing.T) {
	for _, pattern := range []string{"testdata/*.netsh", "testdata/*.swanctl.conf"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v, %v", pattern, files, err)
		}
		for _, file := range files {
			t.Run(filepath.Base(file), func(t *testing.T) {
				result, err := importFile(t, file)
				got := show(result, err)
				golden := file + ".golden"
				if *update {
					if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(golden)
				if err != nil {
					t.Fatal(err)
				}
				if got != string(want) {
					t.Errorf("import differs from %s (run with -update and read the difference):\n%s", golden, got)
				}
				if result != nil {
					mustParse(t, result)
				}
			})
		}
	}
}

// mustParse gives the configuration the keys that it names and reads it as a gateway does.
func mustParse(t *testing.T, result *Result) *config.Config {
	t.Helper()
	c, err := parse(t, result)
	if err != nil {
		t.Fatalf("the configuration that was made is refused: %v\n%s", err, result.YAML)
	}
	return c
}

func parse(t *testing.T, result *Result) (*config.Config, error) {
	t.Helper()
	folder := t.TempDir()
	for i, line := range strings.Split(string(result.YAML), "\n") {
		_, name, has := strings.Cut(line, "psk_file: ")
		if !has {
			continue
		}
		key := fmt.Sprintf("vK3r8Qm1Zx9TfLw2Hc7NbYp5Sd4G%06d", i)
		if err := os.WriteFile(filepath.Join(folder, strings.Trim(name, "}\" ")), []byte(key), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return config.ParseWith(filepath.Join(folder, "gateway.yaml"), result.YAML, config.Options{
		Machine: config.Machine{Cores: []int{0, 1}, UID: os.Geteuid()}, Resolver: resolver100{}, Now: time.Unix(0, 0),
	})
}

// resolver100 finds every name at an address of 100.64.0.0/10.
type resolver100 struct{}

func (resolver100) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	digest := sha256.Sum256([]byte(host))
	return []netip.Addr{netip.AddrFrom4([4]byte{100, 64 | digest[0]&63, digest[1], digest[2]})}, nil
}
