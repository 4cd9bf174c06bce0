package bench

import (
	"math"
	"testing"

	"sallyport/offload/softnic"
)

// testNIC is the software NIC, which no shipped program has.
type testNIC struct{ *softnic.NIC }

func (n testNIC) Work() (packets, cycles uint64) {
	c := n.Counters()
	return c.TxSecured + c.RxSecured, c.Cycles
}

func attachNIC(port uint16, queues int) (NIC, error) {
	nic, err := softnic.Attach(port, queues, softnic.Options{InlineProtocol: true})
	return testNIC{nic}, err
}

// In each direction one flow by inline protocol is held against the CPU, and SAs with sessions come and go. Run fails by itself when the NIC has not taken every
// packet, or when an SA has no session or leaves one behind.
func checkInline(t *testing.T, rows []map[string]any) {
	t.Helper()
	pairs, churns := 0, 0
	for _, row := range rows {
		number := func(key string) float64 {
			value, ok := row[key].(float64)
			if !ok || math.IsInf(value, 0) || math.IsNaN(value) {
				t.Errorf("%s is %v, expected a number in %v", key, row[key], row)
			}
			return value
		}
		between := func(key string) {
			if middle, low, high := number(key), number(key+"_min"), number(key+"_max"); low > middle || middle > high {
				t.Errorf("%s is %g, expected %g to %g", key, middle, low, high)
			}
		}
		if _, churn := row["sessions"]; churn {
			churns++
			between("rate_per_second")
			if number("sessions") != 100 || number("rate_per_second_min") <= 0 || number("made_per_second") <= 0 || number("ended_per_second") <= 0 ||
				number("rate_per_second_target") != sessionsTarget {
				t.Errorf("sessions: %v", row)
			}
			continue
		}
		pairs++
		between("own_cycles_per_packet")
		between("cpu_own_cycles_per_packet")
		between("own_ratio")
		if row["floor_crypto"] != "the software NIC" || number("crypto_cycles_per_packet") <= 0 || number("packets") <= 0 || number("own_ratio_target") != inlineTarget {
			t.Errorf("inline: %v", row)
		}
	}
	if pairs != 2 || churns != 2 {
		t.Errorf("%d rows of packets and %d of sessions, expected one of each in both directions", pairs, churns)
	}
}
