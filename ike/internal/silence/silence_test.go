package silence

import (
	"net/netip"
	"testing"
	"time"
)

// A datagram ends the silence of the calls to where it comes from, and of no others; of what is over nothing is kept.
func TestCalls(t *testing.T) {
	here, there := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	now := time.Unix(1_800_000_000, 0)
	var calls Calls
	var first, second, other, none Call
	calls.Heard(here)
	calls.End(&none)
	calls.Begin(&first, here, now)
	calls.Begin(&second, here, now.Add(time.Second))
	calls.Begin(&other, there, now)
	calls.End(&first)
	if first.Silent() || !second.Silent() || !other.Silent() || none.Silent() || second.Began != now.Add(time.Second) {
		t.Errorf("after the end of the first: silent are %t, %t, %t, %t", first.Silent(), second.Silent(), other.Silent(), none.Silent())
	}
	calls.Heard(here)
	if second.Silent() || !other.Silent() {
		t.Errorf("after a datagram from the one address: silent are %t, %t", second.Silent(), other.Silent())
	}
	calls.End(&second)
	calls.End(&other)
	if len(calls.silent) > 0 {
		t.Errorf("%d addresses are kept", len(calls.silent))
	}
}
