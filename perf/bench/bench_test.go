package bench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"sallyport/perf/report"
	"sallyport/pmd/eal"
)

// TestTables runs every kind of row to the end: Run itself fails when a packet is dropped, or not counted by its SA, or when the
// floor's crypto makes other ICVs than the reference. No figure is held against a time.
func TestTables(t *testing.T) {
	name := filepath.Join(t.TempDir(), "rows.json")
	var out bytes.Buffer
	workers := cpus(t) // before Run moves this thread to one of them
	o := Options{Quick: true, HugePages: eal.HugePagesOff, Algorithms: []string{"aes128gcm16", "aes256-sha256"}, Tunnels: 3, NIC: attachNIC, JSON: name, Out: &out,
		Report: filepath.Join(t.TempDir(), "report.json"), HTML: filepath.Join(t.TempDir(), "report.html"), Command: []string{"sallyport", "lab", "bench", "--quick"}}
	if err := Run(t.Context(), o); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	rows := splitRows(readRows(t, name))
	for table, want := range map[string]int{
		tableSizes:      2 * 2 * 2 * 2,           // algorithms, directions, flows, sizes
		tableTransforms: 2 * (8*2 + 1),           // directions, ways to protect in two sizes and the IMIX
		tableTunnels:    2 * 5,                   // directions, numbers of tunnels, one flow and more flows
		tableOffload:    2 * 2 * 2,               // directions, sizes, cpu-crypto and lookaside
		tableWorkers:    workers / 2 * 2 * 2 * 2, // none on one CPU; directions, sizes, one and two workers
	} {
		if len(rows[table]) != want {
			t.Errorf("%d rows of table %q, expected %d:\n%s", len(rows[table]), table, want, out.String())
		}
		for _, row := range rows[table] {
			checkRow(t, row)
		}
	}
	checkReport(t, o, rows)
	checkPolicies(t, rows[""])
	checkTransforms(t, rows[tableTransforms])
	checkTunnels(t, rows[tableTunnels])
	checkWorkers(t, rows[tableWorkers])
	checkSoft(t, rows[tableSoft])
	checkOffload(t, rows[tableOffload])
	checkInline(t, rows[tableInline])
	for _, part := range []string{"CPU", "Linux", "DPDK", "no huge pages", "cycles per packet", "floor", "ratio", "outbound SA", "inbound SA",
		"IMIX", "MTU of 1600", "many tunnels", "two workers", "flood", "to compile, build and publish"} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("the report does not say %q:\n%s", part, out.String())
		}
	}
}

// The report has the rows too, with a sample for each window, and nothing else in them.
func checkReport(t *testing.T, o Options, rows map[string][]map[string]any) {
	t.Helper()
	r, err := report.Read(o.Report)
	if err != nil {
		t.Fatal(err)
	}
	medians := map[string]report.Figure{}
	for _, row := range r.Rows {
		if len(row.Figures) > 1 {
			medians[row.Name] = row.Figures[1]
		}
	}
	for _, table := range []string{tableSizes, tableTransforms, tableTunnels, tableOffload, tableWorkers} {
		for _, row := range rows[table] {
			name := table + ": " + row["case"].(string)
			if f, found := medians[name]; !found || f.Median() != row["cycles_per_packet"] || float64(len(f.Samples)) != row["windows"] {
				t.Errorf("row %q of the report: expected %v cycles in %v windows, found %+v", name, row["cycles_per_packet"], row["windows"], f)
			}
		}
	}
	if r.Tool != "bench" || r.Interrupted || r.Verdict.Text == "" || len(r.Plots) != 2 || r.Ended.Before(r.Started) {
		t.Errorf("expected a whole report with two plots, found %+v, %d plots", r.Verdict, len(r.Plots))
	}
	if d, err := report.Compare(r, r); err != nil || len(d.Figures) < 4*len(rows[tableSizes]) {
		t.Errorf("%+v, %v", d, err)
	}
	if page, err := os.ReadFile(o.HTML); err != nil || bytes.Count(page, []byte("<svg ")) != 2 {
		t.Errorf("the page has %d plots, %v", bytes.Count(page, []byte("<svg ")), err)
	}
}

