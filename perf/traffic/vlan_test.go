package traffic

import (
	"sync/atomic"
	"testing"
	"time"
)

// Frames of a VLAN have its tag both ways, ARP too; others, and those without a tag, are none of ours.
func TestVLAN(t *testing.T) {
	for name, c := range map[string]struct {
		vlans    [2]uint16
		received uint64
		verdict  Verdict
	}{
		"the same on both sides": {[2]uint16{7, 7}, 100, Forwards},
		"the gateway's differs":  {[2]uint16{7, 8}, 0, Down},
		"no tag on the other":    {[2]uint16{7, 0}, 0, Down},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPath(t)
			var tagged, other atomic.Uint64
			p.meddle = func(_ int, frame []byte) [][]byte {
				if frame[12] == 0x81 && frame[13] == 0 && frame[14] == 0 && frame[15] == byte(c.vlans[0]) {
					tagged.Add(1)
				} else {
					other.Add(1)
				}
				return [][]byte{frame}
			}
			p.start(t)
			config := p.config(both(Stream{Flows: 4, Sizes: Sizes{64, 1518}, Rate: Rate{Packets: 10000}})...)
			config.Protected.VLAN, config.Unprotected.VLAN = c.vlans[0], c.vlans[1]
			if c.verdict == Down {
				config.Resolve = 300 * time.Millisecond
			}
			r := p.trial(t, config, Load{Packets: 100})
			if r.Verdict != c.verdict {
				t.Errorf("verdict %s, %q; want %s", r.Verdict, r.Findings, c.verdict)
			}
			for _, s := range r.Streams {
				want(t, s.Name+": received", s.Received, c.received)
			}
			if c.verdict == Forwards && (tagged.Load() < 200 || other.Load() > 0) {
				t.Errorf("%d frames with the tag, %d others", tagged.Load(), other.Load())
			}
		})
	}
}
