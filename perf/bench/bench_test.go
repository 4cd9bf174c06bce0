package bench

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"sallyport/pmd/eal"
)

// TestTable runs a small table to the end: Run itself fails when a packet is dropped, or not counted by its SA. No figure is
// held against a time.
func TestTable(t *testing.T) {
	name := filepath.Join(t.TempDir(), "rows.json")
	var out bytes.Buffer
	o := Options{Quick: true, HugePages: eal.HugePagesOff, Algorithms: []string{"aes128gcm16", "aes256-sha256"}, Tunnels: 3, JSON: name, Out: &out}
	if err := Run(t.Context(), o); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	rows, policies := splitRows(readRows(t, name))
	checkPolicies(t, policies)
	if want := 2 * 2 * 2 * 2; len(rows) != want { // algorithms, directions, flows, sizes
		t.Fatalf("%d rows, expected %d:\n%s", len(rows), want, out.String())
	}
	for _, row := range rows {
		checkRow(t, row)
	}
	for _, part := range []string{"CPU", "Linux", "DPDK", "no huge pages", "cycles per packet", "floor", "ratio", "outbound SA", "inbound SA",
		"flood", "to compile, build and publish"} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("the table does not say %q:\n%s", part, out.String())
		}
	}
	if lines := strings.Count(out.String(), "\noutbound   aes") + strings.Count(out.String(), "\ninbound    aes"); lines != len(rows) {
		t.Errorf("%d lines in the table for %d rows:\n%s", lines, len(rows), out.String())
	}
}

func readRows(t *testing.T, name string) []map[string]any {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var rows []map[string]any
	if err := json.Unmarshal(b, &rows); err != nil {
		t.Fatalf("%v in\n%s", err, b)
	}
	return rows
}

// splitRows parts the main table from that of policies.
func splitRows(all []map[string]any) (rows, policies []map[string]any) {
	for _, row := range all {
		if _, main := row["algorithm"]; main {
			rows = append(rows, row)
		} else {
			policies = append(policies, row)
		}
	}
	return rows, policies
}

// The table of policies has a row for each size and traffic, whose figures add up, and one for putting the largest policy in
// force. Run fails by itself when a packet is lost.
// S-118
func checkPolicies(t *testing.T, rows []map[string]any) {
	t.Helper()
	sizes := map[string][]float64{}
	swaps := 0
	for _, row := range rows {
		number := func(key string) float64 {
			value, ok := row[key].(float64)
			if !ok || value <= 0 || math.IsInf(value, 0) {
				t.Errorf("%s is %v, expected a number above 0 in %v", key, row[key], row)
			}
			return value
		}
		between := func(key string) {
			if middle, low, high := number(key), number(key+"_min"), number(key+"_max"); low > middle || middle > high {
				t.Errorf("%s is %g, expected %g to %g in %v", key, middle, low, high, row)
			}
		}
		if _, swap := row["swap_filters"]; swap {
			swaps++
			between("seconds")
			if number("swap_filters") != 100 || number("memory_mb_target") != swapMB || number("seconds_target") != swapSeconds || number("table_mb") <= 0 {
				t.Errorf("swap of the largest policy: %v", row)
			}
			continue
		}
		between("hit_cycles_per_packet")
		between("miss_cycles_per_packet")
		between("flood_hit_cycles_per_packet")
		traffic, _ := row["traffic"].(string)
		sizes[traffic] = append(sizes[traffic], number("filters"))
		if first := len(sizes[traffic]) == 1; first != (number("hit_ratio") == 1) || first == (number("miss_ratio") == 1) {
			t.Errorf("hits are compared with those at 10 filters and misses with those at 100, found %v", row)
		}
		if number("flood_share_target") != floodTarget || number("hit_ratio_target") != hitTarget || number("miss_ratio_target") != missTarget {
			t.Errorf("targets: %v", row)
		}
		// in each of three rounds a window of hits and two of the flood, in whole passes
		if n := number("packets"); math.Mod(n, minPass) != 0 || n < 3*(minPass+2*siteFlows) {
			t.Errorf("%g packets, expected whole passes of %d and %d in 3 rounds", n, minPass, siteFlows)
		}
	}
	want := map[string][]float64{"permit": {10, 100}, "outbound": {10, 100}}
	if !reflect.DeepEqual(sizes, want) || swaps != len(want) {
		t.Errorf("rows for %v and %d swaps, expected %v and one swap each", sizes, swaps, want)
	}
}

// checkRow looks at what a reader of the JSON relies on.
func checkRow(t *testing.T, row map[string]any) {
	t.Helper()
	number := func(key string) float64 {
		value, ok := row[key].(float64)
		if !ok || value <= 0 || math.IsInf(value, 0) {
			t.Errorf("%s is %v, expected a number above 0 in %v", key, row[key], row)
		}
		return value
	}
	for _, key := range []string{"case", "algorithm", "direction"} {
		if text, ok := row[key].(string); !ok || text == "" {
			t.Errorf("%s is %v, expected a text in %v", key, row[key], row)
		}
	}
	for _, key := range []string{"size", "flows", "tunnels", "workers", "windows", "packets", "sa_bytes", "tsc_hz"} {
		number(key)
	}
	for _, key := range []string{"mpps", "gbps", "cycles_per_packet", "floor_cycles_per_packet", "ratio"} {
		middle, low, high := number(key), number(key+"_min"), number(key+"_max")
		if low > middle*(1+1e-9) || middle > high*(1+1e-9) {
			t.Errorf("%s %g is not between its minimum %g and maximum %g", key, middle, low, high)
		}
	}
	near := func(what string, found, expected float64) {
		if math.Abs(found-expected) > 1e-6*expected {
			t.Errorf("%s is %g, expected %g in %v", what, found, expected, row)
		}
	}
	near("ratio", number("ratio"), number("cycles_per_packet")/number("floor_cycles_per_packet"))
	near("mpps", number("mpps"), number("tsc_hz")/number("cycles_per_packet")/1e6)
	near("gbps", number("gbps"), number("mpps")*number("size")*8/1000)
	if machine, ok := row["machine"].(map[string]any); !ok || machine["cpu"] == "" || machine["huge_pages"] != false {
		t.Errorf("machine is %v, expected its description, without huge pages", row["machine"])
	}
}
