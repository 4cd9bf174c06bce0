package lab

import (
	"testing"

	"golang.org/x/sys/unix"
)

// Who is flooded has what there was when it asked, and can go on: what comes meanwhile is for the next time.
func TestReadingEndsUnderAFlood(t *testing.T) {
	flood, err := unix.Open("/dev/zero", unix.O_RDONLY|unix.O_CLOEXEC, 0) // there is always more of it
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(flood)
	p := &RawPort{fd: flood, link: "flood"}
	for range 2 {
		if err := p.read(); err != nil || p.octets == 0 || p.octets > heldAtMost {
			t.Fatalf("%d octets, %v: expected what a socket holds at most, %d octets", p.octets, err, heldAtMost)
		}
		p.kept, p.octets = nil, 0
	}
}