// Rows of another program come behind those of the first.
func TestAppendedRows(t *testing.T) {
	name := filepath.Join(t.TempDir(), "rows.json")
	if err := writeJSON(name, []any{SessionsRow{Sessions: 1}}, true); err == nil {
		t.Error("rows were added to a file that is not there")
	}
	for i := range 2 {
		if err := writeJSON(name, []any{SessionsRow{Sessions: i + 1}}, i > 0); err != nil {
			t.Fatal(err)
		}
	}
	if rows := readRows(t, name); len(rows) != 2 || rows[0]["sessions"] != 1.0 || rows[1]["sessions"] != 2.0 {
		t.Errorf("%v, expected two rows in their order", rows)
	}
}

// What is measured has somewhere to go, and a CPU, before anything is.
func TestRefused(t *testing.T) {
	folder := t.TempDir()
	report := filepath.Join(folder, "report.json")
	if err := os.WriteFile(report, []byte(`{"format": "a report"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, o := range map[string]Options{
		"no such file":    {JSON: filepath.Join(folder, "none", "rows.json")},
		"found a folder":  {HTML: folder},
		"found it twice":  {Report: report, HTML: report},
		"want the file":   {Append: true},
		"rows to add to":  {Append: true, JSON: report},
		"CPU 4000":        {Core: 4000},
		"CPU -1":          {Core: -1},
		`pages "perhaps"`: {HugePages: "perhaps"},
	} {
		var out bytes.Buffer
		o.Quick, o.Out = true, &out
		if err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) || out.Len() > 0 {
			t.Errorf("%v, and printed %q; expected %q and nothing", err, out.String(), want)
		}
	}
}

// One flow by a soft SA stands beside the same flow by a filter that permits it. Run fails by itself when a packet of either
// does not leave in clear.
func checkSoft(t *testing.T, rows []map[string]any) {
	t.Helper()
	if len(rows) != 1 {
		t.Fatalf("%d rows of a soft SA, expected one", len(rows))
	}
	for _, of := range []string{"soft_cycles_per_packet", "permit_cycles_per_packet", "soft_ratio"} {
		middle, _ := rows[0][of].(float64)
		low, _ := rows[0][of+"_min"].(float64)
		high, _ := rows[0][of+"_max"].(float64)
		if low <= 0 || low > middle || middle > high || math.IsInf(high, 0) {
			t.Errorf("%s is %g, %g to %g", of, middle, low, high)
		}
	}
	if n, _ := rows[0]["packets"].(float64); rows[0]["soft_ratio_target"] != softTarget || n < 3*2*largeSource {
		t.Errorf("%v, expected a target of %g and whole passes in 3 rounds of both", rows[0], softTarget)
	}
}

// Of each pair the second row says how it compares with the first.
func checkOffload(t *testing.T, rows []map[string]any) {
	t.Helper()
	for i := 1; i < len(rows); i += 2 {
		middle, _ := rows[i]["cpu_crypto_ratio"].(float64)
		low, _ := rows[i]["cpu_crypto_ratio_min"].(float64)
		high, _ := rows[i]["cpu_crypto_ratio_max"].(float64)
		if low <= 0 || low > middle || middle > high || math.IsInf(high, 0) {
			t.Errorf("ratio to cpu-crypto is %g, %g to %g", middle, low, high)
		}
		if target, _ := rows[i]["cpu_crypto_ratio_target"].(float64); (target == lookasideTarget) != (rows[i]["size"] == float64(largeSize)) {
			t.Errorf("target %g at %v bytes", target, rows[i]["size"])
		}
	}
}

func cpus(t *testing.T) int {
	t.Helper()
	cores, err := lastCores(2)
	if err != nil {
		t.Fatal(err)
	}
	return len(cores)
}

// Every way to protect a packet has a row at 1400 bytes in both directions with the target of 1.4, and a floor whose crypto is
// libIPSec_MB's.
func checkTransforms(t *testing.T, rows []map[string]any) {
	t.Helper()
	found := map[string]int{}
	for _, row := range rows {
		if who, _ := row["floor_crypto"].(string); !strings.HasPrefix(who, "libIPSec_MB, ") {
			t.Errorf("the floor's crypto is done by %q, expected libIPSec_MB itself in %v", who, row)
		}
		if row["size"] == 1400.0 && row["ratio_target"] == largeTarget {
			found[fmt.Sprint(row["algorithm"], " ", row["encapsulation"])]++
		}
		size, _ := row["size"].(float64)
		imix, source := size != math.Trunc(size), 512.
		if imix {
			found["IMIX"]++
			source = 6 * imixPeriod // the first whole periods from there on
			if math.Abs(size-(7*46+4*576+1500)/12.) > 1e-9 {
				t.Errorf("IMIX of %g bytes in the mean", size)
			}
		}
		if row["source_packets"] != source {
			t.Errorf("a source of %v packets, expected %g, in %v", row["source_packets"], source, row)
		}
	}
	want := map[string]int{"IMIX": 2}
	for _, way := range []string{"aes256gcm16 IPv4 in IPv4, ESP", "aes128-sha256 IPv4 in IPv4, ESP", "chacha20poly1305 IPv4 in IPv4, ESP", "sha256 IPv4 in IPv4, AH",
		"aes128gcm16 IPv4 in IPv4, ESP in UDP", "aes128gcm16 IPv6 in IPv4, ESP", "aes128gcm16 IPv4 in IPv6, ESP", "aes128gcm16 IPv6 in IPv6, ESP"} {
		want[way] = 2
	}
	if !reflect.DeepEqual(found, want) {
		t.Errorf("rows at 1400 bytes with a target:\n%v\nexpected\n%v", found, want)
	}
}

// The same packets in all rows of a direction but the one for scale; the target stands beside the most tunnels.
func checkTunnels(t *testing.T, rows []map[string]any) {
	t.Helper()
	var found []string
	for _, row := range rows {
		found = append(found, fmt.Sprint(row["direction"], " ", row["flows"], " ", row["tunnels"], " ", row["one_tunnel_ratio_target"], " ", row["one_flow_ratio_target"]))
		if row["flows"] == 100.0 && row["tunnels"] == 1.0 && row["one_tunnel_ratio"] != 1.0 {
			t.Errorf("one tunnel is compared with itself, found %v", row)
		}
		if row["flows"] == 1.0 && row["one_flow_ratio"] != 1.0 {
			t.Errorf("one flow is compared with itself, found %v", row)
		}
	}
	var want []string
	for _, direction := range []Direction{Outbound, Inbound} {
		for _, row := range []string{"1 1 <nil> <nil>", "100 1 <nil> <nil>", "100 10 <nil> <nil>", "100 100 1.8 <nil>", "200 10 <nil> 2.2"} {
			want = append(want, string(direction)+" "+row)
		}
	}
	if !reflect.DeepEqual(found, want) {
		t.Errorf("rows\n%q\nexpected\n%q", found, want)
	}
}

// Two workers stand beside one.
func checkWorkers(t *testing.T, rows []map[string]any) {
	t.Helper()
	for i, row := range rows {
		if want := float64(1 + i%2); row["workers"] != want || row["flows"] != 1000*want {
			t.Errorf("row %d: %v, expected %g workers with 1000 flows each", i, row, want)
		}
		if i%2 == 1 && row["one_worker_rate_ratio_target"] != workersTarget {
			t.Errorf("target of two workers: %v", row)
		}
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

// splitRows parts the tables; the rows of policies name none.
func splitRows(all []map[string]any) map[string][]map[string]any {
	rows := map[string][]map[string]any{}
	for _, row := range all {
		table, _ := row["table"].(string)
		rows[table] = append(rows[table], row)
	}
	return rows
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
		if n := number("packets"); math.Mod(n, largeSource) != 0 || n < 3*(largeSource+2*siteFlows) {
			t.Errorf("%g packets, expected whole passes of %d and %d in 3 rounds", n, largeSource, siteFlows)
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
	for _, key := range []string{"case", "algorithm", "direction", "encapsulation", "floor_crypto"} {
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
