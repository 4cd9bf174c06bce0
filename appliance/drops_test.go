package appliance

import (
	"os"
	"regexp"
	"testing"

	"sallyport/pipeline"
)

// Every reason for which the data plane drops a packet is explained to operators, once, and nothing else is.
func TestEveryDropReasonIsExplained(t *testing.T) {
	text, err := os.ReadFile("../docs/DROPS.md")
	if err != nil {
		t.Fatal(err)
	}
	explained := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)` \\| [^|]+ \\| [^|]+ \\|$").FindAllStringSubmatch(string(text), -1) {
		if explained[row[1]] {
			t.Errorf("%s is explained twice", row[1])
		}
		explained[row[1]] = true
	}
	for _, reason := range pipeline.DropReasons() {
		if !explained[reason] {
			t.Errorf("%s is not explained in docs/DROPS.md", reason)
		}
		delete(explained, reason)
	}
	for reason := range explained {
		t.Errorf("%s is explained in docs/DROPS.md, and no packet is dropped for it", reason)
	}
}
