package joined

import (
	"bytes"
	"os"
	"testing"

	"sallyport/pmd/eal/ealtest"
)

func TestMain(m *testing.M) { os.Exit(ealtest.Run(m, MemoryMB)) }

// All that is measured is measured, in short; a rekey loses nothing whatever the machine does meanwhile.
func TestRun(t *testing.T) {
	var out bytes.Buffer
	rows, err := Run(t.Context(), []int{0}, &out, true)
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if len(rows) != 2 {
		t.Fatalf("%d rows, want 2", len(rows))
	}
	if r := rows[0].(RateRow); r.PerSecond <= 0 {
		t.Errorf("%+v", r)
	}
	if r := rows[1].(RekeyRow); r.Rekeys == 0 || r.Sent == 0 || r.Lost != 0 {
		t.Errorf("%+v, want rekeys and no loss", r)
	}
}
