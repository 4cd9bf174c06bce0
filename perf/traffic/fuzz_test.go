package traffic

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sallyport/perf/lab"
	"sallyport/pmd/eal/ealtest"
)

// TestFuzzTraffic runs the loops of senders and receivers under AddressSanitizer and UndefinedBehaviorSanitizer: streams in clear and in tunnels, whose frames come as they were sent
// or damaged, frames of anybody in between, and ESP of a target that has the keys and puts anything into it.
func TestFuzzTraffic(t *testing.T) {
	corpus := t.TempDir()
	for i, seed := range fuzzSeeds() {
		if err := os.WriteFile(filepath.Join(corpus, fmt.Sprint(i)), seed, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	ealtest.Fuzzer{Build: "fuzz/build.sh", Limit: 5 * time.Second, Arguments: []string{"-max_len=1600"}, Corpus: corpus}.Run(t)
}

// fuzzSeeds are inputs that each go one of the ways that there are, as fuzz/fuzz_traffic.c reads them.
func fuzzSeeds() (seeds [][]byte) {
	const raw, forged, stream, kinds = 0, 1, 2, 6
	for kind := range byte(kinds) {
		for _, way := range []byte{0, 4, 8, 12, 16} { // in order, backward, twice, both, of another trial
			seeds = append(seeds, []byte{stream | way, kind + 5*kinds, 0, stream, kind, 0})
		}
		for how := byte(1); how < 4; how++ {
			seeds = append(seeds, []byte{stream, kind + 3*kinds, how, 0, 14, 1, 0, 30, 2, 0, 70, 3})
		}
	}
	datagram := func(port uint16, payload ...byte) []byte {
		udp := []byte{0x50, 0, byte(port >> 8), byte(port), 0, byte(udpLen + len(payload)), 0, 0}
		ip := []byte{0x45, 0, 0, byte(ipv4Len + udpLen + len(payload)), 0, 0, 0, 0, ttl, protocolUDP, 0, 0, 10, 1, 0, 1, 10, 2, 0, 1}
		sum := lab.HeaderChecksum(ip)
		ip[10], ip[11] = byte(sum>>8), byte(sum)
		return append(append(ip, udp...), payload...)
	}
	inner := datagram(30000, make([]byte, 18)...)
	for _, end := range [][]byte{{0, 4}, {255, 4}, {1, 2, 2, 4}, {2, 2, 2, 4}, {0, 59}, {1, 1, 1, 41}} { // padding, and who is next
		body := append(append([]byte{}, inner...), end...)
		for len(body)%4 != 0 {
			body = append(body[:len(inner)], append([]byte{1}, body[len(inner):]...)...)
		}
		for sa := range byte(2) {
			seeds = append(seeds, append([]byte{forged, byte(len(body))/4<<1 | sa}, body...))
		}
	}
	const looked = 2 // at: to the station, and of IP
	for side := range byte(2) {
		for _, packet := range [][]byte{inner, datagram(portIKE, 1, 2, 3), datagram(portNATT, 0, 0, 0, 0, 1), datagram(portNATT, 0, 0, 0x10, 2, 1, 2, 3, 4, 5)} {
			packet = append(packet, make([]byte, 3)...)
			seeds = append(seeds, append([]byte{raw, side | looked | byte(len(packet)/16)<<4}, packet...))
		}
	}
	return seeds
}
