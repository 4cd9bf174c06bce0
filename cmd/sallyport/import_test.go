package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/appliance/importer"
)

const netshTunnel = "../../appliance/importer/testdata/site-to-site.netsh"

// The configuration goes to standard output and what is lost to standard error, by line; a key goes to neither.
func TestImportPrints(t *testing.T) {
	for _, c := range [][]string{{"netsh", netshTunnel}, {"swanctl", "../../appliance/importer/testdata/hub.swanctl.conf"}} {
		got := sallyport(t, "import", c[0], c[1])
		if got.code != exitGood || !strings.Contains(got.out, "filter_lists:") || !strings.Contains(got.err, c[1]+":") {
			t.Errorf("%v: exit code %d, found\n%s\n%s", c, got.code, got.out, got.err)
		}
	}
	got := sallyport(t, "import", "netsh", netshTunnel)
	source, err := os.ReadFile(netshTunnel)
	if err != nil {
		t.Fatal(err)
	}
	_, psk, _ := strings.Cut(string(source), `psk="`)
	psk, _, _ = strings.Cut(psk, `"`)
	if len(psk) < 20 || strings.Contains(got.out+got.err, psk) {
		t.Errorf("the preshared key %q of the source is printed", psk)
	}
	if !strings.Contains(got.err, netshTunnel+":8: lost: ") || !strings.Contains(got.err, "--output FILE writes them") {
		t.Errorf("expected what line 8 loses, and where the key is, in\n%s", got.err)
	}

	got = sallyport(t, "import", "netsh", netshTunnel, "--json")
	var notes []importer.Note
	if err := json.Unmarshal([]byte(got.err), &notes); err != nil || len(notes) == 0 || !strings.HasPrefix(got.out, "#") && !strings.Contains(got.out, "policies:") {
		t.Errorf("--json: %v, notes %s", err, got.err)
	}
}

// With --output all files are new, and keys are their owner's alone.
func TestImportWrites(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gw.yaml")
	if got := sallyport(t, "import", "netsh", netshTunnel, "-o", path); got.code != exitGood || got.out != "" {
		t.Fatalf("%+v", got)
	}
	if text, err := os.ReadFile(path); err != nil || !strings.Contains(string(text), "policies:") {
		t.Errorf("%v, found\n%s", err, text)
	}
	keys, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*.psk"))
	if err != nil || len(keys) != 1 {
		t.Fatalf("key files %v, %v, expected one", keys, err)
	}
	info, err := os.Stat(keys[0])
	text, reading := os.ReadFile(keys[0])
	if err != nil || reading != nil || info.Mode().Perm() != 0o600 || strings.Count(string(text), "\n") != 1 {
		t.Errorf("key file: %v, %v, %v, expected one line and mode 0600", err, reading, info.Mode())
	}
	got := sallyport(t, "import", "netsh", netshTunnel, "-o", path)
	if got.code != exitFailed || !strings.Contains(got.err, path+" is there already") {
		t.Errorf("a file that is there: %+v", got)
	}
}

// What cannot be understood is named by its line, and the exit code says that the file is at fault.
func TestImportRefuses(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad.txt")
	if err := os.WriteFile(bad, []byte("ipsec static add policy name=A\nipsec static add nonsense name=B\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := sallyport(t, "import", "netsh", bad); got.code != exitBad || got.out != "" || !strings.HasPrefix(got.err, bad+":2: ") {
		t.Errorf("%+v", got)
	}
	if got := sallyport(t, "import", "swanctl", filepath.Join(filepath.Dir(bad), "missing")); got.code != exitBad {
		t.Errorf("a file that is not there: %+v", got)
	}
}
