package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// A gateway of some thousand tunnels has a heap of some tens of MiB, and collecting that each time it has doubled takes a sixth of the CPU time of one that negotiates. So garbage may come
// to three times what is in use, but to no more than collectorRoom where that is more than what is in use: a large gateway takes no more memory than by Go's own setting, of 100 %. In a
// small one it comes to twice of that: there what a flood adds to its memory is to stay small too.
const (
	collectorRoom    = 128 << 20
	collectorSmall   = 16 << 20
	collectorFew     = 200 // percent, of less than that
	collectorMost    = 300
	collectorLeast   = 100
	collectorSetting = "GOGC" // the environment's, which comes first
)

// collectSeldom lets garbage grow, from now on, by the rule above.
func collectSeldom() {
	if os.Getenv(collectorSetting) == "" {
		debug.SetGCPercent(collectorFew)
		afterCollection(func() { debug.SetGCPercent(collectorPercent(inUse())) })
	}
}

// afterCollection calls do after each collection: the collector's own word of it is that it has found something unused.
func afterCollection(do func()) {
	runtime.AddCleanup(new([32]byte), func(do func()) {
		do()
		afterCollection(do)
	}, do)
}

// inUse is what the last collection has left, in octets.
func inUse() uint64 {
	of := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(of)
	return of[0].Value.Uint64()
}

// collectorPercent is how much garbage there may be beside that many octets in use.
func collectorPercent(used uint64) int {
	const percent = 100
	if used < collectorSmall {
		return collectorFew
	}
	return int(max(collectorLeast, min(collectorMost, percent*collectorRoom/used)))
}
