package softnic_test

import (
	"testing"
	"time"

	"sallyport/pmd/eal/ealtest"
)

// TestFuzzNIC runs the NIC under AddressSanitizer and UndefinedBehaviorSanitizer: frames of a fuzzer in both directions, and packets that go out, are damaged and come in
// again. Those that are not damaged must come as they went.
func TestFuzzNIC(t *testing.T) {
	ealtest.Fuzzer{Build: "fuzz/build.sh", Limit: 5 * time.Second, Arguments: []string{"-max_len=1600"}}.Run(t)
}
