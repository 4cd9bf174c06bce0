package offload

import (
	"os"
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
