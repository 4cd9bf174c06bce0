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
	calls.Heard(here, now)
	calls.End(&none)
	calls.Begin(&first, here, now)
	calls.Begin(&second, here, now.Add(time.Second))
	calls.Begin(&other, there, now)
	calls.End(&first)
	if first.Silent() || !second.Silent() || !other.Silent() || none.Silent() || second.Began != now.Add(time.Second) {
		t.Errorf("after the end of the first: silent are %t, %t, %t, %t", first.Silent(), second.Silent(), other.Silent(), none.Silent())
	}
	calls.Heard(here, now)
	if second.Silent() || !other.Silent() {
		t.Errorf("after a datagram from the one address: silent are %t, %t", second.Silent(), other.Silent())
	}
	calls.End(&second)
	calls.End(&other)
	if len(calls.silent) > 0 {
		t.Errorf("%d addresses are kept", len(calls.silent))
	}
}

// Who has answered when his call was over is known to be there when he is called again soon, once; who has not been called, or has said nothing, is not.
func TestLateAnswers(t *testing.T) {
	here, there := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	now := time.Unix(1_800_000_000, 0)
	var calls Calls
	again := func(to netip.Addr, after time.Duration, silent bool) {
		t.Helper()
		var call Call
		calls.Begin(&call, to, now.Add(after))
		if call.Silent() != silent {
			t.Errorf("a call to %s after %v is silent: %t", to, after, call.Silent())
		}
		calls.End(&call)
	}
	again(here, 0, true)
	again(here, time.Second, true)
	calls.Heard(here, now.Add(2*time.Second))
	calls.Heard(there, now.Add(2*time.Second))
	again(there, 3*time.Second, true)
	again(here, 3*time.Second, false)
	again(here, 4*time.Second, true)
	calls.Heard(here, now.Add(5*time.Second))
	again(here, 5*time.Second+recent, true)
}

// What is kept of those who met silence is bounded.
func TestLateAnswersAreBounded(t *testing.T) {
	var calls Calls
	var call Call
	to := netip.MustParseAddr("10.0.0.0")
	for range mostLate + 10 {
		calls.Begin(&call, to, time.Time{})
		calls.End(&call)
		to = to.Next()
	}
	if len(calls.late) != mostLate {
		t.Errorf("%d addresses are kept, expected %d", len(calls.late), mostLate)
	}
}
