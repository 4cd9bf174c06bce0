package traffic

import (
	"strings"
	"testing"
	"time"
)

// The heading says how many flows and tunnels there are, in words for one and for several.
func TestHeading(t *testing.T) {
	for want, n := range map[string][2]int{"1 flow over 1 tunnel (in clear), frames": {1, 1}, "20 flows over 2 tunnels (in clear), frames": {20, 2}, "2 flows over 1 tunnel (": {2, 1}} {
		c := Config{Tunnels: make([]Tunnel, n[1]), Streams: []Stream{{Direction: Outbound, Flows: n[0], Name: "outbound"}}, Duration: time.Second}
		var out strings.Builder
		o := Options{Out: &out, Sizes: "64"}
		if o.printHeading(&c); !strings.Contains(out.String(), want) {
			t.Errorf("expected %q in\n%s", want, out.String())
		}
	}
}
