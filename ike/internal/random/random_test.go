package random

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"
)

// Jitter takes away no more than its share, and not always the same.
func TestJitter(t *testing.T) {
	source := rand.NewChaCha8([32]byte{1})
	seen := map[time.Duration]bool{}
	for range 100 {
		d := Jitter(source, time.Hour, 0.1)
		if d > time.Hour || d < 54*time.Minute {
			t.Errorf("%v of an hour, expected 54 to 60 minutes", d)
		}
		seen[d] = true
	}
	if len(seen) < 50 {
		t.Errorf("%d different times of 100", len(seen))
	}
}

// Without randomness there is nothing to go on with.
func TestNoRandomness(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("an engine goes on without randomness")
		}
	}()
	Octets(bytes.NewReader([]byte{1, 2, 3}), 4)
}
