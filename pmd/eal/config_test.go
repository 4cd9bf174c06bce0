package eal

import (
	"slices"
	"strings"
	"testing"
)

func TestConfigFindsAllMistakes(t *testing.T) {
	bad := Config{
		MemoryMB: 1, FilePrefix: "../x", MainCore: -1, LogLevel: "loud",
		Devices: []string{"--vdev"}, AllowPCI: []string{"eth0"},
	}
	err := bad.withDefaults().validate()
	if err == nil {
		t.Fatal("no error")
	}
	for _, part := range []string{"memory of 1 MB", `"../x"`, "main core -1", `"loud", expected one of error`, `"--vdev"`, `"eth0"`} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error lacks %q:\n%v", part, err)
		}
	}
	if err := (Config{}).withDefaults().validate(); err != nil {
		t.Errorf("the zero value: %v", err)
	}
}

func TestArguments(t *testing.T) {
	plain := Config{MainCore: 3, FilePrefix: "x"}.withDefaults().arguments(false)
	want := []string{"sallyport", "--lcores=0@3", "--no-telemetry", "--file-prefix=x", "-m", "512",
		"--log-level=notice", "--no-huge", "--no-shconf", "--no-pci"}
	if !slices.Equal(plain, want) {
		t.Errorf("got  %q\nwant %q", plain, want)
	}
	full := Config{FilePrefix: "x", LogLevel: "debug", AllowPCI: []string{"0000:00:05.0"}, Devices: []string{"crypto_null0"}}.
		withDefaults().arguments(true)
	want = []string{"sallyport", "--lcores=0@0", "--no-telemetry", "--file-prefix=x", "-m", "512",
		"--log-level=debug", "--log-level=*:debug", "--in-memory", "--allow=0000:00:05.0", "--vdev=crypto_null0"}
	if !slices.Equal(full, want) {
		t.Errorf("got  %q\nwant %q", full, want)
	}
}
