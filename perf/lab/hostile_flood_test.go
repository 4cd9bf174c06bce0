package lab_test

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"
)

// floodSize is how many IKE_SA_INIT requests a flood has; a second flood is twice as long.
const floodSize = 1500

// floodGrowth is how much memory the second flood may cost that the first has not, in KiB.
const floodGrowth = 16 << 10

// testIKEFlood: acceptable first messages in the peer's name, each from another port with other SPIs. What they cost
// does not grow with their number, and answers are IKE_SA_INIT responses, never more than requests.
func testIKEFlood(t *testing.T, r *hostileRig) {
	good := initiation(t, r)
	if _, err := r.wan.Receive(); err != nil {
		t.Fatal(err)
	}
	flood := func(seed uint64, n int) (frames [][]byte) {
		random := rand.New(rand.NewPCG(seed, 500))
		for i := range n {
			m := slices.Clone(good)
			copy(m, randomOctets(random, 8)) // the initiator's SPI
			d := udp(uint16(1024+i), 4500, slices.Concat(make([]byte, 4), m))
			frames = append(frames, ether(r.wanMAC, etherIPv4, ipv4(r.B.WANAddress, r.A.WANAddress, protocolUDP, d)))
		}
		return frames
	}
	r.inject(t, wanPort, flood(1, floodSize))
	r.ping(t)
	first := rss(t, r.a.Process.PID())
	r.inject(t, wanPort, flood(2, 2*floodSize))
	r.ping(t)
	second := rss(t, r.a.Process.PID())
	if second-first > floodGrowth {
		t.Errorf("gw-a held %d KiB after %d requests and %d KiB after %d more", first, floodSize, second, 2*floodSize)
	}
	sent := r.replies(t)
	answers := 0
	for _, m := range sent {
		if !m.response() || m.message[ikeExchange] != exchangeInit || m.to != r.B.WANAddress {
			t.Errorf("gw-a answered a flood with %v", m)
		}
		answers++
	}
	if answers == 0 || answers > 3*floodSize {
		t.Errorf("%d answers to %d requests, want some and no more", answers, 3*floodSize)
	}
}

// rss is the resident memory of a process in KiB.
func rss(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^VmRSS:\s+(\d+) kB$`).FindSubmatch(text)
	if m == nil {
		t.Fatalf("no VmRSS in %s", text)
	}
	n, _ := strconv.Atoi(string(m[1]))
	return n
}
