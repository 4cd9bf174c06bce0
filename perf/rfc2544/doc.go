// Package rfc2544 finds out what a gateway can do, by trials that somebody else makes: trial.go says what a trial is and what may be wrong with its target, search.go finds
// throughput with a stated loss ratio (MLRsearch, RFC 9971; without loss it is that of RFC 2544), classify.go is what it makes of the trials at one load. latency.go,
// lossrate.go and bursts.go are the other benchmarks of RFC 2544, section 26, and reconf.go is the loss while tunnels come and go. suite.go runs all of that over sizes and tunnels and makes
// a report of it, and progress.go says meanwhile how far it is.
package rfc2544
