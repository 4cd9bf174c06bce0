package offload

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sallyport/crypto/cryptodev"
)

// The operator's page has every plan, and says of the software devices what they say of themselves.
func TestOperatorsPage(t *testing.T) {
	text, err := os.ReadFile("../docs/OFFLOAD.md")
	must(t, err)
	rows := map[string][]string{}
	for line := range strings.Lines(string(text)) {
		if cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|"); len(cells) > 1 {
			for _, name := range regexp.MustCompile("`[^`]+`").FindAllString(cells[0], -1) {
				rows[strings.Trim(name, "`")] = cells
			}
		}
	}
	for _, plan := range Plans() {
		if rows[string(plan)] == nil {
			t.Errorf("no row of %s", plan)
		}
	}
	pool, err := cryptodev.Open(cryptodev.Options{Devices: cryptodev.DefaultDevices(), QueuePairs: 1, Sessions: 1, Socket: cryptodev.SocketAny})
	must(t, err)
	defer func() { check(t, pool.Close()) }()
	for _, device := range pool.Describe() {
		if device.Direct {
			continue
		}
		cells := rows[device.Driver]
		if len(cells) != 4 {
			t.Errorf("%s: found %q, expected 4 cells", device.Driver, cells)
			continue
		}
		if says := []bool{strings.TrimSpace(cells[1]) == "yes", strings.TrimSpace(cells[2]) == "yes"}; !slices.Equal(says, []bool{device.Hardware, device.CPU}) {
			t.Errorf("%s: the page says hardware and cpu-crypto %v, the device %t and %t", device.Driver, says, device.Hardware, device.CPU)
		}
	}
}

// Each reason of the page is one that somebody gives, and its sample of an order is good.
func TestOperatorsPageIsCurrent(t *testing.T) {
	text, err := os.ReadFile("../docs/OFFLOAD.md")
	must(t, err)
	var sources strings.Builder
	for _, pattern := range []string{"*.go", "../pipeline/*.go", "../crypto/cryptodev/*.go"} {
		files, err := filepath.Glob(pattern)
		must(t, err)
		for _, name := range files {
			if !strings.HasSuffix(name, "_test.go") {
				source, err := os.ReadFile(name)
				must(t, err)
				sources.Write(source)
			}
		}
	}
	_, table, _ := strings.Cut(string(text), "| reason |")
	table, _, _ = strings.Cut(table, "\n\n")
	reasons := 0
	for line := range strings.Lines(table) {
		cell, _, _ := strings.Cut(strings.TrimPrefix(line, "|"), "|")
		for _, reason := range regexp.MustCompile("`[^`]+`").FindAllString(cell, -1) {
			reasons++
			// what stands for something else
			for _, part := range regexp.MustCompile(`\.\.\.|\bN\b|[0-9]+|ENCR_|AUTH_`).Split(strings.Trim(reason, "`"), -1) {
				if part = strings.Trim(part, " ,;"); !strings.Contains(sources.String(), part) {
					t.Errorf("nobody says %q of %s", part, reason)
				}
			}
		}
	}
	if reasons < 20 {
		t.Errorf("%d reasons found on the page", reasons)
	}
	order := regexp.MustCompile(`(?m)^  offload: \[(.*)\]$`).FindStringSubmatch(string(text))
	if order == nil {
		t.Fatal("no sample of an order")
	}
	_, err = ParseOrder(strings.Split(order[1], ", "))
	check(t, err)
}
