// Package random draws what an engine needs from the source of random octets that it was given.
package random

import (
	"encoding/binary"
	"fmt"
	"io"
	"time"
)

// Octets gives n octets. An engine without randomness must not go on: every key would be known.
func Octets(source io.Reader, n int) []byte {
	b := make([]byte, n)
	if _, err := io.ReadFull(source, b); err != nil {
		panic(fmt.Sprintf("ike: Config.Random gave no %d octets: %v", n, err))
	}
	return b
}

// Jitter shortens d by a random part of at most the given share.
func Jitter(source io.Reader, d time.Duration, share float64) time.Duration {
	part := float64(binary.BigEndian.Uint32(Octets(source, 4))) / (1 << 32)
	return d - time.Duration(part*share*float64(d))
}
