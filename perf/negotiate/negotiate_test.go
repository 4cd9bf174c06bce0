package negotiate

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// program builds the gateway.
func program(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sallyport")
	if out, err := exec.CommandContext(t.Context(), "../../scripts/go", "build", "-o", path, "../../cmd/sallyport").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// run measures, and has the rows and verdicts from the file that they are also written to.
func run(t *testing.T, o Options) (rows []Row, verdicts []Verdict, text string) {
	t.Helper()
	var out strings.Builder
	o.JSON, o.Out, o.Progress = filepath.Join(t.TempDir(), "rows.json"), &out, io.Discard
	if err := Run(t.Context(), o); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	t.Log(out.String())
	b, err := os.ReadFile(o.JSON)
	if err != nil {
		t.Fatal(err)
	}
	var all []json.RawMessage
	if err := json.Unmarshal(b, &all); err != nil {
		t.Fatal(err)
	}
	for _, raw := range all {
		var of struct{ Table string }
		if err = json.Unmarshal(raw, &of); err == nil && of.Table == tableVerdict {
			verdicts = append(verdicts, Verdict{})
			err = json.Unmarshal(raw, &verdicts[len(verdicts)-1])
		} else if err == nil {
			rows = append(rows, Row{})
			err = json.Unmarshal(raw, &rows[len(rows)-1])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return rows, verdicts, out.String()
}

// referenceBest is the reference's best rate in SAs/s, on a Pentium III (S-116).
const referenceBest = 19.38969

// A whole gateway is negotiated with by IKEv1 and by IKEv2, at the six intervals of the sweep, and says of itself what the peers say.
// S-116: six rows with MM/s, QM/s and SAs/s for each version; at 50 ms and slower every initiation completes; at 0 ms the rate is above the reference's best.
// S-117: the rate at 0 ms is at least 90 % of the sweep's best.
// C-14: the gateway has 1 MM and 2 QM SAs for each first connection that has completed, the rule is printed, and no rate is above what the starts allow.
// S-083: the sweep has rates without PFS, with that of session keys, and with that of master keys, for which only the peers are set.
func TestRun(t *testing.T) {
	binary := program(t)
	t.Run("sweep", func(t *testing.T) {
		rows, verdicts, text := run(t, Options{Binary: binary, Time: 300 * time.Millisecond, Peers: 60, Outstanding: 20})
		var found []string
		best := map[string]float64{}
		for _, r := range rows {
			checkRow(t, &r)
			if r.Reference {
				continue
			}
			found = append(found, fmt.Sprintf("%s %d", r.Version, r.Interval))
			best[r.Version] = max(best[r.Version], r.SARate)
			if r.Completed != r.Initiated {
				t.Errorf("%d of %d initiations completed: %+v", r.Completed, r.Initiated, r)
			}
			if r.GatewayMM != r.Completed || r.GatewayQM != r.Completed || math.Abs(r.SARate-r.MMRate-2*r.QMRate) > 1e-9 {
				t.Errorf("%d main modes and %d quick modes on the gateway for %d first connections, expected one each: %+v", r.GatewayMM, r.GatewayQM, r.Completed, r)
			}
			if r.Interval > 0 && r.SARate > 3*1000/float64(r.Interval)*(1+1e-9) {
				t.Errorf("%g SAs/s with a start each %d ms", r.SARate, r.Interval)
			}
		}
		want := []string{"v1 250", "v1 200", "v1 150", "v1 100", "v1 50", "v1 0", "v2 250", "v2 200", "v2 150", "v2 100", "v2 50", "v2 0"}
		if !slices.Equal(found, want) || len(verdicts) != 2 {
			t.Errorf("rows %v and %d verdicts, expected %v and one for each version", found, len(verdicts), want)
		}
		for _, r := range rows {
			if r.Interval == 0 && !r.Reference && (r.SARate <= referenceBest || r.SARate < shedTarget*best[r.Version]) {
				t.Errorf("%g SAs/s at 0 ms, expected above %g and above 90 %% of the best, %g", r.SARate, referenceBest, best[r.Version])
			}
		}
		for _, part := range []string{"MM/s", "QM/s", "SAs/s", "counting rule", "3 SAs for each connection", "at most 20", "at 0 ms", "32 at once"} {
			if !strings.Contains(text, part) {
				t.Errorf("the report does not say %q:\n%s", part, text)
			}
		}
	})
	t.Run("PFS", func(t *testing.T) {
		const quickModes = 2
		rows, _, _ := run(t, Options{Binary: binary, Intervals: []int{0}, PFS: []string{PFSNone, PFSSession, PFSMaster}, QuickModes: quickModes, Peers: 12, Outstanding: 6})
		mainModes := map[string]int{PFSNone: 1, PFSSession: 1, PFSMaster: quickModes}
		if len(rows) != 2*2*len(mainModes) {
			t.Errorf("%d rows, expected two for each of two versions and %d kinds of PFS", len(rows), len(mainModes))
		}
		for _, r := range rows {
			checkRow(t, &r)
			if r.Completed != r.Initiated || r.PeersMM != mainModes[r.PFS]*r.Completed || r.PeersQM != quickModes*r.Completed ||
				r.GatewayMM != r.PeersMM || r.GatewayQM != r.PeersQM {
				t.Errorf("expected %d main modes and %d quick modes for each connection: %+v", mainModes[r.PFS], quickModes, r)
			}
		}
	})
	t.Run("certificates", func(t *testing.T) {
		rows, _, _ := run(t, Options{Binary: binary, Intervals: []int{0}, Auth: []string{AuthCertificate}, Peers: 12, Outstanding: 6})
		for _, r := range rows {
			checkRow(t, &r)
			if r.Completed != r.Initiated || r.Authentication != AuthCertificate {
				t.Errorf("expected all to complete by certificate: %+v", r)
			}
		}
	})
}

// checkRow looks at what a reader of the JSON relies on.
func checkRow(t *testing.T, r *Row) {
	t.Helper()
	if r.Initiated != r.Completed+r.Failed || r.Initiated == 0 || r.Seconds <= 0 || r.MMRate < 0 || r.QMRate < 0 || r.Failed > 0 && len(r.Failures) == 0 || r.SetUpMedian > r.SetUp99 {
		t.Errorf("a row that does not add up: %+v", r)
	}
}

// What cannot be measured is refused, all of it at once.
func TestOptions(t *testing.T) {
	_, err := Options{Versions: []string{"v3"}, PFS: []string{"none", "none"}, Auth: []string{"eap"}, Intervals: []int{-1}, QuickModes: 11, Peers: -1, Outstanding: 1 << 20, Time: -1}.withDefaults()
	if err == nil {
		t.Fatal("expected errors")
	}
	for _, part := range []string{`"v3"`, `"none"`, `"eap"`, "-1 ms", "11 quick modes", "-1 peers", "1048576 connections", "-1ns"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("expected a word about %s:\n%v", part, err)
		}
	}
	if _, err := (Options{Time: 10 * time.Minute, Intervals: []int{50, 20, 10}}).withDefaults(); err == nil || !strings.Contains(err.Error(), "peers would be needed") {
		t.Errorf("more peers than there are addresses: %v", err)
	}
	o, err := Options{PFS: []string{PFSMaster}}.withDefaults()
	if err != nil || o.QuickModes != pfsQuickModes || len(o.rounds()) != 7 {
		t.Errorf("%+v, %v: expected %d quick modes and six intervals with one measurement to compare 0 ms with", o, err, pfsQuickModes)
	}
}
