package ikebench

import (
	"bytes"
	"strings"
	"testing"
)

// All that is measured is measured, in short.
func TestRun(t *testing.T) {
	var out bytes.Buffer
	rows, err := Run(t.Context(), &out, true)
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if len(rows) != 19 {
		t.Errorf("%d rows, want 19", len(rows))
	}
	for _, row := range rows {
		switch row := row.(type) {
		case RateRow:
			if row.Initiator <= 0 || row.Responder <= 0 || row.Arithmetic <= 0 || row.Bytes <= 0 {
				t.Errorf("%+v", row)
			}
		case RefusalRow:
			if row.Rate <= 0 || row.Why == "" {
				t.Errorf("%+v", row)
			}
		case UpkeepRow:
			if row.Rekeys != 2*row.Tunnels || row.Checks == 0 {
				t.Errorf("%+v, want each IKE SA and each Child SA rekeyed", row)
			}
		}
	}
	for _, want := range []string{"PSK", "ECDSA P-256", "RSA 2048", "v1 ", "v2 ", "KiB of Go memory", "of a core"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in the report:\n%s", want, out.String())
		}
	}
}
