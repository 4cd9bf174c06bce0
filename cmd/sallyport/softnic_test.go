package main

import (
	"debug/elf"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

// TestNoSoftwareNIC looks for the software NIC in the program as it is shipped, and as the lab builds it, and for crypto devices of tests, which are in neither.
func TestNoSoftwareNIC(t *testing.T) {
	for tags, expected := range map[string]bool{"": false, "softnic": true} {
		binary := filepath.Join(t.TempDir(), "sallyport")
		if out, err := exec.CommandContext(t.Context(), "../../scripts/go", "build", "-tags", tags, "-o", binary, ".").CombinedOutput(); err != nil {
			t.Fatalf("build with tags %q: %v\n%s", tags, err, out)
		}
		defined := definitions(t, binary)
		for _, symbol := range []string{"rte_cryptodev_get_sec_ctx", "rte_cryptodev_info_get", "rte_cryptodev_sym_session_create", "wholedev_offer", "faulty_attach"} {
			if slices.Contains(defined, symbol) {
				t.Errorf("tags %q: %s, of a crypto device for tests, is in the program", tags, symbol)
			}
		}
		if slices.Contains(defined, "sp_profile_take") {
			t.Errorf("tags %q: the program counts cycles by stage, expected that of make profile alone", tags)
		}
		for _, symbol := range []string{"sp_nic_attach", "sp_nic_receive", "sallyport/offload/softnic.Attach", "rte_eth_dev_get_sec_ctx", "rte_flow_create", "rte_eth_dev_start"} {
			if slices.Contains(defined, symbol) != expected {
				t.Errorf("tags %q: %s is in the program: %v", tags, symbol, !expected)
			}
		}
	}
}

// definitions are the names that a program defines itself, as nm lists them.
func definitions(t *testing.T, binary string) []string {
	t.Helper()
	file, err := elf.Open(binary)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	symbols, err := file.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range symbols {
		if s.Section != elf.SHN_UNDEF {
			names = append(names, s.Name)
		}
	}
	if len(names) < 1000 {
		t.Fatalf("%d names in %s, expected those of a program that is not stripped", len(names), binary)
	}
	return names
}
