package main

import (
	"fmt"
	"maps"
	"slices"
)

// tunnel is one of enum tunnel of gateway.h.
type tunnel byte

var tunnels = []string{"gcm", "gcm-esn", "gcm-udp", "gcm-async", "cbc-sha1", "cbc-sha256", "cbc-sha256-esn", "last", "gcm-short", "padded",
	"job-cbc", "job-ccm", "job-chacha", "job-ctr", "job-3des", "job-null", "job-gmac", "wide", "wide-udp", "transport", "transport6",
	"ah", "ah6", "ah-transport6", "bundle", "bundle6", "before", "after", "clamp", "inline", "inline-cbc", "card", "card6"}

func named(name string) tunnel { return tunnel(slices.Index(tunnels, name)) }

func (t tunnel) String() string { return tunnels[t] }
func (t tunnel) ah() bool {
	return t == named("ah") || t == named("ah6") || t == named("ah-transport6")
}

// queued tunnels' crypto is done by queues of a device, which nobody forges by.
func (t tunnel) queued() bool { return t >= named("gcm-async") && t <= named("cbc-sha256-esn") }

// block is the length that a forged plaintext is a multiple of.
func (t tunnel) block() int {
	switch t.String() {
	case "job-cbc", "transport6", "inline-cbc", "card6":
		return 16
	case "job-3des":
		return 8
	}
	return 4
}

func corpus() map[string][]byte {
	seeds := map[string][]byte{}
	for i := range tunnels {
		t := tunnel(i)
		seeds[fmt.Sprint("out-", t)] = outbound(t)
		seeds[fmt.Sprint("in-", t)] = inbound(t)
		seeds[fmt.Sprint("damaged-", t)] = damage(t)
		if !t.queued() {
			seeds[fmt.Sprint("forged-", t)] = forge(t)
		}
	}
	maps.Copy(seeds, general())
	maps.Copy(seeds, malformed())
	maps.Copy(seeds, byNIC())
	return seeds
}

func outbound(t tunnel) (b []byte) {
	for _, wide := range []bool{false, true} {
		for _, body := range [][]byte{packet(tcp|syn, 80), packet(udp, 60), packet(udp|dontFragment, 1480), packet(udp, 1500), packet(sctp|lastHop, 60)} {
			b = append(b, out(t, wide, body)...)
		}
	}
	other := out(t, false, packet(udp, 70))
	other[0] |= otherWorker | stripped
	return append(b, other...)
}

func inbound(t tunnel) (b []byte) {
	for _, wide := range []bool{false, true} {
		for i, body := range [][]byte{packet(tcp|syn, 80), packet(udp, 60), packet(udp, 1400), packet(udp, 1500)} {
			op := byte(opSealed)
			if i%2 != 0 {
				op |= otherWorker
			}
			b = append(b, sealed(op, t, wide, 0, i, body)...)
		}
	}
	return append(b, opReplay, 1, opReplay|otherWorker, 2)
}

// damage of each kind, and the sealed packet in fragments.
func damage(t tunnel) (b []byte) {
	body := packet(udp, 100)
	for how := range byte(8) {
		for _, where := range []int{3, 10, 30, 90} {
			b = append(b, sealed(opSealed, t, how&1 != 0, how, where, body)...)
		}
	}
	for _, wide := range []bool{false, true} {
		b = append(b, sealed(opSealed, t, wide, 6, 6, packet(udp|capable, 100))...)
		pieces := cuts([3]int{0, 4, more}, [3]int{4, 4, more}, [3]int{8, 200, 0})
		b = append(append(b, sealed(opSealed, t, wide, 16, 0, body)...), pieces...)
		pieces = cuts([3]int{8, 200, marked}, [3]int{0, 8, more})
		b = append(append(b, sealed(opSealed|otherWorker, t, wide, 16, 0, body)...), pieces...)
	}
	return b
}
