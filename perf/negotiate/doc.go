// Package negotiate measures how many SAs a second a gateway negotiates, and whether it does as well when more is asked of it than it can do.
//
// The gateway is a whole one: a process of its own on a CPU of its own, its unprotected port a link that thousands of peers are on. These are one engine in
// this process, on the other CPUs: each has an address of its own and negotiates once, so that every negotiation is a first connection. Time between
// initiations is swept; at 0 ms as many are under way as a bound allows that lies above what the gateway takes at a time.
//
// options.go says what can be measured, sweep.go goes through it and report.go shows it. bed.go is the gateway and its network, callers.go the peers;
// round.go is one row's measurement, counts.go what the gateway itself has counted.
package negotiate
