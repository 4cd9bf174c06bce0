package pipeline

import (
	"testing"
	"time"

	"sallyport/pmd/eal/ealtest"
)

// The fast path under AddressSanitizer and UndefinedBehaviorSanitizer: frames of a fuzzer on both ports, and ESP and AH of
// every kind that a peer has sealed or forged, mangled, truncated, cut into fragments and replayed. It replays the corpus,
// which the command in fuzz/seeds writes, and then mutates it. The harness checks after each input that counters add up,
// that no mbuf is lost, that the peer opens what we seal and that nothing protected left in clear.
func TestFuzzFastPath(t *testing.T) {
	ealtest.Fuzzer{Build: "fuzz/build.sh", Limit: 20 * time.Second, Leaks: true, Arguments: []string{"-print_final_stats=1"}, Corpus: "fuzz/corpus"}.Run(t)
}
